"""The reference with a fault planted: ``python -m chat_conformance.fuzz.tests.planted FAULT PORT DATA CLAUDE``."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import aiohttp.web

import chat_server.app
import chat_server.logging_setup
import chat_server.web.middleware
from chat_conformance.mutants.registry import put
from chat_server.__main__ import main as serve

kept: list[Any] = []


def _at_a_request(act: Any) -> None:
    """Call ``act`` with each request whose Host was looked at."""

    def make(check: Any) -> Any:
        def planted(request: Any, own: Any) -> None:
            check(request, own)
            act(request)

        return planted

    put(chat_server.web.middleware, "check_host", make)


def fails_at_an_odd_range() -> None:
    def act(request: Any) -> None:
        if request.headers.get("Range") == "bytes=a-b":
            raise RuntimeError("a server that did not expect it")

    _at_a_request(act)


def dies_at_an_odd_range() -> None:
    _at_a_request(lambda request: os._exit(1) if request.headers.get("Range") == "bytes=9-1" else None)


def leaks_memory() -> None:
    _at_a_request(lambda _: kept.append(b"x" * 50_000))


def leaks_descriptors() -> None:
    _at_a_request(lambda _: kept.append(os.dup(2)))


def keeps_processes() -> None:
    os.environ["CHAT_CLAUDE_IDLE_SECONDS"] = "600"


def logs_what_it_got() -> None:
    put(
        chat_server.logging_setup,
        "printable",
        lambda _: lambda text, _most=0: text.encode(errors="replace").decode(),
    )
    _at_a_request(lambda request: logging.getLogger("x").info("raw: %s", request.path))
    put(chat_server.logging_setup._Json, "format", lambda _: lambda _self, record: record.getMessage())


def forgets_the_last_ping() -> None:
    async def pong(_self: Any, _data: bytes) -> None:
        return

    put(aiohttp.web.WebSocketResponse, "pong", lambda _: pong)


if __name__ == "__main__":
    fault, port, data, claude = sys.argv[1:5]
    globals()[fault]()
    sys.exit(serve(["--port", port, "--data", data, "--claude", claude]))
