"""The pytest plugin that plays the selected cases and notes how they end."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chat_conformance.errors import (
    BusyError,
    ClosedEarly,
    CouldNotTest,
    Failure,
    NotOffered,
    SuiteError,
    TargetError,
    clip,
)
from chat_conformance.results import Case, CaseResult, Verdict
from chat_conformance.suite.case import OWN_BYTES, SCHEMA, TRAFFIC, case_function, survival, survival_id
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.evidence import CASE_TIMEOUT, ledger_lines, server_lines, trace_with_processes
from chat_conformance.suite.own_cases import module_of
from chat_conformance.suite.roles import absent
from chat_conformance.suite.stage import Stage, Visit
from chat_conformance.suite.watch import Watch
from chat_conformance.target.places import letters
from chat_conformance.target.server import FELL, Server
from chat_conformance.target.variants import VariantServers
from chat_conformance.wire.contract import Contract, holding
from chat_conformance.wire.evidence import gathered

ONE_AT_A_TIME = ("handshake/two-at-once", "turns/nobody-waits")
"""The cases that fail where one user waits for another."""
GOOD = (Verdict.PASSED, Verdict.NOT_OFFERED)
# A case whose server closed early is tried up to TRIES times. ANOTHER moves the seed far away, so that the
# prompts of a further try are not those of a run with a nearby `--seed`.
TRIES, ANOTHER = 3, 1_000_000


class _ReadModule(pytest.Module):
    """A module that is not imported, but given."""

    def _getobj(self) -> Any:
        return module_of(self.path)


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
        again_alone: Whether what fails among other cases is played again on a server of its own.
        replay: Makes the command that plays only one case again.
        on_result: Is given each result as it comes and returns what counts.

    Attributes:
        results: What was found, in order of play.
        collection_errors: Case files that could not be read.
        stopped_early: Whether a failure ended the run.
        contract: What the schema has against what servers sent.
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
        again_alone: bool,
        replay: Callable[[Case], str],
        on_result: Callable[[CaseResult], CaseResult],
    ) -> None:
        self.results: list[CaseResult] = []
        self.collection_errors: list[str] = []
        self.stopped_early = False
        self._stop_early = stop_early
        # A target that the suite does not start cannot be given to a case alone: it has no second instance.
        self._again_alone = again_alone and server.target.starts
        self._loop = loop
        self._folder = folder
        self._target = server.target
        self._selected = selected
        self._seed = seed
        self._replay = replay
        self._on_result = on_result
        self._tasks: dict[str, asyncio.Task[CaseResult]] = {}
        self._side_by_side = side_by_side
        self._suite_errors: dict[str, str] = {}
        self._starting = asyncio.Lock()
        self._shared = Stage(server, VariantServers(server.target, folder, self._starting, seed))
        self._survivals: dict[str, CaseResult] = {}
        self._watch = Watch(CASE_TIMEOUT)
        self._unexplained: list[tuple[str, set[str]]] = []
        self._suspected: set[str] = set()
        self._plays_alone = 0
        self.contract = Contract()

    @pytest.fixture
    def chat(self) -> None:
        """Declares the argument for pytest; the context itself is created when its case is played."""

    def pytest_pycollect_makemodule(
        self, module_path: Path, parent: pytest.Collector
    ) -> pytest.Module | None:
        """Cases of one's own are read already, and are not read again."""
        if module_of(module_path) is None:
            return None
        made: pytest.Module = _ReadModule.from_parent(parent, path=module_path)
        return made

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the selected cases: those last that mostly wait."""
        # pytest asks for the results in this order, and all cases have begun by then: what mostly waits has the
        # longest to finish if it is asked for last.
        ordered = sorted(self._selected, key=lambda each: each.waits)
        order = {each.id: place for place, each in enumerate(ordered)}
        mine = [item for item in items if getattr(_function(item), "case", None) in self._selected]
        once = {
            _function(item).case.id: item
            for item in mine
            # A case may be imported by the file of another.
        }
        items[:] = sorted(once.values(), key=lambda item: order[_function(item).case.id])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note case files that cannot be read."""
        if report.failed:
            self.collection_errors.append(report.longreprtext)

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool:
        """Play one case; pytest sees an exception when it did not pass."""
        case: Case = pyfuncitem.obj.case
        # pytest plays one item at a time; here an item only collects the result of a task that may have ended
        # long ago. Its survival is recorded first: it is the cause, and the case itself may be blocked by it.
        result = self._loop.run(self._played(case))
        if (fallen := self._survivals.pop(case.id, None)) is not None:
            self._record(fallen)
        result = self._record(result)
        if (fault := self._suite_errors.pop(case.id, None)) is not None:
            self._record(msgspec.structs.replace(result, case=OWN_BYTES, happened=f"in {case.id}: {fault}"))
        if result.verdict is Verdict.FAILED and self._stop_early:
            self.stopped_early = True
            pyfuncitem.session.shouldstop = "the first failure"
        if result.verdict is not Verdict.PASSED:
            pytest.fail(f"{result.verdict}: {result.happened}", pytrace=False)
        return True

    def watching(self) -> AbstractContextManager[None]:
        """Stop cases that block the event loop, for the length of the block."""
        return self._watch.watching()

    def _record(self, result: CaseResult) -> CaseResult:
        result = self._on_result(result)
        self.results.append(result)
        return result

    async def _played(self, case: Case) -> CaseResult:
        """The result of a case; all of them are begun together with the first one."""
        self._watch.begin()
        if not self._tasks:
            slots = asyncio.Semaphore(self._side_by_side)
            self._tasks = {
                # Cases that mostly wait take no slot: they cost no processor, and would keep others out.
                each.id: asyncio.create_task(
                    self._play_after_needs(each, nullcontext() if each.waits else slots)
                )
                for each in self._selected
            }
        return await self._tasks[case.id]

    async def _play_after_needs(self, case: Case, slot: AbstractAsyncContextManager[None]) -> CaseResult:
        """Play a case when those that it needs are known and there is room for it."""
        if why := absent(case, self._target):
            return CaseResult(case=case, verdict=Verdict.NOT_OFFERED, happened=why, replay=self._replay(case))
        # The needs are waited for before a slot is taken. The other way round, cases that wait could hold all
        # slots while those that they need get none. A need that is not selected is taken for passed.
        results = [await self._tasks[need] for need in case.needs if need in self._tasks]
        if root := blocked_by(results):
            return CaseResult(case=case, verdict=Verdict.BLOCKED_BY, happened=root, replay=self._replay(case))
        async with slot:
            return await self._play(case)

    def note_traffic(self) -> None:
        """Note what the schema has against what servers sent to cases that do not look at that themselves."""
        said = {each.case.id: each for each in self.results}
        # The case of the schema has failed for the same reason already; one fault is one finding.
        if said.get(SCHEMA) is not None and said[SCHEMA].verdict not in GOOD:
            return
        if summary := self.contract.summary:
            found = min(self.contract.breaches.items())[1]
            replay = said[found.case_id].replay if found.case_id in said else ""
            expected = "all messages and documents to be valid by the schema"
            self._record(
                CaseResult(
                    case=TRAFFIC,
                    verdict=Verdict.FAILED,
                    expected=expected,
                    happened=clip(summary),
                    replay=replay,
                    kinds=self.contract.kinds,
                )
            )

    async def close(self) -> tuple[str, ...]:
        """End the cases that were begun and not asked for, as after an interrupt, and the further servers.

        Returns what went wrong with the servers.
        """
        # After an interrupt the servers are in the middle of cases: what they look like then says nothing.
        broken_off = not all(task.done() for task in self._tasks.values())
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if not broken_off:
            await self._look_back()
        trouble = not_explained(self._unexplained, self.results)
        return (*trouble, *await self._shared.variants.close())

    async def _look_back(self) -> None:
        """Check that the last cases have left the target well: no later case would notice."""
        server, last = self._shared.server, self._shared.last
        if last and self._again_alone and not await server.exited_unexpectedly():
            wrong, _ = await server.wrong()
        else:
            wrong = server.fell
        if wrong:
            if server.alive and self._again_alone:
                # That it does not end in time is no news.
                await server.kill()
            await self._explain(f"{wrong}; the last cases were {_named(last)}", last)

    async def _play(self, case: Case) -> CaseResult:
        """Play a case among the others; what it says then counts, unless they may have disturbed it."""
        # Cases share one server, since a server for each would take minutes. The price: one that fails may have
        # been disturbed by those beside it. So only a good result counts at once; any other is taken from a
        # second play with nothing beside. Example: A ends the server while B streams. Both fail; alone, B
        # passes and A fails again, so A alone is blamed.
        visit = self._shared.enter(case)
        try:
            result = await self._play_on(self._shared, case, visit)
        finally:
            self._shared.leave(visit)
        if (
            visit.alone
            or not self._again_alone
            or (_is_good(result) and not visit.wrong and not visit.disturbed)
        ):
            return result
        return await self._play_alone(case, result, visit)

    async def _play_alone(self, case: Case, first: CaseResult, visit: Visit) -> CaseResult:
        """The result of a case that may have been disturbed, from a play on servers of its own."""
        # What the first play said of survival and of our own faults is judged again, too: else it would count
        # beside the second play.
        self._survivals.pop(case.id, None)
        self._suite_errors.pop(case.id, None)
        result = await self._alone(case)
        if result is None:
            return first
        if _is_good(result) and case.id not in self._survivals and not visit.disturbed:
            said = visit.wrong or first.happened
            await self._explain(
                f"{case.id} fails among other cases only: {clip(said, 300)}", visit.suspects, visit.beside
            )
        return result

    async def _alone(self, case: Case) -> CaseResult | None:
        """Play a case on servers of its own; None if they do not start."""
        self._plays_alone += 1
        folder = self._folder / letters(f"{self._seed} {case.id} {self._plays_alone}")
        folder.mkdir()
        server = Server(self._target, folder)
        stage = Stage(server, VariantServers(self._target, folder, self._starting, self._seed))
        try:
            async with self._starting:
                await server.start()
            return await self._play_on(stage, case, stage.enter(case))
        except TargetError:
            return None
        finally:
            await stage.variants.close()
            await server.end()

    async def _explain(self, said: str, suspects: Iterable[Case], beside: Iterable[str] = ()) -> None:
        """Find the case that did something to a server which another case suffered from; if none did, say so.

        Those ``beside`` may be found later, when they are played alone for the same reason.
        """
        # Suspects are played alone, one by one, until one of them harms its server; its failure is then the
        # explanation. Each is played once in a run, whatever number of servers it is suspected for: a copy of
        # the list is walked, as cases begin and end while we wait.
        for suspect in tuple(suspects):
            done = {each.case.id for each in (*self.results, *self._survivals.values())}
            if survival_id(suspect.id) in done:
                return
            if suspect.id in self._suspected:
                continue
            self._suspected.add(suspect.id)
            # This play is about survival only: what it says of the suite's own bytes is not to replace what the
            # counted play said.
            kept = self._suite_errors.pop(suspect.id, None)
            await self._alone(suspect)
            self._suite_errors.pop(suspect.id, None)
            if kept is not None:
                self._suite_errors[suspect.id] = kept
            if (fallen := self._survivals.pop(suspect.id, None)) is not None:
                self._record(fallen)
                return
        self._unexplained.append((said, {survival_id(each) for each in beside}))

    async def _is_up(self, stage: Stage, visit: Visit) -> None:
        """Start the server of a stage if it has ended.

        Raises:
            TargetError: It does not start.
        """
        if stage.server.alive:
            return
        async with stage.looking:
            # Another case may have noticed it first.
            if stage.server.alive:
                return
            fell = stage.server.fell
            async with self._starting:
                await stage.server.renew()
        if fell:
            await self._explain(
                f"{fell} between cases; the last were {_named(visit.suspects)}", visit.suspects
            )

    async def _aftermath(self, chat: CaseContext, stage: Stage, visit: Visit, *, failed: bool) -> str:
        """What is wrong with the servers that a case has used, now that it is over.

        Those that are shared are started again with nothing kept.
        """
        found = ""
        shared = [stage.server, *stage.variants.shared]
        for server in dict.fromkeys(each for each, _ in chat.used):
            if server not in shared:
                found = found or server.fell
                continue
            # A process that was hit ends some milliseconds later. Among other cases there is no wait for that:
            # the next look notices it, and the suspects are known.
            if stage is not self._shared or visit.alone:
                # What comes a moment later is seen, too.
                await server.exited_unexpectedly()
            async with stage.looking:
                if server.renewed > visit.began:
                    # It was renewed while the case was at work on it.
                    visit.disturbed = True
                    continue
                wrong, asked = await server.wrong(failed=failed)
                if wrong and server.target.starts:
                    async with self._starting:
                        await server.renew()
                        # A server that does not answer us when it is new either was not harmed by the case. It
                        # is renewed again, since it was asked in between.
                        if asked and await server.is_so_when_new():
                            wrong = ""
                            await server.renew()
                found = found or wrong
        return found

    async def _play_on(self, stage: Stage, case: Case, visit: Visit) -> CaseResult:
        began = time.monotonic()
        try:
            await self._is_up(stage, visit)
        except TargetError as failed:
            return CaseResult(
                case=case,
                verdict=Verdict.FAILED,
                expected="the target to start again",
                happened=clip(str(failed)),
                log=failed.log,
                replay=self._replay(case),
            )
        visit.began = time.monotonic()

        def chat_of(seed: int) -> CaseContext:
            return CaseContext(
                stage.server, case_id=case.id, seed=seed, starting=self._starting, variants=stage.variants
            )

        with holding(self.contract, case.id):
            chat, error, step, saw = await _tried(chat_of, self._seed)
        if isinstance(error, SuiteError):
            self._suite_errors[case.id] = str(error)
        verdict, expected, happened, broken = _verdict(error)
        # Taken before the aftermath: a server that is started again begins its log from nothing.
        log = server_lines(chat, error)
        try:
            visit.wrong = await self._aftermath(chat, stage, visit, failed=verdict not in GOOD)
        except TargetError as failed:
            visit.wrong = f"the server had to be started again, and did not start: {clip(str(failed), 300)}"
        evidence = verdict in (Verdict.FAILED, Verdict.COULD_NOT_TEST) or bool(visit.wrong)
        result = CaseResult(
            case=case,
            verdict=verdict,
            seconds=time.monotonic() - began,
            expected=expected,
            happened=happened,
            trace=trace_with_processes(chat) if evidence else (),
            ledger=tuple(ledger_lines(chat)) if evidence else (),
            log=log if evidence else (),
            replay=self._replay(case),
            broken=broken,
            saw=saw if verdict is Verdict.PASSED else (),
            step=step,
        )
        # On the shared server a fault of survival is only a suspicion; the play alone decides.
        if not visit.wrong or (stage is self._shared and self._again_alone and not visit.alone):
            return result
        return self._not_survived(result, visit.wrong)

    def _not_survived(self, result: CaseResult, wrong: str) -> CaseResult:
        """Note that a server did not survive a case, and return what is left to say of the case itself."""
        fallen = survival(result.case)
        expected = f"the server to serve others after {result.case.id}"
        self._survivals[result.case.id] = msgspec.structs.replace(
            result, case=fallen, verdict=Verdict.FAILED, expected=expected, happened=wrong, broken=False
        )
        if _is_good(result) or not wrong.startswith(FELL):
            return result
        # That the server has gone is why the case came to nothing.
        return msgspec.structs.replace(result, verdict=Verdict.BLOCKED_BY, expected="", happened=fallen.id)


