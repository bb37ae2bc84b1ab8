"""A run of the fuzzer: rounds of connections, what they cost the server, and the smallest input of a fault."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from chat_conformance.fuzz import frames, requests
from chat_conformance.fuzz.play import Kept, Player
from chat_conformance.fuzz.sent import Kind, Sent
from chat_conformance.fuzz.shrink import shrunk
from chat_conformance.target.file import Target
from chat_conformance.target.places import temporary_folder
from chat_conformance.target.server import Server

ROUND = 120
"""Connections between two looks at the server."""

AT_ONCE = 12
MIB = 1 << 20
GROWTH = 24 * MIB
"""How much memory may grow after the first quarter of a run."""

DESCRIPTORS = 20
"""How many descriptors may stay."""

PROCESSES = 6
"""How many processes may stay where the target says how long one may outlive its turn."""

LINES = 2
"""How many lines of the log a connection or a request may cost."""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a run.

    Attributes:
        frames: How many were sent.
        requests: How many were sent.
        answered: How many answers came to requests.
        seconds: How long it took.
        wrong: What was wrong, None if nothing.
        smallest: The smallest connection that shows it, None if no single one does.
    """

    frames: int
    requests: int
    answered: int
    seconds: float
    wrong: str | None
    smallest: Sent | None


async def run(
    target: Target,
    *,
    seed: str,
    most_frames: int,
    most_requests: int,
    say: Callable[[str], None],
    only: Sent | None = None,
) -> Report:
    """Play until enough was sent, or something is wrong.

    Where the target can end its processes soon after a turn, it is set to: what stays then is a leak.

    Raises:
        TargetError: The server cannot be started.
    """
    began = time.monotonic()
    idle = target.variants.idle
    # With the usual settings processes wait for the next turn, so their number says nothing about leaks.
    if idle is not None:
        target = msgspec.structs.replace(target, env={**target.env, **idle.env})
    sent = {Kind.FRAMES: 0, Kind.REQUESTS: 0}
    with temporary_folder(seed, "fuzz") as folder:
        server = Server(target, folder)
        await server.start()
        try:
            player = Player(server)
            wrong, batch = await _rounds(player, _plan(seed, most_frames, most_requests, only), sent, say)
            if wrong is not None:
                fallen = await server.exited_unexpectedly()
                ended = f"it ended with {server.exit_status}" if fallen else "it is alive"
                wrong = "\n  | ".join(
                    [f"{wrong}\nthe server: {ended}; its last lines:", *list(server.log)[-10:]]
                )
        finally:
            await server.end()
    smallest = None
    if wrong is not None:
        say(f"wrong: {wrong}\nlooking for the smallest input ...")
        smallest = await _smallest(target, batch, wrong)
    return Report(
        sent[Kind.FRAMES], sent[Kind.REQUESTS], player.answered, time.monotonic() - began, wrong, smallest
    )


def make(seed: str, kind: Kind, number: int) -> Sent:
    """A connection by its number."""
    return frames.connection(seed, number) if kind is Kind.FRAMES else requests.connection(seed, number)


