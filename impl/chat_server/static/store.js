/** What the page knows: conversations, their turns, what is running, what went wrong. */

import { ApiError, deleteConversation, getConversation, getUsage, listConversations } from "./api.js";
import { keepDraft, readDraft } from "./drafts.js";

/** @typedef {import("./api.js").Summary} Summary */
/** @typedef {import("./api.js").Message} Message */
/** @typedef {import("./api.js").Step} Step */
/** @typedef {import("./api.js").Standing} Standing */
/** @typedef {import("./socket.js").ChatSocket} ChatSocket */
/** @typedef {import("./socket.js").Connection} Connection */
/** @typedef {import("./socket.js").ServerMessage} ServerMessage */
/** @typedef {"sending" | "streaming" | "complete" | "cancelled" | "failed" | "interrupted"} TurnState */
/** @typedef {{id: string, name: string, state: string, asked: string, result: string}} Tool */
/**
 * @typedef {object} Turn
 * @property {string} id its message_id
 * @property {Conversation} conversation
 * @property {string} prompt
 * @property {string} answer as far as it is known
 * @property {string} thinking
 * @property {boolean} pondering whether the last that came was a thought
 * @property {Tool[]} tools
 * @property {string} note what the user must know about this answer, during it and later
 * @property {string} progress what Claude is doing, if it said so
 * @property {TurnState} state
 * @property {boolean} stopping the user asked for its end
 * @property {string} trouble why it failed
 */
/**
 * @typedef {object} Conversation
 * @property {string | null} id null until the server has accepted its first message
 * @property {string} title
 * @property {Map<string, Turn>} turns oldest first
 * @property {boolean} loaded its history is here
 * @property {string} draft what is typed and not sent
 */
/** @typedef {{text: string, again: (() => void) | null}} Notice */
/** A conversation that is about to be deleted. @typedef {{id: string, title: string, wasCurrent: boolean}} Leaving */

/** How often one answer is read from history again before we give up on following it. */
const MOST_RESETS = 5;
/** For how long a deletion can be taken back. */
const UNDO_MS = 8_000;
/** The status that says that Claude no longer knows the earlier turns. */
const FRESH_SESSION = "fresh_session";
/** How often a running turn is polled where no socket reports it. */
const POLL_MS = 2_000;

/** @param {Turn} turn */
export const isLive = (turn) => turn.state === "sending" || turn.state === "streaming";

/**
 * @param {string} text an error's words, which begin as if in the middle of a line
 * @returns {string} the same as a sentence
 */
function sentence(text) {
  const closed = /[.!?…]$/.test(text) ? text : `${text}.`;
  return closed.charAt(0).toUpperCase() + closed.slice(1);
}

/**
 * @param {Step} step a tool call from history
 * @returns {Tool}
 */
function toolOf({ id = "", name = "", state = "", input = "", result = "" }) {
  return { id, name, state, asked: input, result };
}

/**
 * @param {ServerMessage} status what Claude is doing
 * @returns {string} the same as a sentence
 */
function progressText({ status = "", detail = "" }) {
  if (status === "retrying") return sentence(`Claude cannot be reached just now and is asked again: ${detail}`);
  return sentence(detail || status.replaceAll("_", " "));
}

/** @returns {string} 32 hexadecimal digits; `crypto.randomUUID` is missing on plain http beyond loopback */
function newMessageId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Fires, always after the state has changed:
 * `list` (the conversations), `conversation` (another one, or other turns in it), `turn` (detail: `{turn, added}`,
 * where `added` is the text that was appended to the answer, if that is all that happened), `connection`,
 * `notice`, `draft` (the page put text into the draft), `wait` (until when no message can be sent), `leaving`,
 * `usage` (of the limits).
 */
