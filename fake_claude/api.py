"""The second player: a loopback Messages API that makes the real CLI say what a script says."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

from aiohttp import web

from .conversation import read_messages
from .gates import Arrival
from .ids import fresh_id
from .player import Scripts
from .reply import DELTA_MEMBER, Delta, Fault, Trick, play
from .script import ScriptError
from .waits import Delay, Hold, Stall, Wait

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from .conversation import Ask
    from .script import Step

    Event = dict[str, Any]

MAX_REQUEST = 64 * 1024 * 1024
"""Bytes of a request; the CLI sends its whole history each time."""


class Broken(Exception):
    """The script says that the API fails here."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.kind)
        self.fault = fault


def delta_event(delta: Delta) -> Event:
    """Return the API's event for one piece."""
    inner = {"type": delta.kind, DELTA_MEMBER[delta.kind]: delta.text}
    return {"type": "content_block_delta", "index": delta.index, "delta": inner}


def error_body(type_: str, message: str) -> Event:
    """Return the API's body for an error."""
    return {"type": "error", "error": {"type": type_, "message": message}, "request_id": fresh_id("req")}


def assemble(message: Event, events: Sequence[Event]) -> Event:
    """Join the events of one answer into the message that a request without streaming gets."""
    blocks: list[Event] = []
    for event in events:
        match event["type"]:
            case "message_start":
                message = {**event["message"], "content": blocks}
            case "content_block_start":
                blocks.append({**event["content_block"]})
            case "content_block_delta":
                kind, block = event["delta"]["type"], blocks[event["index"]]
                member = DELTA_MEMBER[kind]
                block[member] = block.get(member, "") + event["delta"][member]
            case "content_block_stop":
                block = blocks[event["index"]]
                if "partial_json" in block:
                    block["input"] = json.loads(block.pop("partial_json") or "{}")
            case "message_delta":
                message |= event["delta"]
                message["usage"] = {**message["usage"], **event["usage"]}
    return message


class Player:
    """Answers requests with what the scripts say."""

    def __init__(self, scripts: Scripts, gates: Path) -> None:
        self.scripts = scripts
        self.gates = gates
        self._attempts: Counter[str] = Counter()

    def attempt(self, body: Mapping[str, Any]) -> int:
        """Return how often this very request came before."""
        session = str((body.get("metadata") or {}).get("user_id"))
        key = hashlib.sha256((session + json.dumps(body["messages"])).encode()).hexdigest()
        self._attempts[key] += 1
        return self._attempts[key] - 1

    async def events(self, steps: Sequence[Step], ask: Ask, model: str) -> AsyncIterator[Event]:
        """Yield the events of one answer in their own time.

        Raises:
            Broken: Here the answer breaks.
        """
        for action in play(steps, ask, model):
            match action:
                case Delta():
                    yield delta_event(action)
                case Wait():
                    await self._wait(action)
                case Fault():
                    raise Broken(action)
                case Trick():
                    pass
                case _:
                    yield action

    async def _wait(self, wait: Wait) -> None:
        match wait:
            case Delay():
                await asyncio.sleep(wait.seconds)
            case Hold():
                await pass_gate(str(self.gates), wait.name)
            case Stall():
                await asyncio.Event().wait()


async def pass_gate(folder: str, name: str) -> None:
    """Stand at a gate until it lets us pass."""
    loop = asyncio.get_running_loop()
    gate = Arrival(folder, name)
    try:
        while not gate.passed():
            ready = asyncio.Event()
            loop.add_reader(gate.fd, ready.set)
            try:
                await ready.wait()
            finally:
                loop.remove_reader(gate.fd)
    finally:
        gate.close()


PLAYER = web.AppKey("player", Player)


async def messages(request: web.Request) -> web.StreamResponse:
    """``POST /v1/messages``, streaming or not."""
    player = request.app[PLAYER]
    try:
        body = await request.json()
        ask = read_messages(body["messages"])
        model = body["model"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return web.json_response(error_body("invalid_request_error", f"not a request: {error!r}"), status=400)
    try:
        steps = player.scripts.steps(ask)
    except ScriptError as error:
        return web.json_response(error_body("invalid_request_error", str(error)), status=400)
    events = player.events(steps, ask, model)
    if not body.get("stream"):
        collected = [event async for event in events]
        return web.json_response(assemble({}, collected), headers={"request-id": fresh_id("req")})
    return await stream(request, events)


async def stream(request: web.Request, events: AsyncIterator[Event]) -> web.StreamResponse:
    """Send events as they come, one server-sent event each."""
    response = web.StreamResponse(
        headers={
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            "request-id": fresh_id("req"),
        }
    )
    response.enable_chunked_encoding()
    await response.prepare(request)
    async for event in events:
        data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        await response.write(f"event: {event['type']}\ndata: {data}\n\n".encode())
    await response.write_eof()
    return response


async def count_tokens(request: web.Request) -> web.Response:
    """``POST /v1/messages/count_tokens``: words stand for tokens."""
    body = await request.json()
    return web.json_response({"input_tokens": max(1, read_messages(body.get("messages", [])).words)})


async def hello(_request: web.Request) -> web.Response:
    """Answer the CLI's look at the base address."""
    return web.Response(text="fake-claude api\n")


def make_app(scripts: Scripts, gates: Path) -> web.Application:
    """Return the API as an application."""
    app = web.Application(client_max_size=MAX_REQUEST)
    app[PLAYER] = Player(scripts, gates)
    app.router.add_post("/v1/messages", messages)
    app.router.add_post("/v1/messages/count_tokens", count_tokens)
    app.router.add_get("/", hello)
    return app


async def serve_until_stopped(*, port: int, gates: Path) -> None:
    """Serve on loopback and print the address; end on SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(make_app(Scripts(), gates), handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        print(f"listening on http://127.0.0.1:{runner.addresses[0][1]}", flush=True)  # noqa: T201
        await stop.wait()
    finally:
        await runner.cleanup()


def serve(*, port: int, gates: Path) -> None:
    """Run the API until it is told to stop."""
    asyncio.run(serve_until_stopped(port=port, gates=gates))
