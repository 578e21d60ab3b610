/* The JSON API.  The token is kept for this tab only, is sent as a header and never stands in an address. */

const KEPT = "allocator.token";

/** What the server refused, or that it was not reached (`status` 0). */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `HTTP status ${status}`);
    this.status = status;
    this.code = document.code ?? "";
    this.field = document.field ?? null;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEPT) ?? "",
  set: (text) => sessionStorage.setItem(KEPT, text),
  drop: () => sessionStorage.removeItem(KEPT),
};

/** Take the token out of the fragment, and out of the address and the history of the browser. */
export function takeToken() {
  const found = /^#token=([^&]*)$/.exec(location.hash);
  if (!found) return;
  try {
    token.set(decodeURIComponent(found[1]));
  } catch {
    token.set(found[1]);
  }
  history.replaceState(null, "", `${location.pathname}#/`);
}

export function headers(more = {}) {
  return { Authorization: `Bearer ${token.get()}`, Accept: "application/json", ...more };
}

/** The problem that a response is about. */
export async function problem(response) {
  let document = {};
  try {
    document = await response.json();
  } catch {
    /* not of this API: a proxy's page, or cut off */
  }
  return new Problem(response.status, document);
}

const DEADLINE_MS = 15_000;

async function call(path, options = {}) {
  const limits = [AbortSignal.timeout(DEADLINE_MS)];
  if (options.signal) limits.push(options.signal);
  let response;
  try {
    response = await fetch(`/api/v1${path}`, {
      ...options,
      signal: AbortSignal.any(limits),
      cache: "no-store",
      redirect: "error",
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem(0, { detail: "The dashboard's server does not answer.", code: "unreachable" });
  }
  if (!response.ok) throw await problem(response);
  return response.status === 204 ? null : response.json();
}

const query = (given) => {
  const kept = Object.entries(given).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return kept.length ? `?${new URLSearchParams(kept)}` : "";
};

export const get = (path, parameters = {}, signal = undefined) =>
  call(path + query(parameters), { headers: headers(), signal });

/** A request with a body.  The header is one that no form of another site can send. */
export function send(method, path, body) {
  const more = { "Content-Type": "application/json", "X-Requested-With": "allocator" };
  return call(path, { method, headers: headers(more), body: JSON.stringify(body) });
}

export const part = encodeURIComponent;

/** The path of a pool's part. */
export const ofPool = (pool, rest = "") => `/pools/${part(pool)}${rest}`;

/** A scope in a path: its slashes are the path's. */
export const scopePath = (scope) => scope.split("/").map(part).join("/");
