// A chat server on Node's ws: PORT=8000 DATA=DIR CLAUDE=claude node server.mjs
import { createHash, randomBytes } from "node:crypto";
import { readdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";
import { ask } from "./claude.mjs";

const { PORT = "8000", DATA = "data", CLAUDE = "claude", KEEPALIVE_MS = "20000", GRACE_MS = "5000" } = process.env;
const PROTOCOL = "chat-stream-v1";
const MESSAGE_MAX = 1 << 20;
const FRAME_MAX = (2 << 20) + (1 << 16);
const PAGE = readFileSync(new URL("page.html", import.meta.url));
const SCRIPT = createHash("sha256").update(/<script>(.*?)<\/script>/s.exec(PAGE.toString())[1]).digest("base64");
const SAFE = { "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
  "Content-Security-Policy": `default-src 'none'; script-src 'sha256-${SCRIPT}'; connect-src 'self'; ` +
    "style-src 'unsafe-inline'; frame-ancestors 'none'" };
const STATUSES = { bad_request: 400, forbidden: 403, not_found: 404, busy: 409, reset: 410, too_large: 413,
  claude_failed: 502, interrupted: 502, claude_unavailable: 503 };

class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

// Conversations: {id, title, created_at, updated_at, rank, session, turns}; a turn's events are kept with it.
const chats = new Map();
const running = new Map(); // conversation id -> {stop, cancelled}
const following = new Map(); // socket -> Set of conversation ids, and of "conversation id/message id"
const waiting = new Map(); // turn -> callbacks for its end
const now = () => new Date().toISOString();

function save(chat) {
  if (chats.get(chat.id) !== chat) return; // it was deleted
  chat.rank = Math.max(...[...chats.values()].map((each) => each.rank ?? 0)) + 1;
  chat.updated_at = now();
  writeFileSync(`${DATA}/new`, JSON.stringify(chat));
  renameSync(`${DATA}/new`, `${DATA}/${chat.id}.json`);
}

function newChat(title) {
  const chat = { id: randomBytes(6).toString("hex"), title, created_at: now(), turns: [] };
  chats.set(chat.id, chat);
  save(chat);
  return chat;
}

function find(id) {
  if (!chats.has(id)) throw new Refused("not_found", "there is no such conversation");
  return chats.get(id);
}

function over(turn) {
  return ["complete", "error"].includes(turn.events.at(-1)?.type);
}

function status(turn) {
  const last = turn.events.at(-1);
  if (!over(turn)) return "running";
  if (last.type === "error") return last.code === "interrupted" ? "interrupted" : "failed";
  return last.stop_reason === "cancelled" ? "cancelled" : "complete";
}

// The tokens of a turn, rewinds applied.
function textOf(turn) {
  let text = "";
  for (const { type, to, token = "" } of turn.events)
    text = type === "rewind" ? [...text].slice(0, to).join("") : text + token;
  return text;
}

function add(chat, turn, event) {
  const ids = { message_id: turn.message_id, conversation_id: chat.id };
  turn.events.push({ ...event, ...ids, seq: turn.events.length + 1 });
  if (over(turn)) save(chat);
  tell(chat, turn, turn.events.at(-1));
  if (over(turn)) for (const done of waiting.get(turn) ?? []) done();
}

function tell(chat, turn, event) {
  const text = JSON.stringify(event);
  for (const [socket, ids] of following)
    if (ids.has(chat.id) || ids.has(`${chat.id}/${turn.message_id}`)) socket.send(text);
}

function replay(socket, chat, turn, after = 0) {
  const ids = { message_id: turn.message_id, conversation_id: chat.id };
  for (const event of [{ type: "accepted", ...ids }, ...turn.events.slice(after)]) socket.send(JSON.stringify(event));
  following.get(socket).add(`${chat.id}/${turn.message_id}`);
}

// The conversation and turn of a message: sent before, or begun now.
function start(message, socket) {
  const { message: prompt, conversation_id: id } = message;
  if (typeof prompt !== "string" || !prompt.trim() || !prompt.isWellFormed()) throw new Refused("bad_request", "$.message: some text");
  if (Buffer.byteLength(prompt) > MESSAGE_MAX) throw new Refused("too_large", `$.message: at most ${MESSAGE_MAX} bytes`);
  check(message);
  const name = message.message_id ?? randomBytes(8).toString("hex");
  for (const chat of id == null ? chats.values() : [find(id)]) {
    const turn = (id == null ? chat.turns.slice(0, 1) : chat.turns).find((each) => each.message_id === name);
    if (turn) return { chat, turn, again: true };
  }
  if (running.has(id)) throw new Refused("busy", "this conversation is answering already");
  const chat = id == null ? newChat("") : find(id);
  const turn = { message_id: name, prompt, created_at: now(), events: [] };
  chat.title ||= [...prompt.trim().replace(/\s+/g, " ")].slice(0, 60).join("");
  chat.turns.push(turn);
  save(chat);
  if (socket) following.get(socket).add(`${chat.id}/${name}`);
  tell(chat, turn, { type: "accepted", message_id: name, conversation_id: chat.id });
  const run = { cancelled: false };
  running.set(chat.id, run);
  run.stop = ask(CLAUDE, prompt, chat.session, Number(GRACE_MS), (event) => {
    if (event.session) return void (chat.session = event.session);
    if (["token", "rewind", "status"].includes(event.type)) return run.cancelled || add(chat, turn, event);
    running.delete(chat.id);
    const nothing = { input_tokens: 0, output_tokens: 0 };
    add(chat, turn, run.cancelled ? { type: "complete", stop_reason: "cancelled", usage: nothing } : event);
  });
  return { chat, turn };
}

function cancel(chat) {
  const run = running.get(chat.id);
  if (!run || run.cancelled) return;
  run.cancelled = true;
  run.stop();
}

function check({ message_id: name, conversation_id: id, after }) {
  if (name != null && !(typeof name === "string" && /^[A-Za-z0-9_-]{1,64}$/.test(name)))
    throw new Refused("bad_request", "$.message_id: 1 to 64 of A-Z a-z 0-9 _ -");
  if (id != null && typeof id !== "string") throw new Refused("bad_request", "$.conversation_id: a string");
  if (after != null && !(Number.isInteger(after) && after >= 0)) throw new Refused("bad_request", "$.after: a number");
}

function take(socket, message) {
  const { type, message_id: name, conversation_id: id, after = 0 } = message;
  if (type === "chat_request") {
    const { chat, turn, again } = start(message, socket);
    if (again) replay(socket, chat, turn);
  } else if (type === "subscribe" && id != null) {
    check(message);
    const chat = find(id);
    const turn = name == null ? running.has(id) && chat.turns.at(-1) : chat.turns.find((each) => each.message_id === name);
    if (name != null && !turn) throw new Refused("not_found", "there is no such turn");
    if (turn && after > turn.events.length) throw new Refused("reset", `the turn has ${turn.events.length} events`);
    if (turn) replay(socket, chat, turn, after ?? 0);
    if (name == null) following.get(socket).add(id);
  } else if (type === "cancel" && name != null) {
    check(message);
    const some = id == null ? [...chats.values()] : [find(id)];
    const chat = some.findLast((each) => each.turns.some((turn) => turn.message_id === name));
    if (!chat) throw new Refused("not_found", "there is no such turn");
    const turn = chat.turns.find((each) => each.message_id === name);
    if (over(turn)) socket.send(JSON.stringify(turn.events.at(-1)));
    else cancel(chat);
  } else {
    throw new Refused("bad_request", "$: a chat_request, subscribe or cancel with its members");
  }
}

function talk(socket) {
  following.set(socket, new Set());
  let missed = 0;
  const ping = () => (missed++ < 4 ? socket.ping() : socket.terminate());
  const pings = setInterval(ping, Number(KEEPALIVE_MS));
  socket.on("pong", () => (missed = 0));
  socket.on("error", () => {}); // ws closes with the right code
  socket.on("close", () => {
    clearInterval(pings);
    following.delete(socket);
  });
  socket.on("message", (data, binary) => {
    let message;
    try {
      message = JSON.parse(binary ? "" : data.toString());
      if (message === null || typeof message !== "object") throw new SyntaxError("an object is needed");
      take(socket, message);
    } catch (error) {
      if (!(error instanceof Refused || error instanceof SyntaxError || error instanceof RangeError)) throw error;
      const code = error.code ?? "bad_request";
      socket.send(JSON.stringify({ type: "error", code, message: error.message, message_id: message?.message_id }));
    }
  });
}

const summary = ({ id, title, created_at, updated_at }) => ({ id, title: title || "New chat", created_at, updated_at });

function messages(chat) {
  return chat.turns.flatMap((turn) => {
    const about = { message_id: turn.message_id, created_at: turn.created_at };
    const { code, message, type } = turn.events.at(-1) ?? {};
    const error = type === "error" ? { error: { code, message } } : {};
    return [
      { role: "user", content: turn.prompt, status: "complete", ...about },
      { role: "assistant", content: textOf(turn), status: status(turn), ...about, ...error },
    ];
  });
}

function list(query) {
  const limit = Number(query.get("limit") ?? 50);
  const before = Number(query.get("before") ?? Infinity);
  const some = [...chats.values()].filter((each) => each.rank < before).sort((one, two) => two.rank - one.rank);
  const next = some.length > limit ? String(some[limit - 1].rank) : null;
  return { conversations: some.slice(0, limit).map(summary), next };
}

async function post(request, response) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const form = new URLSearchParams(Buffer.concat(parts).toString());
  const { chat, turn } = start(Object.fromEntries(form));
  const wait = setInterval(() => response.write(" "), Number(KEEPALIVE_MS)); // JSON allows it
  if (!over(turn)) await new Promise((done) => waiting.set(turn, [...(waiting.get(turn) ?? []), done]));
  waiting.delete(turn);
  clearInterval(wait);
  const last = turn.events.at(-1);
  const ids = { conversation_id: chat.id, message_id: turn.message_id };
  const failed = { error: { code: last.code, message: last.message } };
  if (!response.headersSent) response.statusCode = last.type === "error" ? STATUSES[last.code] : 200;
  response.end(JSON.stringify(last.type === "error" ? failed : { response: textOf(turn), ...ids }));
}