def _is_good(result: CaseResult) -> bool:
    return result.verdict in GOOD or (result.verdict is Verdict.COULD_NOT_TEST and not result.broken)


def _named(cases: Iterable[Case]) -> str:
    return ", ".join(each.id for each in cases)


def not_explained(said: Iterable[tuple[str, set[str]]], results: Iterable[CaseResult]) -> list[str]:
    """The sentences that no failure explains; each comes with the ids of those that would.

    Where one user waits for another, that is why cases fail beside others only, and the result says so.
    """
    failed = {each.case.id for each in results if each.verdict in (Verdict.FAILED, Verdict.KNOWN_FAILURE)}
    if failed & set(ONE_AT_A_TIME):
        return []
    return [sentence for sentence, culprits in said if not culprits & failed]


def blocked_by(needed: Iterable[CaseResult]) -> str | None:
    """The id of the case that shows why a case says nothing new, by the results of those that it needs."""
    bad = (Verdict.FAILED, Verdict.BLOCKED_BY)
    return next((each.root for each in needed if each.verdict in bad), None)


async def _tried(
    chat_of: Callable[[int], CaseContext], seed: int
) -> tuple[CaseContext, BaseException | None, int, tuple[str, ...]]:
    """What `_played` returns of a case; it is played again, with other prompts, where the server has closed early.

    That is its right (CLOSE-2), and no page would mind; a server that does so each time has failed.
    """
    attempt = 0
    while True:
        chat = chat_of(seed + attempt * ANOTHER)
        error, step, saw = await _played(chat)
        attempt += 1
        if attempt == TRIES or not isinstance(error, ClosedEarly):
            return chat, error, step, saw


