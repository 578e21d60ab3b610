/* Changes, where the server permits them.  Each is asked for in a dialog that names what it does, and to what. */

import { ofPool, part, scopePath, send } from "../api.js";
import { h, put, say } from "../dom.js";
import { requestText, shortName } from "../format.js";

/**
 * Ask, then do.  `work()` does it and gives what is said afterwards; its error is shown in the dialog, which stays open.
 * Cancel has the focus at first: Enter by mistake changes nothing.
 */
function ask({ title, text, fields = [], confirm, danger = false, work, after }) {
  const error = h("p", { class: "field-error", role: "alert" });
  const cancel = h("button", { type: "button", on: { click: () => dialog.close() } }, "Cancel");
  const go = h("button", { type: "submit", class: danger ? "danger" : "primary" }, confirm);
  const before = document.activeElement;
  const form = h(
    "form",
    {
      method: "dialog",
      on: {
        submit: async (event) => {
          event.preventDefault();
          go.disabled = true;
          put(error, "");
          try {
            const said = await work();
            dialog.close();
            say(said, { always: true });
            toast(said);
            after?.();
          } catch (problem) {
            put(error, problem.message);
          } finally {
            go.disabled = false;
          }
        },
      },
    },
    h("h2", { id: "dialog-title" }, title),
    h("div", { id: "dialog-text" }, text),
    fields,
    error,
    h("div", { class: "dialog-buttons" }, cancel, go),
  );
  const dialog = h(
    "dialog",
    {
      "aria-labelledby": "dialog-title",
      "aria-describedby": "dialog-text",
      on: {
        close: () => {
          dialog.remove();
          if (before?.isConnected) before.focus();
        },
      },
    },
    form,
  );
  document.body.append(dialog);
  dialog.showModal();
  (fields.length ? dialog.querySelector("input") : cancel).focus();
}

function toast(text) {
  document.querySelector(".toast")?.remove();
  const made = h("p", { class: "toast", "aria-hidden": "true" }, text);
  document.body.append(made);
  setTimeout(() => made.remove(), 4000);
}

export function release(context, one, after) {
  const fence = { fence: one.fence };
  ask({
    title: "Release this allocation?",
    text: [
      h(
        "p",
        {},
        h("b", {}, one.owner),
        " holds ",
        h("b", {}, requestText(one.resources)),
        ` in pool ${context.pool}${one.scope ? `, scope ${one.scope}` : ""}.`,
      ),
      h("p", { class: "code" }, one.id),
      h(
        "p",
        {},
        "It ends at once, and others may have the room. Its holder is not asked: it learns at its next renewal that the allocation is lost.",
      ),
    ],
    confirm: "Release",
    danger: true,
    after,
    work: async () => {
      await send("POST", ofPool(context.pool, `/allocations/${part(one.id)}/release`), fence);
      return `Released ${one.id} of ${one.owner}.`;
    },
  });
}

export function withdraw(context, one, after) {
  ask({
    title: "Withdraw this request?",
    text: [
      h(
        "p",
        {},
        h("b", {}, one.owner),
        " waits for ",
        h("b", {}, requestText(one.resources)),
        ` at place ${one.position} of pool ${context.pool}.`,
      ),
      h("p", { class: "code" }, one.id),
      h("p", {}, "It leaves the line. Its caller learns that it was withdrawn."),
    ],
    confirm: "Withdraw",
    danger: true,
    after,
    work: async () => {
      await send("POST", ofPool(context.pool, `/queue/${part(one.id)}/withdraw`), {});
      return `Withdrew ${one.id} of ${one.owner}.`;
    },
  });
}

function quantityField(id, label, value, hint = "") {
  const input = h("input", {
    id,
    value,
    autocomplete: "off",
    spellcheck: "false",
    "aria-describedby": hint ? `${id}-hint` : null,
  });
  return {
    input,
    element: h(
      "div",
      { class: "field" },
      h("label", { for: id }, label),
      input,
      hint ? h("p", { class: "soft hint", id: `${id}-hint` }, hint) : null,
    ),
  };
}

export function changeCapacity(context) {
  const configured = context.usage?.configuration;
  if (!configured) return;
  const inputs = Object.entries(configured.capacity).map(([name, row], at) => ({
    name,
    before: row.quantity,
    ...quantityField(`capacity-${at}`, name, row.quantity),
  }));
  ask({
    title: `Change the capacity of ${context.pool}`,
    text: h(
      "p",
      {},
      "Nothing that is allocated is taken away. Where the new capacity is less than what is allocated, requests are refused until enough is released.",
    ),
    fields: inputs.map((one) => one.element),
    confirm: "Change capacity",
    work: async () => {
      const changed = inputs.filter(({ input, before }) => input.value.trim() !== before);
      if (!changed.length) throw new Error("Nothing is changed yet.");
      const capacity = Object.fromEntries(changed.map(({ name, input }) => [name, input.value.trim()]));
      await send("PATCH", ofPool(context.pool), { capacity, generation: configured.generation });
      return `The capacity of ${context.pool} is now ${changed.map(({ name, input }) => `${shortName(name)} ${input.value.trim()}`).join(", ")}.`;
    },
  });
}

export function changeQuota(context, one, resource, after) {
  const row = one.resources[resource] ?? {};
  const given = [
    ["nominal", "Nominal", "Its share; empty: no limit of its own"],
    ["borrowingLimit", "Borrowing limit", "How far above its share it may go; empty: as far as there is room"],
    ["lendingLimit", "Lending limit", "How much of its share others may have; empty: all"],
  ].map(([key, label, hint]) => ({ key, ...quantityField(`quota-${key}`, label, row[key]?.quantity ?? "", hint) }));
  ask({
    title: `Change ${shortName(resource)} of ${one.scope}`,
    text: h(
      "p",
      {},
      `The limits of scope ${one.scope} in pool ${context.pool}, for ${resource}. What is allocated stays.`,
    ),
    fields: given.map((field) => field.element),
    confirm: "Change limits",
    after,
    work: async () => {
      const limit = Object.fromEntries(given.map(({ key, input }) => [key, input.value.trim() || null]));
      await send("PUT", ofPool(context.pool, `/quotas/${scopePath(one.scope)}`), {
        limits: { [resource]: limit },
        generation: one.generation,
      });
      return `Changed ${shortName(resource)} of ${one.scope}.`;
    },
  });
}
