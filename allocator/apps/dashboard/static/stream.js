/* Server-sent events over fetch, since EventSource cannot send a header.  It comes back by itself, with back-off. */

import { Problem, headers, problem } from "./api.js";

const FIRST_MS = 500;
const LONGEST_MS = 10_000;
const SILENCE_MS = 25_000;

/** Parse the text of a stream piece by piece; `take({event, data, id})` gets each event. */
export function parser(take) {
  let rest = "";
  let event = { event: "message", data: [], id: null };
  const line = (text) => {
    if (text === "") {
      if (event.data.length) take({ ...event, data: event.data.join("\n") });
      event = { event: "message", data: [], id: null };
      return;
    }
    const colon = text.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(colon + 1).replace(/^ /, "");
    if (field === "data") event.data.push(value);
    else if (field === "event" || field === "id") event[field] = value;
  };
  return (piece) => {
    const lines = (rest + piece).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    lines.forEach(line);
  };
}

/**
 * Follow a pool, or all.  `on` has `usage`, `change`, `missed`, `error` (the pool cannot be read), `up`, `down(problem, retryMs)`
 * and `denied(problem)` (the token is wrong: it does not try again).  The returned object has `close` and `retry`.
 */
export function follow(pool, on) {
  let closed = false;
  let attempt = 0;
  let cursor = null;
  let wake = null;
  let controller = null;

  const take = ({ event, data, id }) => {
    let document;
    try {
      document = JSON.parse(data);
    } catch {
      return;
    }
    if (id) cursor = id;
    if (event === "missed") cursor = null;
    on[event]?.(document);
  };

  async function once() {
    controller = new AbortController();
    const given = new URLSearchParams();
    if (pool) given.set("pool", pool);
    if (cursor) given.set("since", cursor);
    let silence = setTimeout(() => controller.abort(), SILENCE_MS);
    try {
      const response = await fetch(`/api/v1/stream?${given}`, {
        headers: headers({ Accept: "text/event-stream" }),
        signal: controller.signal,
        cache: "no-store",
        redirect: "error",
      });
      if (!response.ok) throw await problem(response);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const feed = parser(take);
      on.up?.();
      attempt = 0;
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(silence);
        silence = setTimeout(() => controller.abort(), SILENCE_MS);
        feed(value);
      }
    } finally {
      clearTimeout(silence);
      controller.abort();
    }
  }

  async function run() {
    while (!closed) {
      let why = new Problem(0, { detail: "The dashboard's server ended the connection.", code: "unreachable" });
      try {
        await once();
      } catch (error) {
        why =
          error instanceof Problem
            ? error
            : new Problem(0, { detail: "The dashboard's server does not answer.", code: "unreachable" });
      }
      if (closed) return;
      if (why.status === 401) return on.denied?.(why);
      if (why.status === 400 || why.status === 410) cursor = null;
      const wait = Math.min(LONGEST_MS, FIRST_MS * 2 ** attempt) * (0.75 + Math.random() / 2);
      attempt += 1;
      on.down?.(why, wait);
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, wait);
      });
    }
  }

  const online = () => wake?.();
  window.addEventListener("online", online);
  run();
  return {
    retry: () => wake?.(),
    /** An event that was read otherwise: the stream goes on after it, should it have to begin anew. */
    seen: (id) => {
      cursor ??= id;
    },
    close: () => {
      closed = true;
      window.removeEventListener("online", online);
      controller?.abort();
      wake?.();
    },
  };
}
