"""The pytest plugin that plays the selected cases and notes how they end."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chat_conformance.errors import CouldNotTest, Failure, NotOffered, OwnFault, TargetError, clip
from chat_conformance.results import Case, CaseResult, TraceLine, Verdict
from chat_conformance.suite.case import OWN_BYTES, function_of
from chat_conformance.suite.context import Chat
from chat_conformance.target.server import Server
from chat_conformance.target.variants import Fleet
from chat_conformance.wire.evidence import gathered

CASE_LIMIT = 60.0  # no case may take longer, whatever it waits for, in seconds


class CasePlugin:
    """Plays cases against one server on one event loop.

    Args:
        loop: Runs everything.
        server: The target; started again if a case brings it down.
        folder: Holds what the run's further servers write.
        selected: The cases to play, in order.
        seed: What all randomness comes from.
        side_by_side: How many cases may be at work at once, besides those that mostly wait.
        stop_early: End with the first failure.
        replay: Makes the command that plays only one case again.
        on_result: Is given each result as it comes and returns what counts.

    Attributes:
        results: What was found, in order of play.
        collection_errors: Case files that could not be read.
        stopped_early: Whether a failure ended the run.
    """

    def __init__(
        self,
        loop: asyncio.Runner,
        server: Server,
        folder: Path,
        selected: tuple[Case, ...],
        *,
        seed: int,
        side_by_side: int,
        stop_early: bool,
        replay: Callable[[Case], str],
        on_result: Callable[[CaseResult], CaseResult],
    ) -> None:
        self.results: list[CaseResult] = []
        self.collection_errors: list[str] = []
        self.stopped_early = False
        self._stop_early = stop_early
        self._loop = loop
        self._server = server
        self._selected = selected
        self._seed = seed
        self._replay = replay
        self._on_result = on_result
        self._begun: dict[str, asyncio.Task[CaseResult]] = {}
        self._side_by_side = side_by_side
        self._own_faults: dict[str, str] = {}
        self._starting = asyncio.Lock()
        self._fleet = Fleet(server.target, folder, self._starting)

    @pytest.fixture
    def chat(self) -> None:
        """Tells pytest what the argument is; the chat itself is made when its case is played."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the selected cases: those last that mostly wait."""
        ordered = sorted(self._selected, key=lambda each: each.waits)
        order = {each.id: place for place, each in enumerate(ordered)}
        mine = [item for item in items if getattr(_function(item), "case", None) in self._selected]
        items[:] = sorted(mine, key=lambda item: order[_function(item).case.id])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note case files that cannot be read."""
        if report.failed:
            self.collection_errors.append(report.longreprtext)

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool:
        """Play one case; pytest sees an exception when it did not pass."""
        case: Case = pyfuncitem.obj.case
        result = self._note(self._loop.run(self._played(case)))
        if (fault := self._own_faults.pop(case.id, None)) is not None:
            self._note(msgspec.structs.replace(result, case=OWN_BYTES, happened=f"in {case.id}: {fault}"))
        if result.verdict is Verdict.FAILED and self._stop_early:
            self.stopped_early = True
            pyfuncitem.session.shouldstop = "the first failure"
        if result.verdict is not Verdict.PASSED:
            pytest.fail(f"{result.verdict}: {result.happened}", pytrace=False)
        return True

    def _note(self, result: CaseResult) -> CaseResult:
        result = self._on_result(result)
        self.results.append(result)
        return result

    async def _played(self, case: Case) -> CaseResult:
        """The result of a case; all of them are begun together with the first one."""
        if not self._begun:
            slots = asyncio.Semaphore(self._side_by_side)
            self._begun = {
                each.id: asyncio.create_task(self._in_turn(each, nullcontext() if each.waits else slots))
                for each in self._selected
            }
        return await self._begun[case.id]

    async def _in_turn(self, case: Case, slot: AbstractAsyncContextManager[None]) -> CaseResult:
        """Play a case when those that it needs are known and there is room for it."""
        results = [await self._begun[need] for need in case.needs if need in self._begun]
        if root := blocked_by(results):
            return CaseResult(case=case, verdict=Verdict.BLOCKED_BY, happened=root, replay=self._replay(case))
        async with slot:
            return await self._play(case)

    async def close(self) -> tuple[str, ...]:
        """End the cases that were begun and not asked for, as after an interrupt, and the further servers.

        Returns what went wrong with the servers.
        """
        for task in self._begun.values():
            task.cancel()
        await asyncio.gather(*self._begun.values(), return_exceptions=True)
        return await self._fleet.close()

    async def _play(self, case: Case) -> CaseResult:
        if not self._server.alive:
            async with self._starting:
                if not self._server.alive:  # another case may have seen it first
                    await self._server.start_again()
        began = time.monotonic()
        chat = Chat(
            self._server, case_id=case.id, seed=self._seed, starting=self._starting, fleet=self._fleet
        )
        error, step, saw = await _played(chat)
        if isinstance(error, OwnFault):
            self._own_faults[case.id] = str(error)
        verdict, expected, happened, broken = _verdict(error)
        if verdict not in (Verdict.PASSED, Verdict.NOT_OFFERED) and await self._server.has_fallen():
            status = self._server.exit_status
            verdict, expected = Verdict.FAILED, expected or "the server to survive the case"
            happened = f"{happened}; the server ended with exit status {status}".lstrip("; ")
        evidence = verdict in (Verdict.FAILED, Verdict.COULD_NOT_TEST)
        return CaseResult(
            case=case,
            verdict=verdict,
            seconds=time.monotonic() - began,
            expected=expected,
            happened=happened,
            trace=with_processes(chat) if evidence else (),
            ledger=tuple(ledger_lines(chat)) if evidence else (),
            log=server_lines(chat, error) if evidence else (),
            replay=self._replay(case),
            broken=broken,
            saw=saw if verdict is Verdict.PASSED else (),
            step=step,
        )


def blocked_by(needed: Iterable[CaseResult]) -> str | None:
    """The id of the case that shows why a case says nothing new, by the results of those that it needs."""
    bad = (Verdict.FAILED, Verdict.BLOCKED_BY)
    return next((each.root for each in needed if each.verdict in bad), None)


async def _played(chat: Chat) -> tuple[BaseException | None, int, tuple[str, ...]]:
    """What stopped a case and at which line of its own, None and 0 if nothing did; and what it saw.

    A case that comes to its end and has looked at nothing has judged nothing: that is a fault of ours.
    """
    function = function_of(chat.case_id)
    with gathered() as seen:
        try:
            async with asyncio.timeout(CASE_LIMIT), chat:
                await function(chat)
        except Exception as error:  # noqa: BLE001  (the edge of a case: a fault of ours must not hide the others)
            return _first(error), step_of(error, function), ()
    blind = None if seen.lines else AssertionError("the case came to its end and had looked at nothing")
    return blind, 0, seen.lines


def step_of(error: BaseException | None, function: Callable[..., Any]) -> int:
    """The line of a function, counted from its first, through which an error came; 0 if it did not come through it."""
    while error is not None:
        for frame, line in traceback.walk_tb(error.__traceback__):
            if frame.f_code is function.__code__:
                return line - function.__code__.co_firstlineno
        error = error.__cause__ or error.__context__
    return 0


def _verdict(error: BaseException | None) -> tuple[Verdict, str, str, bool]:
    """The verdict, what was expected, what happened, and whether the harness is at fault."""
    match error:
        case None:
            return Verdict.PASSED, "", "", False
        case OwnFault():
            return Verdict.COULD_NOT_TEST, "", f"blamed on {OWN_BYTES.id}: {error}", True
        case Failure():
            return Verdict.FAILED, error.expected, error.happened, False
        case NotOffered() | CouldNotTest():
            offered = Verdict.COULD_NOT_TEST if isinstance(error, CouldNotTest) else Verdict.NOT_OFFERED
            return offered, "", clip(str(error)), False
        case TargetError():
            return Verdict.FAILED, "the target to start", clip(str(error)), False
        case _:
            return Verdict.COULD_NOT_TEST, "", clip("".join(traceback.format_exception(error)), 20_000), True


def server_lines(chat: Chat, error: BaseException | None) -> tuple[str, ...]:
    """What the servers of a case wrote during it; of one that did not start, what it said."""
    if isinstance(error, TargetError) and error.log:
        return error.log
    return tuple(line for server, seen in chat.used for line in server.lines_since(seen))


def with_processes(chat: Chat) -> tuple[TraceLine, ...]:
    """The trace with the life of each Claude of the case in it: when it began, what signals it got, how it ended."""
    lives = []
    for run in [run for server, _ in chat.used for run in chat.runs_of(server)]:
        for event in run.events:
            match event["event"]:
                case "start":
                    text = f"pid {run.pid} started"
                case "signal":
                    text = f"pid {run.pid} got {event['name']}"
                case "exit":
                    text = f"pid {run.pid} ended with {event['code']}"
                case _:
                    continue
            lives.append(TraceLine((event["time"] - chat.trace.began) * 1000, "claude", "=", text))
    seen = [
        each for each in lives if 0 <= each.ms <= CASE_LIMIT * 1000
    ]  # not those of a process whose clock is moved
    return tuple(sorted([*chat.trace.lines, *seen], key=lambda each: each.ms))


def ledger_lines(chat: Chat) -> list[str]:
    """What Claude was started with and given during the case."""
    lines = []
    for run in [run for server, _ in chat.used for run in chat.runs_of(server)]:
        end = "alive" if run.alive else f"exit {run.exit_code}" if run.exit_code is not None else "gone"
        lines.append(f"pid {run.pid} {end} {' '.join(run.signals)} argv {run.argv}"[:400])
        lines += [f"  stdin {line[:200]}" for line in run.stdin if chat.word in line]
    return lines


def _function(item: pytest.Item) -> Any:
    return getattr(item, "obj", None)


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
