/* The first section of a pool: utilisation, what frees up when, the head of the line, the newest events. */

import { calm, h, panel, put } from "../dom.js";
import { actorOf, duration, ms, reasonText, requestText, seconds, when } from "../format.js";
import { loader } from "../loading.js";
import { eventWord } from "./events.js";
import { timeline } from "./timeline.js";
import { usageChart } from "./usage_chart.js";

const FIRST = 5;
const NEWEST = 8;

export function now(context) {
  const path = `#/pools/${encodeURIComponent(context.pool)}`;
  const chart = usageChart(context);
  const times = timeline(context);
  const list = h("ol", { class: "brief" });
  const newest = h("ol", { class: "brief" });
  const reading = loader(
    context.session,
    (signal) => context.get("/queue", {}, signal),
    ({ items }) => {
      times.head(items[0] ?? null);
      showLine(items);
    },
  );
  const earlier = loader(
    context.session,
    (signal) => context.get("/events", { limit: NEWEST }, signal),
    ({ items }) => {
      context.know(items);
      showEvents();
    },
  );
  const waiting = panel(
    "First in line",
    { id: "first-in-line", tools: [h("a", { href: `${path}/line` }, "The whole line")] },
    reading.notice,
    list,
  );
  const happened = panel(
    "Just happened",
    { id: "newest", tools: [h("a", { href: `${path}/events` }, "All events")] },
    earlier.notice,
    newest,
  );
  const element = h(
    "div",
    { class: "grid-now" },
    h("div", { class: "section" }, chart.element, waiting),
    h("div", { class: "section" }, times.element, happened),
  );

  function showLine(items) {
    const at = context.now();
    put(
      list,
      items.length === 0
        ? h("li", { class: "soft" }, "Nobody waits.")
        : items.slice(0, FIRST).map((one) => {
            const start = ms(one.startAt);
            return h(
              "li",
              {},
              h("span", { class: "brief-lead number" }, String(one.position)),
              h(
                "span",
                {},
                h("b", {}, one.owner),
                ` ${requestText(one.resources)}`,
                h("span", { class: "soft brief-more" }, reasonText(one.denial)),
              ),
              h(
                "span",
                { class: "soft brief-end" },
                h("span", {}, `waits ${duration(at - ms(one.since))}`),
                " ",
                h(
                  "span",
                  {},
                  start === null ? "start not foreseen" : start <= at ? "may start now" : `starts ${when(start, at)}`,
                ),
              ),
            );
          }),
    );
  }

  function showEvents() {
    put(
      newest,
      context.events.length === 0
        ? h("li", { class: "soft" }, "Nothing yet.")
        : context.events
            .slice(0, NEWEST)
            .map((one) =>
              h(
                "li",
                {},
                h("time", { class: "brief-lead number", datetime: one.at }, seconds(ms(one.at))),
                h(
                  "span",
                  {},
                  h("b", {}, eventWord(one.type)),
                  ` ${one.owner ?? ""} `,
                  h("span", { class: "soft" }, one.id ?? ""),
                  one.reason ? h("span", { class: "soft" }, ` (${one.reason})`) : null,
                  actorOf(one) ? h("span", { class: "soft" }, ` by ${actorOf(one)}`) : null,
                ),
                h(
                  "span",
                  { class: "soft brief-end" },
                  Object.keys(one.resources ?? {}).length ? requestText(one.resources) : "",
                ),
              ),
            ),
    );
  }

  earlier.refresh();
  const redrawn = calm(times.tick, 1000);
  return {
    element,
    usage: (usage) => {
      if (usage.waiting === 0) {
        times.head(null);
        showLine([]);
      }
      redrawn();
    },
    change: showEvents,
    tick: times.tick,
    refresh: () => {
      reading.refresh();
      times.refresh();
      chart.refresh();
    },
    close: () => {
      redrawn.cancel();
      for (const one of [chart, times, reading, earlier]) one.close();
    },
  };
}
