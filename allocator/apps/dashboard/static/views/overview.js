/* The pools at a glance: one card each, the fullest first if a person wants that.

A browser has six connections to a server: a stream for each pool would use them up, so all are read every two seconds. */

import { Problem, get } from "../api.js";
import { connection } from "../connection.js";
import { h, put, sync } from "../dom.js";
import { count, fromNow, ms, plural, poolFullness } from "../format.js";
import { meter } from "../meters.js";
import { ready } from "../timing.js";

const POLL_MS = 2000;

export function overview(session) {
  const pools = new Map();
  let order = "name";
  let wanted = "";
  let timer = null;
  let closed = false;
  const grid = h("div", { class: "cards" });
  const sum = h("p", { class: "soft", id: "pools-sum" });
  const search = h("input", {
    type: "search",
    "aria-label": "Search pools by name",
    placeholder: "Search pools",
    on: {
      input: () => {
        wanted = search.value.trim().toLowerCase();
        show();
      },
    },
  });
  const sorting = h(
    "select",
    {
      "aria-label": "Order of the pools",
      on: {
        change: () => {
          order = sorting.value;
          show();
        },
      },
    },
    h("option", { value: "name" }, "By name"),
    h("option", { value: "full" }, "Fullest first"),
    h("option", { value: "waiting" }, "Longest line first"),
  );
  const element = h(
    "div",
    { class: "view" },
    h("div", { class: "view-head" }, h("h1", {}, "Pools"), sum, h("div", { class: "tools" }, search, sorting)),
    grid,
  );

  function show() {
    const all = [...pools.values()].filter((one) => one.pool.toLowerCase().includes(wanted));
    const worst = (one) =>
      one.error
        ? 200
        : Math.max(
            0,
            ...Object.values(one.resources).map((row) =>
              row.limit.amount ? row.allocated.amount / row.limit.amount : 0,
            ),
          );
    const orders = {
      name: () => 0,
      full: (a, b) => worst(b) - worst(a),
      waiting: (a, b) => (b.waiting ?? 0) - (a.waiting ?? 0),
    };
    all.sort((a, b) => orders[order](a, b) || (a.pool < b.pool ? -1 : 1));
    sync(
      grid,
      all,
      (one) => one.pool,
      () => card(),
    );
    const known = all.filter((one) => !one.error);
    const allocations = known.reduce((total, one) => total + one.allocations, 0);
    const waiting = known.reduce((total, one) => total + one.waiting, 0);
    put(
      sum,
      pools.size === 0
        ? "No pool yet: resource-allocator pool create NAME --capacity cpu=8 makes one."
        : all.length === 0
          ? "No pool has such a name."
          : `${plural(all.length, "pool")}, ${plural(allocations, "allocation")}, ${count(waiting)} waiting`,
    );
  }

  async function load() {
    const { items } = await get("/pools");
    if (closed) return;
    const names = new Set(items.map((one) => one.pool));
    for (const name of pools.keys()) if (!names.has(name)) pools.delete(name);
    for (const one of items) pools.set(one.pool, one);
    const read = items.filter((one) => one.readMs);
    if (read.length) connection.fresh(Math.max(...read.map((one) => one.readMs)));
    else if (items.length) connection.lost("pool", items[0].error?.message ?? "No pool can be read.");
    else connection.fresh(null);
    show();
    if (
      items
        .map((one) => one.pool)
        .sort()
        .join() !== session.pools.join()
    )
      await session.refresh();
    ready();
  }

  async function poll() {
    clearTimeout(timer);
    try {
      if (!document.hidden || !pools.size) await load();
    } catch (error) {
      if (closed) return;
      if (error instanceof Problem && error.status === 401) return session.askToken(error);
      connection.lost("server", error.message, { retryMs: POLL_MS });
    }
    if (!closed) timer = setTimeout(poll, POLL_MS);
  }

  connection.retry = poll;
  poll();
  return {
    element,
    pool: null,
    close: () => {
      closed = true;
      clearTimeout(timer);
    },
  };
}

/** One pool: a link to it, its state in a word, a bar for each resource, and who waits. */
function card() {
  const link = h("a", { class: "card-link" });
  const state = h("span", { class: "state" });
  const meters = h("div", { class: "card-meters" });
  const facts = h("p", { class: "card-facts" });
  const element = h(
    "article",
    { class: "card" },
    h("div", { class: "card-head" }, h("h2", {}, link), state),
    meters,
    facts,
  );
  element.update = (usage) => {
    put(link, usage.pool);
    link.href = `#/pools/${encodeURIComponent(usage.pool)}`;
    if (usage.error) {
      state.dataset.state = "full";
      put(state, "cannot be read");
      put(facts, usage.error.message);
      return;
    }
    const special = usage.configuration.state === "active" ? null : usage.configuration.state;
    const found = poolFullness(usage.resources);
    state.dataset.state = special ? "nearly" : found.key;
    put(state, special ?? found.word);
    sync(
      meters,
      Object.entries(usage.resources),
      ([name]) => name,
      ([name]) => meter(name, { small: true }),
    );
    const deadline = ms(usage.earliestDeadline);
    put(facts, [
      h("span", {}, plural(usage.allocations, "allocation")),
      h("span", { class: usage.waiting ? "strong" : null }, `${count(usage.waiting)} waiting`),
      deadline === null ? null : h("span", {}, `next deadline ${fromNow(deadline, connection.now())}`),
    ]);
  };
  return element;
}
