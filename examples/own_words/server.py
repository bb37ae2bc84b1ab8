"""A chat with words of its own: a session is made by POST, its id stands in the address, a first message logs in.

One Claude serves a session. What it writes is put together by the server: ``piece`` frames, then ``finished``.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import WSMsgType, web

WORDS = ("--print", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose")

PAGE = """<!doctype html><title>Chat</title><form><input autofocus></form><main></main>
<script>
(async () => {
  const made = await fetch("/api/sessions", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ name: "ada" }),
  });
  const { session } = await made.json();
  const socket = new WebSocket(`${location.origin.replace("http", "ws")}/live/${session.id}`);
  const send = (message) => socket.send(JSON.stringify(message));
  socket.onopen = () => send({ kind: "login", token: session.token });
  socket.onmessage = ({ data }) => {
    const frame = JSON.parse(data);
    if (frame.kind === "piece") document.querySelector("main").append(frame.chunk);
    if (frame.kind !== "piece") document.querySelector("main").dataset.last = frame.kind;
  };
  document.forms[0].onsubmit = (event) => {
    event.preventDefault();
    send({ kind: "say", say: { text: document.querySelector("input").value } });
  };
})();
</script>"""


class Session:
    """One Claude, and the text of its answers."""

    def __init__(self, claude: str) -> None:
        self.claude = claude
        self.token = secrets.token_hex(8)
        self.process: asyncio.subprocess.Process | None = None

    async def answers(self, text: str) -> AsyncIterator[dict[str, Any]]:
        """The frames that answer a prompt."""
        if self.process is None or self.process.returncode is not None:
            self.process = await asyncio.create_subprocess_exec(
                self.claude,
                *WORDS,
                "--include-partial-messages",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                limit=1 << 26,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = {"type": "user", "message": {"role": "user", "content": text}}
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        said = ""
        async for raw in self.process.stdout:
            try:
                event = json.loads(raw)
            except ValueError:
                continue
            if not isinstance(event, dict) or event.get("parent_tool_use_id"):
                continue
            if event.get("type") == "stream_event":
                delta = event["event"].get("delta", {})
                if delta.get("type") == "text_delta":
                    said += delta["text"]
                    yield {"kind": "piece", "chunk": delta["text"]}
            elif event.get("type") == "result":
                if not said and not event.get("is_error"):
                    yield {"kind": "piece", "chunk": event.get("result", "")}
                yield {"kind": "broken"} if event.get("is_error") else {"kind": "finished"}
                return
        self.process = None
        yield {"kind": "broken"}

    async def end(self) -> None:
        """End its Claude."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


class Chat:
    """The routes."""

    def __init__(self, claude: str) -> None:
        self.claude = claude
        self.sessions: dict[str, Session] = {}

    async def make(self, request: web.Request) -> web.Response:
        """Make a session."""
        body = await request.json()
        if not body.get("name"):
            raise web.HTTPBadRequest
        name = secrets.token_hex(6)
        session = self.sessions[name] = Session(self.claude)
        response = web.json_response({"session": {"id": name, "token": session.token}}, status=201)
        response.set_cookie("seat", name)
        return response

    async def live(self, request: web.Request) -> web.WebSocketResponse:
        """One connection of a session."""
        session = self.sessions.get(request.match_info["name"])
        if session is None or request.cookies.get("seat") != request.match_info["name"]:
            raise web.HTTPForbidden
        ws = web.WebSocketResponse(heartbeat=0.5)
        await ws.prepare(request)
        try:
            await self.converse(ws, session)
        finally:
            await session.end()
        return ws

    async def converse(self, ws: web.WebSocketResponse, session: Session) -> None:
        """Log in, then answer one prompt after the other."""
        if await ws.receive_json() != {"kind": "login", "token": session.token}:
            await ws.close(code=4401)
            return
        await ws.send_json({"kind": "welcome"})
        async for message in ws:
            if message.type == WSMsgType.TEXT:
                asked = json.loads(message.data)
                async for frame in session.answers(asked["say"]["text"]):
                    await ws.send_json(frame)

    async def leave(self, _: web.Application) -> None:
        """End every Claude."""
        for each in self.sessions.values():
            await each.end()


async def page(_: web.Request) -> web.Response:
    """The page of the chat."""
    return web.Response(text=PAGE, content_type="text/html")


def app(claude: str) -> web.Application:
    """The server."""
    chat = Chat(claude)
    made = web.Application()
    made.on_shutdown.append(chat.leave)
    made.add_routes(
        [web.get("/", page), web.post("/api/sessions", chat.make), web.get("/live/{name}", chat.live)]
    )
    return made


if __name__ == "__main__":
    web.run_app(app(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), shutdown_timeout=0.5)
