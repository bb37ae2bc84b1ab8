"""The kill table: the suite judges every mutant, and is judged by that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import msgspec

from chat_conformance.mutants.expectations import REFERENCE, SMALL, Kill
from chat_conformance.mutants.small import KEEPALIVE
from chat_conformance.results import Case, CaseResult, Verdict
from chat_conformance.suite import baseline
from chat_conformance.suite.case import all_cases
from chat_conformance.suite.runner import run
from chat_conformance.target.file import Target, Variants, load
from fake_claude.patience import patience

REFERENCE_TARGET = "targets/reference.toml"
WITHIN = patience(3.0)  # how long a case waits on a mutant for what may never come, in seconds


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one mutant.

    Attributes:
        name: The mutant.
        kill: What was expected.
        wrong: What is wrong with it; empty when it was caught by its case, for its cause, and by no other.
        happened: What its case told.
        seconds: How long it took.
        untested: Whether its case cannot be tested on this machine; then nothing is known.
    """

    name: str
    kill: Kill
    wrong: str
    happened: str
    seconds: float
    untested: bool = False

    def __str__(self) -> str:
        mark = "WRONG" if self.wrong else "?    " if self.untested else "ok   "
        told = self.wrong or " ".join(self.happened.split())[:70]
        return f"{mark} {self.name:<26} {self.kill.case_id:<28} {self.seconds:5.1f} s  {told}"


def names(selected: tuple[str, ...] = ()) -> list[str]:
    """The mutants whose name begins with one of these; all without any."""
    known = [*SMALL, *REFERENCE]
    return [name for name in known if not selected or name.startswith(selected)]


def judge(
    wanted: list[str], *, quick: bool, seed: int, on_row: Callable[[Row], None], side_by_side: int = 1
) -> list[Row]:
    """Judge mutants; ``quick`` plays their own cases only, and not those that have to stay green."""
    judge_one = partial(_judge, quick=quick, seed=seed)
    rows = []
    with ExitStack() as stack:
        if side_by_side > 1:
            workers = ProcessPoolExecutor(side_by_side, mp_context=get_context("spawn"))
            found = stack.enter_context(workers).map(judge_one, wanted)
        else:
            found = map(judge_one, wanted)
        for row in found:
            on_row(row)
            rows.append(row)
    return rows


def _judge(name: str, *, quick: bool, seed: int) -> Row:
    kill = SMALL[name][1] if name in SMALL else REFERENCE[name]
    cases = all_cases()
    own = next(case for case in cases if case.id == kill.case_id)
    if name in SMALL:
        # What the small servers lack would fail other cases; their proof is a twin without the fault.
        selected: tuple[Case, ...] = (own,)
    else:
        selected = tuple(each for each in cases if each is own or _stays_green(each, quick=quick))
    known = {} if name in SMALL else baseline.load(REFERENCE_TARGET, {case.id for case in cases})
    result = run(_target(name), selected, seed=seed, known=known)
    found = {each.case.id: each for each in result.results}
    wrong = list(_faults(name, kill, found))
    if name in SMALL:
        twin = run(_target(f"twin-of-{name}"), selected, seed=seed)
        wrong += [
            f"its good twin: {each.happened}" for each in twin.results if each.verdict is not Verdict.PASSED
        ]
    own_result = found[kill.case_id]
    untested = own_result.verdict is Verdict.COULD_NOT_TEST and not own_result.broken
    return Row(name, kill, "; ".join(wrong), own_result.happened, result.seconds, untested)


def _stays_green(case: Case, *, quick: bool) -> bool:
    return not (quick or case.slow or case.waits)


def _faults(name: str, kill: Kill, found: dict[str, CaseResult]) -> Iterator[str]:
    own = found[kill.case_id]
    if own.verdict is Verdict.COULD_NOT_TEST and not own.broken:
        pass  # such as where there is no clock to be moved
    elif own.verdict is not Verdict.FAILED:
        yield f"not caught: {own.verdict} {own.happened}"
    elif kill.cause not in own.happened:
        yield f"caught for another cause: {own.happened}"
    elif own.case.finding and name.startswith(own.case.finding) and not own.finding:
        yield f"caught without the label {own.case.finding}: {own.expected}; {own.happened}"
    for case_id, each in found.items():
        if (
            each.verdict is Verdict.FAILED
            and case_id != kill.case_id
            and not case_id.startswith(kill.also or "\0")
        ):
            yield f"{case_id} fails, too: {each.happened}"


def _target(name: str) -> Target:
    target = load(REFERENCE_TARGET)
    words = ["{python}", "-m", "chat_conformance.mutants.serve", name, "{port}", "{data}", "{claude}"]
    target = msgspec.structs.replace(target, name=name, start=words, within=WITHIN, stop_within=patience(5.0))
    if name.removeprefix("twin-of-") in SMALL:
        within = 10.0 if name.startswith("twin-of-") else 1.5
        return msgspec.structs.replace(target, keepalive=KEEPALIVE, within=within, variants=Variants())
    return target
