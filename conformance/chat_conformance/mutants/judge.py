"""The kill table: the suite judges every mutant, and is judged by that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from typing import TypeVar

import msgspec

from chat_conformance.errors import TargetError
from chat_conformance.mutants import small
from chat_conformance.mutants.expectations import REFERENCE, SMALL, Kill
from chat_conformance.mutants.small import KEEPALIVE
from chat_conformance.results import Case, CaseResult, RunResult, Verdict
from chat_conformance.suite import baseline
from chat_conformance.suite.case import TRAFFIC, all_cases, survival_id
from chat_conformance.suite.runner import run
from chat_conformance.target.file import Target, Variants, load
from fake_claude.patience import patience

Wanted = TypeVar("Wanted")

REFERENCE_TARGET = "targets/reference.toml"
WITHIN = patience(3.0)  # how long a case waits on a mutant for what may never come, in seconds


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one mutant.

    Attributes:
        name: The mutant.
        case_id: The case that was to catch it.
        wrong: What is wrong with it; empty when it was caught by its case, for its cause, and hardly by another.
        happened: What its case reported.
        seconds: How long it took.
        untested: Whether its case cannot be tested on this machine; then nothing is known.
        findings: The ids of the cases that failed and are not blocked by another, the worst first; only its own case's
            where no other was played.
    """

    name: str
    case_id: str
    wrong: str
    happened: str
    seconds: float
    untested: bool = False
    findings: tuple[str, ...] = ()

    def __str__(self) -> str:
        mark = "WRONG" if self.wrong else "?    " if self.untested else "ok   "
        shown = self.wrong or " ".join(self.happened.split())[:70]
        count = len(self.findings)
        return f"{mark} {self.name:<26} {self.case_id:<28} {count:2} {self.seconds:5.1f} s  {shown}"


def names(selected: tuple[str, ...] = ()) -> list[str]:
    """The mutants whose name begins with one of these; all without any."""
    known = [*SMALL, *REFERENCE]
    return [name for name in known if not selected or name.startswith(selected)]


def judge(
    wanted: list[str],
    *,
    quick: bool = False,
    whole: bool = False,
    seed: int,
    on_row: Callable[[Row], None],
    on_row_alone: Callable[[Row], None] | None = None,
    side_by_side: int = 1,
) -> list[Row]:
    """Judge mutants by the cases that are neither slow nor mostly wait.

    ``quick`` plays their own cases only, ``whole`` all cases. What is wrong beside other mutants is judged again alone,
    as `run` plays a case again that failed beside others, and that counts.
    """
    judge_one = partial(_judge_if_it_starts, quick=quick, whole=whole, seed=seed)
    rows = _each(judge_one, wanted, on_row, side_by_side)
    if side_by_side == 1:
        return rows
    # Servers beside each other share the processors: a case that waited in vain may have met the load, and
    # not the fault. Alone there is no such doubt.
    doubtful = [row.name for row in rows if row.wrong]
    alone = {row.name: row for row in _each(judge_one, doubtful, on_row_alone or on_row, 1)}
    return [alone.get(row.name, row) for row in rows]


def judge_combinations(
    wanted: list[tuple[str, ...]], *, seed: int, on_row: Callable[[Row], None], side_by_side: int = 1
) -> list[Row]:
    """Judge servers that have several faults at once."""
    return _each(partial(judge_together, seed=seed), wanted, on_row, side_by_side)


def _each(
    judge_one: Callable[[Wanted], Row], wanted: list[Wanted], on_row: Callable[[Row], None], side_by_side: int
) -> list[Row]:
    rows = []
    with ExitStack() as stack:
        if side_by_side > 1:
            # Each worker starts afresh: a fork would take over the event loop, threads and registries of this
            # process.
            workers = ProcessPoolExecutor(side_by_side, mp_context=get_context("spawn"))
            found = stack.enter_context(workers).map(judge_one, wanted)
        else:
            # Both give the rows in the order of `wanted`, whichever ends first: two tables can be compared
            # line by line.
            found = map(judge_one, wanted)
        for row in found:
            on_row(row)
            rows.append(row)
    return rows