def _plan(seed: str, most_frames: int, most_requests: int, only: Sent | None) -> Iterator[list[Sent]]:
    """Rounds of connections of both kinds, mixed by how much of each is to come."""
    if only is not None:
        yield [only]
        return
    left = {Kind.FRAMES: most_frames, Kind.REQUESTS: most_requests}
    number = 0
    while any(count > 0 for count in left.values()):
        batch = []
        for _ in range(ROUND // 4):
            # A connection of frames sends up to 200 of them, one of requests up to 8: so a round has more of
            # the latter.
            for kind, each in ((Kind.FRAMES, 1), (Kind.REQUESTS, 3)):
                for _ in range(each):
                    if left[kind] > 0:
                        number += 1
                        batch.append(make(seed, kind, number))
                        left[kind] -= batch[-1].count
        yield batch


async def _rounds(
    player: Player, plan: Iterator[list[Sent]], sent: dict[Kind, int], say: Callable[[str], None]
) -> tuple[str | None, list[Sent]]:
    rounds: list[Kept] = []
    connections = 0
    batch: list[Sent] = []
    for batch in plan:
        wrong = await _together(player, batch) or await player.settled()
        for each in batch:
            sent[each.kind] += each.count
        connections += len(batch)
        # A server that writes a line for each byte of a client fills a disk, while each single line is in
        # order.
        if wrong is None and player.lines > LINES * (connections + sent[Kind.REQUESTS]) + 200:
            wrong = f"{player.lines:,} lines of log for {connections:,} connections"
        if wrong is not None:
            return wrong, batch
        rounds.append(player.kept())
        if len(rounds) % 50 == 0:
            say(_so_far(sent, rounds[-1], player.lines))
    soon_ended = player.server.target.variants.idle is not None
    wrong = await player.behaves() or await player.settled() or growth(rounds, soon_ended=soon_ended)
    if wrong is None and len(rounds) >= 4:
        say(f"no growth; {_so_far(sent, rounds[-1], player.lines)}")
    return wrong, []


def _so_far(sent: dict[Kind, int], kept: Kept, lines: int) -> str:
    descriptors = "hidden" if kept.descriptors is None else kept.descriptors
    return (
        f"{sent[Kind.FRAMES]:,} frames, {sent[Kind.REQUESTS]:,} requests, {kept.memory / MIB:.0f} MiB, "
        f"{descriptors} descriptors, {kept.processes} processes, {lines:,} lines of log"
    )


def growth(rounds: list[Kept], *, soon_ended: bool) -> str | None:
    """What has grown too much from the beginning of a run to its end, None if nothing.

    ``soon_ended`` says that no process may stay for long after its turn.
    """
    quarter = len(rounds) // 4
    if not quarter:
        return None
    # Quarters of a run, and the least of each: what is in use for a moment between two rounds is no leak.
    # Descriptors and processes are compared with the first quarter, memory with the second, since caches and
    # pools fill in the first.
    first, second, last = rounds[:quarter], rounds[quarter : 2 * quarter], rounds[-quarter:]
    memory = min(each.memory for each in last) - min(each.memory for each in second)
    if memory > GROWTH:
        return f"the server's memory has grown by {memory / MIB:.0f} MiB"
    descriptors = min(each.descriptors or 0 for each in last) - min(each.descriptors or 0 for each in first)
    if descriptors > DESCRIPTORS:
        return f"the server has {descriptors} more open descriptors than at the start"
    processes = min(each.processes for each in last) - min(each.processes for each in first)
    if soon_ended and processes > PROCESSES:
        return f"the server has {processes} more processes than at the start"
    return None


async def _together(player: Player, batch: list[Sent]) -> str | None:
    # One iterator for all workers: each takes the next connection when it is done, so a slow one holds up
    # only its worker.
    waiting = iter(batch)
    wrong: list[str] = []

    async def work() -> None:
        for each in waiting:
            if (found := await player.play(each)) is not None:
                wrong.append(f"{each.kind.value}:{each.number}: {found}")
            if wrong:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    return wrong[0] if wrong else None


async def _smallest(target: Target, batch: list[Sent], wrong: str) -> Sent | None:
    """The connection of a round that shows a fault by itself, made small."""
    # A fault of one connection begins with its name, such as "frames:17: …", and that one is tried first. A
    # fault of the server as a whole, such as a line in its log, names none: then any of the round may be its
    # cause.
    named = wrong.partition(": ")[0]
    batch = sorted(batch, key=lambda each: f"{each.kind.value}:{each.number}" != named)
    with temporary_folder(named, "smallest") as folder:
        server = Server(target, folder)
        await server.start()
        player = Player(server)

        async def shows(sent: Sent) -> bool:
            player.faults.clear()
            found = await player.play(sent) or await player.settled()
            # A dead server would show a fault for every input, and nothing could be made smaller.
            if found is not None and await server.exited_unexpectedly():
                await server.restart()
            return found is not None

        try:
            for each in batch:
                if await shows(each):
                    return await shrunk(each, shows)
        finally:
            await server.end()
    return None
