/* How amounts, instants and states are written.  Amounts come as {quantity, amount}: the text is the server's. */

const BYTES = new Set(["memory", "storage", "ephemeral-storage"]);
const BINARY = [
  ["Pi", 2 ** 50],
  ["Ti", 2 ** 40],
  ["Gi", 2 ** 30],
  ["Mi", 2 ** 20],
  ["Ki", 2 ** 10],
];
const UNLIMITED = 2 ** 53 - 1;

export const NEARLY_FULL_PERCENT = 85;

/** Whether a resource is counted in bytes; the name alone decides, as in `allocator.units`. */
export const isBytes = (resource) => BYTES.has(resource) || resource.startsWith("hugepages-");

/** An amount as people read it: `2.5`, `12.25Gi`. */
export function amountText(resource, amount) {
  if (amount === null || amount === undefined) return "–";
  if (amount >= UNLIMITED) return "no limit";
  if (amount < 0) return `−${amountText(resource, -amount)}`;
  if (!isBytes(resource)) return short(amount / 1000);
  const found = BINARY.find(([, size]) => amount >= size);
  return found ? short(amount / found[1]) + found[0] : String(amount);
}

const short = (number) =>
  Number.isInteger(number)
    ? number.toLocaleString("en")
    : number.toLocaleString("en", { maximumFractionDigits: number < 100 ? 2 : 1 });

export const count = (number) => number.toLocaleString("en");

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** `cpu 2 · memory 4Gi` of {resource: {amount}}. */
export function requestText(resources) {
  const parts = Object.entries(resources ?? {}).map(
    ([name, row]) => `${shortName(name)} ${amountText(name, row.amount)}`,
  );
  return parts.length ? parts.join(" · ") : "nothing";
}

/** `gpu` for `nvidia.com/gpu`: the domain is left out where people read. */
export const shortName = (resource) => resource.slice(resource.lastIndexOf("/") + 1);

/** Milliseconds of an RFC 3339 text or a number; null for neither. */
export function ms(instant) {
  if (instant === null || instant === undefined) return null;
  if (typeof instant === "number") return instant;
  const read = Date.parse(instant);
  return Number.isNaN(read) ? null : read;
}

/** `4 s`, `12 min`, `3 h 20 min`, `2 d 4 h`: two units at most. */
export function duration(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return minutes < 10 && seconds % 60 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 && days < 10 ? `${days} d ${hours % 24} h` : `${count(days)} d`;
}

/** `in 4 min` or `4 min ago`. */
export const fromNow = (instant, now) =>
  instant >= now ? `in ${duration(instant - now)}` : `${duration(now - instant)} ago`;

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const SECONDS = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

export const clock = (instant) => CLOCK.format(instant);
export const seconds = (instant) => SECONDS.format(instant);
export const day = (instant) => DAY.format(instant);

/** `21:05`, with the day where it is not the one of `now`. */
export const when = (instant, now) =>
  day(instant) === day(now) ? clock(instant) : `${day(instant)} ${clock(instant)}`;

/** Allocated in per cent of what may be given out. */
export function percent(row) {
  const limit = row.limit?.amount ?? row.capacity.amount;
  if (limit === 0) return row.allocated.amount ? 100 : 0;
  return (100 * row.allocated.amount) / limit;
}

/** The state of a resource: a key for colours, and the word that says the same. */
export function fullness(row) {
  if (row.overcommitted) return { key: "over", word: "over capacity" };
  if (row.available.amount === 0 && percent(row) === 0 && row.capacity.amount === 0)
    return { key: "none", word: "none" };
  if (row.available.amount <= 0) return { key: "full", word: "full" };
  return percent(row) >= NEARLY_FULL_PERCENT ? { key: "nearly", word: "nearly full" } : { key: "ok", word: "ok" };
}

const WORST = ["none", "ok", "nearly", "full", "over"];

/** The worst state among the resources of a pool. */
export function poolFullness(resources) {
  const states = Object.values(resources).map(fullness);
  return states.reduce((worst, one) => (WORST.indexOf(one.key) > WORST.indexOf(worst.key) ? one : worst), {
    key: "ok",
    word: "ok",
  });
}

const CODES = {
  unknown_resource: "The pool does not have this resource",
  constraint_violation: "Whole units only",
  unit_violation: "Outside of the amounts that the pool gives out",
  never_fits: "More than the whole capacity",
  capacity_exceeded: "Not enough is available",
  quota_exceeded: "The quota is used up",
  queued: "It fits, but others wait before it",
  queue_full: "The line is full",
};

const QUOTA_CODES = {
  never_fits: "More than the quota ever allows",
  capacity_exceeded: "The quota has not enough left",
};

/** Who made a change, where that is not the owner that the event names; null otherwise. */
export function actorOf(event) {
  return event.actor && event.actor !== event.owner ? event.actor : null;
}

/** A denial in a sentence: which account is short of what. */
export function reasonText(denial) {
  if (!denial) return "–";
  const [first, ...more] = denial.shortages ?? [];
  const what = codeText(denial);
  if (!first) return what;
  const where = first.level === "pool" ? "pool" : `${first.level} ${first.name}`;
  const text = `${where} short of ${shortName(first.resource)} by ${amountText(first.resource, first.short.amount)}`;
  return `${what}: ${text}${more.length ? `, and ${plural(more.length, "other")}` : ""}`;
}

/** What a denial means, without the numbers; of a quota it says so. */
export function codeText(denial) {
  const ofQuota = denial.shortages?.[0]?.level === "quota";
  return (ofQuota && QUOTA_CODES[denial.code]) || (CODES[denial.code] ?? denial.code);
}
