/* What frees up when: how much room there will be as deadlines pass, and below it the allocations with theirs.

Nobody can know who renews.  So a deadline says "at the earliest", and a hard end, hatched, "at the latest". */

import { followWidth, scale, timeAxis } from "../axes.js";
import { h, panel, put, svg, table } from "../dom.js";
import { amountText, count, fromNow, ms, plural, requestText, shortName, when } from "../format.js";
import { loader } from "../loading.js";

const SPANS = [
  ["900", "15 minutes"],
  ["3600", "1 hour"],
  ["21600", "6 hours"],
  ["86400", "1 day"],
];
const ROWS = 24;
const ROW = 24;
const STEPS = 116;
const EDGE = { right: 12, top: 8 };

export function timeline(context) {
  let span = 3600;
  let found = null;
  let head = null;
  let width = 0;
  let resource = "";
  let pointed = null;
  const choice = h(
    "select",
    {
      "aria-label": "How far ahead",
      on: {
        change: () => {
          span = Number(choice.value);
          reading.restart();
        },
      },
    },
    SPANS.map(([value, text]) => h("option", { value, selected: Number(value) === span }, text)),
  );
  const which = h("select", {
    "aria-label": "Resource",
    on: {
      change: () => {
        resource = which.value;
        draw();
      },
    },
  });
  const drawing = h("div", { class: "chart", id: "timeline-chart" });
  const lead = h("p", { class: "chart-lead" });
  const detail = h("p", { class: "chart-values", "aria-live": "off" });
  const alternative = table("What frees up when", []);
  const details = h(
    "details",
    { class: "alternative", on: { toggle: () => details.open && showTable() } },
    h("summary", {}, "As a table"),
    alternative.element,
  );
  const reading = loader(
    context.session,
    (signal) => {
      const from = Math.round(context.now());
      return context.get("/timeline", { from, to: from + span * 1000, rows: ROWS }, signal);
    },
    take,
  );
  const element = panel(
    "What frees up when",
    { id: "timeline", tools: [which, choice] },
    reading.notice,
    lead,
    drawing,
    detail,
    details,
  );

  function take(document) {
    found = document;
    const names = Object.keys(context.usage?.resources ?? {});
    if (!names.includes(resource)) resource = tightest() ?? names[0] ?? "";
    if (which.textContent !== names.map(shortName).join(""))
      put(
        which,
        names.map((name) => h("option", { value: name }, shortName(name))),
      );
    which.value = resource;
    draw();
    if (details.open) showTable();
  }

  /** What the head of the line is short of, else the fullest. */
  function tightest() {
    const short = head?.denial?.shortages?.[0]?.resource;
    if (short) return short;
    const rows = Object.entries(context.usage?.resources ?? {});
    return rows.sort(([, a], [, b]) => b.utilizationPercent - a.utilizationPercent)[0]?.[0];
  }

  function draw() {
    if (!width || !found || !context.usage) return;
    const now = context.now();
    const from = now - span * 100;
    const to = now + span * 1000;
    const labels = width < 560 ? 0 : 168;
    const items = found.items.filter((one) => ms(one.deadline) === null || ms(one.deadline) > from).slice(0, ROWS);
    const left = Math.max(44, labels);
    const height = EDGE.top + STEPS + 24 + items.length * ROW + 8;
    const x = scale(from, to, left, width - EDGE.right);
    const bottom = EDGE.top + STEPS;
    const start = head ? ms(head.startAt) : null;
    put(lead, leadText(now, start));
    const picture = svg(
      "svg",
      {
        width,
        height,
        role: "group",
        "aria-label": `Timeline of the allocations. ${lead.textContent}`,
        class: "timeline",
      },
      svg(
        "defs",
        {},
        svg(
          "pattern",
          { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
          svg("line", { class: "hatch", x1: 0, x2: 0, y1: 0, y2: 6 }),
        ),
      ),
      timeAxis(from, to, { x, top: EDGE.top, bottom, width: width - left }),
      room(x, bottom, left, now, to),
      items.map((one, at) => row(one, x, bottom + 24 + at * ROW, labels, left, now)),
      svg(
        "g",
        { class: "now" },
        svg("line", { x1: x(now), x2: x(now), y1: EDGE.top, y2: height - 8 }),
        svg("text", { x: x(now) + 4, y: EDGE.top + 10 }, "now"),
      ),
      start !== null && start < to ? startMark(x(start), height, width) : null,
    );
    const focused = drawing.contains(document.activeElement);
    const kept = pointed;
    put(drawing, picture);
    const again = kept && picture.querySelector(`[data-id="${CSS.escape(kept)}"]`);
    if (focused && again) again.focus();
    const leftOut = found.total - items.length;
    const drawn =
      leftOut > 0
        ? `${count(items.length)} of ${plural(found.total, "allocation")} are drawn, those that end first. The steps above count all.`
        : `${plural(found.total, "allocation")}.`;
    if (!again) put(detail, `${drawn} Solid: until the deadline. Hatched: until the hard end. Grey: no deadline.`);
  }

  function leadText(now, start) {
    const parts = [];
    const next = (found.buckets ?? []).find((one) => one.ends > 0 && ms(one.at) >= now);
    if (next)
      parts.push(
        `Next: ${plural(next.ends, "allocation ends", "allocations end")} by ${when(ms(next.at), now)}, which frees ${requestText(next.frees)}, unless renewed.`,
      );
    else parts.push("No deadline lies in this span.");
    if (found.overdue?.ends) parts.push(`${count(found.overdue.ends)} past the deadline and not yet reclaimed.`);
    if (head) {
      const what = `The first in line (${head.owner}, ${requestText(head.resources)})`;
      parts.push(
        start === null
          ? `${what} cannot start by any known deadline.`
          : `${what} can start ${start <= now ? "now" : `at ${when(start, now)}, ${fromNow(start, now)}`}, if nobody renews.`,
      );
    }
    return parts.join(" ");
  }

  /** What would be available of the chosen resource as deadlines pass: a step at the end of each bucket. */
  function room(x, bottom, left, now, to) {
    const row = context.usage.resources[resource];
    if (!row) return [];
    const limit = row.limit.amount || 1;
    let free = row.available.amount;
    const steps = [[now, free]];
    for (const bucket of found.buckets ?? []) {
      const freed = bucket.frees?.[resource]?.amount ?? 0;
      if (!freed) continue;
      free = Math.min(limit, free + freed);
      steps.push([Math.max(now, ms(bucket.at)), free]);
    }
    const y = scale(0, limit, bottom, EDGE.top + 6);
    const line = steps
      .map(([at, amount], index) =>
        index
          ? `H${x(Math.min(to, at)).toFixed(1)}V${y(amount).toFixed(1)}`
          : `M${x(at).toFixed(1)},${y(amount).toFixed(1)}`,
      )
      .join("");
    const end = `H${x(to).toFixed(1)}`;
    const wanted = head?.resources?.[resource]?.amount;
    return [
      [0, 0.5, 1].map((part) =>
        svg(
          "text",
          { class: "tick", x: left - 6, y: y(limit * part) + 4, "text-anchor": "end" },
          amountText(resource, limit * part),
        ),
      ),
      svg("line", { class: "grid", x1: left, x2: x(to), y1: bottom, y2: bottom }),
      svg("path", { class: "room-area", d: `${line}${end}V${bottom}H${x(now).toFixed(1)}Z` }),
      svg("path", { class: "room-line", d: line + end }),
      wanted && wanted <= limit
        ? [
            svg("line", { class: "wanted", x1: x(now), x2: x(to), y1: y(wanted), y2: y(wanted) }),
            svg(
              "text",
              { class: "haloed strong", x: x(now) + 6, y: y(wanted) - 5 },
              `first in line needs ${amountText(resource, wanted)}`,
            ),
          ]
        : null,
    ];
  }

  /** One allocation: solid until its deadline, hatched until its hard end, an arrow where it has no end. */
  function row(one, x, top, labels, left, now) {
    const right = width - EDGE.right;
    const clamp = (value) => Math.min(right, Math.max(left, value));
    const begin = clamp(x(ms(one.start) ?? 0));
    const deadline = ms(one.deadline);
    const end = deadline === null ? right : clamp(x(deadline));
    const hard = ms(one.hardEnd);
    const late = hard === null ? end : clamp(x(hard));
    const state = deadline === null ? "pinned" : deadline < now ? "due" : "live";
    const ends = deadline === null ? "no deadline" : `deadline ${when(deadline, now)}`;
    const text = `${one.owner}: ${requestText(one.resources)}, ${ends}${hard === null ? "" : `, hard end ${when(hard, now)}`}${one.scope ? `, scope ${one.scope}` : ""}, id ${one.id}`;
    const owner = labels ? clip(one.owner, 22) : null;
    return svg(
      "a",
      {
        class: `lease lease-${state}`,
        href: `#/pools/${encodeURIComponent(context.pool)}/allocations?id=${encodeURIComponent(one.id)}`,
        "aria-label": text,
        data: { id: one.id },
        on: {
          focus: () => point(one.id, text),
          blur: unpoint,
          pointerenter: () => point(one.id, text),
          pointerleave: unpoint,
        },
      },
      svg("rect", { class: "lease-row", x: 0, y: top, width, height: ROW }),
      owner ? svg("text", { class: "lease-owner", x: 0, y: top + 16 }, owner) : null,
      late > end
        ? svg("rect", { class: "lease-late", x: end, y: top + 5, width: late - end, height: ROW - 10, rx: 2 })
        : null,
      svg("rect", {
        class: "lease-bar",
        x: begin,
        y: top + 5,
        width: Math.max(3, end - begin),
        height: ROW - 10,
        rx: 3,
      }),
      deadline === null ? svg("path", { class: "lease-arrow", d: `M${right - 9},${top + 8}l6,4l-6,4` }) : null,
      end - begin > 90
        ? svg(
            "text",
            { class: "lease-text", x: begin + 6, y: top + 16 },
            clip(labels ? requestText(one.resources) : one.owner, Math.floor((end - begin) / 7)),
          )
        : labels
          ? null
          : svg("text", { class: "lease-owner haloed", x: end + 6, y: top + 16 }, clip(one.owner, 24)),
    );
  }

  /** Say what a bar is, until another is pointed at: a new drawing does not take it away. */
  function point(id, text) {
    pointed = id;
    put(detail, text);
  }

  function unpoint() {
    pointed = null;
  }

  function startMark(at, height, right) {
    const near = at > right - 150;
    return svg(
      "g",
      { class: "start" },
      svg("line", { x1: at, x2: at, y1: EDGE.top, y2: height - 8 }),
      svg(
        "text",
        { class: "haloed", x: near ? at - 4 : at + 4, y: EDGE.top + 24, "text-anchor": near ? "end" : "start" },
        "first in line starts",
      ),
    );
  }

  function showTable() {
    const names = Object.keys(context.usage?.resources ?? {});
    const free = Object.fromEntries(names.map((name) => [name, context.usage.resources[name].available.amount]));
    put(
      alternative.table.tHead.rows[0],
      ["By", "End", ...names.map((name) => `${shortName(name)} available then`)].map((name, at) =>
        h("th", { scope: "col", class: at ? "number" : null }, name),
      ),
    );
    const rows = (found?.buckets ?? [])
      .filter((one) => one.ends > 0)
      .map((one) => {
        for (const name of names) free[name] += one.frees?.[name]?.amount ?? 0;
        return h(
          "tr",
          {},
          h("th", { scope: "row" }, when(ms(one.at), context.now())),
          h("td", { class: "number" }, count(one.ends)),
          names.map((name) =>
            h(
              "td",
              { class: "number" },
              amountText(name, Math.min(free[name], context.usage.resources[name].limit.amount)),
            ),
          ),
        );
      });
    put(
      alternative.body,
      rows.length ? rows : h("tr", {}, h("td", { colspan: names.length + 2 }, "No deadline lies in this span.")),
    );
  }

  const stop = followWidth(drawing, (wide) => {
    width = wide;
    draw();
  });
  return {
    element,
    refresh: reading.refresh,
    tick: draw,
    /** Who is first in line, or null. */
    head: (waiter) => {
      head = waiter;
      draw();
    },
    close: () => {
      stop();
      reading.close();
    },
  };
}

const clip = (text, most) => (text.length > most ? `${text.slice(0, Math.max(1, most - 1))}…` : text);
