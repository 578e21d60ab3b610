/* What all charts share: widths that follow the page, ticks of time, and scales. */

import { svg } from "./dom.js";
import { clock, day } from "./format.js";

const STEPS_MS = [60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 432000, 604800].map(
  (one) => one * 1000,
);

/** Instants at round times of the day, at most `most` of them. */
export function timeTicks(from, to, most) {
  const step = STEPS_MS.find((one) => (to - from) / one <= most) ?? STEPS_MS.at(-1);
  const shift = new Date(from).getTimezoneOffset() * 60_000;
  const first = Math.ceil((from - shift) / step) * step + shift;
  const ticks = [];
  for (let at = first; at <= to; at += step) ticks.push({ at, text: step >= 86_400_000 ? day(at) : clock(at) });
  return ticks;
}

/** A linear scale from one range to another. */
export const scale = (from, to, low, high) => (value) => low + ((value - from) / (to - from || 1)) * (high - low);

/** The axis of time: a line, ticks and their texts; texts that would run over the edge are anchored to it. */
export function timeAxis(from, to, { x, top, bottom, width, grid = true }) {
  const most = Math.max(2, Math.floor(width / 90));
  return svg(
    "g",
    { class: "axis" },
    timeTicks(from, to, most).map(({ at, text }) => [
      grid ? svg("line", { class: "grid", x1: x(at), x2: x(at), y1: top, y2: bottom }) : null,
      svg("text", { x: x(at), y: bottom + 16, "text-anchor": "middle" }, text),
    ]),
  );
}

/** Call `draw(width)` whenever the element has another width; the returned function ends it. */
export function followWidth(element, draw) {
  let last = 0;
  const observer = new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width === last || width === 0) return;
    last = width;
    draw(width);
  });
  observer.observe(element);
  return () => observer.disconnect();
}
