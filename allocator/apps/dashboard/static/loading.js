/* Reading a part of a pool: one request under way, the newest wish wins, and a failure is said where the figures stand. */

import { Problem } from "./api.js";
import { h, put } from "./dom.js";
import { timed } from "./timing.js";

const RETRY_MS = 3000;

/** `read(signal)` gives a document, `show(document)` puts it on the page; `session` asks for the token if it is refused. */
export function loader(session, read, show) {
  const notice = h("p", { class: "notice", hidden: true });
  let controller = null;
  let again = false;
  let closed = false;
  let retry = null;

  async function run() {
    const mine = new AbortController();
    controller = mine;
    again = false;
    clearTimeout(retry);
    try {
      const document = await read(mine.signal);
      if (closed || mine.signal.aborted) return;
      timed("show", () => show(document));
      notice.hidden = true;
    } catch (error) {
      if (closed || mine.signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      if (error.status === 401) session.askToken(error);
      else tell(error);
    } finally {
      if (controller === mine) {
        controller = null;
        if (again && !closed) run();
      }
    }
  }

  /** Say what is wrong, and try again by itself. */
  function tell(error) {
    retry = setTimeout(run, RETRY_MS);
    put(notice, error.message);
    notice.hidden = false;
  }

  return {
    notice,
    /** Read once more: after the request that is under way, if there is one. */
    refresh: () => {
      if (controller) again = true;
      else run();
    },
    /** Read something else: what is under way is of no use any more. */
    restart: () => {
      controller?.abort();
      run();
    },
    close: () => {
      closed = true;
      clearTimeout(retry);
      controller?.abort();
    },
  };
}
