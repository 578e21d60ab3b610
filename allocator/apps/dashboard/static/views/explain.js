/* Would it fit?  A request as it would be written, answered in numbers: which account is short of what, and until when. */

import { ofPool, send } from "../api.js";
import { h, panel, put, say } from "../dom.js";
import { amountText, codeText, fromNow, ms, plural, shortName, when } from "../format.js";

const TERM = /^([A-Za-z0-9][A-Za-z0-9._/-]*)[=:](\S+)$/;

/** `cpu=2 memory=4Gi` as an object; throws an Error that names the term which is wrong. */
export function parseRequest(text) {
  const resources = {};
  for (const term of text.split(/[\s,]+/).filter(Boolean)) {
    const found = TERM.exec(term);
    if (!found) throw new Error(`“${term}” is not written as name=quantity, such as cpu=2 or memory=4Gi.`);
    if (Object.hasOwn(resources, found[1])) throw new Error(`${found[1]} is there twice.`);
    resources[found[1]] = found[2];
  }
  if (Object.keys(resources).length === 0) throw new Error("Write what is asked for, such as cpu=2 memory=4Gi.");
  return resources;
}

export function explain(context) {
  const field = (name, label, hint, attributes = {}) => {
    const input = h("input", {
      id: `explain-${name}`,
      autocomplete: "off",
      spellcheck: "false",
      "aria-describedby": `explain-${name}-hint explain-${name}-error`,
      ...attributes,
    });
    const error = h("p", { class: "field-error", id: `explain-${name}-error` });
    return {
      input,
      error,
      element: h(
        "div",
        { class: "field" },
        h("label", { for: input.id }, label),
        input,
        h("p", { class: "soft hint", id: `explain-${name}-hint` }, hint),
        error,
      ),
    };
  };
  const request = field("request", "Request", "Resources with quantities: cpu=2 memory=4Gi", {
    required: true,
    placeholder: "cpu=2 memory=4Gi",
  });
  const scope = field("scope", "Scope", "Empty: the pool alone");
  const priority = field("priority", "Priority", "−1000 to 1000", {
    type: "number",
    min: "-1000",
    max: "1000",
    step: "1",
    value: "0",
  });
  const preempt = h("input", { type: "checkbox", id: "explain-preempt" });
  const fields = { resources: request, scope, priority };
  const button = h("button", { type: "submit", class: "primary" }, "Explain");
  const answer = h("div", { class: "answer", "aria-live": "polite", "aria-atomic": "true" });
  const form = h(
    "form",
    {
      class: "explain",
      novalidate: true,
      on: {
        submit: (event) => {
          event.preventDefault();
          ask();
        },
      },
    },
    request.element,
    scope.element,
    priority.element,
    h("div", { class: "field field-check" }, h("label", {}, preempt, " May preempt lower priorities")),
    button,
  );
  const element = panel(
    "Explain a request",
    { id: "explain" },
    h("p", { class: "soft" }, "Nothing is allocated: the pool is only read."),
    form,
    answer,
  );
  let asked = 0;

  function wrong(name, text) {
    const found = fields[name] ?? request;
    put(found.error, text);
    found.input.setAttribute("aria-invalid", "true");
    found.input.focus();
  }

  async function ask() {
    for (const one of Object.values(fields)) {
      put(one.error, "");
      one.input.removeAttribute("aria-invalid");
    }
    let body;
    try {
      body = { resources: parseRequest(request.input.value) };
    } catch (error) {
      wrong("resources", error.message);
      return;
    }
    if (scope.input.value.trim()) body.scope = scope.input.value.trim();
    const number = Number(priority.input.value || 0);
    if (!Number.isInteger(number)) {
      wrong("priority", "A whole number from -1000 to 1000.");
      return;
    }
    if (number) body.priority = number;
    if (preempt.checked) body.preempt = true;
    const mine = ++asked;
    button.disabled = true;
    try {
      const found = await send("POST", ofPool(context.pool, "/check"), body);
      if (mine === asked) put(answer, verdict(found, context.now()));
    } catch (error) {
      if (error.status === 401) return context.session.askToken(error);
      const given = (error.field ?? "").split(".")[0];
      const name = Object.hasOwn(body.resources, error.field ?? "") ? "resources" : given;
      if (fields[name]) wrong(name, error.message);
      else put(answer, h("p", { class: "verdict", data: { state: "full" } }, error.message));
      say(error.message);
    } finally {
      button.disabled = false;
    }
  }

  return {
    element,
    close: () => {
      asked += 1;
    },
  };
}

