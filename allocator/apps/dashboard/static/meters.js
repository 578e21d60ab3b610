/* A resource as a bar with its numbers: how much is allocated, kept for scopes, reserved, and what that means. */

import { h, put } from "./dom.js";
import { amountText, fullness, percent, shortName } from "./format.js";

/** A bar that is updated in place; `small` leaves out the line with the parts. */
export function meter(resource, { small = false } = {}) {
  const used = h("span", { class: "bar-used" });
  const kept = h("span", { class: "bar-kept" });
  const bar = h(
    "div",
    {
      class: "bar",
      role: "meter",
      "aria-label": `${resource}, allocated`,
      "aria-valuemin": "0",
      "aria-valuemax": "100",
    },
    used,
    kept,
  );
  const value = h("span", { class: "meter-value" });
  const word = h("span", { class: "state" });
  const free = h("p", { class: "meter-parts" });
  const element = h(
    "div",
    { class: `meter ${small ? "meter-small" : ""}` },
    h(
      "div",
      { class: "meter-head" },
      h("span", { class: "meter-name", title: resource }, shortName(resource)),
      value,
      word,
    ),
    bar,
    small ? null : free,
  );
  element.update = ([, row]) => {
    const limit = row.limit ?? row.capacity;
    const state = fullness(row);
    const share = percent(row);
    const rounded = share > 0 && share < 1 ? "<1" : String(Math.floor(share));
    element.dataset.state = state.key;
    word.dataset.state = state.key;
    put(word, state.word);
    put(value, `${rounded} %`);
    used.style.inlineSize = `${Math.min(100, share)}%`;
    kept.style.inlineSize = `${limit.amount ? Math.min(100 - Math.min(100, share), (100 * (row.kept?.amount ?? 0)) / limit.amount) : 0}%`;
    bar.setAttribute("aria-valuenow", String(Math.min(100, Math.floor(share))));
    bar.setAttribute(
      "aria-valuetext",
      `${rounded} percent, ${state.word}: ${amountText(resource, row.allocated.amount)} of ${amountText(resource, limit.amount)} allocated`,
    );
    if (small) {
      bar.title = `${amountText(resource, row.allocated.amount)} of ${amountText(resource, limit.amount)}`;
      return;
    }
    const parts = [
      h("b", {}, amountText(resource, row.allocated.amount)),
      ` of ${amountText(resource, limit.amount)} allocated`,
      h("span", { class: "meter-free" }, `${amountText(resource, row.available.amount)} available`),
    ];
    if (row.kept?.amount) parts.push(h("span", {}, `${amountText(resource, row.kept.amount)} kept for scopes`));
    if (row.reserved?.amount) parts.push(h("span", {}, `${amountText(resource, row.reserved.amount)} reserved`));
    if (limit.amount !== row.capacity.amount)
      parts.push(h("span", {}, `capacity ${amountText(resource, row.capacity.amount)}`));
    free.replaceChildren(...parts);
  };
  return element;
}
