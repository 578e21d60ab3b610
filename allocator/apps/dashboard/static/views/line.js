/* The line: who waits, for what, since when, why, and when it may start. */

import { cell, h, panel, put, sync, table } from "../dom.js";
import { count, duration, fromNow, ms, plural, reasonText, requestText, when } from "../format.js";
import { loader } from "../loading.js";
import { withdraw } from "./changes.js";

const MOST = 200;

export function line(context) {
  let items = [];
  let wanted = "";
  const search = h("input", {
    type: "search",
    "aria-label": "Search owner, scope, id",
    placeholder: "Search owner, scope, id",
    on: {
      input: () => {
        wanted = search.value.trim().toLowerCase();
        show();
      },
    },
  });
  const sum = h("p", { class: "soft", role: "status" });
  const rows = table("Requests that wait", [
    { name: "Place", kind: "number" },
    { name: "Owner" },
    { name: "Scope" },
    { name: "Priority", kind: "number" },
    { name: "Wants" },
    { name: "Waits" },
    { name: "Reason" },
    { name: "May start" },
    ...(context.session.allowChanges ? [{ name: "Actions", kind: "actions" }] : []),
  ]);
  rows.element.classList.add("cards-narrow");
  const reading = loader(
    context.session,
    (signal) => context.get("/queue", {}, signal),
    (document) => {
      items = document.items;
      show();
    },
  );
  const element = panel("Line", { id: "line", tools: [search] }, reading.notice, sum, rows.element);

  function show() {
    const found = items.filter((one) =>
      [one.owner, one.scope ?? "", one.id].some((text) => text.toLowerCase().includes(wanted)),
    );
    sync(
      rows.body,
      found.slice(0, MOST),
      (one) => one.id,
      () => row(),
    );
    rows.element.hidden = found.length === 0;
    const total = context.usage?.waiting ?? items.length;
    const first =
      found.length > MOST || total > items.length ? `, the first ${count(Math.min(MOST, found.length))} are shown` : "";
    put(
      sum,
      total === 0 && items.length === 0
        ? "Nobody waits."
        : found.length === 0
          ? "Nobody in line matches."
          : `${plural(total, "request")} waiting${first}. Starts are the earliest that known deadlines allow, without renewals.`,
    );
  }

  function row() {
    const owner = h("th", { scope: "row", data: { label: "Owner" } });
    const cells = Object.fromEntries(
      ["Place", "Scope", "Priority", "Wants", "Waits", "Reason", "May start"].map((name) => [
        name,
        cell(name, { class: name === "Place" || name === "Priority" ? "number" : name === "Reason" ? "reason" : null }),
      ]),
    );
    const leave = h("button", { type: "button", class: "small" }, "Withdraw …");
    const element = h(
      "tr",
      {},
      cells.Place,
      owner,
      cells.Scope,
      cells.Priority,
      cells.Wants,
      cells.Waits,
      cells.Reason,
      cells["May start"],
      context.session.allowChanges ? cell("", { class: "actions" }, leave) : null,
    );
    let shown = null;
    leave.addEventListener("click", () => withdraw(context, shown, reading.refresh));
    element.update = (one) => {
      shown = one;
      const at = context.now();
      const start = ms(one.startAt);
      leave.setAttribute("aria-label", `Withdraw ${one.id} of ${one.owner}`);
      put(owner, one.owner, h("span", { class: "soft code under" }, one.id));
      put(cells.Place, String(one.position));
      put(cells.Scope, one.scope ?? "–");
      put(cells.Priority, String(one.priority));
      put(
        cells.Wants,
        requestText(one.resources),
        one.members?.length
          ? h("span", { class: "soft under" }, `${plural(one.members.length, "request")}, all or none`)
          : "",
      );
      put(
        cells.Waits,
        duration(at - ms(one.since)),
        one.until ? h("span", { class: "soft under" }, `gives up ${fromNow(ms(one.until), at)}`) : "",
      );
      put(cells.Reason, reasonText(one.denial));
      put(
        cells["May start"],
        start === null ? "not foreseen" : start <= at ? "now" : `${when(start, at)}, ${fromNow(start, at)}`,
      );
    };
    return element;
  }

  return {
    element,
    usage: (usage) => usage.waiting !== items.length && reading.refresh(),
    refresh: reading.refresh,
    tick: show,
    close: reading.close,
  };
}
