"""A chat as a pull request once left it: WebSocket frames written by hand, in an ``http.server`` handler.

Two rounds of review had approved it. It is here to be judged, not to be used: ``python server.py PORT CLAUDE``.
"""

import asyncio
import base64
import hashlib
import json
import secrets
import struct
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs

PORT, CLAUDE = int(sys.argv[1]), sys.argv[2]
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PING_SECONDS = 1.0
REQUESTS_PER_HOUR = 60
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
PAGE = """<!doctype html><title>Chat</title><div id=log></div><form id=form><input id=message></form><script>
const socket = new WebSocket(`ws://${location.host}/chat/ws`, "chat-stream-v1");
socket.onmessage = (event) => {
  const data = JSON.parse(event.data);
  if (data.type === "token") document.getElementById("log").append(data.token);
};
document.getElementById("form").onsubmit = (event) => {
  event.preventDefault();
  socket.send(JSON.stringify({ type: "chat_request", message: document.getElementById("message").value }));
};
</script>"""

conversations: dict[str, list[dict[str, Any]]] = {}
queues: dict[str, asyncio.Queue[str]] = {}
requests: dict[str, list[float]] = {}


def frame(opcode: int, payload: bytes) -> bytes:
    if len(payload) < 126:
        return struct.pack("!BB", 0x80 | opcode, len(payload)) + payload
    if len(payload) < 1 << 16:
        return struct.pack("!BBH", 0x80 | opcode, 126, len(payload)) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, len(payload)) + payload


