/* Who holds what: searched, filtered by owner and scope, grouped, and paged, so that ten thousand are no more to draw than fifty. */

import { calm, cell, h, panel, put, say, sync, table } from "../dom.js";
import { count, fromNow, ms, plural, requestText, when } from "../format.js";
import { loader } from "../loading.js";
import { release } from "./changes.js";
import { story } from "./story.js";

const PAGE = 50;

export function allocations(context, query) {
  const asked = { q: "", owner: "", scope: "" };
  let by = "none";
  let cursors = [null];
  let opened = null;
  const field = (name, label) =>
    h("input", {
      type: "search",
      id: `filter-${name}`,
      "aria-label": label,
      placeholder: label,
      autocomplete: "off",
      spellcheck: "false",
      on: {
        input: () => {
          asked[name] = inputs[name].value.trim();
          changed();
        },
      },
    });
  const inputs = {
    q: field("q", "Search"),
    owner: field("owner", "Owner, or team-*"),
    scope: field("scope", "Scope, and below"),
  };
  const grouping = h(
    "select",
    {
      "aria-label": "Group",
      on: {
        change: () => {
          by = grouping.value;
          show();
        },
      },
    },
    h("option", { value: "none" }, "One by one"),
    h("option", { value: "owner" }, "By owner"),
    h("option", { value: "scope" }, "By scope"),
  );
  const sum = h("p", { class: "soft", role: "status" });
  const rows = table("Allocations", [
    { name: "Owner" },
    { name: "Id" },
    { name: "Scope" },
    { name: "Holds" },
    { name: "Since" },
    { name: "Deadline" },
    { name: "Hard end" },
    ...(context.session.allowChanges ? [{ name: "Actions", kind: "actions" }] : []),
  ]);
  const groups = table("Allocations by group", [
    { name: "Group" },
    { name: "Allocations", kind: "number" },
    { name: "Holds" },
  ]);
  rows.element.classList.add("cards-narrow");
  const previous = h(
    "button",
    {
      type: "button",
      on: {
        click: () => {
          cursors.pop();
          cursors.pop();
          if (!cursors.length) cursors = [null];
          reading.restart();
        },
      },
    },
    "Previous",
  );
  const next = h("button", { type: "button", on: { click: () => reading.restart() } }, "Next");
  const pages = h("nav", { class: "pages", "aria-label": "Pages of the allocations" }, previous, next);
  const place = h("div", {});
  let page = 0;

  const reading = loader(
    context.session,
    async (signal) => {
      const cursor = cursors.at(-1);
      const document = await context.get("/allocations", { ...asked, limit: PAGE, cursor }, signal);
      return { document, cursor };
    },
    take,
  );
  const grouped = loader(context.session, (signal) => context.get("/groups", { by }, signal), takeGroups);
  const changed = calm(
    () => {
      if (by !== "none") return;
      cursors = [null];
      reading.restart();
    },
    0,
    150,
  );
  const element = panel(
    "Allocations",
    { id: "allocations", tools: [inputs.q, inputs.owner, inputs.scope, grouping] },
    reading.notice,
    grouped.notice,
    place,
    sum,
    rows.element,
    groups.element,
    pages,
  );

  function take({ document }) {
    page = cursors.length;
    const first = (page - 1) * PAGE + 1;
    const last = first + document.items.length - 1;
    sync(
      rows.body,
      document.items,
      (one) => one.id,
      () => row(),
    );
    const filtered = Object.values(asked).some(Boolean);
    const whole = ` of ${count(document.matching)}${filtered ? ` that match` : ""}`;
    const left = document.leftOut
      ? `; ${count(document.leftOut)} beyond the first ${count(document.total - document.leftOut)} are not searched`
      : "";
    put(
      sum,
      document.items.length === 0
        ? filtered
          ? "No allocation matches."
          : "Nobody holds anything."
        : page === 1 && !document.cursor
          ? plural(document.items.length, filtered ? "match" : "allocation", filtered ? "matches" : "allocations")
          : `${count(first)} to ${count(last)}${whole}${left}`,
    );
    previous.disabled = page === 1;
    next.disabled = !document.cursor;
    next.cursor = document.cursor;
    pages.hidden = page === 1 && !document.cursor;
    rows.element.hidden = document.items.length === 0;
  }

  next.addEventListener(
    "click",
    () => {
      if (next.cursor) cursors.push(next.cursor);
    },
    { capture: true },
  );

  function row() {
    const owner = h("button", { type: "button", class: "as-link" });
    const cells = ["Id", "Scope", "Holds", "Since", "Deadline", "Hard end"].map((name) =>
      cell(name, { class: name === "Id" ? "code" : null }),
    );
    const give = h("button", { type: "button", class: "small" }, "Release …");
    const element = h(
      "tr",
      {},
      h("th", { scope: "row", data: { label: "Owner" } }, owner),
      cells,
      context.session.allowChanges ? cell("", { class: "actions" }, give) : null,
    );
    let shown = null;
    owner.addEventListener("click", () => open(shown.id));
    give.addEventListener("click", () => release(context, shown, reading.refresh));
    element.update = (one) => {
      shown = one;
      const at = context.now();
      const deadline = ms(one.deadline);
      put(owner, one.owner);
      owner.setAttribute("aria-label", `${one.owner}, details of ${one.id}`);
      give.setAttribute("aria-label", `Release ${one.id} of ${one.owner}`);
      element.dataset.state = deadline !== null && deadline < at ? "due" : "live";
      const texts = [
        one.id,
        one.scope ?? "–",
        requestText(one.resources),
        fromNow(ms(one.grantedAt), at),
        deadline === null
          ? "none (pinned)"
          : `${when(deadline, at)}, ${deadline < at ? "past" : fromNow(deadline, at)}${one.preemptedBy ? ", preempted" : one.releasingAt ? ", releasing" : ""}`,
        one.endsAt ? when(ms(one.endsAt), at) : "–",
      ];
      cells.forEach((one, index) => put(one, texts[index]));
    };
    return element;
  }

  function takeGroups(document) {
    sync(
      groups.body,
      document.items,
      (one) => one.key ?? "",
      () => groupRow(),
    );
    const left = document.groupsLeftOut ?? 0;
    put(
      sum,
      document.items.length === 0
        ? "Nobody holds anything."
        : `${plural(document.items.length, by)}${left ? `, and ${count(left)} that are left out` : ""}`,
    );
  }

  function groupRow() {
    const name = h("button", { type: "button", class: "as-link" });
    const number = cell("Allocations", { class: "number" });
    const holds = cell("Holds");
    const element = h("tr", {}, h("th", { scope: "row", data: { label: "Group" } }, name), number, holds);
    let key = "";
    name.addEventListener("click", () => {
      asked[by] = inputs[by].value = key;
      by = grouping.value = "none";
      cursors = [null];
      show();
      inputs.q.focus();
    });
    element.update = (one) => {
      key = one.key ?? "";
      name.disabled = key === "";
      put(name, key || "no scope");
      put(number, count(one.allocations));
      put(holds, requestText(one.resources));
    };
    return element;
  }

  function show() {
    const single = by === "none";
    rows.element.hidden = pages.hidden = !single;
    groups.element.hidden = single;
    for (const one of Object.values(inputs)) one.hidden = !single;
    (single ? reading : grouped).restart();
  }

  function open(id) {
    opened?.close();
    opened = story(context, id, () => {
      opened?.close();
      opened = null;
      place.replaceChildren();
    });
    put(place, opened.element);
    opened.element.querySelector("h3").focus();
    say(`Details of ${id}`, { always: true });
  }

  function follow(given) {
    for (const name of Object.keys(asked)) {
      if (!given.has(name)) continue;
      asked[name] = inputs[name].value = given.get(name);
    }
    if (given.has("id")) open(given.get("id"));
    cursors = [null];
    show();
  }

  groups.element.hidden = true;
  follow(query);
  return {
    element,
    query: follow,
    refresh: () => {
      (by === "none" ? reading : grouped).refresh();
      opened?.refresh();
    },
    close: () => {
      changed.cancel();
      reading.close();
      grouped.close();
      opened?.close();
    },
  };
}