/** The answer: a sentence, the numbers, and when. */
function verdict(check, now) {
  if (check.fits) {
    const victims = check.victims?.length
      ? `It would preempt ${plural(check.victims.length, "allocation")}: ${check.victims.join(", ")}.`
      : "Every account on its way has room.";
    return [
      h(
        "p",
        { class: "verdict", data: { state: "ok" } },
        h("strong", {}, "It fits."),
        ` It would be granted now. ${victims}`,
      ),
    ];
  }
  const denial = check.denial;
  const never = denial.never ? " Waiting does not help: only another configuration of the pool would." : "";
  const title = denial.code === "queued" ? "It would wait." : "It does not fit.";
  return [
    h(
      "p",
      { class: "verdict", data: { state: denial.never ? "over" : "full" } },
      h("strong", {}, title),
      ` ${codeText(denial)}.${never}`,
    ),
    h("div", { class: "shorts" }, (denial.shortages ?? []).map(shortage)),
    denial.never
      ? null
      : h(
          "dl",
          { class: "facts facts-wide facts-when" },
          whenRows(check, denial, now).map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))),
        ),
  ];
}

function whenRows(check, denial, now) {
  const start = ms(denial.startAt);
  const fits = ms(check.fitsAt);
  const instant = (at) => (at <= now ? "now" : `${when(at, now)}, ${fromNow(at, now)}`);
  return [
    [
      "Place in line if it waited",
      denial.position === null || denial.position === undefined ? "none: the line is full" : String(denial.position),
    ],
    [
      "Earliest start there",
      start === null ? "not foreseen: no known deadline frees enough" : `${instant(start)}, unless somebody renews`,
    ],
    ["Fits at the latest, if nobody waited", fits === null ? "not foreseen" : instant(fits)],
  ];
}

/** One account that is short of one resource, as a bar and in numbers. */
function shortage(one) {
  const name = one.resource;
  const text = (key) => amountText(name, one[key].amount);
  const where = one.level === "pool" ? "the pool" : `${one.level} ${one.name}`;
  const bounds = [
    ["minUnit", "at least"],
    ["maxUnit", "at most"],
    ["step", "in steps of"],
  ].filter(([key]) => one[key]?.amount > 0);
  const whole =
    Math.max(one.capacity.amount, one.allocated.amount + (one.kept?.amount ?? 0) + one.requested.amount) || 1;
  const width = (amount) => `${(100 * amount) / whole}%`;
  return h(
    "article",
    { class: "short" },
    h("h3", {}, shortName(name), h("span", { class: "soft" }, ` in ${where}`)),
    bounds.length
      ? h(
          "p",
          {},
          `Asked for ${text("requested")}; one allocation may have ${bounds.map(([key, word]) => `${word} ${text(key)}`).join(", ")}.`,
        )
      : [
          h(
            "div",
            { class: "bar bar-short", "aria-hidden": "true" },
            h("span", { class: "bar-used", style: { "inline-size": width(one.allocated.amount) } }),
            h("span", { class: "bar-kept", style: { "inline-size": width(one.kept?.amount ?? 0) } }),
            h("span", { class: "bar-asked", style: { "inline-size": width(one.requested.amount) } }),
            h("span", { class: "bar-limit", style: { "inset-inline-start": width(one.capacity.amount) } }),
          ),
          h(
            "dl",
            { class: "facts facts-wide" },
            [
              ["Requested", text("requested")],
              ["Available", text("available")],
              ["Short by", text("short")],
              ["Allocated", text("allocated")],
              ["Limit", text("capacity")],
              ...(one.kept?.amount ? [["Kept for others", text("kept")]] : []),
            ].map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value))),
          ),
        ],
  );
}
