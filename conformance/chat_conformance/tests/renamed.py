"""The reference server behind a proxy that has other names for everything: ``python -m … PORT DATA CLAUDE``.

It is written without the suite's `Dialect`, so that the two can disagree.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp import WSMsgType, hdrs, web
from multidict import istr

from chat_conformance.target.ports import free_port

OURS = "acme-talk"
MEMBERS = {
    "message_id": "turn",
    "conversation_id": "thread",
    "message": "text",
    "token": "piece",
    "seq": "n",
    "stop_reason": "why",
    "response": "answer",
    "messages": "lines",
    "content": "said",
    "conversations": "threads",
    "next": "more",
    "before": "from",
    "limit": "count",
}
TYPES = {
    "chat_request": "prompt",
    "subscribe": "watch",
    "token": "delta",
    "complete": "done",
    "error": "oops",
}
WORDS = {"cancelled": "stopped", "not_found": "nothing_there", "busy": "one_at_a_time", "user": "human"}
BACK = {theirs: ours for ours, theirs in MEMBERS.items()}
TYPES_BACK = {theirs: ours for ours, theirs in TYPES.items()}


def renamed(value: Any) -> Any:
    """A document with our names and words."""
    if isinstance(value, list):
        return [renamed(each) for each in value]
    if isinstance(value, dict):
        return {MEMBERS.get(name, name): renamed(each) for name, each in value.items()}
    return WORDS.get(value, value) if isinstance(value, str) else value


def to_client(text: str) -> str:
    """A frame of the reference as ours: an array of its type and all else; tokens lie one level deeper."""
    frame = json.loads(text)
    kind = frame.pop("type")
    # Only words are renamed, and not what people or Claude wrote.
    said = {name: frame.pop(name) for name in ("token", "message") if name in frame}
    rest = renamed(frame) | {MEMBERS[name]: value for name, value in said.items()}
    if kind == "token":
        rest["says"] = {"piece": rest.pop("piece")}
    return json.dumps([TYPES.get(kind, kind), rest])


def to_reference(text: str) -> str:
    """A frame of a client as the reference has it; what is none of ours goes as it is."""
    try:
        kind, rest = json.loads(text)
        frame = {BACK.get(name, name): value for name, value in rest.items()}
        return json.dumps({"type": TYPES_BACK.get(kind, kind), **frame})
    except (ValueError, TypeError, AttributeError, RecursionError):
        return text if len(text) > 1 and not text.startswith("{") else "nothing of ours"


POLICIES = (
    *("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cache-Control"),
    *("Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy", "Permissions-Policy"),
)


@web.middleware
async def _odd_requests(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer what cannot be read with 400."""
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the client sent it
        return web.json_response({"oops": {"reason": "bad_request", "text": str(error)}}, status=400)


class Renamer:
    """The renaming server."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http = http
        self.url = url

    def app(self) -> web.Application:
        """Its paths, none of which the reference has."""
        app = web.Application(client_max_size=1 << 24, middlewares=[_odd_requests])
        app.router.add_get("/api/live", self.live)
        app.router.add_get("/ping", lambda request: self.passed(request, "/health"))
        app.router.add_get("/api/page", lambda request: self.passed(request, "/chat/"))
        app.router.add_post("/api/ask", lambda request: self.passed(request, "/chat"))
        app.router.add_post("/api/threads", lambda request: self.passed(request, "/chat/new"))
        app.router.add_get("/api/threads", lambda request: self.passed(request, "/chat/history"))
        app.router.add_route("*", "/api/thread", self.thread)
        return app

    async def thread(self, request: web.Request) -> web.StreamResponse:
        """One conversation, named in the query."""
        return await self.passed(request, f"/chat/history/{request.query['id']}")

    async def passed(self, request: web.Request, path: str) -> web.StreamResponse:
        """Ask the reference and rename what it says."""
        form = {BACK.get(name, name): str(value) for name, value in (await request.post()).items()}
        query = {BACK.get(name, name): value for name, value in request.query.items() if name != "id"}
        headers = {hdrs.ORIGIN: origin} if (origin := self.origin(request)) else {}
        headers |= {
            istr(name): value for name, value in request.headers.items() if name.startswith("Sec-Fetch-")
        }
        async with self.http.request(
            request.method, self.url + path, data=form or None, params=query, headers=headers
        ) as answer:
            body, status = await answer.read(), answer.status
        kept = {name: answer.headers[name] for name in POLICIES if name in answer.headers}
        if answer.content_type != "application/json":
            return web.Response(body=body, status=status, content_type=answer.content_type, headers=kept)
        document = json.loads(body)
        said = document.pop("response", None)
        answer = renamed(document) | ({} if said is None else {"answer": said})
        if error := answer.pop("error", None):
            answer["oops"] = {"reason": error["code"], "text": error["text"]}
        for line, each in zip(answer.get("lines", []), document.get("messages", []), strict=True):
            line["said"] = each["content"]
        return web.json_response(answer, status=status, headers=kept)

    def origin(self, request: web.Request) -> str:
        """The origin of a request as the reference should see it."""
        origin = request.headers.get(hdrs.ORIGIN, "")
        return self.url if origin == f"http://{request.host}" else origin

    async def live(self, request: web.Request) -> web.WebSocketResponse:
        """One WebSocket, tied to one of the reference's."""
        ws = web.WebSocketResponse(protocols=[OURS], autoping=False, max_msg_size=1 << 24)
        await ws.prepare(request)
        async with self.http.ws_connect(
            f"{self.url}/chat/ws", protocols=["chat-stream-v1"], autoping=False, max_msg_size=1 << 26
        ) as behind:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self.carry(ws, behind, to_reference)),
                    group.create_task(self.carry(behind, ws, to_client)),
                ]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
            await ws.close(code=behind.close_code or 1000)
        return ws

    async def carry(self, source: Any, sink: Any, rename: Any) -> None:
        """Carry messages one way, to the end of the source."""
        async for message in source:
            match message.type:
                case WSMsgType.TEXT:
                    await sink.send_str(rename(message.data))
                case WSMsgType.BINARY:
                    await sink.send_bytes(message.data)
                case WSMsgType.PING:
                    await sink.ping(message.data)
                case WSMsgType.PONG:
                    await sink.pong(message.data)


async def main(port: int, data: str, claude: str) -> None:
    """Start the reference, and the proxy before it; end both on SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    behind = free_port(f"behind {port}")
    words = ["-m", "chat_server", "--port", str(behind), "--data", data, "--claude", claude]
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    while b"Chat ready at" not in await process.stdout.readline():
        pass
    async with aiohttp.ClientSession() as http:
        runner = web.AppRunner(Renamer(http, f"http://127.0.0.1:{behind}").app(), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        print("the proxy is open", flush=True)  # noqa: T201 - what the target file waits for
        await stop.wait()
        await runner.cleanup()
    process.terminate()
    await process.communicate()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