def _judge_if_it_starts(name: str, *, quick: bool, whole: bool, seed: int) -> Row:
    try:
        return _judge(name, quick=quick, whole=whole, seed=seed)
    except TargetError as error:
        return _not_started(name, error)


def _not_started(name: str, error: TargetError) -> Row:
    """The row of a mutant that is no server: nothing judged it, and the others are judged all the same."""
    said = "; ".join([str(error), *error.log[-3:]])
    return Row(name, "", f"could not be judged: {' '.join(said.split())}", "", 0.0)


def _judge(name: str, *, quick: bool, whole: bool, seed: int) -> Row:
    # Theory: a case proves something if it fails for this fault, and for its cause. So three things are
    # asked: is the first finding the mutant's own case, does what happened have the words of `Kill.cause`,
    # and is nothing else found but `Kill.also`? Cases that are blocked by the first are no findings: they
    # hang on it.
    kill = SMALL[name][1] if name in SMALL else REFERENCE[name]
    cases = {each.id: each for each in all_cases()}
    own = cases[kill.case_id]
    played = tuple(
        each
        for each in cases.values()
        if not quick and (whole or not (each.slow or each.waits) or each.id in _all_needs(own, cases))
    )
    if name in SMALL:
        # What a small server lacks is no fault of the mutant: it is judged by what its good twin passes.
        passed = _passed_by_twin(name, tuple(each.id for each in played), seed)
        played = tuple(each for each in played if each.id in passed)
    result = play(name, tuple(each for each in cases.values() if each is own or each in played), seed=seed)
    # A server that dies in the case is a finding of its own: it is what the case finds.
    own_death = survival_id(kill.case_id)
    found = {each.case.id: each for each in result.results}
    found[kill.case_id] = found.get(own_death, found[kill.case_id])
    findings = tuple(
        kill.case_id if each.case.id == own_death else each.case.id
        for each in result.findings
        if each.case.id != TRAFFIC.id  # a fault that a case reports may be seen in the schema, too
    )
    wrong = list(_faults(kill, found))
    if name in SMALL:
        # Without the fault the case must pass, or it fails for something else that a small server lacks.
        twin = play(f"twin-of-{name}", (own,), seed=seed)
        wrong += [
            f"its good twin: {each.happened}" for each in twin.results if each.verdict is not Verdict.PASSED
        ]
    own_result = found[kill.case_id]
    untested = own_result.verdict is Verdict.COULD_NOT_TEST and not own_result.broken
    if not untested and findings[:1] != (kill.case_id,):
        wrong.append(f"the first finding is {(findings or ('none',))[0]}")
    wrong += _invented(findings, [kill])
    return Row(name, kill.case_id, "; ".join(wrong), own_result.happened, result.seconds, untested, findings)


def _invented(findings: tuple[str, ...], kills: list[Kill]) -> list[str]:
    expected = {each for kill in kills for each in (kill.case_id, kill.also)}
    return [f"{each} fails, too" for each in findings if each not in expected]


def judge_together(mutants: tuple[str, ...], *, seed: int) -> Row:
    """Judge several mutants of the reference in one server: every cause must be named, and none invented.

    A cause is named by its own case, or hangs on the case of another one, which has to be mended first.
    """
    try:
        return _judge_together(mutants, seed=seed)
    except TargetError as error:
        return _not_started(",".join(mutants), error)


