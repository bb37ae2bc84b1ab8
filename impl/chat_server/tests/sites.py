"""A fake to ask and a server to talk to, for the length of a test."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from msgspec.structs import replace

from chat_server.app import make_app
from chat_server.claude.pool import Claude
from chat_server.limits import Limits
from chat_server.metrics import Metrics
from chat_server.protocol import Event
from chat_server.settings import Settings
from chat_server.store.database import opened
from chat_server.store.store import Store
from chat_server.tests.loop_clock import EVER, in_time
from chat_server.turns.event_log import TurnLog
from chat_server.turns.manager import Turns
from chat_server.web.serving import bounds_of, listen
from fake_claude.gates import Gate
from fake_claude.install import install
from fake_claude.ledger import Run, read


@dataclass(frozen=True)
class Fake:
    """The stand-in for the CLI, with its ledger and its gates."""

    directory: Path
    command: list[str]

    @classmethod
    def installed(cls, directory: Path) -> Fake:
        return cls(directory, [str(install(directory))])

    def gate(self, name: str) -> Gate:
        return Gate(self.directory / "gates", name)

    def remove(self) -> None:
        """Take the CLI away."""
        Path(self.command[0]).unlink()

    def runs(self) -> list[Run]:
        """The runs so far, oldest first."""
        return read(self.directory / "ledger")


PRELUDE = f"""#!{sys.executable} -IS
import json, os, signal, sys, time
def say(kind, **members): print(json.dumps({{"type": kind, **members}}), flush=True)
def init(session="11111111-2222-4333-8444-55555555aaaa"): say("system", subtype="init", session_id=session)
def text(words): say("assistant", message={{"id": "m", "content": [{{"type": "text", "text": words}}]}})
def result(**members): say("result", **{{"subtype": "success", "is_error": False, "result": "", **members}})
def read(): return json.loads(sys.stdin.readline())
"""


def program(folder: Path, code: str) -> list[str]:
    """A CLI of a few lines, for what no fake should do; the functions of the prelude help it."""
    path = folder / "odd-claude"
    path.write_text(PRELUDE + code)
    path.chmod(0o755)
    return [str(path)]


def make_settings(folder: Path, **changes: Any) -> Settings:
    """Settings for a test: everything below ``folder``, nothing that runs out by itself, no limits.

    Where a process or a turn does not end when it is asked to, the test sets its grace to 0 or moves the clock.
    """
    settings = Settings(
        data=folder / "data",
        port=0,
        claude_env=("TEST_RUN",),  # by which what a test leaves behind is found
        claude_spare=0,
        claude_grace_seconds=EVER,
        claude_silence_seconds=EVER,
        claude_idle_seconds=EVER,
        header_seconds=EVER,
        keepalive_seconds=EVER,
        turn_kept_seconds=EVER,
        stop_grace_seconds=EVER,
        requests_per_hour=0,
        requests_per_day=0,
        tokens_per_day=0,
        concurrent_turns=0,
        sockets_per_user=0,
    )
    return replace(settings, **changes)


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    now: float = 1_800_000_000.0  # 2027-01-15, 08:00 UTC

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Parts:
    """The server without its HTTP side."""

    settings: Settings
    store: Store
    claude: Claude
    turns: Turns
    metrics: Metrics
    clock: Clock

    async def turn(self, message: str, **named: str) -> list[Event]:
        """The events of a turn, from its start to its end."""
        return await events(await self.turns.start("ada", message, **named))


@asynccontextmanager
async def parts(command: list[str], folder: Path, **changes: Any) -> AsyncIterator[Parts]:
    settings = make_settings(folder, **changes)
    settings.data.mkdir(exist_ok=True)
    clock, metrics = Clock(), Metrics()
    database = f"sqlite:///{settings.data / 'chat.sqlite3'}"
    limits = Limits(settings.requests_per_hour, settings.requests_per_day, settings.tokens_per_day)
    async with (
        opened(database, clock) as store,
        Claude(command, settings) as claude,
        Turns(
            store,
            claude,
            metrics,
            limits=limits,
            concurrent=settings.concurrent_turns,
            message_max_bytes=settings.message_max_bytes,
            retention_seconds=settings.turn_kept_seconds,
            grace_seconds=settings.stop_grace_seconds,
        ) as turns,
    ):
        yield Parts(settings, store, claude, turns, metrics, clock)


async def events(log: TurnLog) -> list[Event]:
    """A log's events once it is over."""
    async with in_time():
        await log.wait_ended(math.inf)
    return log.read(0)


