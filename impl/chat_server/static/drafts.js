/** What is typed and not sent, kept by the browser, so that a reload loses nothing. */

const PREFIX = "chatgate draft ";
/** Whose drafts the browser keeps. */
const OWNER = "chatgate user ";

/** @param {string | null} id of the conversation, null for a new one */
const key = (id) => `${PREFIX}${location.pathname} ${id ?? "new"}`;

/**
 * @param {string | null} id
 * @returns {string}
 */
export function readDraft(id) {
  try {
    return localStorage.getItem(key(id)) ?? "";
  } catch {
    return ""; // the browser keeps nothing for us
  }
}

/**
 * @param {string | null} id
 * @param {string} text empty to forget it
 */
export function keepDraft(id, text) {
  try {
    if (text === "") localStorage.removeItem(key(id));
    else localStorage.setItem(key(id), text);
  } catch {
    // Full or forbidden: the draft lives as long as the page.
  }
}

/** Forget all of them, before another user uses this browser. */
export function forgetDrafts() {
  try {
    const here = `${PREFIX}${location.pathname} `;
    for (const name of Object.keys(localStorage)) if (name.startsWith(here)) localStorage.removeItem(name);
  } catch {
    // Nothing is kept.
  }
}

/**
 * Forget the drafts of an earlier user of this browser.
 * @param {string} user who uses it now
 * @returns {boolean} whether there were any of another user
 */
export function ownDrafts(user) {
  try {
    const before = localStorage.getItem(OWNER + location.pathname);
    localStorage.setItem(OWNER + location.pathname, user);
    if (before === null || before === user) return false;
  } catch {
    return false;
  }
  forgetDrafts();
  return true;
}