def _judge_together(mutants: tuple[str, ...], *, seed: int) -> Row:
    kills = [REFERENCE[each] for each in mutants]
    cases = {each.id: each for each in all_cases()}
    owns = {kill.case_id for kill in kills}
    further = {need for own in owns for need in _all_needs(cases[own], cases)} | owns
    selected = tuple(each for each in cases.values() if not (each.slow or each.waits) or each.id in further)
    result = play(",".join(mutants), selected, seed=seed)
    found = {each.case.id: each for each in result.results}
    findings = tuple(each.case.id for each in result.findings if each.case.id != TRAFFIC.id)
    wrong = _invented(findings, kills)
    for name, kill in zip(mutants, kills, strict=True):
        own = found[kill.case_id]
        # `root` is the case on which this one hangs, or itself: either names the fault, if it has failed.
        if own.root not in owns or found[own.root].verdict is not Verdict.FAILED:
            wrong.append(f"{name} is not named: {own.verdict} {own.happened}")
        elif own.verdict is Verdict.FAILED and kill.cause not in own.happened:
            wrong.append(f"{name} is named for another cause: {own.happened}")
    reported = "; ".join(each.happened for each in result.findings)
    return Row(",".join(mutants), "", "; ".join(wrong), reported, result.seconds, findings=findings)


def play(name: str, selected: tuple[Case, ...], *, seed: int) -> RunResult:
    """Play cases on a mutant, a twin, or several mutants of the reference at once, their names joined by commas."""
    small = name.removeprefix("twin-of-") in SMALL
    # Until when the reference's own failures are accepted says nothing of a mutant.
    known = {} if small else baseline.load(REFERENCE_TARGET, {case.id for case in all_cases()})
    known = {each: msgspec.structs.replace(entry, expires=baseline.today()) for each, entry in known.items()}
    return run(_target(name), selected, seed=seed, known=known)


def _all_needs(case: Case, cases: Mapping[str, Case]) -> set[str]:
    return {*case.needs, *(deep for need in case.needs for deep in _all_needs(cases[need], cases))}


def _passed_by_twin(name: str, played: tuple[str, ...], seed: int) -> frozenset[str]:
    """The cases that the good twin of a small mutant passes; there are two twins only."""
    # Any mutant of the same kind leads to the same twin, so the first one's name is taken: the cache then has
    # two entries, and not one for each mutant.
    tiny = _is_tiny(name)
    return _passed_by(f"twin-of-{next(each for each in SMALL if _is_tiny(each) is tiny)}", played, seed)


@cache
def _passed_by(twin: str, played: tuple[str, ...], seed: int) -> frozenset[str]:
    if not played:
        return frozenset()
    cases = tuple(each for each in all_cases() if each.id in played)
    target = msgspec.structs.replace(_target(twin), within=WITHIN)  # most of what it lacks is waited for
    return frozenset(each.case.id for each in run(target, cases, seed=seed).of(Verdict.PASSED))


def _is_tiny(name: str) -> bool:
    return issubclass(getattr(small, SMALL[name][0]), small.TinyChat)


def _faults(kill: Kill, found: dict[str, CaseResult]) -> Iterator[str]:
    own = found[kill.case_id]
    if own.verdict is Verdict.COULD_NOT_TEST and not own.broken:
        pass  # such as where there is no clock to be moved
    elif own.verdict is not Verdict.FAILED:
        yield f"not caught: {own.verdict} {own.happened}"
    elif kill.cause not in own.happened:
        yield f"caught for another cause: {own.happened}"
    elif kill.finding and kill.finding == own.case.finding and not own.finding:
        yield f"caught without the label {own.case.finding}: {own.expected}; {own.happened}"


def _target(name: str) -> Target:
    target = load(REFERENCE_TARGET)
    # Only the command is another: what the target claims, and how it is set, stays, so that a mutant is
    # judged as the reference is.
    words = ["{python}", "-m", "chat_conformance.mutants.serve", name, "{port}", "{data}", "{claude}"]
    target = msgspec.structs.replace(target, name=name, start=words, within=WITHIN, stop_within=patience(5.0))
    if name.removeprefix("twin-of-") in SMALL:
        # A twin must not fail because a machine is busy; mutants mostly fail by what never comes, which is
        # waited for.
        within = 10.0 if name.startswith("twin-of-") else 1.5
        return msgspec.structs.replace(target, keepalive=KEEPALIVE, within=within, variants=Variants())
    return target
