"""Whether a target can be judged: step by step what works, and what to mend where it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from chat_conformance.errors import ConformanceError, TargetError
from chat_conformance.report.text import line
from chat_conformance.suite.context import CaseContext
from chat_conformance.target.file import VARIANT_TYPES, Target
from chat_conformance.target.places import temporary_folder
from chat_conformance.target.server import Server
from chat_conformance.target.variants import VariantServers
from chat_conformance.wire.peer import Peer

LOG_TAIL = 10


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that has to work before the next one can.

    Attributes:
        name: What it is.
        act: Does it, and tells what was seen.
        mend: What to look at when it fails.
    """

    name: str
    act: Callable[[], Awaitable[str]]
    mend: str


async def examine(target: Target, tell: Callable[[str], None]) -> int:
    """Try one step after the other, to the first that fails; 0 when all work, else 3."""
    with temporary_folder(0, "doctor") as folder:
        server = Server(target, folder)
        try:
            async with AsyncExitStack() as stack:
                variants = VariantServers(target, folder, asyncio.Lock())
                stack.push_async_callback(variants.close)
                chat = await stack.enter_async_context(
                    CaseContext(server, case_id="doctor", seed=0, variants=variants)
                )
                for step in _steps(chat, variants, stack):
                    if not await _try(step, server, tell):
                        return 3
        finally:
            trouble = await server.end()
        for each in trouble:
            tell(line(f"FAIL  end      {each}"))
    if trouble:
        return 3
    tell("\nThis target can be judged: chat-conformance run --target FILE")
    return 0


async def _try(step: Step, server: Server, tell: Callable[[str], None]) -> bool:
    try:
        seen = await step.act()
    except (ConformanceError, OSError) as error:
        tell(line(f"FAIL  {step.name:<8} {error}"))
        tell(f"      mend     {step.mend}")
        log = error.log if isinstance(error, TargetError) and error.log else tuple(server.log)
        for each in log[-LOG_TAIL:]:
            tell(line(f"      server   | {each}"))
        return False
    tell(line(f"ok    {step.name:<8} {seen}"))
    return True


def _steps(chat: CaseContext, variants: VariantServers, stack: AsyncExitStack) -> list[Step]:
    server, target = chat.server, chat.target
    peers: list[Peer] = []

    async def start() -> str:
        await server.start()
        return f"it listens at {server.url}" if target.starts else f"somebody listens at {server.url}"

    async def health() -> str:
        answer = await chat.http.request("GET", target.paths.health)
        return _expect(answer.status == 200, f"{target.paths.health} answers {answer.status}")

    async def login() -> str:
        answer = await chat.http.request("GET", target.paths.history)
        return _expect(answer.status == 200, f"{target.paths.history} answers {answer.status}")

    async def socket() -> str:
        peers.append(await stack.enter_async_context(chat.peer()))
        return f"{target.paths.socket} is a WebSocket"

    async def token() -> str:
        turn = await chat.start_turn(
            peers[0], chat.fake.prompt(tokens=3) if server.ledger else chat.fake.prompt()
        )
        await turn.complete()
        return f"the answer is {turn.text[:60]!r}"

    async def fake() -> str:
        if server.ledger is None:
            return (
                "no ledger is named, so what Claude was asked cannot be seen: many cases could not be tested"
            )
        asked = chat.fake.prompt_count(chat.marker)
        return _expect(asked == 1, f"the fake Claude was asked {asked} time(s)")

    async def start_variants() -> str:
        claimed = [name for name in VARIANT_TYPES if getattr(target.variants, name) is not None]
        for name in claimed:
            await variants.get(name, getattr(target.variants, name))
        missing = [name for name in VARIANT_TYPES if name not in claimed]
        return f"started: {', '.join(claimed) or 'none'}; not offered: {', '.join(missing) or 'none'}"

    return [
        Step("start", start, "start, env, ready_line and ready_within in the target file"),
        Step("health", health, "paths.health in the target file"),
        Step("login", login, "users in the target file: the headers that a user sends; paths.history"),
        Step("socket", socket, "paths.socket and dialect.subprotocol in the target file"),
        Step(
            "token",
            token,
            "the server's log; does its claude come from {claude}? dialect, if it names things otherwise",
        ),
        Step("fake", fake, "env or start in the target file: the server must run the claude at {claude}"),
        Step("variants", start_variants, "variants in the target file; take out what the server cannot do"),
    ]


def _expect(right: bool, seen: str) -> str:  # noqa: FBT001
    if not right:
        raise TargetError(seen)
    return seen
