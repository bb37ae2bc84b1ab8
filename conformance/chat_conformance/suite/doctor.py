"""Whether a target can be judged: step by step what works, and what to do where it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from chat_conformance.errors import ConformanceError, TargetError
from chat_conformance.report.text import line
from chat_conformance.suite.case import all_cases
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.roles import playable, roles_of
from chat_conformance.target.file import VARIANT_TYPES, Target
from chat_conformance.target.places import temporary_folder
from chat_conformance.target.roles import ROLES
from chat_conformance.target.server import Server
from chat_conformance.target.variants import VariantServers
from chat_conformance.wire.channel import Channel

LOG_TAIL = 10


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that has to work before the next one can.

    Attributes:
        name: What it is.
        act: Does it, and returns what was seen.
        hint: What to look at when it fails.
    """

    name: str
    act: Callable[[], Awaitable[str]]
    hint: str


async def run_checks(target: Target, write_line: Callable[[str], None]) -> int:
    """Try one step after the other, to the first that fails; 0 when all work, else 3."""
    with temporary_folder(0, "doctor") as folder:
        # The order of ends: variants and connections close first, the server last; its end is a check, too, as
        # a target that does not end would spoil every run.
        server = Server(target, folder)
        try:
            async with AsyncExitStack() as stack:
                variants = VariantServers(target, folder, asyncio.Lock())
                stack.push_async_callback(variants.close)
                chat = await stack.enter_async_context(
                    CaseContext(server, case_id="doctor", seed=0, variants=variants)
                )
                for step in _steps(chat, variants, stack):
                    if not await _try(step, server, write_line):
                        return 3
        finally:
            trouble = await server.end()
        for each in trouble:
            write_line(line(f"FAIL  end      {each}"))
    if trouble:
        return 3
    for each in _covered(target):
        write_line(line(f"      {each}"))
    write_line("\nThis target can be judged: chat-conformance run --target FILE")
    return 0


async def _try(step: Step, server: Server, write_line: Callable[[str], None]) -> bool:
    try:
        seen = await step.act()
    except (ConformanceError, OSError) as error:
        write_line(line(f"FAIL  {step.name:<8} {error}"))
        write_line(f"      hint     {step.hint}")
        # A start that failed has its log in the error; later steps find it at the server.
        log = error.log if isinstance(error, TargetError) and error.log else tuple(server.log)
        for each in log[-LOG_TAIL:]:
            write_line(line(f"      server   | {each}"))
        return False
    write_line(line(f"ok    {step.name:<8} {seen}"))
    return True


def _steps(chat: CaseContext, variants: VariantServers, stack: AsyncExitStack) -> list[Step]:
    server, target = chat.server, chat.target
    peers: list[Channel] = []

    async def start() -> str:
        await server.start()
        return f"it listens at {server.url}"

    async def health() -> str:
        await chat.http.expect_alive("when it is asked how it is")
        return f"{target.paths.health} answers 200"

    async def login() -> str:
        answer = await chat.http.request("GET", target.paths.history)
        return _expect(answer.status == 200, f"{target.paths.history} answers {answer.status}")

    async def socket() -> str:
        peers.append(await stack.enter_async_context(chat.peer()))
        steps = f" after {len(target.opening)} opening steps" if target.opening else ""
        return f"{target.paths.socket or target.stream.send or target.transport} is open{steps}"

    # Each step stands on the one before: the connection is kept for the turn, and the turn's prompt is what the
    # next step looks for in the ledger.
    async def token() -> str:
        turn = await chat.start_turn(
            peers[0], chat.fake.prompt(tokens=3) if server.ledger else chat.fake.prompt()
        )
        await turn.complete()
        more = "" if turn.text else peers[0].ignored_in_words()
        return _expect(bool(turn.text), f"the answer is {turn.text[:60]!r}{more}")

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

    acts = {
        "start": start,
        "health": health,
        "login": login,
        "socket": socket,
        "token": token,
        "fake": fake,
        "variants": start_variants,
    }
    absent = {"health": not target.paths.health, "login": not target.paths.history}
    return [Step(name, act, _mend(name, target)) for name, act in acts.items() if not absent.get(name, False)]


MEND = {
    "start": "start, env and ready_within in the target file; a ready_line that is there and not seen is held back"
    " in the server's buffer: leave it out",
    "health": "paths.health in the target file; empty if there is none",
    "login": "users in the target file: the headers that a user sends; paths.history",
    "socket": "opening, paths.socket and dialect.subprotocol in the target file",
    "fake": "env or start in the target file: the server must run the claude at {claude}",
    "variants": "variants in the target file; take out what the server cannot do",
}


def _mend(step: str, target: Target) -> str:
    """What to look at when a step fails."""
    if step != "token":
        return MEND.get(step, "")
    more = "dialect, if it names things otherwise"
    if target.described:
        more = "messages and events: what is sent, and what comes"
    return f"the server's log; does its claude come from {{claude}}? {more}"


def _covered(target: Target) -> list[str]:
    """How many cases can be played, and what each missing role would add; those that add most first."""
    cases = all_cases()
    can = len(playable(cases, target))
    rows = []
    for role in ROLES.keys() - target.roles:
        # Two figures: how many cases this role alone would add, and of how many it is a part. A role may add
        # none alone, as its cases need a second one as well.
        more = sum(roles_of(each) <= {*target.roles, role} for each in cases) - can
        needing = sum(role in roles_of(each) for each in cases)
        rows.append((-more, -needing, f"{role}: {more} more with it alone, part of {needing}; {ROLES[role]}"))
    lines = [f"{can} of {len(cases)} cases can be played ({100 * can // len(cases)} %), as far as roles go"]
    return [*lines, *(each for _, _, each in sorted(rows))]


def _expect(right: bool, seen: str) -> str:  # noqa: FBT001
    if not right:
        raise TargetError(seen)
    return seen
