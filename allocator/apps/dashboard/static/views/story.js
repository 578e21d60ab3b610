/* One allocation with its whole story: what it holds, its metadata, and each event that names it. */

import { part } from "../api.js";
import { h, put } from "../dom.js";
import { actorOf, fromNow, ms, requestText, seconds, when } from "../format.js";
import { loader } from "../loading.js";
import { eventWord } from "./events.js";

export function story(context, id, close) {
  const facts = h("dl", { class: "facts facts-wide" });
  const list = h("ol", { class: "brief" });
  const reading = loader(context.session, (signal) => context.get(`/allocations/${part(id)}`, {}, signal), show);
  const element = h(
    "section",
    { class: "story", "aria-label": `Allocation ${id}`, on: { keydown: (event) => event.key === "Escape" && close() } },
    h(
      "div",
      { class: "panel-head" },
      h("h3", { tabindex: "-1" }, "Allocation ", h("code", {}, id)),
      h("button", { type: "button", class: "small", on: { click: close } }, "Close"),
    ),
    reading.notice,
    facts,
    list,
  );

  function show(document) {
    const at = context.now();
    const instant = (text, none) => (text ? `${when(ms(text), at)} (${fromNow(ms(text), at)})` : none);
    const rows = [
      ["Owner", document.owner],
      ["Scope", document.scope ?? "none"],
      ["Holds", requestText(document.resources)],
      ["Priority", String(document.priority ?? 0)],
      ["Granted", instant(document.grantedAt, "unknown")],
      ["Deadline", instant(document.deadline, "none (pinned)")],
      ["Hard end", instant(document.endsAt, "none")],
      ["Fence", String(document.fence)],
      ["Time to live", document.ttlMs ? `${document.ttlMs / 1000} s` : "none"],
      ...(document.preemptedBy ? [["Preempted by", document.preemptedBy]] : []),
      ...Object.entries(document.metadata ?? {}).map(([key, text]) => [`Metadata: ${key}`, text]),
    ];
    put(
      facts,
      rows.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))),
    );
    const events = document.events ?? [];
    put(
      list,
      events.length === 0
        ? h("li", { class: "soft" }, "Its events are no longer kept.")
        : events.map((one) =>
            h(
              "li",
              {},
              h("time", { class: "brief-lead number", datetime: one.at }, seconds(ms(one.at))),
              h(
                "span",
                {},
                h("b", {}, eventWord(one.type)),
                one.reason ? ` (${one.reason})` : "",
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

  reading.refresh();
  return { element, refresh: reading.refresh, close: reading.close };
}
