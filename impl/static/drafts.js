/** What is typed and not sent, kept by the browser, so that a reload loses nothing. */

const PREFIX = "chatgate draft ";

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
