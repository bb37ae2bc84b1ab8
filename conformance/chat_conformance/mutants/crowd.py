"""The reference server without a bound on what one user or stranger may take."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp.web
import msgspec

import chat_server.store.store
import chat_server.web.connection
import chat_server.web.handlers
import chat_server.web.responses
from chat_conformance.mutants.registry import always, breaks, put, replace
from chat_server.claude.waiting_line import Ticket, WaitingLine
from chat_server.settings import Settings
from chat_server.shares import Shares
from chat_server.turns.manager import Turns
from chat_server.web.inflow import Inflow
from chat_server.web.serving import ClientProtocol


@breaks("silent-connection-kept")
def silent_connections_stay() -> None:
    """The time for a header begins with its first byte."""

    def make(connection_made: Any) -> Any:
        def mutant(self: ClientProtocol, transport: asyncio.BaseTransport) -> None:
            connection_made(self, transport)
            if self._late is not None:
                self._late.cancel()
                self._late = None

        return mutant

    put(ClientProtocol, "connection_made", make)


@breaks("header-timeout-restarts")
def each_byte_gains_time() -> None:
    """The time for a header begins anew with each byte."""

    def make(data_received: Any) -> Any:
        def mutant(self: ClientProtocol, data: bytes) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = self._loop.call_later(self._arrivals.bounds.header_seconds, self._too_late)
            data_received(self, data)

        return mutant

    put(ClientProtocol, "data_received", make)


@breaks("unbounded-frame-reads")
def reads_all_that_comes() -> None:
    """Frames are read as they come, however many."""
    put(Inflow, "attach", lambda _: lambda _self, reader, _line: reader)
    put(chat_server.web.connection, "FRAMES_AT_ONCE", lambda _: 1 << 30)


@breaks("unbounded-json-decoding")
def decodes_all_that_comes() -> None:
    """JSON becomes objects first, whatever it is."""

    def make(decode: Any) -> Any:
        def mutant(text: str, *_most: int) -> Any:
            loop = asyncio.get_running_loop()
            for again in range(20):  # more than once: others connect after the first
                loop.call_later(again * 0.2, msgspec.json.decode, text)
            return decode(text, len(text))

        return mutant

    put(chat_server.web.connection, "decode_client", make)
    put(chat_server.web.connection, "LARGE", lambda _: 1 << 30)


@breaks("compressed-body-inflated")
def inflates_bodies() -> None:
    """Compressed bodies are inflated as they come."""

    def make(init: Any) -> Any:
        def mutant(self: Any, *args: Any, **options: Any) -> None:
            init(self, *args, **{**options, "auto_decompress": True, "lingering_time": 10.0})

        return mutant

    put(aiohttp.web.RequestHandler, "__init__", make)


@breaks("history-in-one-piece")
def history_in_one_go() -> None:
    """A conversation is encoded as a whole, while everybody else waits."""

    def make(pieces: Any) -> Any:
        async def mutant(*args: Any) -> AsyncIterator[bytes]:
            document = json.loads(b"".join([piece async for piece in pieces(*args)]))
            yield json.dumps(document).encode()

        return mutant

    put(chat_server.web.responses, "PIECE", lambda _: 1 << 60)
    put(chat_server.web.handlers, "history_pieces", make)


@breaks("unbounded-half-messages")
def half_messages_pile_up() -> None:
    """What waits of a user's messages is not counted."""
    put(Shares, "wait", always(True))


@breaks("no-concurrency-limit")
def one_user_takes_all() -> None:
    """Any number of a user's turns run at once."""

    def make(init: Any) -> Any:
        def mutant(self: Turns, *args: Any, **options: Any) -> None:
            init(self, *args, **{**options, "concurrent": 0})

        return mutant

    put(Turns, "__init__", make)


@breaks("no-waiting-line")
def nobody_waits_in_line() -> None:
    """Whoever finds every Claude answering is refused at once."""
    put(Settings, "from_env", lambda old: lambda *args, **kw: replace(old(*args, **kw), claude_waiting=0))


@breaks("unfair-waiting-line")
def first_come_first_served() -> None:
    """How many answers a user is given already is not looked at."""
    put(WaitingLine, "serve", always(None))
    put(WaitingLine, "release", always(None))


@breaks("queued-turn-not-cancellable")
def waits_to_be_stopped() -> None:
    """What is stopped in line waits for a Claude to stop it."""
    put(Ticket, "interrupt", always(None))


@breaks("new-not-limited")
def new_without_end() -> None:
    """Empty conversations are not counted."""
    put(chat_server.store.store, "admit_new", always(None))