export class ChatStore extends EventTarget {
  /** @type {Connection} */
  connection = "connecting";
  /** @type {Summary[]} */
  conversations = [];
  /** @type {string | null} */
  older = null;
  /** @type {Notice | null} */
  notice = null;
  /** Before this moment, as `Date.now()` counts, the limits let no message through. */
  waitUntil = 0;
  /** @type {Standing[]} */
  usage = [];
  /** @type {Leaving | null} */
  leaving = null;
  query = "";
  /** Conversations that have been answered while another one was on the screen. @type {Set<string>} */
  news = new Set();
  /** @type {Conversation} */
  current = this.#blank(null);

  /** @type {ChatSocket} */
  #socket;
  /** @type {Map<string, Conversation>} */
  #known = new Map();
  /** @type {Map<string, Turn>} */
  #turns = new Map();
  /** @type {Map<string, number>} */
  #resets = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #undoTimer;

  /** @param {ChatSocket} socket */
  constructor(socket) {
    super();
    this.#socket = socket;
    socket.addEventListener("message", (event) => this.#receive(/** @type {CustomEvent} */ (event).detail));
    socket.addEventListener("connection", (event) => this.#connected(/** @type {CustomEvent} */ (event).detail));
  }

  /** The turn that the current conversation is busy with. @returns {Turn | undefined} */
  get running() {
    for (const turn of this.current.turns.values()) if (isLive(turn)) return turn;
    return undefined;
  }

  /** Whether any conversation that is known here is being answered. @returns {boolean} */
  get answering() {
    for (const turn of this.#turns.values()) if (isLive(turn)) return true;
    return false;
  }

  /** Conversations that are known here and being answered. @returns {Set<string>} */
  get busy() {
    const found = new Set();
    for (const turn of this.#turns.values()) if (isLive(turn) && turn.conversation.id !== null) found.add(turn.conversation.id);
    return found;
  }

  /** What the list shows: without the one that is leaving, and only what the search has found. @returns {Summary[]} */
  get listed() {
    const words = this.query.toLocaleLowerCase().split(/\s+/).filter((word) => word !== "");
    return this.conversations.filter(({ id, title, preview }) => {
      const text = `${title}\n${preview ?? ""}`.toLocaleLowerCase();
      return id !== this.leaving?.id && words.every((word) => text.includes(word));
    });
  }

  /**
   * Keep what is typed.
   * @param {string} text
   */
  type(text) {
    this.current.draft = text;
    keepDraft(this.current.id, text);
  }

  /** What is typed was another user's. */
  forgetDraft() {
    for (const conversation of [this.current, ...this.#known.values()]) conversation.draft = "";
    this.#fire("draft");
  }

  /**
   * Show only conversations that have all the words in title or preview.
   * @param {string} query
   * @returns {Promise<void>}
   */
  async search(query) {
    this.query = query;
    this.#fire("list");
    while (this.query === query && query.trim() !== "" && this.older !== null) {
      const before = this.older;
      await this.showOlder();
      if (this.older === before) return; // it could not be read
    }
  }

  /** @returns {Promise<void>} */
  async refreshList() {
    await this.#guarded(async () => {
      const page = await listConversations();
      const fresh = new Set(page.conversations.map((each) => each.id));
      // Pages that were asked for stay, unless they moved up to the first one.
      const rest = this.older === null ? [] : this.conversations.filter((each) => !fresh.has(each.id));
      const paged = rest.length > 0 && this.conversations.length > page.conversations.length;
      this.conversations = paged ? [...page.conversations, ...rest] : page.conversations;
      if (!paged) this.older = page.next;
      this.#nameCurrent();
      this.#fire("list");
    });
  }

  /** Ask how much of the limits is used. @returns {Promise<void>} */
  async refreshUsage() {
    try {
      this.usage = await getUsage();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return; // what the server does not say is not shown
    }
    this.#fire("usage");
  }

  /** @returns {Promise<void>} */
  async showOlder() {
    await this.#guarded(async () => {
      const page = await listConversations(this.older);
      const shown = new Set(this.conversations.map((each) => each.id));
      this.conversations = [...this.conversations, ...page.conversations.filter((each) => !shown.has(each.id))];
      this.older = page.next;
      this.#fire("list");
    });
  }

  /**
   * Show a conversation.
   * @param {string | null} id null for a new one
   * @returns {Promise<void>}
   */
  async select(id) {
    if (id !== null && id === this.current.id) return;
    if (id === null && this.current.id === null && this.current.turns.size === 0) return;
    this.current = (id !== null && this.#known.get(id)) || this.#blank(id);
    if (id !== null) this.news.delete(id);
    if (id !== null) this.#known.set(id, this.current);
    this.dismiss();
    this.#nameCurrent();
    this.#fire("conversation");
    if (id === null) this.#socket.follow(null);
    else await this.#load(this.current);
  }

  /**
   * Send the next prompt of the current conversation.
   * @param {string} text
   * @returns {boolean} whether it is on its way; if not, the text is still the user's to keep
   */
  send(text) {
    const conversation = this.current;
    if (text.trim() === "" || this.running !== undefined || this.connection === "expired") return false;
    if (Date.now() < this.waitUntil) return false;
    this.dismiss();
    const turn = this.#addTurn(conversation, newMessageId(), text, "sending");
    conversation.draft = ""; // the browser keeps it until the server has it
    this.#fire("conversation");
    this.#socket.request({
      type: "chat_request",
      message: text,
      message_id: turn.id,
      ...(conversation.id === null ? {} : { conversation_id: conversation.id }),
    });
    return true;
  }

  /** Stop the running turn of the current conversation. */
  stop() {
    const turn = this.running;
    if (turn === undefined || turn.stopping) return;
    turn.stopping = true;
    this.#socket.cancel(turn.id);
    this.#changed(turn);
  }

  /**
   * Take a conversation away; it is deleted when that can no longer be undone.
   * @param {string} id
   */
  remove(id) {
    void this.confirmRemoval();
    const title = this.conversations.find((each) => each.id === id)?.title || "New chat";
    this.leaving = { id, title, wasCurrent: id === this.current.id };
    this.#undoTimer = setTimeout(() => void this.confirmRemoval(), UNDO_MS);
    if (this.leaving.wasCurrent) void this.select(null);
    this.#fire("list");
    this.#fire("leaving");
  }

  /** @returns {string | null} the conversation that is back, if it was the one on the screen */
  undoRemoval() {
    const { leaving } = this;
    this.#endLeaving();
    return leaving?.wasCurrent ? leaving.id : null;
  }

  /** Delete for good what has been taken away. @returns {Promise<void>} */
  async confirmRemoval() {
    const { leaving } = this;
    if (leaving === null) return;
    const { id } = leaving;
    clearTimeout(this.#undoTimer);
    const listed = this.conversations;
    this.conversations = listed.filter((each) => each.id !== id);
    this.#endLeaving();
    const gone = await this.#guarded(async () => {
      try {
        await deleteConversation(id);
      } catch (error) {
        if (!(error instanceof ApiError) || error.code !== "not_found") throw error;
      }
    });
    if (gone) this.#forget(id);
    else void this.refreshList();
  }

