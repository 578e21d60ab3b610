/* Elements by DOM methods only: a text is always a text node, so nothing that is stored can become markup. */

const SVG = "http://www.w3.org/2000/svg";

/** An element. `attributes`: `on` has listeners, `style` custom properties and CSS properties, `data` the data-*; null and false leave one out. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same, of SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else if (name === "data") for (const [key, text] of Object.entries(value)) element.dataset[key] = text;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** Give an element these children, unless they are the same text. */
export function put(element, ...children) {
  const kept = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  if (
    kept.length === 1 &&
    typeof kept[0] === "string" &&
    element.childNodes.length === 1 &&
    element.firstChild.nodeType === Node.TEXT_NODE
  ) {
    if (element.firstChild.data !== kept[0]) element.firstChild.data = kept[0];
    return element;
  }
  element.replaceChildren(...kept);
  return element;
}

/**
 * The children of a parent are these items, in this order.  An element stays as long as its key does, so that focus,
 * selection and what a person has opened survive an update.  `make(item)` gives an element, which may have `update(item)`.
 */
export function sync(parent, items, keyOf, make) {
  const before = parent.madeOf ?? new Map();
  const now = new Map();
  let at = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    let element = before.get(key);
    if (element) {
      before.delete(key);
      element.update?.(item);
    } else {
      element = make(item);
      element.update?.(item);
    }
    now.set(key, element);
    if (element === at) at = at.nextSibling;
    else parent.insertBefore(element, at);
  }
  for (const element of before.values()) element.remove();
  parent.madeOf = now;
  return parent;
}

/** A table with a caption; `columns` are {name, kind, hint}; `kind` is a class of the cells, such as `number`. */
export function table(caption, columns, { quiet = true } = {}) {
  const body = h("tbody");
  const head = h(
    "tr",
    {},
    columns.map((one) => h("th", { scope: "col", class: one.kind, title: one.hint }, one.name)),
  );
  const made = h("table", {}, h("caption", { class: quiet ? "hidden" : null }, caption), h("thead", {}, head), body);
  const scroller = h("div", { class: "scroll", role: "group", "aria-label": caption, tabindex: "0" }, made);
  return { element: scroller, body, table: made };
}

/** A cell that names its column where the table becomes cards. */
export function cell(label, attributes = {}, ...children) {
  return h("td", { ...attributes, data: { label } }, ...children);
}

/** A section with a heading; `tools` stand beside it. */
export function panel(title, { id, level = "h2", tools = [], kind = "" } = {}, ...children) {
  const name = `h-${id}`;
  return h(
    "section",
    { class: `panel ${kind}`, id, "aria-labelledby": name },
    h("div", { class: "panel-head" }, h(level, { id: name }, title), h("div", { class: "panel-tools" }, tools)),
    children,
  );
}

let lastSaid = 0;

/** Say something to a screen reader, at most once in two seconds; what is more urgent is an alert of its own. */
export function say(text, { always = false } = {}) {
  const now = performance.now();
  if (!always && now - lastSaid < 2000) return;
  lastSaid = now;
  document.getElementById("said").textContent = text;
}

/** Call `work` soon, and not more often than every `gap` milliseconds; `cancel` ends it. */
export function calm(work, gap, delay = 60) {
  let timer = null;
  let last = -Infinity;
  const call = () => {
    if (timer !== null) return;
    const wait = Math.max(delay, last + gap - performance.now());
    timer = setTimeout(() => {
      timer = null;
      last = performance.now();
      work();
    }, wait);
  };
  call.cancel = () => {
    clearTimeout(timer);
    timer = null;
  };
  return call;
}
