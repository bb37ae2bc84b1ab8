/**
 * One connection that outlives its sockets: every event of every turn is delivered once, in order.
 *
 * What was asked and not yet accepted is sent again after a reconnect, under the same `message_id`, which
 * the server recognises (TURN-7). A running turn is resumed after its last `seq` (SUB-1). What arrives twice
 * is dropped by its `seq`; what is missing is asked for. Where no WebSocket can be had but the server answers,
 * messages go by POST, until a socket opens after all.
 */

import { ApiError, ownLogin, postMessage, reach } from "./api.js";

/** @typedef {"accepted" | "token" | "thinking" | "tool" | "status" | "rewind" | "complete" | "error"} ServerType */
/**
 * A message from the server: docs/protocol.md, section 4. Which members are there depends on `type`.
 * @typedef {object} ServerMessage
 * @property {ServerType} type
 * @property {string} [message_id]
 * @property {string} [conversation_id]
 * @property {number} [seq]
 * @property {string} [token]
 * @property {string} [thinking]
 * @property {string} [id]
 * @property {string} [name]
 * @property {"started" | "finished" | "failed"} [state]
 * @property {string} [status]
 * @property {string} [detail]
 * @property {number} [to]
 * @property {string} [stop_reason]
 * @property {string} [code]
 * @property {string} [message]
 * @property {number} [retry_after]
 */
/** @typedef {import("../../../docs/protocol/chat-stream-v1").ChatRequest & {message_id: string}} ChatRequest */
/** @typedef {"connecting" | "open" | "lost" | "posting" | "expired"} Connection */
/**
 * A turn that is not over, as the connection sees it.
 * @typedef {object} Live
 * @property {ChatRequest | null} request what to send again until it is accepted
 * @property {string | undefined} conversation
 * @property {number} seq of the last event delivered
 * @property {boolean} cancelled by the user
 * @property {boolean} catching up: the missing events have been asked for
 */

const SUBPROTOCOL = "chat-stream-v1";
const LOGIN_EXPIRED = 4401;
const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 15_000;
const UNAVAILABLE_DELAY_MS = 2_000;
/** A peer that does not answer for this long is taken for gone; after each failure the wait is doubled. */
const ANSWER_MS = 6_000;
const LONGEST_ANSWER_MS = 60_000;
/** After this much silence in a running turn the server is probed. */
const QUIET_MS = 20_000;
/** What no turn is called: a question about it is always answered, and costs nothing (CANCEL-2). */
const PROBE = "probe";
/** This many sockets in a row must fail, while plain HTTP works, before messages go by POST. */
const REFUSALS = 2;

/**
 * Fires `message` (detail: ServerMessage) and `connection` (detail: Connection).
 */
export class ChatSocket extends EventTarget {
  /** @type {string} */
  #url;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #failures = 0;
  /** Sockets that did not open although the server answered. */
  #refusals = 0;
  #posting = false;
  /** What is on its way by POST. @type {Set<string>} */
  #posted = new Set();
  /** @type {Map<string, Live>} */
  #turns = new Map();
  /** Turns that are over; whatever a second reader still brings of them is old. @type {Set<string>} */
  #over = new Set();
  /** The conversation on the screen: turns that other tabs start there are followed too. @type {string | null} */
  #followed = null;
  #following = false;
  #expired = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #deadline;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #quiet;
  #patience = ANSWER_MS;
  #asking = false;
  #askAgain = false;

  /** @param {string} url ws: or wss: */
  constructor(url) {
    super();
    this.#url = url;
  }