def unmask(masked: bytes, mask: bytes) -> bytes:
    whole = (mask * (len(masked) // 4 + 1))[: len(masked)]
    return (int.from_bytes(masked) ^ int.from_bytes(whole)).to_bytes(len(masked))


class WebSocket:
    """One connection: reads frames, sends pings, and runs what is asked."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, user: str) -> None:
        self.reader, self.writer, self.user = reader, writer, user
        self.queue: asyncio.Queue[str] = asyncio.Queue()
        queues[user] = self.queue

    async def serve(self) -> None:
        tasks = [asyncio.create_task(each()) for each in (self.pings, self.tokens)]
        try:
            await self.receive()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for task in tasks:
                task.cancel()
            queues.pop(self.user, None)
            self.writer.close()

    async def send(self, opcode: int, payload: bytes) -> None:
        self.writer.write(frame(opcode, payload))
        await self.writer.drain()

    async def pings(self) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            await self.send(PING, b"")

    async def tokens(self) -> None:
        while True:
            await self.send(TEXT, (await self.queue.get()).encode())

    async def receive(self) -> None:
        while True:
            first, second = await self.reader.readexactly(2)
            length = second & 0x7F
            if length == 126:
                length = struct.unpack("!H", await self.reader.readexactly(2))[0]
            elif length == 127:
                length = struct.unpack("!Q", await self.reader.readexactly(8))[0]
            mask = await self.reader.readexactly(4) if second & 0x80 else bytes(4)
            payload = unmask(await self.reader.readexactly(length), mask)
            opcode = first & 0x0F
            if opcode == CLOSE:
                await self.send(CLOSE, struct.pack("!H", 1000))
                return
            if opcode == PING:
                await self.send(PONG, payload)
            elif opcode == TEXT:
                await self.message(payload)

    async def message(self, payload: bytes) -> None:
        try:
            message = json.loads(payload)
        except ValueError:
            return  # an answer to a heartbeat
        if isinstance(message, dict) and message.get("type") == "chat_request":
            await self.answer(str(message.get("message")))

    async def answer(self, prompt: str) -> None:
        session = f"chat-{secrets.token_hex(6)}"
        claude = subprocess.Popen(  # noqa: ASYNC220
            [CLAUDE, "--print", "--output-format", "stream-json", "--session-id", session],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert claude.stdin is not None
        assert claude.stdout is not None
        try:
            claude.stdin.write(prompt)
            claude.stdin.close()
        except BrokenPipeError:
            pass
        answer = ""
        while line := claude.stdout.readline():
            event = json.loads(line)
            if event.get("type") == "content_block_delta":
                answer += event["delta"].get("text", "")
                await self.queue.put(event["delta"].get("text", ""))
            await asyncio.sleep(0)
        if not answer and claude.poll() is None:
            answer = claude.stdout.getvalue()  # type: ignore[attr-defined]
        await self.send(TEXT, json.dumps({"type": "complete"}).encode())


class Handler(BaseHTTPRequestHandler):
    """Pages, forms, and the route of the WebSocket."""

    protocol_version = "HTTP/1.1"

    def user(self) -> str | None:
        for cookie in (self.headers.get("Cookie") or "").split("; "):
            name, _, value = cookie.partition("=")
            if name == "session":
                return value.removeprefix("of-") if value.startswith("of-") else None
        return None

    def reply(self, status: int, body: Any, kind: str = "application/json") -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        user = self.user()
        conversation = self.path.removeprefix("/chat/history/")
        if self.path == "/health":
            self.reply(200, {"status": "ok"})
        elif user is None:
            self.reply(401, {"error": {"code": "unauthorized", "message": "log in"}})
        elif self.path == "/chat/ws":
            self.upgrade(user)
        elif self.path == "/chat/":
            self.reply(200, PAGE, "text/html; charset=utf-8")
        elif self.path.startswith("/chat/history") and conversation in conversations:
            self.reply(200, {"id": conversation, "messages": conversations[conversation]})
        elif self.path.split("?")[0] == "/chat/history":
            self.reply(200, {"conversations": [{"id": each} for each in conversations], "next": None})
        else:
            self.reply(404, {"error": {"code": "not_found", "message": "no such page"}})

    def upgrade(self, user: str) -> None:
        key = self.headers.get("Sec-WebSocket-Key")
        if not key:
            self.reply(400)  # type: ignore[call-arg]
        accept = base64.b64encode(hashlib.sha1(f"{key}{GUID}".encode()).digest()).decode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.send_header("Sec-WebSocket-Protocol", "chat-stream-v1")
        self.end_headers()
        self.close_connection = True
        asyncio.run(self.websocket(user))

    async def websocket(self, user: str) -> None:
        reader, writer = await asyncio.open_connection(sock=self.connection)
        await WebSocket(reader, writer, user).serve()

    def do_POST(self) -> None:
        user = self.user()
        form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())
        if user is None:
            self.reply(401, {"error": {"code": "unauthorized", "message": "log in"}})
        elif self.path == "/chat/new":
            conversation = secrets.token_hex(6)
            conversations[conversation] = []
            self.reply(201, {"conversation_id": conversation})
        elif self.path == "/chat":
            self.chat(user, form)
        else:
            self.reply(404, {"error": {"code": "not_found", "message": "no such page"}})

    def chat(self, user: str, form: dict[str, list[str]]) -> None:
        message = form.get("message", [""])[0].strip()
        recent = requests[user] = [each for each in requests.get(user, []) if each > time.time() - 3600]
        if not message:
            return self.reply(400, {"error": {"code": "bad_request", "message": "no message"}})
        if len(recent) >= REQUESTS_PER_HOUR:
            return self.reply(429, {"error": {"code": "rate_limited", "message": "too many"}})
        recent.append(time.time())
        conversation = form.get("conversation_id", [secrets.token_hex(6)])[0]
        history = conversations.setdefault(conversation, [])
        history.append({"role": "user", "content": message})
        done = subprocess.run([CLAUDE, "--print", message], capture_output=True, text=True, check=False)
        if done.returncode:
            return self.reply(502, {"error": {"code": "claude_failed", "message": done.stderr}})
        history.append({"role": "assistant", "content": done.stdout.strip()})
        return self.reply(200, {"response": done.stdout.strip(), "conversation_id": conversation})

    def log_message(self, *_: object) -> None:
        """Say nothing for each request."""


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", PORT), Handler)
    print(f"listening on http://127.0.0.1:{PORT}/chat/", flush=True)
    server.serve_forever()
