/** The history that the server keeps, over HTTP (docs/protocol.md, section 9). */

/** @typedef {{id: string, title: string, created_at: string, updated_at: string}} Summary */
/** @typedef {{conversations: Summary[], next: string | null}} Page */
/** @typedef {"running" | "complete" | "cancelled" | "failed" | "interrupted"} Status */
/**
 * @typedef {object} Message
 * @property {"user" | "assistant"} role
 * @property {string} content
 * @property {string} message_id the turn's, so prompt and answer share it
 * @property {Status} status
 * @property {string} created_at
 * @property {{code: string, message: string}} [error] why an answer failed
 */
/** @typedef {Summary & {messages: Message[]}} History */

/** The server said no, or could not be asked (code `offline`). */
export class ApiError extends Error {
  /**
   * @param {string} code one of the table in section 4, or `offline`
   * @param {string} message a sentence for the user
   */
  constructor(code, message) {
    super(message);
    this.name = "ApiError";
    this.code = code;
  }
}

/**
 * @param {string} path relative to the page, so that the chat may live under any prefix
 * @param {RequestInit} [options]
 * @returns {Promise<Response>}
 */
async function call(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  } catch {
    throw new ApiError("offline", "The server cannot be reached.");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  const error = body?.error;
  throw new ApiError(
    error?.code ?? (response.status === 401 ? "unauthorized" : "unavailable"),
    error?.message ?? `The server answered with status ${response.status}.`,
  );
}

/**
 * @param {string | null} [before] the cursor of the page before, null for the newest
 * @returns {Promise<Page>}
 */
export async function listConversations(before) {
  const query = before ? `?before=${encodeURIComponent(before)}` : "";
  return (await call(`history${query}`)).json();
}

/**
 * @param {string} id
 * @returns {Promise<History>}
 */
export async function getConversation(id) {
  return (await call(`history/${encodeURIComponent(id)}`)).json();
}

/** @param {string} id */
export async function deleteConversation(id) {
  await call(`history/${encodeURIComponent(id)}`, { method: "DELETE" });
}
