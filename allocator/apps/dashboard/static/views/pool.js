/* One pool: its state and bars above, the sections below.  One stream feeds whichever section is open. */

import { get, ofPool } from "../api.js";
import { connection } from "../connection.js";
import { calm, h, put, sync } from "../dom.js";
import { clock, count, fromNow, ms } from "../format.js";
import { meter } from "../meters.js";
import { follow } from "../stream.js";
import { ready, timed } from "../timing.js";
import { changeCapacity } from "./changes.js";
import { allocations } from "./allocations.js";
import { events } from "./events.js";
import { explain } from "./explain.js";
import { line } from "./line.js";
import { now } from "./now.js";
import { quotas } from "./quotas.js";

const SECTIONS = {
  now: ["Now", now],
  allocations: ["Allocations", allocations],
  line: ["Line", line],
  quotas: ["Quotas", quotas],
  events: ["Events", events],
  explain: ["Explain", explain],
};
const GAP_MS = 1000;
const EVENTS_KEPT = 500;

export function poolView(session, pool) {
  const state = h("span", { class: "state" });
  const facts = h("dl", { class: "facts" });
  const why = h("p", { class: "notice", hidden: true });
  const meters = h("div", { class: "meters" });
  const tabs = h("nav", { class: "tabs", "aria-label": `Sections of ${pool}` });
  const place = h("div", { class: "section" });
  const capacity = h(
    "button",
    { type: "button", disabled: true, on: { click: () => changeCapacity(context) } },
    "Change capacity …",
  );
  const element = h(
    "div",
    { class: "view" },
    h(
      "div",
      { class: "view-head" },
      h("h1", {}, pool),
      state,
      h("div", { class: "tools" }, session.allowChanges ? capacity : null),
    ),
    why,
    facts,
    meters,
    tabs,
    place,
  );
  const context = {
    session,
    pool,
    usage: null,
    events: [],
    missed: null,
    now: () => connection.now(),
    /** Add events that were read; those that the stream has brought already are known. */
    know: (items) => {
      const known = new Set(context.events.map((one) => one.event));
      context.events.push(...items.filter((one) => !known.has(one.event)));
      context.events.sort((a, b) => order(b.event, a.event));
      if (context.events.length) stream.seen(context.events[0].event);
    },
    get: (rest, parameters, signal) => get(ofPool(pool, rest), parameters, signal),
  };
  let section = null;
  let name = "";

  const changed = calm(() => section?.refresh?.(), GAP_MS);

  function take(usage) {
    context.usage = usage;
    capacity.disabled = tabs.hidden = place.hidden = false;
    connection.fresh(usage.readMs);
    timed("update", () => {
      show(usage);
      section?.usage?.(usage);
    });
    ready();
  }

  function show(usage) {
    const words = { active: "active", recovering: "recovering", offline: "offline", deleting: "being deleted" };
    const configured = usage.configuration;
    state.dataset.state = configured.state === "active" ? "ok" : "nearly";
    put(state, words[configured.state] ?? configured.state);
    showWhy(why, configured);
    sync(
      meters,
      Object.entries(usage.resources),
      ([resource]) => resource,
      ([resource]) => meter(resource),
    );
    const deadline = ms(usage.earliestDeadline);
    const rows = [
      ["Allocations", count(usage.allocations)],
      ["Waiting", count(usage.waiting)],
      ["Without deadline", count(usage.pinned)],
      ["Past deadline", count(usage.due)],
      ["Next deadline", deadline === null ? "none" : fromNow(deadline, context.now())],
      ["Scopes", count(usage.scopeCount)],
    ];
    sync(
      facts,
      rows,
      ([label]) => label,
      ([label]) => fact(label),
    );
  }

  function fact(label) {
    const value = h("dd");
    const made = h("div", {}, h("dt", {}, label), value);
    made.update = ([, text]) => put(value, text);
    return made;
  }

  const stream = follow(pool, {
    usage: take,
    change: (event) => {
      if (context.events.some((one) => one.event === event.event)) return;
      context.events.unshift(event);
      context.events.length = Math.min(context.events.length, EVENTS_KEPT);
      section?.change?.(event);
      changed();
    },
    missed: (said) => {
      context.missed = said;
      section?.missed?.(said);
      changed();
    },
    error: (problem) => connection.lost("pool", problem.message ?? "The pool cannot be read."),
    up: () => {
      session.refresh().catch(() => {});
      load();
      changed();
    },
    denied: (problem) => session.askToken(problem),
    down: (problem, retryMs) => {
      if (problem.status === 404) gone(problem);
      else connection.lost("server", problem.message, { retryMs });
    },
  });
  connection.retry = () => stream.retry();

  async function load() {
    try {
      take(await get(ofPool(pool)));
    } catch (error) {
      if (error.status === 404 || error.status === 400) gone(error);
      else if (error.status === 401) session.askToken(error);
      else if (error.status > 0) connection.lost("pool", error.message);
    }
  }

  /** There is no such pool.  The stream goes on asking: it may be made later. */
  function gone(problem) {
    if (problem.status === 400) stream.close();
    put(why, `${problem.message} `, h("a", { href: "#/" }, "All pools"));
    why.hidden = false;
    state.dataset.state = "full";
    put(state, "not found");
    sync(facts, [], null, null);
    sync(meters, [], null, null);
    capacity.disabled = true;
    tabs.hidden = place.hidden = true;
  }

  load();
  const ticking = setInterval(() => {
    if (context.usage && !document.hidden) show(context.usage);
    section?.tick?.();
  }, 5000);
  return {
    element,
    pool,
    open: (wanted, query) => {
      if (!SECTIONS[wanted]) wanted = "now";
      const path = `#/pools/${encodeURIComponent(pool)}`;
      sync(
        tabs,
        Object.entries(SECTIONS).map(([key, [title]]) => ({ key, title, here: key === wanted })),
        (one) => one.key,
        ({ key, title }) => tab(key === "now" ? path : `${path}/${key}`, title),
      );
      if (name === wanted && section) {
        section.query?.(query);
        return;
      }
      section?.close?.();
      name = wanted;
      section = SECTIONS[wanted][1](context, query);
      put(place, section.element);
      tabs.querySelector("[aria-current]").scrollIntoView({ block: "nearest", inline: "nearest" });
      if (context.usage) section.usage?.(context.usage);
      section.refresh?.();
    },
    close: () => {
      stream.close();
      clearInterval(ticking);
      changed.cancel();
      section?.close?.();
    },
  };
}