@dataclass(frozen=True)
class Peer:
    """The other end of a WebSocket."""

    ws: aiohttp.ClientWebSocketResponse

    async def send(self, kind: str, **members: Any) -> None:
        await self.ws.send_str(json.dumps({"type": kind, **members}))

    async def chat(self, message: str, **named: str) -> None:
        await self.send("chat_request", message=message, **named)

    async def receive(self) -> dict[str, Any]:
        """The next message."""
        async with in_time():
            frame = await self.ws.receive()
        assert frame.type is aiohttp.WSMsgType.TEXT, frame
        message: dict[str, Any] = json.loads(frame.data)
        return message

    async def until(self, *kinds: str) -> list[dict[str, Any]]:
        """The messages up to the next one of these types."""
        received = [await self.receive()]
        while received[-1]["type"] not in kinds:
            received.append(await self.receive())
        return received

    async def turn(self) -> list[dict[str, Any]]:
        """The messages up to the end of a turn."""
        return await self.until("complete", "error")

    async def text(self, wanted: str) -> list[dict[str, Any]]:
        """The messages until their tokens are the text wanted."""
        received: list[dict[str, Any]] = []
        while spoken(received) != wanted:
            received.append(await self.receive())
        return received

    async def closed(self) -> int | None:
        """The close code, once the server has closed."""
        async with in_time():
            while not (await self.ws.receive()).type.name.startswith("CLOS"):
                pass
        return self.ws.close_code


async def until(true: Callable[[], object]) -> None:
    """Wait for what nobody announces, such as the end of a transport."""
    async with in_time():
        while not true():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.002)


def spoken(messages: list[dict[str, Any]]) -> str:
    """The answer that messages spell."""
    text = ""
    for message in messages:
        if message["type"] == "rewind":
            text = text[: message["to"]]
        text += message.get("token", "")
    return text


@dataclass(frozen=True)
class Address:
    """A server that runs somewhere."""

    url: str
    http: aiohttp.ClientSession

    @property
    def place(self) -> tuple[str, int]:
        """Its host and port."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    @asynccontextmanager
    async def socket(self, **options: Any) -> AsyncIterator[Peer]:
        async with self.http.ws_connect(f"{self.url}/chat/ws", protocols=["chat-stream-v1"], **options) as ws:
            yield Peer(ws)

    async def get(self, path: str, status: int = 200) -> Any:
        """The JSON document at a path."""
        async with self.http.get(self.url + path) as response:
            assert response.status == status, await response.text()
            return await response.json()

    async def history(self, conversation_id: str) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = (await self.get(f"/chat/history/{conversation_id}"))["messages"]
        return messages


@dataclass(frozen=True)
class Site(Address):
    """A server that runs here, to be looked into."""

    app: web.Application
    runner: web.AppRunner


@asynccontextmanager
async def site(
    command: list[str], folder: Path, *, shutdown: float = EVER, **changes: Any
) -> AsyncIterator[Site]:
    """``shutdown`` is how long aiohttp waits for handlers, in seconds."""
    settings = make_settings(folder, **changes)
    app = make_app(settings, command=command)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=shutdown, handle_signals=False)
    await runner.setup()
    try:
        listening = await listen(runner, settings.host, 0, bounds_of(settings))
        try:
            url = "http://{}:{}".format(*listening.sockets[0].getsockname())
            async with aiohttp.ClientSession() as http:
                yield Site(url, http, app, runner)
        finally:
            listening.close()
    finally:
        await runner.cleanup()
