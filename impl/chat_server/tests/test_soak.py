"""Hundreds of connections, cuts and cancels leave nothing behind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from chat_server.app import make_app
from chat_server.settings import Settings
from chat_server.tests.loop_clock import LONG, PATIENCE, LoopClock
from chat_server.tests.sites import Fake
from chat_server.web.keys import CONNECTIONS, TURNS

CONNECTS = 500
TURNS_IN_ALL = 200
CONVERSATIONS = 5
PIECES = 8
SEED = 20261122
GOLDEN = "".join(f"t{i} " for i in range(1, PIECES + 1))
PROMPT = f"[[fake tokens={PIECES} gap=2ms]]"
TERMINAL = {"complete", "error"}

Events = list[dict[str, Any]]


@asynccontextmanager
async def server(fake: Fake, folder: Path) -> AsyncIterator[tuple[web.Application, str]]:
    settings = Settings(
        data=folder / "data",
        requests_per_hour=0,
        requests_per_day=0,
        tokens_per_day=0,
        turn_kept_seconds=LONG,
        claude_max_processes=CONVERSATIONS,
        concurrent_turns=0,
        sockets_per_user=0,
    )
    app = make_app(settings, command=fake.command)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield app, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def until(true: Callable[[], bool]) -> None:
    """Wait for what nobody announces; the run's own limit ends a wait in vain."""
    while not true():  # noqa: ASYNC110 - timers and transports end without a word
        await asyncio.sleep(0.02)


def cut(ws: aiohttp.ClientWebSocketResponse) -> None:
    """End a connection as a cut line does: without a close."""
    connection = ws._response.connection
    assert connection is not None
    assert connection.transport is not None
    connection.transport.abort()


def sockets() -> int:
    """How many sockets this process has open."""
    links = (each.readlink() for each in Path("/proc/self/fd").iterdir() if each.is_symlink())
    return sum(str(link).startswith("socket:") for link in links)


def text_of(events: Events) -> str:
    return "".join(event["token"] for event in events if event["type"] == "token")


async def read(ws: aiohttp.ClientWebSocketResponse, events: Events, until: int | None = None) -> None:
    """Read up to the terminal event, or until there are ``until`` events; ``accepted`` is not one of them."""
    while until is None or len(events) < until:
        event = await ws.receive_json(timeout=PATIENCE)
        if event["type"] == "accepted":
            continue
        assert event["seq"] == len(events) + 1
        events.append(event)
        if event["type"] in TERMINAL:
            return


async def one_turn(http: aiohttp.ClientSession, dice: random.Random, conversation: str, number: int) -> None:
    """One turn over a bad line: cut and resumed, stopped, or left alone."""
    message_id = f"m{number}"
    events: Events = []
    request = {
        "type": "chat_request",
        "message": PROMPT,
        "message_id": message_id,
        "conversation_id": conversation,
    }
    named = {"conversation_id": conversation, "message_id": message_id}
    fate = dice.choice(["plain", "cut", "cut", "cancel"])
    cut_at = dice.randint(0, PIECES // 2)
    ws = await http.ws_connect("/chat/ws")
    if fate == "plain":  # to follow the conversation and to send in it shows a turn once
        await ws.send_json({"type": "subscribe", "conversation_id": conversation})
    await ws.send_json(request)
    if fate == "cut":
        assert (await ws.receive_json())["type"] == "accepted"
        await read(ws, events, until=cut_at)
        cut(ws)
        await ws.close()
        ws = await http.ws_connect("/chat/ws")
        await ws.send_json({"type": "subscribe", "after": len(events), **named})
    elif fate == "cancel":
        await read(ws, events, until=cut_at)
        await ws.send_json({"type": "cancel", **named})
    if not events or events[-1]["type"] not in TERMINAL:
        await read(ws, events)
    await ws.close()
    assert events[-1]["type"] == "complete", events
    if events[-1]["stop_reason"] != "cancelled":
        assert text_of(events) == GOLDEN
    assert GOLDEN.startswith(text_of(events))


async def answers(http: aiohttp.ClientSession, conversation: str) -> list[str]:
    async with http.get(f"/chat/history/{conversation}") as response:
        document = await response.json()
    return [each["content"] for each in document["messages"] if each["role"] == "assistant"]


async def test_turns_with_cuts_and_cancels_leave_nothing(
    fake: Fake, tmp_path: Path, loop_clock: LoopClock
) -> None:
    dice = random.Random(SEED)
    async with server(fake, tmp_path) as (app, url), aiohttp.ClientSession(url) as http:

        async def talk(conversation: str, first: int) -> None:
            for number in range(first, TURNS_IN_ALL, CONVERSATIONS):
                await one_turn(http, dice, conversation, number)

        conversations = []
        for _ in range(CONVERSATIONS):
            async with http.post("/chat/new") as response:
                conversations.append((await response.json())["conversation_id"])
        await asyncio.gather(*(talk(each, first) for first, each in enumerate(conversations)))
        stored = [answer for each in conversations for answer in await answers(http, each)]
        turns = app[TURNS]
        await until(lambda: not turns._running)
        loop_clock.advance()
        await until(lambda: not turns._recent)
        await until(lambda: not app[CONNECTIONS])

        assert len(stored) == TURNS_IN_ALL
        assert all(GOLDEN.startswith(answer) for answer in stored)
        assert (turns.running, turns._subscribers, turns._tasks) == (0, {}, set())
        assert sum(run.alive for run in fake.runs()) <= CONVERSATIONS


async def test_connections_come_and_go_without_a_trace(fake: Fake, tmp_path: Path) -> None:
    async with server(fake, tmp_path) as (app, url), aiohttp.ClientSession(url) as http:

        def left() -> int:
            """Tasks and sockets."""
            return len(asyncio.all_tasks()) + sockets()

        async def come_and_go(times: int) -> None:
            """`count` connections, every other one cut."""
            for number in range(times):
                ws = await http.ws_connect("/chat/ws")
                await ws.send_json({"type": "subscribe", "conversation_id": "0123456789ab"})
                if number % 2:
                    cut(ws)
                await ws.close()
            await until(lambda: not app[CONNECTIONS])

        before = left()
        await come_and_go(CONNECTS)
        await until(lambda: left() <= before)  # sockets of theirs may still be closing

        assert app[TURNS]._subscribers == {}
