/* The quotas as a tree: used, nominal, borrowed and lent of one resource, for each scope. */

import { cell, h, panel, put, sync, table } from "../dom.js";
import { amountText, plural, shortName } from "../format.js";
import { loader } from "../loading.js";
import { changeQuota } from "./changes.js";

const MOST = 500;

export function quotas(context) {
  let items = [];
  let resource = "";
  let wanted = "";
  const closed = new Set();
  const which = h("select", {
    "aria-label": "Resource",
    on: {
      change: () => {
        resource = which.value;
        show();
      },
    },
  });
  const search = h("input", {
    type: "search",
    "aria-label": "Search scopes",
    placeholder: "Search scopes",
    on: {
      input: () => {
        wanted = search.value.trim().toLowerCase();
        show();
      },
    },
  });
  const sum = h("p", { class: "soft", role: "status" });
  const columns = [
    { name: "Scope" },
    { name: "Used" },
    { name: "Used", kind: "number" },
    { name: "Nominal", kind: "number", hint: "Its share" },
    { name: "Borrowed", kind: "number", hint: "How far it is above its share" },
    { name: "Lent", kind: "number", hint: "What it lacks of its share because others have it" },
    { name: "Kept", kind: "number", hint: "Guaranteed to scopes below, and not used" },
    { name: "Available", kind: "number", hint: "What a request of this scope may have now" },
    ...(context.session.allowChanges ? [{ name: "Actions", kind: "actions" }] : []),
  ];
  columns[1] = { name: "State" };
  const rows = table("Quotas of the scopes", columns);
  rows.element.classList.add("cards-narrow");
  const reading = loader(
    context.session,
    (signal) => context.get("/quotas", {}, signal),
    (document) => {
      items = [...document.items].sort((a, b) => (a.scope < b.scope ? -1 : 1));
      show();
    },
  );
  const element = panel("Quotas", { id: "quotas", tools: [search, which] }, reading.notice, sum, rows.element);

  function show() {
    const names = [
      ...new Set([
        ...Object.keys(context.usage?.resources ?? {}),
        ...items.flatMap((one) => Object.keys(one.resources)),
      ]),
    ];
    if (!names.includes(resource)) resource = mostLimited(names);
    if (which.textContent !== names.map(shortName).join(""))
      put(
        which,
        names.map((name) => h("option", { value: name }, shortName(name))),
      );
    which.value = resource;
    const matches = new Set();
    for (const { scope } of items) {
      if (!scope.toLowerCase().includes(wanted)) continue;
      for (let at = scope; at; at = at.slice(0, Math.max(0, at.lastIndexOf("/")))) matches.add(at);
    }
    const hidden = (scope) => !wanted && [...closed].some((one) => scope.startsWith(`${one}/`));
    const found = items.filter(({ scope }) => matches.has(scope) && !hidden(scope));
    const parents = new Set(items.map(({ scope }) => scope.slice(0, Math.max(0, scope.lastIndexOf("/")))));
    sync(
      rows.body,
      found.slice(0, MOST),
      (one) => one.scope,
      () => row(parents),
    );
    rows.element.hidden = found.length === 0;
    put(
      sum,
      items.length === 0
        ? "The pool has no quotas: every request may have what is available."
        : found.length === 0
          ? "No scope matches."
          : `${plural(items.length, "scope")}. A parent's limit holds for all below it.${found.length > MOST ? ` The first ${MOST} are shown.` : ""}`,
    );
  }

  /** The resource that most scopes have a limit of. */
  function mostLimited(names) {
    const limited = (name) => items.filter((one) => one.resources[name]?.nominal).length;
    return [...names].sort((a, b) => limited(b) - limited(a))[0] ?? "";
  }

  function row(parents) {
    const fold = h("button", { type: "button", class: "fold" });
    const name = h("span", { class: "code" });
    const head = h("th", { scope: "row", data: { label: "Scope" } }, h("span", { class: "tree" }, fold, name));
    const used = h("span", { class: "bar-used" });
    const bar = h("div", { class: "bar bar-quota", "aria-hidden": "true" }, used);
    const word = h("span", { class: "state" });
    const cells = Object.fromEntries(
      ["Used", "Nominal", "Borrowed", "Lent", "Kept", "Available"].map((label) => [
        label,
        h("td", { class: "number", data: { label } }),
      ]),
    );
    const edit = h("button", { type: "button", class: "small" }, "Change …");
    const element = h(
      "tr",
      {},
      head,
      h("td", { class: "quota-state", data: { label: "State" } }, bar, word),
      Object.values(cells),
      context.session.allowChanges ? cell("", { class: "actions" }, edit) : null,
    );
    let shown = null;
    fold.addEventListener("click", () => {
      if (!closed.delete(shown.scope)) closed.add(shown.scope);
      show();
    });
    edit.addEventListener("click", () => changeQuota(context, shown, resource, reading.refresh));
    element.update = (one) => {
      shown = one;
      const depth = one.scope.split("/").length - 1;
      const last = one.scope.slice(one.scope.lastIndexOf("/") + 1);
      head.style.setProperty("--depth", String(depth));
      put(name, last);
      name.title = one.scope;
      const parent = parents.has(one.scope);
      const open = !closed.has(one.scope) || wanted !== "";
      fold.hidden = !parent;
      put(fold, open ? "▾" : "▸");
      fold.setAttribute("aria-expanded", String(open));
      fold.setAttribute("aria-label", `${open ? "Close" : "Open"} ${one.scope}`);
      edit.setAttribute("aria-label", `Change the limits of ${one.scope}`);
      showNumbers(one.resources[resource]);
    };

    function showNumbers(found) {
      const text = (entry) => amountText(resource, entry?.amount);
      put(cells.Used, found ? text(found.used) : "0");
      put(cells.Nominal, found?.nominal ? text(found.nominal) : "no limit");
      for (const [label, key] of [
        ["Borrowed", "borrowed"],
        ["Lent", "lent"],
        ["Kept", "kept"],
        ["Available", "available"],
      ]) {
        put(cells[label], found ? (found[key].amount ? text(found[key]) : key === "available" ? "0" : "–") : "–");
        cells[label].classList.toggle("strong", (key === "borrowed" || key === "lent") && Boolean(found?.[key].amount));
      }
      const state = quotaState(found);
      word.dataset.state = state.key;
      put(word, state.word);
      bar.hidden = !found?.nominal;
      const nominal = found?.nominal?.amount ?? 0;
      used.style.inlineSize = `${nominal ? Math.min(100, (100 * found.used.amount) / nominal) : 0}%`;
      bar.dataset.state = state.key;
    }
    return element;
  }

  return { element, usage: () => items.length && show(), refresh: reading.refresh, close: reading.close };
}

/** How full a scope is: the word for its share, and whether it borrows. */
export function quotaState(found) {
  if (!found?.nominal) return { key: "none", word: "no limit" };
  if (found.borrowed.amount > 0) return { key: "nearly", word: "borrows" };
  if (found.available.amount <= 0) return { key: "full", word: found.lent.amount > 0 ? "has lent" : "used up" };
  const share = found.nominal.amount ? (100 * found.used.amount) / found.nominal.amount : 100;
  return share >= 85
    ? { key: "nearly", word: `${Math.floor(share)} %, nearly full` }
    : { key: "ok", word: `${Math.floor(share)} %, ok` };
}