async function serve(request, response) {
  const { pathname, searchParams } = new URL(request.url, "http://here");
  const id = /^\/chat\/history\/([^/]+)$/.exec(pathname)?.[1];
  const answer = (code, body) => response.writeHead(code).end(body === undefined ? undefined : JSON.stringify(body));
  response.setHeader("Content-Type", "application/json");
  Object.entries(SAFE).forEach(([name, value]) => response.setHeader(name, value));
  switch (`${request.method} ${id ? "/chat/history/ID" : pathname}`) {
    case "GET /health": return answer(200, {});
    case "GET /chat/": return response.setHeader("Content-Type", "text/html; charset=utf-8").end(PAGE);
    case "POST /chat": return post(request, response);
    case "POST /chat/new": return answer(201, { conversation_id: newChat("").id });
    case "GET /chat/history": return answer(200, list(searchParams));
    case "GET /chat/history/ID": return answer(200, { ...summary(find(id)), messages: messages(find(id)) });
    case "DELETE /chat/history/ID": {
      const chat = find(id);
      chats.delete(id);
      unlinkSync(`${DATA}/${id}.json`);
      cancel(chat);
      return answer(204);
    }
    default: throw new Refused("not_found", "there is no such page");
  }
}

// Any other name that leads here is a foreign site's (DNS rebinding); behind a proxy, add the chat's own.
const HOSTS = [`127.0.0.1:${PORT}`, `localhost:${PORT}`];
const foreign = ({ method, headers: { host, origin, "sec-fetch-site": site } }) =>
  !HOSTS.includes(host) || (origin === undefined ? method !== "GET" && site === "cross-site" : origin !== `http://${host}`);
