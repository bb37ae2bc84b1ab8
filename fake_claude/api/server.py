"""A loopback Messages API: it makes the real CLI print what a script says."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

from aiohttp import web

from fake_claude.api.reply import DELTA_MEMBER, Delta, Fault, Misbehaviour, StepStarted, generate_reply
from fake_claude.catalog import find_model
from fake_claude.gates import Arrival
from fake_claude.ids import fresh_id
from fake_claude.ledger_writer import LedgerWriter
from fake_claude.script.ask import read_messages
from fake_claude.script.finder import ScriptFinder
from fake_claude.script.model import ScriptError
from fake_claude.waits import Delay, Hold, Stall, Wait

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from fake_claude.script.file import Entry

    Event = dict[str, Any]

MAX_REQUEST = 64 * 1024 * 1024
"""Bytes of a request; the CLI sends its whole history each time."""


class ScriptedFailure(Exception):
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
            # The deltas of a tool's input are no JSON until they are joined, and no delta at all means no
            # arguments.
            case "content_block_stop":
                block = blocks[event["index"]]
                if "partial_json" in block:
                    block["input"] = json.loads(block.pop("partial_json") or "{}")
            case "message_delta":
                message |= event["delta"]
                message["usage"] = {**message["usage"], **event["usage"]}
    return message


class ScriptedApi:
    """Answers requests with what the scripts say."""

    def __init__(
        self,
        scripts: ScriptFinder,
        gates: Path,
        note: Callable[[str], None] | None = None,
        *,
        before_cut: float = 0.3,
        on_request: Callable[[Any], None] | None = None,
    ) -> None:
        """``before_cut`` is the time between the last event and a cut; ``on_request`` is called with each request.

        A client that sees both at once may look at the cut alone.
        """
        self.scripts = scripts
        self.gates = gates
        self.before_cut = before_cut
        self.on_request = on_request or (lambda _body: None)
        self._note = note or (lambda _where: None)
        # To the API a retry is a request like any other: only session and turn say that it continues one. In
        # the fake CLI the turn itself keeps both.
        self._failed: dict[tuple[str, int], Counter[str]] = {}
        self._entries: dict[tuple[str, int], Entry | None] = {}

    def play(self, body: Mapping[str, Any]) -> Iterator[Any]:
        """Return the actions that answer this request.

        Raises:
            ScriptError: No script answers it, or an inline one cannot be understood.
        """
        ask = read_messages(body["messages"])
        session = str((body.get("metadata") or {}).get("user_id"))
        known = self._entries.get((session, ask.turn))
        play, self._entries[session, ask.turn] = self.scripts.find(ask, again=known)
        return generate_reply(
            play,
            ask,
            body["model"],
            failed=self._failed.setdefault((session, ask.turn), Counter()),
            streaming=bool(body.get("stream")),
            random=self.scripts.random,
        )

    async def events(self, actions: Iterator[Any]) -> AsyncIterator[Event]:
        """Yield the events of one answer in their own time.

        Raises:
            ScriptedFailure: Here the answer breaks.
        """
        for action in actions:
            match action:
                case Delta():
                    yield delta_event(action)
                case Wait():
                    await self._wait(action)
                case Fault():
                    raise ScriptedFailure(action)
                case StepStarted():
                    self._note(action.where)
                case Misbehaviour():
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
            # Several may stand at one gate, and readable does not mean that the byte is ours: another takes
            # it first, and we wait again.
            ready = asyncio.Event()
            loop.add_reader(gate.fd, ready.set)
            try:
                await ready.wait()
            finally:
                loop.remove_reader(gate.fd)
    finally:
        gate.close()


SCRIPTED_API = web.AppKey("scripted_api", ScriptedApi)


async def messages(request: web.Request) -> web.StreamResponse:
    """``POST /v1/messages``, streaming or not."""
    api = request.app[SCRIPTED_API]
    try:
        body = await request.json()
        if not isinstance(body["messages"], list) or not isinstance(body["model"], str):
            raise TypeError("messages is a list and model a string")  # noqa: TRY301 - one answer for every wrong request
        api.on_request(body)
        actions = api.play(body)
    # 400, since the CLI does not retry it: a test sees the script's mistake at once, not after ten retries.
    except ScriptError as error:
        return web.json_response(error_body("invalid_request_error", str(error)), status=400)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return web.json_response(error_body("invalid_request_error", f"not a request: {error!r}"), status=400)
    events = api.events(actions)
    # Any ``claude-…`` is a model, as ``Context.model_known`` has it: both players take the same names.
    if find_model(body["model"]) is None and not body["model"].startswith("claude-"):
        return web.json_response(error_body("not_found_error", f"model: {body['model']}"), status=404)
    try:
        if body.get("stream"):
            return await stream(request, events)
        collected = [event async for event in events if event["type"] != "ping"]
        return web.json_response(assemble({}, collected), headers={"request-id": fresh_id("req")})
    except ScriptedFailure as broken:
        return fail(request, broken.fault)


def fail(request: web.Request, fault: Fault) -> web.Response:
    """Answer a request that fails before its first event."""
    if fault.kind == "reset":
        # aiohttp wants a response, but nobody reads this one: the connection is gone.
        abort(request)
        return web.Response()
    headers = {"request-id": fresh_id("req")}
    if fault.retry_after is not None:
        headers["retry-after"] = str(fault.retry_after)
    if fault.should_retry is not None:
        headers["x-should-retry"] = "true" if fault.should_retry else "false"
    return web.json_response(error_body(fault.type, fault.message), status=fault.status, headers=headers)


def abort(request: web.Request) -> None:
    """Break the connection off, as a lost line would."""
    if request.transport is not None:
        request.transport.abort()


async def stream(request: web.Request, events: AsyncIterator[Event]) -> web.StreamResponse:
    """Send events as they come, one server-sent event each.

    Raises:
        ScriptedFailure: The answer fails before its first event.
    """
    response = web.StreamResponse(
        headers={
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            "request-id": fresh_id("req"),
        }
    )
    # The headers go out with the first event and not here: until then a fault can still be an HTTP status.
    response.enable_chunked_encoding()
    try:
        async for event in events:
            if not response.prepared:
                await response.prepare(request)
            await response.write(sse(event))
    except ScriptedFailure as broken:
        if not response.prepared:
            raise
        # An error event stands in a stream that ends in order; a cut is the lack of that end.
        if broken.fault.kind == "event":
            error = {"type": "error", "error": {"type": broken.fault.type, "message": broken.fault.message}}
            await response.write(sse(error))
        else:
            await asyncio.sleep(request.app[SCRIPTED_API].before_cut)
            # ``close`` and not ``abort``: what was written must arrive. The reader knows the cut by the
            # missing last chunk.
            if request.transport is not None:  # the stream never ends as it should
                request.transport.close()
            return response
    await response.write_eof()
    return response


def sse(event: Event) -> bytes:
    """Return one server-sent event."""
    data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return f"event: {event['type']}\ndata: {data}\n\n".encode()


async def count_tokens(request: web.Request) -> web.Response:
    """``POST /v1/messages/count_tokens``: words count as tokens."""
    try:
        body = await request.json()
        words = read_messages(body.get("messages", [])).words
    except (ValueError, TypeError, AttributeError) as error:
        return web.json_response(error_body("invalid_request_error", f"not a request: {error!r}"), status=400)
    return web.json_response({"input_tokens": max(1, words)})


async def probe(_request: web.Request) -> web.Response:
    """Answer the CLI's look at the base address."""
    return web.Response(text="fake-claude api\n")


