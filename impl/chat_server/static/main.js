/** Joins socket, store, view and the address bar. */

import { AccountView } from "./account.js";
import { whoAmI } from "./api.js";
import { ownDrafts } from "./drafts.js";
import { ChatSocket } from "./socket.js";
import { ChatStore } from "./store.js";
import { ChatView } from "./view.js";

const url = new URL("ws", location.href);
url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
url.hash = "";
url.search = "";

const socket = new ChatSocket(url.href);
const store = new ChatStore(socket);
new ChatView(store, document, logIn);

/** Where the page was when its login had expired. */
const RETURN = "chatgate return";

/** The page asks for a login by itself; a forge's own form would lose the part of the address behind the #. */
function logIn() {
  try {
    sessionStorage.setItem(RETURN, location.hash);
  } catch {
    // The browser keeps nothing for us: the list leads back.
  }
  location.reload();
}

function comeBack() {
  try {
    const hash = sessionStorage.getItem(RETURN);
    sessionStorage.removeItem(RETURN);
    if (hash && location.hash === "") history.replaceState(null, "", hash);
  } catch {
    // Nothing was kept.
  }
}

/** @returns {string | null} the conversation that the address names */
function named() {
  return /^#[0-9a-f]{12}$/.test(location.hash) ? location.hash.slice(1) : null;
}

store.addEventListener("conversation", () => {
  const { id } = store.current;
  if (id === named()) return;
  // The first message has made a conversation: the address follows, the page stays as it is.
  history.replaceState(null, "", id === null ? location.pathname + location.search : `#${id}`);
});
addEventListener("hashchange", () => void store.select(named()));
addEventListener("online", () => socket.wake());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible") return;
  socket.wake();
  if (store.connection === "expired") return; // another user may be logged in now
  void store.refreshList();
  void store.refreshUsage();
});

addEventListener("pagehide", () => void store.confirmRemoval());

const account = new AccountView(document);
/** Tabs of one chat notify each other of a login by it. */
const logins = new BroadcastChannel(`chatgate login ${location.pathname}`);
logins.addEventListener("message", () => socket.wake());

async function showAccount() {
  try {
    const found = await whoAmI();
    logins.postMessage(null);
    account.draw(found);
    if (found.user !== null && ownDrafts(found.user)) store.forgetDraft();
  } catch {
    // The other requests say what is wrong.
  }
}

comeBack();
void showAccount();
socket.connect();
void store.refreshList();
void store.refreshUsage();
void store.select(named());