async def _played(chat: CaseContext) -> tuple[BaseException | None, int, tuple[str, ...]]:
    """What stopped a case and at which line of its own, None and 0 if nothing did; and what it saw.

    A case that comes to its end and has looked at nothing has judged nothing: that is a fault of ours.
    """
    function = case_function(chat.case_id)
    with gathered() as seen:
        try:
            async with asyncio.timeout(CASE_TIMEOUT), chat:
                await function(chat)
        except Exception as error:  # noqa: BLE001  (the edge of a case: a fault of ours must not hide the others)
            return _of_assertion(_first(error), function), step_of(error, function), ()
    blind = None if seen.lines else AssertionError("the case came to its end and had looked at nothing")
    return blind, 0, seen.lines


def _of_assertion(error: BaseException, function: Callable[..., Any]) -> BaseException:
    """A failed ``assert`` of a user's own case as the failure that it means; of ours it is a fault of the suite."""
    if not isinstance(error, AssertionError) or function.__module__.startswith("chat_conformance."):
        return error
    frames = traceback.extract_tb(error.__traceback__)
    # The last frame of the user's own file: an assert in a helper of that file is named by its own line, while
    # a frame of a library would say nothing to them.
    own = [each for each in frames if each.filename == function.__code__.co_filename] or frames
    return Failure(f"line {own[-1].lineno} to hold: {own[-1].line}", str(error) or "it does not hold")


