/* What the page knows about its sources: live, paused, or away; how old the figures are; and the pool's clock. */

import { h, put } from "./dom.js";
import { duration, seconds } from "./format.js";

const CLOCK_FAR_MS = 60_000;

/** One of it for the page.  `away` has the reasons by source: `server` (no answer) and `pool` (its Redis is away). */
class Connection {
  away = new Map();
  freshAt = null;
  offset = 0;
  live = false;
  retry = null;

  /** The time of the pool's clock, as far as known. */
  now() {
    return Date.now() + this.offset;
  }

  /** Figures have come that were read at this time of the pool's clock. */
  fresh(readMs) {
    this.freshAt = Date.now();
    if (readMs) this.offset = readMs - Date.now();
    this.live = true;
    if (this.away.size) this.back();
    this.show();
  }

  /** A source is away: said once, and shown until it is back. */
  lost(source, text, { retryMs = null } = {}) {
    const known = this.away.get(source);
    const since = known?.since ?? Date.now();
    this.away.set(source, { text, since, retryAt: retryMs === null ? null : Date.now() + retryMs });
    this.live = false;
    if (!known) document.getElementById("alarm").textContent = `${text} The figures are no longer live.`;
    this.show();
  }

  /** All sources answer again. */
  back() {
    this.away.clear();
    document.getElementById("alarm").textContent = "";
    document.getElementById("said").textContent = "Live again.";
    this.show();
  }

  /** Another view begins: nothing is known of its figures. */
  reset() {
    this.away.clear();
    this.freshAt = null;
    this.live = false;
    this.show();
  }

  show() {
    this.showLink();
    const banner = document.getElementById("banner");
    const stale = this.away.size > 0;
    document.documentElement.dataset.stale = stale ? "yes" : "no";
    const far = Math.abs(this.offset) > CLOCK_FAR_MS;
    banner.hidden = !stale && !far;
    if (banner.hidden) {
      banner.replaceChildren();
      return;
    }
    if (stale) this.showAway(banner);
    else this.showClock(banner);
  }

  showLink() {
    const state = this.away.size ? "away" : this.live ? "live" : "off";
    document.getElementById("link").dataset.state = state;
    const texts = { away: "Reconnecting", live: "Live", off: "Connecting" };
    put(document.getElementById("link-text"), texts[state]);
  }

  showAway(banner) {
    const [{ text, since, retryAt }] = this.away.values();
    const age =
      this.freshAt === null
        ? "No figures have come yet."
        : `Figures of ${seconds(this.freshAt + this.offset)}, ${duration(Date.now() - this.freshAt)} old.`;
    const left =
      retryAt === null ? "It is tried again by itself." : `Next try in ${duration(Math.max(0, retryAt - Date.now()))}.`;
    let parts = banner.parts;
    if (!parts || parts.kind !== "away") {
      parts = { kind: "away", what: h("strong"), age: h("span"), next: h("span") };
      parts.button = h("button", { type: "button", class: "small", on: { click: () => this.retry?.() } }, "Try now");
      banner.parts = parts;
    }
    put(parts.what, text);
    put(parts.age, `${age} Away since ${seconds(since)}.`);
    put(parts.next, left);
    if (parts.what.parentNode !== banner)
      banner.replaceChildren(parts.what, " ", parts.age, " ", parts.next, " ", parts.button);
    parts.button.hidden = retryAt === null;
  }

  showClock(banner) {
    banner.parts = null;
    const side = this.offset > 0 ? "behind" : "ahead of";
    put(
      banner,
      h("strong", {}, "Clocks differ."),
      ` This computer's is ${duration(Math.abs(this.offset))} ${side} the pool's. All times here are by the pool's clock.`,
    );
  }
}

export const connection = new Connection();

setInterval(() => {
  if (!document.hidden && connection.away.size) connection.show();
}, 1000);