class Coverage:
    """Notes in the ledger which steps the API played, as the fake CLI does."""

    def __init__(self, ledger: Path) -> None:
        self._record = LedgerWriter(str(ledger), ["api"])

    def __call__(self, where: str) -> None:
        """Note one step."""
        self._record.note("step", where=where)


def make_app(api: ScriptedApi) -> web.Application:
    """Return the API as an application."""
    app = web.Application(client_max_size=MAX_REQUEST)
    app[SCRIPTED_API] = api
    app.router.add_post("/v1/messages", messages)
    app.router.add_post("/v1/messages/count_tokens", count_tokens)
    app.router.add_get("/", probe)
    return app


async def serve_until_stopped(
    *,
    port: int,
    gates: Path,
    script: Path | None = None,
    state: Path | None = None,
    ledger: Path | None = None,
) -> None:
    """Serve on loopback and print the address; end on SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    scripts = ScriptFinder(str(script) if script else None, str(state) if state else None)
    if scripts.script is not None:
        print(f"seed {scripts.script.seed}", flush=True)  # noqa: T201
    api = ScriptedApi(scripts, gates, Coverage(ledger) if ledger else None)
    # A client that hangs up ends its handler; else an answer that stalls would wait for ever after the CLI
    # was killed. For the same reason shutdown waits half a second, not the minute that aiohttp gives.
    runner = web.AppRunner(make_app(api), handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        # Port 0 takes a free one: this line is how a caller learns the address, and that it may connect.
        print(f"listening on http://127.0.0.1:{runner.addresses[0][1]}", flush=True)  # noqa: T201
        await stop.wait()
    finally:
        await runner.cleanup()


def serve(
    *,
    port: int,
    gates: Path,
    script: Path | None = None,
    state: Path | None = None,
    ledger: Path | None = None,
) -> None:
    """Run the API until a signal stops it."""
    asyncio.run(serve_until_stopped(port=port, gates=gates, script=script, state=state, ledger=ledger))
