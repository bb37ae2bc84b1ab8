"""Whether a verdict holds: the same cases alone, in several orders and side by side must say the same of a target."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from random import Random

from chat_conformance.results import Case, CaseResult, RunResult, Verdict
from chat_conformance.suite.case import SURVIVES, TRAFFIC, all_cases
from chat_conformance.suite.runner import run
from chat_conformance.target.file import Target

ALONE = "alone"
# Example: "127.0.0.1:41234 closed after 3.1 ms" and "127.0.0.1:40000 closed after 2.8 ms" are one sentence.
_CHANGING = re.compile(
    r"127\.0\.0\.1:\d+|\b\d{9,}\.\d+|chatgate-[a-z]+|\bpid \d+|\d+\.\d+ m?s\b|\d{4}-\d\d-\d\dT[\d:.]+Z?"
    r"|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b"
)
"""What is another in each run by its nature: addresses, processes, times, and ids that the server draws."""


@dataclass(frozen=True, slots=True)
class Play:
    """Some cases, in one order.

    Attributes:
        name: What it is called.
        cases: The cases.
        side_by_side: How many at a time.
    """

    name: str
    cases: tuple[Case, ...]
    side_by_side: int = 1


@dataclass(frozen=True, slots=True)
class Difference:
    """One case of which two plays say different things, or what is wrong with one play.

    Attributes:
        about: The case, or the play.
        said: What was said, by play.
    """

    about: str
    said: Mapping[str, str]

    def __str__(self) -> str:
        return "\n".join(
            [f"DIFFERS {self.about}", *(f"  {name:<18} {each}" for name, each in self.said.items())]
        )


def selfcheck(
    target: Target,
    cases: tuple[Case, ...],
    *,
    seed: int,
    orders: int,
    processes: int = 1,
    on_played: Callable[[str], None] = lambda _: None,
) -> list[Difference]:
    """Play the cases as they come, in ``orders`` other orders, two at a time and each alone, and compare.

    Args:
        target: What is judged.
        cases: The cases.
        seed: What the randomness of each case comes from, in every play; the orders come from it, too.
        orders: How many orders to draw.
        processes: How many plays at a time.
        on_played: Is called with each play that has ended.

    Raises:
        TargetError: The target cannot be started or reached.
    """
    # A verdict may depend on what ran before (order), beside (two at a time), or on nothing at all (alone). One
    # seed for all plays: prompts are the same, so what differs comes from the company.
    plays = [Play("in order", cases)]
    plays += [
        Play(f"in order {number}", _shuffled(cases, f"{seed} {number}")) for number in range(1, orders + 1)
    ]
    plays += [Play("two at a time", cases, side_by_side=2), *(Play(ALONE, (each,)) for each in cases)]
    found: dict[str, dict[str, CaseResult]] = {}
    trouble = []
    with ExitStack() as stack:
        play = partial(_play, target, seed)
        if processes > 1:
            # spawn, not fork: a fork of a process with threads may copy a lock that is held.
            workers = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
            ended = stack.enter_context(workers).map(play, plays)
        else:
            ended = map(play, plays)
        for number, (each, result) in enumerate(zip(plays, ended, strict=True), 1):
            of = f"{each.name}: {each.cases[0].id}" if each.name == ALONE else each.name
            on_played(f"[{number}/{len(plays)}] {of}")
            by_case = {one.case.id: one for one in result.results}
            if each.name == ALONE:
                # It is about all messages of a run.
                by_case.pop(TRAFFIC.id, None)
            found.setdefault(each.name, {}).update(by_case)
            trouble += [Difference("the run", {of: steady(one)}) for one in result.trouble]
    return [*compare(found), *trouble]


def compare(found: Mapping[str, Mapping[str, CaseResult]]) -> Iterator[Difference]:
    """The cases of which not all plays say the same; a case that is blocked says nothing there.

    Args:
        found: The results by case, by play.
    """
    ids = dict.fromkeys(case_id for results in found.values() for case_id in results)
    for case_id in ids:
        said = {
            name: text for name, results in found.items() if (text := _said(case_id, results)) is not None
        }
        if len(set(said.values())) > 1:
            yield Difference(case_id, said)


def steady(text: str) -> str:
    """A sentence without what is another in each run by its nature."""
    return _CHANGING.sub("…", text)


def _said(case_id: str, results: Mapping[str, CaseResult]) -> str | None:
    result = results.get(case_id)
    # A survival has a result only where it failed: where the case was played, its absence says that the server
    # survived.
    if result is None and case_id.startswith(SURVIVES):
        culprit = results.get(case_id.removeprefix(SURVIVES))
        return None if culprit is None or culprit.verdict is Verdict.BLOCKED_BY else "survived"
    if result is None or (result.verdict is Verdict.BLOCKED_BY and not result.happened.startswith(SURVIVES)):
        return None
    sentence = "; ".join(
        each for each in (result.expected and f"expected {result.expected}", result.happened) if each
    )
    return steady(f"{result.verdict}: {sentence}" if sentence else str(result.verdict))


def _shuffled(cases: tuple[Case, ...], key: str) -> tuple[Case, ...]:
    return tuple(Random(key).sample(cases, len(cases)))  # noqa: S311 - to be repeatable


def _play(target: Target, seed: int, play: Play) -> RunResult:
    # A fresh process has read none yet.
    all_cases()
    return run(target, play.cases, seed=seed, side_by_side=play.side_by_side)
