/* The page: which view is shown follows from the fragment of the address, so that each can be linked to. */

import { Problem, get, takeToken, token } from "./api.js";
import { connection } from "./connection.js";
import { h, put, say, sync } from "./dom.js";
import { startTheme } from "./theme.js";
import { askToken } from "./views/ask_token.js";
import { overview } from "./views/overview.js";
import { poolView } from "./views/pool.js";

const main = document.getElementById("main");
const session = { allowChanges: false, pools: [], version: "", askToken: null };
let view = null;

/** `#/pools/NAME/SECTION?owner=x` in parts. */
function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").map((one) => {
    try {
      return decodeURIComponent(one);
    } catch {
      return one;
    }
  });
  if (parts[0] !== "pools" || !parts[1]) return { pool: null, section: "", query: new URLSearchParams(query) };
  return { pool: parts[1], section: parts[2] || "now", query: new URLSearchParams(query) };
}

function close() {
  view?.close();
  view = null;
}

function open() {
  const wanted = route();
  showPools(wanted.pool);
  if (wanted.pool && view?.pool === wanted.pool) {
    view.open(wanted.section, wanted.query);
    return;
  }
  close();
  connection.reset();
  view = wanted.pool ? poolView(session, wanted.pool) : overview(session);
  const inside = main.contains(document.activeElement);
  put(main, view.element);
  if (inside) main.focus();
  view.open?.(wanted.section, wanted.query);
  document.title = wanted.pool ? `${wanted.pool} – Allocator` : "Allocator";
}

function showPools(current) {
  const links = [{ name: "Pools", href: "#/", here: current === null }];
  for (const name of session.pools)
    links.push({ name, href: `#/pools/${encodeURIComponent(name)}`, here: name === current });
  sync(
    document.getElementById("pools"),
    links,
    (one) => one.href,
    ({ name, href }) => {
      const link = h("a", { href }, name);
      link.update = ({ here }) =>
        here ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
      return link;
    },
  );
  document.querySelector("#pools [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** The token is wrong or missing: ask for it, then begin again. */
session.askToken = (why) => {
  close();
  connection.reset();
  sync(document.getElementById("pools"), [], null, null);
  put(main, askToken(why, begin));
  main.querySelector("input").focus();
};

/** The list of pools may have changed. */
session.refresh = async () => {
  const root = await get("");
  session.allowChanges = root.allowChanges === true;
  session.version = root.version;
  const names = [...root.pools].sort();
  if (names.join() !== session.pools.join()) {
    session.pools = names;
    showPools(route().pool);
  }
  put(
    document.getElementById("foot"),
    `Allocator ${root.version} · ${session.allowChanges ? "changes are allowed" : "read-only"} · times of the pool's clock, in ${Intl.DateTimeFormat().resolvedOptions().timeZone}`,
  );
};

async function begin() {
  if (!token.get()) {
    session.askToken(null);
    return;
  }
  try {
    await session.refresh();
    connection.away.delete("server");
    open();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.status === 401) {
      session.askToken(error);
      return;
    }
    const retryMs = 2000;
    connection.lost("server", error.message, { retryMs });
    put(main, h("p", { class: "empty" }, "There is nothing to show yet."));
    let timer = setTimeout(begin, retryMs);
    connection.retry = () => {
      clearTimeout(timer);
      timer = null;
      begin();
    };
  }
}

window.addEventListener("hashchange", () => {
  if (location.hash.startsWith("#token=")) {
    takeToken();
    begin();
    return;
  }
  if (location.hash === "#main" || !token.get()) return;
  open();
  say(document.title);
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

takeToken();
startTheme();
begin();