def step_of(error: BaseException | None, function: Callable[..., Any]) -> int:
    """The line of a function, counted from its first, through which an error came; 0 if it did not come through it."""
    # An error may be raised from another one inside a helper. The line of the case is then in the chain: it is
    # looked for in each link.
    while error is not None:
        for frame, line in traceback.walk_tb(error.__traceback__):
            if frame.f_code is function.__code__:
                return line - function.__code__.co_firstlineno
        error = error.__cause__ or error.__context__
    return 0


def _verdict(error: BaseException | None) -> tuple[Verdict, str, str, bool]:  # noqa: PLR0911 - a table
    """The verdict, what was expected, what happened, and whether the harness is at fault."""
    # A case that computes never lets the event loop time it out; BusyError is what it is stopped with from
    # outside. The last line is for faults of ours: they must not look like failures of a server.
    match error:
        case None:
            return Verdict.PASSED, "", "", False
        case SuiteError():
            return Verdict.COULD_NOT_TEST, "", f"blamed on {OWN_BYTES.id}: {error}", True
        case Failure():
            return Verdict.FAILED, error.expected, error.happened, False
        case BusyError():
            return Verdict.FAILED, f"the case to end within {CASE_TIMEOUT:g} s", str(error), False
        case TimeoutError():
            return Verdict.FAILED, "the case to end", f"it was not over within {CASE_TIMEOUT:g} s", False
        case NotOffered() | CouldNotTest():
            offered = Verdict.COULD_NOT_TEST if isinstance(error, CouldNotTest) else Verdict.NOT_OFFERED
            return offered, "", clip(str(error)), False
        case TargetError():
            return Verdict.FAILED, "the target to start", clip(str(error)), False
        case _:
            return Verdict.COULD_NOT_TEST, "", clip("".join(traceback.format_exception(error)), 20_000), True


def _function(item: pytest.Item) -> Any:
    return getattr(item, "obj", None)


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