const server = createServer((request, response) => {
  const refuse = (error) => {
    if (!(error instanceof Refused)) console.error(error);
    const { code = "bad_request", message } = error;
    if (!response.headersSent) response.writeHead(STATUSES[code] ?? 400);
    response.end(JSON.stringify({ error: { code, message } }));
  };
  if (foreign(request)) return refuse(new Refused("forbidden", "a foreign page"));
  serve(request, response).catch(refuse);
});
const sockets = new WebSocketServer({
  noServer: true, // so that the origin is looked at first
  maxPayload: FRAME_MAX,
  handleProtocols: (offered) => offered.has(PROTOCOL) && PROTOCOL,
});
server.on("upgrade", (request, socket, head) => {
  socket.on("error", () => {});
  const { pathname } = new URL(request.url, "http://here");
  const wrong = foreign(request) ? "403 Forbidden" : pathname !== "/chat/ws" ? "404 Not Found"
    : request.httpVersion !== "1.1" ? "400 Bad Request"
    : request.headers["sec-websocket-version"] !== "13" ? "426 Upgrade Required\r\nSec-WebSocket-Version: 13" : "";
  if (wrong) return socket.end(`HTTP/1.1 ${wrong}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
  sockets.handleUpgrade(request, socket, head, talk);
});

for (const name of readdirSync(DATA).filter((each) => each.endsWith(".json"))) {
  const chat = JSON.parse(readFileSync(`${DATA}/${name}`, "utf8"));
  chats.set(chat.id, chat);
  for (const turn of chat.turns.filter((each) => !over(each)))
    add(chat, turn, { type: "error", code: "interrupted", message: "the server was killed" });
}
server.listen(Number(PORT), "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${PORT}/chat/`));
process.on("SIGTERM", async () => {
  server.close();
  for (const socket of sockets.clients) socket.close(1001);
  for (const run of running.values()) run.stop();
  while (running.size || sockets.clients.size) await new Promise((done) => setTimeout(done, 20));
  process.exit(0);
});