  #endLeaving() {
    clearTimeout(this.#undoTimer);
    this.leaving = null;
    this.#fire("list");
    this.#fire("leaving");
  }

  /** Say why something is not done. @param {string} text */
  refuse(text) {
    this.#showNotice(text, null);
  }

  dismiss() {
    if (this.notice === null) return;
    this.notice = null;
    this.#fire("notice");
  }

  /** @param {Connection} connection */
  #connected(connection) {
    const before = this.connection;
    this.connection = connection;
    this.#fire("connection");
    if (connection === "posting") {
      for (const turn of this.current.turns.values()) if (turn.state === "streaming") void this.#poll(turn);
    }
    if (connection !== "open" || (before !== "lost" && before !== "posting")) return;
    // What other tabs did in the meantime is in history.
    void this.refreshList();
    if (this.current.id !== null) void this.#load(this.current);
  }

  /** @param {ServerMessage} message */
  #receive(message) {
    const turn = message.message_id === undefined ? undefined : this.#turns.get(message.message_id);
    if (message.type === "accepted") {
      this.#accepted(message, turn);
    } else if (turn === undefined) {
      if (message.type === "error") this.#complain(message);
    } else if (message.type === "error" && message.seq === undefined) {
      this.#refused(turn, message);
    } else if (isLive(turn)) {
      this.#play(turn, message);
    }
  }

  /**
   * @param {ServerMessage} message
   * @param {Turn | undefined} turn undefined if another tab has sent it
   */
  #accepted(message, turn) {
    const id = message.conversation_id;
    if (id === undefined || message.message_id === undefined) return;
    if (turn === undefined) {
      const conversation = this.#known.get(id);
      if (conversation === undefined) return;
      this.#addTurn(conversation, message.message_id, "", "streaming");
      this.#changedTurns(conversation);
      void this.#load(conversation); // for its prompt
      void this.refreshList();
      return;
    }
    const conversation = turn.conversation;
    if (turn.state === "sending") keepDraft(conversation.id, conversation.draft);
    if (turn.state === "sending") turn.state = "streaming";
    if (conversation.id === null) {
      conversation.id = id;
      conversation.loaded = true;
      this.#known.set(id, conversation);
      if (conversation === this.current) this.#socket.follow(id);
      this.#changedTurns(conversation);
    }
    this.#changed(turn);
    void this.refreshList();
    void this.refreshUsage();
  }

  /**
   * @param {Turn} turn
   * @param {ServerMessage} message
   */
  #play(turn, message) {
    if (turn.state === "sending") turn.state = "streaming";
    const pondering = turn.pondering;
    turn.pondering = message.type === "thinking";
    switch (message.type) {
      case "token":
        turn.answer += message.token ?? "";
        turn.progress = "";
        this.#changed(turn, pondering ? null : (message.token ?? ""));
        return;
      case "thinking":
        if (!pondering && turn.thinking !== "") turn.thinking += "\n\n";
        turn.thinking += message.thinking ?? "";
        break;
      case "tool":
        this.#useTool(turn, message);
        break;
      case "status":
        if (message.status === FRESH_SESSION) turn.note = sentence(message.detail ?? "");
        turn.progress = progressText(message);
        break;
      case "rewind": // counts code points, as `for … of` does and `slice` does not
        turn.answer = Array.from(turn.answer).slice(0, message.to ?? 0).join("");
        break;
      case "complete":
        this.#finish(turn, message.stop_reason === "cancelled" ? "cancelled" : "complete", "");
        break;
      case "error":
        this.#finish(turn, message.code === "interrupted" ? "interrupted" : "failed", message.message ?? "");
        break;
      default:
        return; // MSG-1: a type we do not know
    }
    this.#changed(turn);
  }

  /**
   * @param {Turn} turn
   * @param {ServerMessage} message
   */
  #useTool(turn, message) {
    const known = turn.tools.find((tool) => tool.id === message.id);
    const tool = known ?? { id: message.id ?? "", name: message.name ?? "", state: "", asked: "", result: "" };
    if (known === undefined) turn.tools.push(tool);
    tool.state = message.state ?? "";
    if (tool.state === "started") tool.asked = message.detail ?? "";
    else tool.result = message.detail ?? "";
  }

  /**
   * @param {Turn} turn
   * @param {TurnState} state
   * @param {string} trouble
   */
  #finish(turn, state, trouble) {
    turn.state = state;
    turn.trouble = trouble && sentence(trouble);
    turn.progress = "";
    this.#resets.delete(turn.id);
    if (turn.conversation !== this.current && turn.conversation.id !== null) this.news.add(turn.conversation.id);
    this.#fire("list");
    void this.refreshList();
    void this.refreshUsage();
  }

  /**
   * The server declined something about a turn without ending it.
   * @param {Turn} turn
   * @param {ServerMessage} message
   */
  #refused(turn, message) {
    if (turn.state === "sending") {
      this.#takeBack(turn);
      this.#complain(message);
    } else if (message.code === "reset" || message.code === "not_found") {
      void this.#reload(turn);
    } else {
      turn.stopping = false;
      this.#changed(turn);
      this.#complain(message);
    }
  }

  /** Nothing typed is lost: a refused prompt goes back to where it came from. @param {Turn} turn */
  #takeBack(turn) {
    const { conversation } = turn;
    conversation.turns.delete(turn.id);
    this.#turns.delete(turn.id);
    // A conversation that never came to be cannot be returned to, so the text follows the user.
    const home = conversation.id === null ? this.current : conversation;
    home.draft = home.draft.trim() === "" ? turn.prompt : `${turn.prompt}\n${home.draft}`;
    keepDraft(home.id, home.draft);
    this.#changedTurns(conversation);
    if (home === this.current) this.#fire("draft");
  }

  /** The turn's log is gone, so history has the whole of it. @param {Turn} turn */
  async #reload(turn) {
    const resets = (this.#resets.get(turn.id) ?? 0) + 1;
    this.#resets.set(turn.id, resets);
    if (resets > MOST_RESETS) {
      this.#finish(turn, "interrupted", "The rest of this answer could not be loaded. Reload the page to see it.");
      this.#changed(turn);
      return;
    }
    turn.state = "complete"; // for as long as history does not say "running"
    await this.#load(turn.conversation);
  }

  /** @param {ServerMessage} message */
  #complain(message) {
    this.#showNotice(sentence(message.message || "something went wrong"), null);
    if (message.retry_after === undefined) return;
    this.waitUntil = Date.now() + message.retry_after * 1000;
    this.#fire("wait");
  }

  /**
   * @param {string} text
   * @param {(() => void) | null} again
   */
  #showNotice(text, again) {
    this.notice = { text, again };
    this.#fire("notice");
  }

  /**
   * Read a conversation's history and join it with what is here.
   * @param {Conversation} conversation
   * @returns {Promise<void>}
   */
  async #load(conversation) {
    const { id } = conversation;
    if (id === null) return;
    const loaded = await this.#guarded(
      async () => {
        const history = await getConversation(id);
        conversation.title = history.title;
        conversation.loaded = true;
        this.#join(conversation, history.messages);
      },
      () => void this.#load(conversation),
      id,
    );
    if (!loaded) return;
    this.#changedTurns(conversation);
    if (conversation === this.current) this.#socket.follow(id);
  }

  /**
   * @param {Conversation} conversation
   * @param {Message[]} messages oldest first
   */
  #join(conversation, messages) {
    /** @type {Turn[]} */
    const running = [];
    const before = conversation.turns;
    conversation.turns = new Map();
    for (const message of messages) {
      let turn = conversation.turns.get(message.message_id) ?? before.get(message.message_id);
      turn ??= this.#addTurn(conversation, message.message_id, "", "interrupted");
      conversation.turns.set(turn.id, turn);
      if (message.role === "user") turn.prompt = message.content;
      else if (message.status !== "running") this.#settle(turn, message);
      else if (!before.has(turn.id) || !isLive(turn)) running.push(turn);
    }
    // Begun after this history was asked for.
    for (const [key, turn] of before) if (!conversation.turns.has(key)) conversation.turns.set(key, turn);
    for (const turn of running) this.#watch(turn);
  }

  /**
   * History says how a turn ended, unless its last events are still on their way to us.
   * @param {Turn} turn
   * @param {Message} message
   */
  #settle(turn, message) {
    if (isLive(turn) && this.connection !== "posting") return;
    turn.state = /** @type {TurnState} */ (message.status);
    turn.trouble = message.error ? sentence(message.error.message) : "";
    // A server that was killed may have saved less than it had sent. What the user has read stays.
    const savedLess = turn.state === "interrupted" && turn.answer.startsWith(message.content);
    const steps = message.steps ?? [];
    const calls = steps.filter((step) => step.type === "tool");
    const thinking = steps.flatMap((step) => (step.type === "thinking" ? [step.thinking ?? ""] : [])).join("\n\n");
    const fresh = steps.find((step) => step.type === "status" && step.status === FRESH_SESSION);
    if (!savedLess) turn.answer = message.content;
    if (!savedLess || calls.length >= turn.tools.length) turn.tools = calls.map(toolOf);
    if (!savedLess || thinking.length >= turn.thinking.length) turn.thinking = thinking;
    if (fresh !== undefined) turn.note = sentence(fresh.detail ?? "");
  }

  /** Show a running turn from its first event on. @param {Turn} turn */
  #watch(turn) {
    const { id } = turn.conversation;
    if (id === null) return;
    turn.state = "streaming";
    turn.answer = "";
    turn.thinking = "";
    turn.pondering = false;
    turn.tools = [];
    turn.note = "";
    this.#socket.watch(id, turn.id);
    if (this.connection === "posting") void this.#poll(turn);
  }

  /** Poll history for a running turn until it has ended, or a socket reports it. @param {Turn} turn */
  async #poll(turn) {
    while (isLive(turn) && this.connection === "posting") {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      await this.#load(turn.conversation);
    }
  }

  /**
   * @param {Conversation} conversation
   * @param {string} id
   * @param {string} prompt
   * @param {TurnState} state
   * @returns {Turn}
   */
  #addTurn(conversation, id, prompt, state) {
    /** @type {Turn} */
    const turn = {
      id,
      conversation,
      prompt,
      answer: "",
      thinking: "",
      pondering: false,
      tools: [],
      note: "",
      progress: "",
      state,
      stopping: false,
      trouble: "",
    };
    conversation.turns.set(id, turn);
    this.#turns.set(id, turn);
    return turn;
  }

  /**
   * @param {string | null} id
   * @returns {Conversation}
   */
  #blank(id) {
    return { id, title: "", turns: new Map(), loaded: id === null, draft: readDraft(id) };
  }

  /** @param {string} id */
  #forget(id) {
    for (const turn of this.#known.get(id)?.turns.values() ?? []) this.#turns.delete(turn.id);
    this.#known.delete(id);
    keepDraft(id, "");
    this.news.delete(id);
    this.conversations = this.conversations.filter((each) => each.id !== id);
    if (this.current.id === id) {
      this.current = this.#blank(null);
      this.#socket.follow(null);
      this.#fire("conversation");
    }
  }

  #nameCurrent() {
    const listed = this.conversations.find((each) => each.id === this.current.id);
    if (listed !== undefined) this.current.title = listed.title;
  }

  /**
   * @param {() => Promise<void>} work
   * @param {(() => void) | null} [again] offered to the user when it fails
   * @param {string | null} [id] the conversation it is about
   * @returns {Promise<boolean>} whether it worked
   */
  async #guarded(work, again = null, id = null) {
    try {
      await work();
      return true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.code === "unauthorized") {
        void this.#socket.checkLogin();
      } else if (error.code === "not_found" && id !== null) {
        this.#forget(id);
        this.#fire("list");
        this.#showNotice("This conversation does not exist or was deleted.", null);
      } else if (error.code !== "offline" || this.connection === "open") {
        this.#showNotice(sentence(error.message), again);
      }
      return false;
    }
  }

  /** @param {Conversation} conversation */
  #changedTurns(conversation) {
    if (conversation === this.current) this.#fire("conversation");
  }

  /**
   * @param {Turn} turn
   * @param {string | null} [added]
   */
  #changed(turn, added = null) {
    this.dispatchEvent(new CustomEvent("turn", { detail: { turn, added } }));
  }

  /** @param {string} name */
  #fire(name) {
    this.dispatchEvent(new Event(name));
  }
}
