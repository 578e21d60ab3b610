/* Utilisation over time: a line for each resource in per cent of what there is, and below it who waited.

The values at a point are shown on hover; a slider does the same for keys and screen readers, and a table has them all. */

import { followWidth, scale, timeAxis } from "../axes.js";
import { h, panel, put, svg, table } from "../dom.js";
import { amountText, count, ms, shortName, when } from "../format.js";
import { loader } from "../loading.js";

const RANGES = [
  ["3600", "1 hour"],
  ["21600", "6 hours"],
  ["86400", "1 day"],
  ["2592000", "30 days"],
];
const HEIGHT = 220;
const EDGE = { left: 40, right: 12, top: 10, bottom: 66 };
const STRIP = 26;
const ROWS = 48;
const LATE_MS = 120_000;

const amountOf = (found) => (typeof found === "number" ? found : (found?.amount ?? 0));
const share = (row) => (row && amountOf(row.capacity) ? (100 * amountOf(row.allocated)) / amountOf(row.capacity) : 0);

export function usageChart(context) {
  let since = 86400;
  let points = [];
  let known = null;
  let width = 0;
  let chosen = -1;
  const range = h(
    "select",
    {
      "aria-label": "Time range",
      on: {
        change: () => {
          since = Number(range.value);
          chosen = -1;
          reading.restart();
        },
      },
    },
    RANGES.map(([value, text]) => h("option", { value, selected: Number(value) === since }, text)),
  );
  const drawing = h("div", { class: "chart", id: "usage-chart" });
  const values = h("p", { class: "chart-values" });
  const slider = h("input", {
    type: "range",
    class: "chart-slider",
    min: "0",
    step: "1",
    "aria-label": "Point in time",
    on: { input: () => choose(Number(slider.value)) },
  });
  const alternative = table("Utilisation over time", []);
  const details = h(
    "details",
    { class: "alternative", on: { toggle: () => details.open && showTable() } },
    h("summary", {}, "As a table"),
    alternative.element,
  );
  const reading = loader(context.session, (signal) => context.get("/history", { since }, signal), take);
  const element = panel(
    "Utilisation",
    { id: "utilisation", tools: [range] },
    reading.notice,
    drawing,
    slider,
    values,
    details,
  );
  let marker = null;

  function take(document) {
    points = document.points ?? [];
    known = ms(document.since);
    slider.max = String(Math.max(0, points.length - 1));
    if (chosen < 0 || chosen >= points.length) chosen = -1;
    draw();
    if (details.open) showTable();
  }

  const resources = () => [...new Set(points.flatMap((one) => Object.keys(one.resources)))];

  function draw() {
    if (!width) return;
    slider.hidden = details.hidden = points.length < 2;
    if (points.length < 2) {
      put(
        drawing,
        h(
          "p",
          { class: "empty" },
          "There is no history yet. A point is written each minute in which something changes.",
        ),
      );
      put(values, "");
      return;
    }
    const from = ms(points[0].at);
    const to = ms(points.at(-1).at);
    const bottom = HEIGHT - EDGE.bottom;
    const x = scale(from, to, EDGE.left, width - EDGE.right);
    const highest = Math.max(100, ...points.flatMap((one) => Object.values(one.resources).map(share)));
    const top = highest > 100 ? Math.ceil(highest / 25) * 25 : 100;
    const y = scale(0, top, bottom, EDGE.top);
    marker = svg("g", { class: "marker", visibility: "hidden" });
    const picture = svg(
      "svg",
      { width, height: HEIGHT, role: "img", "aria-label": summary(), class: "usage-lines" },
      [0, 25, 50, 75, 100].map((one) => [
        svg("line", {
          class: one === 100 ? "grid grid-full" : "grid",
          x1: EDGE.left,
          x2: width - EDGE.right,
          y1: y(one),
          y2: y(one),
        }),
        svg("text", { class: "tick", x: EDGE.left - 6, y: y(one) + 4, "text-anchor": "end" }, `${one}%`),
      ]),
      timeAxis(from, to, { x, top: EDGE.top, bottom: HEIGHT - 20, width: width - EDGE.left - EDGE.right }),
      resources().map((name, at) => svg("path", { class: `series series-${at % 6}`, d: path(name, x, y) })),
      strip(x, HEIGHT - 22),
      marker,
    );
    picture.addEventListener("pointermove", (event) =>
      choose(nearest(event.clientX - picture.getBoundingClientRect().left, x)),
    );
    picture.addEventListener("pointerleave", () => choose(-1));
    marker.place = (at) => {
      const point = points[at];
      marker.replaceChildren(
        svg("line", { x1: x(ms(point.at)), x2: x(ms(point.at)), y1: EDGE.top, y2: HEIGHT - 22 }),
        ...resources().map((name, index) =>
          svg("circle", {
            class: `dot series-${index % 6}`,
            cx: x(ms(point.at)),
            cy: y(share(point.resources[name])),
            r: 4,
          }),
        ),
      );
    };
    put(drawing, picture);
    choose(chosen);
  }

  /** A line that stays until the next point, as amounts do. */
  function path(name, x, y) {
    return points
      .map((one, at) => {
        const height = y(share(one.resources[name])).toFixed(1);
        return at === 0 ? `M${x(ms(one.at)).toFixed(1)},${height}` : `H${x(ms(one.at)).toFixed(1)}V${height}`;
      })
      .join("");
  }

  /** How many waited, as an area of its own below the lines. */
  function strip(x, bottom) {
    const most = Math.max(1, ...points.map((one) => one.waiting));
    const y = scale(0, most, bottom, bottom - STRIP);
    const d = `M${x(ms(points[0].at))},${bottom}${points.map((one) => `V${y(one.waiting).toFixed(1)}H${x(ms(one.at)).toFixed(1)}`).join("")}V${bottom}Z`;
    return [
      svg("path", { class: "waiting-area", d }),
      svg("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: bottom, y2: bottom }),
      svg("text", { class: "tick", x: EDGE.left - 6, y: bottom - STRIP / 2 + 4, "text-anchor": "end" }, "wait"),
    ];
  }

  function nearest(left, x) {
    let best = 0;
    points.forEach((one, at) => {
      if (Math.abs(x(ms(one.at)) - left) < Math.abs(x(ms(points[best].at)) - left)) best = at;
    });
    return best;
  }

  function choose(at) {
    chosen = at;
    if (!points.length || !marker) return;
    const shown = at < 0 ? points.length - 1 : at;
    slider.value = String(shown);
    slider.setAttribute("aria-valuetext", textOf(points[shown]));
    marker.setAttribute("visibility", at < 0 ? "hidden" : "visible");
    if (at >= 0) marker.place(at);
    const point = points[shown];
    put(
      values,
      h("b", {}, when(ms(point.at), context.now())),
      resources().map((name, index) =>
        h(
          "span",
          {},
          sample(index),
          `${shortName(name)} `,
          h("b", {}, `${Math.round(share(point.resources[name]))} %`),
          ` ${amountText(name, amountOf(point.resources[name]?.allocated))} of ${amountText(name, amountOf(point.resources[name]?.capacity))}`,
        ),
      ),
      h("span", {}, `${count(point.waiting)} waiting`),
      h("span", {}, `${count(point.grants)} granted, ${count(point.denials)} denied in this interval`),
      begins(),
    );
  }

  /** From when on the history is known, if that is later than what was asked for. */
  function begins() {
    const cut = known !== null && known > context.now() - since * 1000 + LATE_MS;
    return cut ? h("span", {}, `The history begins at ${when(known, context.now())}.`) : null;
  }

  const textOf = (point) =>
    `${when(ms(point.at), context.now())}: ${resources()
      .map((name) => `${shortName(name)} ${Math.round(share(point.resources[name]))} percent`)
      .join(", ")}, ${point.waiting} waiting`;

  function summary() {
    const peaks = resources().map(
      (name) =>
        `${shortName(name)} now ${Math.round(share(points.at(-1).resources[name]))} percent, at most ${Math.round(Math.max(...points.map((one) => share(one.resources[name]))))}`,
    );
    return `Utilisation in percent of the capacity, ${range.selectedOptions[0].text}. ${peaks.join("; ")}. The slider below has the value of each point.`;
  }

  function showTable() {
    const names = resources();
    const every = Math.ceil(points.length / ROWS);
    const rows = points.filter((_, at) => (points.length - 1 - at) % every === 0).reverse();
    put(
      alternative.table.tHead.rows[0],
      ["Time", ...names.map(shortName), "Waiting", "Granted", "Denied"].map((name, at) =>
        h("th", { scope: "col", class: at ? "number" : null }, name),
      ),
    );
    put(
      alternative.body,
      rows.map((one) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, when(ms(one.at), context.now())),
          names.map((name) => h("td", { class: "number" }, `${Math.round(share(one.resources[name]))} %`)),
          [one.waiting, one.grants, one.denials].map((number) => h("td", { class: "number" }, count(number))),
        ),
      ),
    );
  }

  const stop = followWidth(drawing, (found) => {
    width = found;
    draw();
  });
  const timer = setInterval(() => !document.hidden && reading.refresh(), 30_000);
  return {
    element,
    refresh: reading.refresh,
    close: () => {
      stop();
      clearInterval(timer);
      reading.close();
    },
  };
}

/** The stroke of a series beside its name: colour and dashes. */
const sample = (index) =>
  svg(
    "svg",
    { class: "sample", width: 24, height: 8, "aria-hidden": "true" },
    svg("line", { class: `series series-${index % 6}`, x1: 1, x2: 23, y1: 4, y2: 4 }),
  );
