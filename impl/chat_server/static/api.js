/** The history that the server keeps, over HTTP (docs/protocol.md, section 9). */

/** @typedef {import("../../../docs/protocol/chat-stream-v1").Summary} Summary */
/** @typedef {import("../../../docs/protocol/chat-stream-v1").ConversationList} Page */
/** @typedef {"running" | "complete" | "cancelled" | "failed" | "interrupted"} Status */
/**
 * @typedef {object} Message
 * @property {"user" | "assistant"} role
 * @property {string} content
 * @property {string} message_id the turn's, so prompt and answer share it
 * @property {Status} status
 * @property {string} created_at
 * @property {{code: string, message: string}} [error] why an answer failed
 * @property {Step[]} [steps] what Claude did besides its text (HIST-8)
 */
/**
 * @typedef {object} Step
 * @property {string} type thinking, tool or status
 * @property {string} [thinking]
 * @property {string} [id] of a tool call, as its name, state, input and result
 * @property {string} [name]
 * @property {string} [state]
 * @property {string} [input]
 * @property {string} [result]
 * @property {string} [status]
 * @property {string} [detail]
 */
/** How one stands with a limit (LIMIT-7). @typedef {import("../../../docs/protocol/chat-stream-v1").LimitStanding} Standing */
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
    /** Seconds after which it may be tried again. @type {number | undefined} */
    this.retryAfter = undefined;
    /** The conversation, if the turn was accepted before it failed. @type {string | undefined} */
    this.conversation = undefined;
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
  throw refusal(await response.json().catch(() => null), response.status);
}

/**
 * @param {any} body of an answer, if it was JSON
 * @param {number} status
 * @returns {ApiError}
 */
function refusal(body, status) {
  const given = body?.error;
  const error = new ApiError(
    given?.code ?? (status === 401 ? "unauthorized" : "unavailable"),
    given?.message ?? `The server answered with status ${status}.`,
  );
  error.retryAfter = given?.retry_after;
  error.conversation = body?.conversation_id;
  return error;
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

/** @returns {Promise<Standing[]>} how much of each limit is used; none where the server does not say */
export async function getUsage() {
  return (await (await call("usage")).json()).limits;
}

/** Who uses the chat; no user where there is one local one (ID-7). @typedef {import("../../../docs/protocol/chat-stream-v1").Whoami} Account */

/** Who the page's user is, once the server has said so. @type {string | null | undefined} */
let user;

/** @returns {Promise<Account>} */
export async function whoAmI() {
  /** @type {Account} */
  const account = await (await call("whoami")).json();
  user ??= account.user;
  return account;
}

/** @returns {Promise<"in" | "out" | "unknown">} whether the page's user is logged in still, or once more */
export async function ownLogin() {
  try {
    const before = user;
    return (await whoAmI()).user === before ? "in" : "out";
  } catch (error) {
    return error instanceof ApiError && error.code === "unauthorized" ? "out" : "unknown";
  }
}

/** Works while the page is being left, too. @param {string} id */
export async function deleteConversation(id) {
  await call(`history/${encodeURIComponent(id)}`, { method: "DELETE", keepalive: true });
}

/** @returns {Promise<"here" | "unauthorized" | "offline">} whether the server can be asked over plain HTTP */
export async function reach() {
  try {
    await call("history?limit=1");
    return "here";
  } catch (error) {
    return error instanceof ApiError && error.code === "unauthorized" ? "unauthorized" : "offline";
  }
}

/**
 * Run a turn without a socket (HTTP-2).
 * @param {{message: string, message_id: string, conversation_id?: string}} request
 * @returns {Promise<{response: string, conversation_id: string, message_id: string}>}
 */
export async function postMessage({ message, message_id, conversation_id }) {
  const form = new URLSearchParams({ message, message_id });
  if (conversation_id !== undefined) form.set("conversation_id", conversation_id);
  const response = await call("../chat", { method: "POST", body: form });
  const body = await response.json().catch(() => null);
  // The status was sent before the turn failed (KEEP-3).
  if (typeof body?.response !== "string") throw refusal(body, response.status);
  return body;
}