  /** Connect, now instead of after the pause. */
  connect() {
    if (this.#socket !== null) return;
    clearTimeout(this.#timer);
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = (event) => this.#received(event.data);
    let opened = false;
    socket.addEventListener("open", () => (opened = true));
    socket.onclose = (event) => this.#closed(event.code, opened);
    this.#expectAnswer();
  }

  /** @param {ChatRequest} request */
  request(request) {
    this.#turns.set(request.message_id, {
      request,
      conversation: request.conversation_id,
      seq: 0,
      cancelled: false,
      catching: false,
    });
    if (this.#posting) void this.#post(request);
    else this.#send(request);
  }

  /**
   * Follow a turn from its beginning.
   * @param {string} conversation
   * @param {string} message the turn's message_id
   */
  watch(conversation, message) {
    if (this.#turns.has(message)) return;
    this.#over.delete(message);
    const turn = { request: null, conversation, seq: 0, cancelled: false, catching: false };
    this.#turns.set(message, turn);
    this.#resume(message, turn);
  }

  /**
   * Follow what anybody does in a conversation, from now on.
   * @param {string | null} conversation null for none
   */
  follow(conversation) {
    if (conversation === this.#followed) return;
    this.#followed = conversation;
    this.#following = false;
    this.#followWhenIdle();
  }

  /** @param {string} message the turn's message_id */
  cancel(message) {
    const turn = this.#turns.get(message);
    if (turn === undefined) return;
    turn.cancelled = true;
    if (turn.request === null) this.#sendCancel(message, turn);
  }

  #opened() {
    this.#expired = false;
    clearTimeout(this.#deadline);
    this.#deadline = undefined;
    this.#failures = 0;
    this.#refusals = 0;
    this.#posting = false;
    this.#following = false;
    this.#setState("open");
    for (const [message, turn] of this.#turns) {
      turn.catching = false;
      if (turn.request !== null) this.#send(turn.request);
      else this.#resume(message, turn);
      if (turn.request === null && turn.cancelled) this.#sendCancel(message, turn);
    }
    this.#followWhenIdle();
  }

  /**
   * @param {number} code
   * @param {boolean} opened whether it had been open
   */
  #closed(code, opened) {
    this.#socket = null;
    clearTimeout(this.#deadline);
    clearTimeout(this.#quiet);
    this.#deadline = undefined;
    if (code === LOGIN_EXPIRED) void this.checkLogin();
    else if (!this.#expired) this.#connectLater(opened);
  }

  /** @param {boolean} opened whether the last socket had been open */
  #connectLater(opened) {
    clearTimeout(this.#timer);
    const pause = Math.min(FIRST_DELAY_MS * 2 ** this.#failures, LONGEST_DELAY_MS);
    this.#failures += 1;
    // A restarted server must not meet all its users in the same instant.
    this.#timer = setTimeout(() => this.connect(), pause * (0.5 + Math.random() / 2));
    if (!this.#posting) this.#setState("lost");
    if (!opened) void this.#look();
  }

  /** Something may have changed for the better: the network is back, the page is visible again, a user has logged in. */
  wake() {
    if (this.#asking || this.#expired) void this.checkLogin();
    else if (this.#socket === null) this.connect();
    else this.#probe();
  }

  /** A line that died without a word looks like a quiet one, until something is asked. */
  #probe() {
    this.#send({ type: "cancel", message_id: PROBE });
  }

  /** Something has been asked; an answer, whichever, shows that the line is alive. */
  #expectAnswer() {
    if (this.#deadline !== undefined) return;
    const waiting = this.#socket?.bufferedAmount ?? 0;
    this.#deadline = setTimeout(() => {
      this.#deadline = undefined;
      const left = this.#socket?.bufferedAmount ?? 0;
      if (left > 0 && left < waiting) this.#expectAnswer(); // a slow line, and a long message
      else this.#giveUp();
    }, this.#patience);
  }

  #resetProbe() {
    clearTimeout(this.#deadline);
    clearTimeout(this.#quiet);
    this.#deadline = undefined;
    this.#patience = ANSWER_MS;
    if (this.#turns.size > 0) this.#quiet = setTimeout(() => this.#probe(), QUIET_MS);
  }

  /** The socket is dead, though the browser does not know it yet. */
  #giveUp() {
    const socket = this.#socket;
    if (socket === null) return;
    const opened = socket.readyState === WebSocket.OPEN;
    this.#patience = Math.min(2 * this.#patience, LONGEST_ANSWER_MS);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    this.#closed(0, opened);
    if (opened) this.connect();
  }

  /**
   * The login has ended, as it seems. A new login ends the old one on the server before the browser has the new cookie:
   * a request in between is answered with 401, so it is made once more.
   */
  async checkLogin() {
    this.#askAgain = true;
    if (this.#asking) return;
    this.#asking = true;
    /** @type {Awaited<ReturnType<typeof ownLogin>>} */
    let login = "unknown";
    while (this.#askAgain) {
      this.#askAgain = false;
      login = await ownLogin();
    }
    this.#asking = false;
    this.#expired = login === "out";
    if (login === "out") {
      clearTimeout(this.#timer);
      this.#setState("expired");
    } else if (this.#socket?.readyState === WebSocket.OPEN) this.#setState("open");
    else if (login === "in") this.connect();
    else if (this.#socket === null) this.#connectLater(true);
  }

  /** A socket that does not open gives no reason; a plain HTTP request finds it. */
  async #look() {
    const found = await reach();
    if (this.#socket?.readyState === WebSocket.OPEN) return;
    if (found === "unauthorized") {
      void this.checkLogin();
    } else if (found === "offline") {
      this.#refusals = 0;
      this.#posting = false;
      this.#setState("lost");
    } else {
      this.#refusals += 1;
      if (this.#refusals < REFUSALS) return;
      this.#posting = true;
      this.#setState("posting");
      for (const { request } of this.#turns.values()) if (request !== null) void this.#post(request);
    }
  }

  /** @param {ChatRequest} request */
  async #post(request) {
    const id = request.message_id;
    if (this.#posted.has(id)) return;
    this.#posted.add(id);
    /** @type {ServerMessage[]} */
    let events;
    try {
      const { response, conversation_id } = await postMessage(request);
      events = [
        { type: "accepted", conversation_id },
        { type: "token", token: response, seq: 1 },
        { type: "complete", stop_reason: "end_turn", seq: 2 },
      ];
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.code === "offline") return; // asked again, under the same id, when the server is back
      if (error.code === "unauthorized") void this.checkLogin();
      const { code, message, retryAfter: retry_after, conversation: conversation_id } = error;
      events = [{ type: "error", code, message, retry_after }];
      if (conversation_id !== undefined) {
        events = [{ type: "accepted", conversation_id }, { type: "error", code, message, seq: 1 }];
      }
    } finally {
      this.#posted.delete(id);
    }
    // A socket may have opened during the request and brought it all.
    if (this.#turns.get(id)?.request == null) return;
    for (const event of events) this.#order(id, { ...event, message_id: id });
  }

  /** @param {Connection} connection */
  #setState(connection) {
    this.dispatchEvent(new CustomEvent("connection", { detail: connection }));
  }

  /** @param {unknown} data */
  #received(data) {
    this.#resetProbe();
    if (typeof data !== "string") return;
    /** @type {ServerMessage} */
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      console.warn("not JSON:", data);
      return;
    }
    const id = message.message_id;
    if (id === PROBE) return;
    if (id === undefined) this.#deliver(message);
    else if (!this.#over.has(id)) this.#order(id, message);
  }

  /**
   * Deliver a turn's message if its time has come.
   * @param {string} id
   * @param {ServerMessage} message
   */
  #order(id, message) {
    const turn = this.#turns.get(id);
    if (message.type === "accepted") {
      if (turn === undefined) {
        const conversation = message.conversation_id;
        this.#turns.set(id, { request: null, conversation, seq: 0, cancelled: false, catching: false });
      } else {
        turn.conversation = message.conversation_id;
        if (turn.request !== null && turn.cancelled) this.#sendCancel(id, turn);
        turn.request = null;
      }
      this.#deliver(message);
    } else if (turn === undefined) {
      this.#deliver(message);
    } else if (message.seq === undefined) {
      this.#answered(id, turn, message);
    } else if (message.seq === turn.seq + 1) {
      turn.seq += 1;
      turn.catching = false;
      if (message.type === "complete" || message.type === "error") this.#end(id);
      this.#deliver(message);
    } else if (message.seq > turn.seq && !turn.catching) {
      turn.catching = true;
      this.#resume(id, turn);
    }
  }

  /**
   * An error that is no event of the turn: the answer to what we sent about it.
   * @param {string} id
   * @param {Live} turn
   * @param {ServerMessage} message
   */
  #answered(id, turn, message) {
    if (turn.request === null && message.code === "unavailable") {
      setTimeout(() => this.#resume(id, turn), UNAVAILABLE_DELAY_MS);
      return;
    }
    if (turn.request !== null) this.#end(id);
    else if (message.code === "reset" || message.code === "not_found") this.#turns.delete(id);
    this.#deliver(message);
  }

  /** @param {string} id */
  #end(id) {
    this.#turns.delete(id);
    this.#over.add(id);
    this.#followWhenIdle();
  }

  /** @param {ServerMessage} message */
  #deliver(message) {
    this.dispatchEvent(new CustomEvent("message", { detail: message }));
  }

  /**
   * @param {string} message
   * @param {Live} turn
   */
  #resume(message, turn) {
    this.#send({ type: "subscribe", conversation_id: turn.conversation, message_id: message, after: turn.seq });
  }

  /**
   * @param {string} message
   * @param {Live} turn
   */
  #sendCancel(message, turn) {
    this.#send({ type: "cancel", message_id: message, conversation_id: turn.conversation }, false);
    this.#probe(); // the end of a turn takes its time
  }

  /** A running turn is followed by its own cursor; a second one would bring every event twice. */
  #followWhenIdle() {
    const conversation = this.#followed;
    if (conversation === null || this.#following || this.#socket?.readyState !== WebSocket.OPEN) return;
    for (const turn of this.#turns.values()) if (turn.conversation === conversation) return;
    this.#following = true;
    this.#send({ type: "subscribe", conversation_id: conversation }, false);
  }

  /**
   * What cannot be sent now is sent by `#opened`.
   * @param {object} message
   * @param {boolean} [answered] whether it is answered at once, and not only when something happens
   */
  #send(message, answered = true) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#socket.send(JSON.stringify(message));
    if (answered) this.#expectAnswer();
  }
}