/** A link to a section; it stays when another section is opened, and keeps the focus. */
function tab(href, title) {
  const made = h("a", { href }, title);
  made.update = ({ here }) => (here ? made.setAttribute("aria-current", "page") : made.removeAttribute("aria-current"));
  return made;
}

/** Why the pool grants nothing new, if so. */
function showWhy(element, configured) {
  const texts = {
    recovering: () =>
      `The server has lost data. Nothing new is granted until ${clock(ms(configured.recoveringUntil) ?? 0)}, so that holders can bring back what they have${configured.recoveringWhy ? ` (${configured.recoveringWhy})` : ""}.`,
    offline: () => "A repair refuses new grants.",
    deleting: () => "The pool is being deleted.",
  };
  const over = configured.overcommitted?.length
    ? `Over capacity in ${configured.overcommitted.join(", ")}: requests for these are refused until enough is released.`
    : "";
  const text = [texts[configured.state]?.() ?? "", over].filter(Boolean).join(" ");
  element.hidden = text === "";
  put(element, text);
}

/** Ids of a stream's entries are `milliseconds-number`; as texts they do not sort. */
function order(a, b) {
  const [first, second] = [a, b].map((id) => id.split("-").map(Number));
  return first[0] - second[0] || (first[1] ?? 0) - (second[1] ?? 0);
}
