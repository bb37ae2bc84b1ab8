"""What a root cause of the base hides from a comparison is played in spite of it.

A base that fails `processes/options` blocks every case that looks at an answer, on base and head alike. A head that
shows no token any more would be taken for no worse. So the cases that an old root cause blocks are played on the base
without those that they need, and again behind what fails there; what passes is played on the head. Only one thing is
reported of them: that the base passes a case which the head fails. All else may follow from the root cause.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from chat_conformance.results import CaseResult, RunResult, Verdict
from chat_conformance.suite.case import SURVIVES

BAD = (Verdict.FAILED, Verdict.KNOWN_FAILURE)
# Behind one root cause there may be the next: each round comes one further. Chains of needs are short, and each
# round starts servers again.
ROUNDS = 6
Results = dict[str, CaseResult]
Play = Callable[[Sequence[str]], RunResult | None]


def seen_through(before: RunResult, after: RunResult, base: Play, head: Play) -> tuple[RunResult, RunResult]:
    """Both runs, where the base passes what it is hidden there, and the head fails it, with these results.

    Args:
        before: The run on the base.
        after: The run on the head.
        base: Plays cases on the base without those that they need; None if it does not start.
        head: The same on the head.
    """
    old, new = _by_id(before), _by_id(after)
    for _ in range(ROUNDS):
        todo = hidden(old, new)
        if not todo or (found := base(todo)) is None:
            break
        _learn(old, found, todo)
        # Only what the base passes can show the head as worse; the head is not played for the rest.
        passed = [each for each in todo if old[each].verdict is Verdict.PASSED]
        if not passed:  # nor will what stands behind these, and each may wait for long
            break
        blocked = [each for each in passed if new[each].verdict is Verdict.BLOCKED_BY]
        if blocked:
            if (found := head(blocked)) is None:
                break
            _learn(new, found, blocked)
    was = _by_id(before)

    def is_worse(result: CaseResult) -> bool:
        case_id = result.case.id.removeprefix(SURVIVES)
        uncovered = case_id in old and was[case_id].verdict is Verdict.BLOCKED_BY
        # A survival counts only where the base has none that failed, too.
        survived = result.case.id == case_id or result.case.id not in old
        failed = result.verdict is Verdict.FAILED
        return failed and uncovered and survived and old[case_id].verdict is Verdict.PASSED

    worse = [each for each in new.values() if is_worse(each)]
    shown = [old[each.case.id.removeprefix(SURVIVES)] for each in worse]
    return _with(before, shown), _with(after, worse)


def hidden(old: Results, new: Results) -> list[str]:
    """The cases that a root cause blocks on the base, and of which the head shows nothing, or a failure.

    Where it is another root cause that blocks one on the head, that is reported under its own name.
    """

    def behind(results: Results, result: CaseResult) -> bool:
        root = results.get(result.root)
        blocked = result.verdict is Verdict.BLOCKED_BY and not result.root.startswith(SURVIVES)
        return blocked and root is not None and root.verdict in BAD

    return [
        case_id
        for case_id, result in old.items()
        if behind(old, result)
        and (now := new.get(case_id)) is not None
        and (now.verdict is Verdict.FAILED or (behind(new, now) and old[now.root].verdict in BAD))
    ]


def _by_id(run: RunResult) -> Results:
    return {each.case.id: each for each in run.results}


def _learn(known: Results, run: RunResult, played: Sequence[str]) -> None:
    """Take in what these cases showed."""
    known.update(
        (each.case.id, each) for each in run.results if each.case.id.removeprefix(SURVIVES) in set(played)
    )


def _with(run: RunResult, results: Sequence[CaseResult]) -> RunResult:
    """The run with these results in place of those of the same cases."""
    taken = {each.case.id: each for each in results}
    kept = [taken.pop(each.case.id, each) for each in run.results]
    return msgspec.structs.replace(run, results=(*kept, *taken.values()))
