// The chat on Node's ws: ../node_ws/server.mjs in the ways that WAYS names (see chat.py).
import { createRequire } from "node:module";

const SERVER = new URL("../node_ws/server.mjs", import.meta.url);
const { WebSocket, WebSocketServer } = createRequire(SERVER)("ws");
const ways = new Set((process.env.WAYS ?? "").split(" "));

const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data, ...rest) {
  if (typeof data === "string") {
    const event = JSON.parse(data);
    if (ways.has("greets") && event.type === "accepted") send.call(this, '{"type":"notice"}');
    if (ways.has("talkative")) data = JSON.stringify({ ...event, sent_at: Date.now(), by: { version: [1, 2] } });
  }
  return send.call(this, data, ...rest);
};

const upgrade = WebSocketServer.prototype.handleUpgrade;
WebSocketServer.prototype.handleUpgrade = function (request, tcp, head, talk) {
  upgrade.call(this, request, tcp, head, (socket, ...rest) => {
    if (ways.has("greets")) send.call(socket, '{"type":"hello","token":7}');
    if (ways.has("drops")) socket.on("error", () => tcp.resetAndDestroy());
    if (ways.has("beats")) {
      const beat = setInterval(() => socket.pong("still here"), 50);
      socket.on("close", () => clearInterval(beat));
    }
    talk(socket, ...rest);
  });
};

await import(SERVER);
