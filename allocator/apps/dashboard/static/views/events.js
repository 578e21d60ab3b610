/* The events of a pool, newest first, as they come; a pause keeps them still to read, and says how many have come since. */

import { h, panel, put, say, sync } from "../dom.js";
import { actorOf, count, day, ms, plural, requestText, seconds } from "../format.js";
import { loader } from "../loading.js";

const FIRST = 200;
const SHOWN = 200;

const WORDS = { quota_set: "quota set", quota_deleted: "quota deleted" };
export const eventWord = (type) => WORDS[type] ?? type.replaceAll("_", " ");

export function events(context) {
  let paused = null;
  let wanted = "";
  let type = "";
  const hold = h("button", { type: "button", "aria-pressed": "false", on: { click: () => pause() } }, "Pause");
  const search = h("input", {
    type: "search",
    "aria-label": "Search events",
    placeholder: "Search",
    on: {
      input: () => {
        wanted = search.value.trim().toLowerCase();
        show();
      },
    },
  });
  const types = h(
    "select",
    {
      "aria-label": "Kind of event",
      on: {
        change: () => {
          type = types.value;
          show();
        },
      },
    },
    h("option", { value: "" }, "All kinds"),
  );
  const sum = h("p", { class: "soft" });
  const gap = h("p", { class: "notice", hidden: true });
  const list = h("ol");
  const log = h("div", { class: "log", role: "log", "aria-live": "off", "aria-label": "Events", tabindex: "0" }, list);
  const reading = loader(
    context.session,
    (signal) => context.get("/events", { limit: FIRST }, signal),
    ({ items }) => {
      context.know(items);
      show();
    },
  );
  const element = panel("Events", { id: "events", tools: [search, types, hold] }, reading.notice, gap, sum, log);

  function pause() {
    paused = paused ? null : context.events.slice();
    hold.setAttribute("aria-pressed", String(Boolean(paused)));
    put(hold, paused ? "Resume" : "Pause");
    say(paused ? "Events are paused." : "Events are live.", { always: true });
    show();
  }

  function show() {
    const all = paused ?? context.events;
    const kinds = [...new Set(all.map((one) => one.type))].sort();
    if (types.dataset.kinds !== kinds.join()) {
      types.dataset.kinds = kinds.join();
      put(
        types,
        h("option", { value: "" }, "All kinds"),
        kinds.map((kind) => h("option", { value: kind, selected: kind === type }, eventWord(kind))),
      );
    }
    const found = all.filter(
      (one) =>
        (!type || one.type === type) &&
        (!wanted ||
          [one.owner, one.id, one.actor, one.reason, ...Object.values(one.details ?? {})].some((text) =>
            (text ?? "").toLowerCase().includes(wanted),
          )),
    );
    sync(list, found.slice(0, SHOWN), (one) => one.event, entry);
    const since = paused ? context.events.findIndex((one) => one.event === paused[0]?.event) : 0;
    const later = paused ? (since < 0 ? context.events.length : since) : 0;
    put(
      sum,
      paused
        ? `Paused. ${plural(later, "event has", "events have")} come since.`
        : all.length === 0
          ? "Nothing has happened yet."
          : `${count(Math.min(found.length, SHOWN))} of the newest ${plural(all.length, "event")}, newest first.`,
    );
    gap.hidden = context.missed === null;
    if (context.missed)
      put(
        gap,
        "Some events before these are missing: more happened than the pool keeps, or the connection was away too long.",
      );
  }

  show();
  return {
    element,
    change: show,
    missed: show,
    refresh: () => context.events.length < 20 && reading.refresh(),
    close: reading.close,
  };
}

/** One event; it never changes, so it needs no update. */
function entry(one) {
  const at = ms(one.at);
  const resources = Object.keys(one.resources ?? {}).length ? requestText(one.resources) : "";
  const actor = actorOf(one);
  const details = Object.entries(one.details ?? {})
    .map(([name, text]) => `${name}=${text}`)
    .join(" ");
  return h(
    "li",
    { data: { type: one.type } },
    h(
      "time",
      { class: "number", datetime: one.at, title: at === null ? null : day(at) },
      at === null ? "" : seconds(at),
    ),
    h("b", { class: "log-type" }, eventWord(one.type)),
    h("span", { class: "log-owner" }, one.owner ?? ""),
    h("span", { class: "log-id code soft" }, one.id ?? ""),
    h(
      "span",
      { class: "log-what" },
      resources,
      one.reason ? h("span", { class: "soft" }, ` ${one.reason}`) : null,
      actor ? h("span", { class: "soft" }, ` by ${actor}`) : null,
      details ? h("span", { class: "soft" }, ` ${details}`) : null,
    ),
  );
}
