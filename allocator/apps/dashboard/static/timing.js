/* How long the page takes, in milliseconds, for its tests and for whoever asks in the console: `allocatorTimes`.

Only the first and the largest are kept: a page may be open for weeks. */

const times = { ready: null, update: 0, show: 0 };
globalThis.allocatorTimes = times;

/** The first figures are there. */
export function ready() {
  times.ready ??= performance.now();
}

/** Do this, and note how long it took under this name. */
export function timed(name, work) {
  const begun = performance.now();
  work();
  times[name] = Math.max(times[name], performance.now() - begun);
}
