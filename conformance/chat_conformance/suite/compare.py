"""A second look: what became of the findings of an earlier run, compared by their causes."""

from __future__ import annotations

import msgspec

from chat_conformance.results import CaseResult, Change, ChangeKind, RunResult, Severity, Verdict
from chat_conformance.suite.case import SCHEMA, SURVIVES, TRAFFIC, survival
from chat_conformance.suite.cause import alike, cause, is_further
from chat_conformance.wire.contract import EXAMPLE

NOT_PASSED = (Verdict.FAILED, Verdict.KNOWN_FAILURE)
# Kinds of failures that a gate takes for known: the change did not bring them.
NOT_OF_THE_CHANGE = (ChangeKind.NOT_FIXED, ChangeKind.PARTIAL, ChangeKind.NEWLY_VISIBLE)


def compare(previous: RunResult, current: RunResult) -> tuple[Change, ...]:
    """Every finding of either run, with what became of it; the most urgent kind first, then the most harmful."""
    before = {each.case.id: each for each in previous.results}
    after = {each.case.id: each for each in current.results}
    changes = []
    for case_id in [*after, *(each for each in before if each not in after)]:
        old, new = _of(before, case_id), _of(after, case_id)
        kind = _became(old, new, previous, current)
        if kind is not None:
            either = new or old
            assert either is not None
            happened = {"before": old.happened if old else "", "after": new.happened if new else ""}
            changes.append(Change(kind=kind, case=either.case, **happened))
    # Findings are sorted by harm; what is no finding of this run, as a fixed one, goes behind them.
    order = [each.case.id for each in current.findings]

    def urgency(change: Change) -> tuple[int, int]:
        found = order.index(change.case.id) if change.case.id in order else len(order)
        return list(ChangeKind).index(change.kind), found

    return tuple(sorted(changes, key=urgency))


def _of(results: dict[str, CaseResult], case_id: str) -> CaseResult | None:
    """The result of a case; that a server survived one follows from the result of the case."""
    # Two ids have a result only where they fail, so that a missing one must be read as passed. The traffic is
    # not looked at for itself where the case of the schema has failed: then nothing is known of it.
    if case_id == TRAFFIC.id and results and case_id not in results:
        looked_elsewhere = SCHEMA in results and results[SCHEMA].verdict in NOT_PASSED
        return None if looked_elsewhere else CaseResult(case=TRAFFIC, verdict=Verdict.PASSED)
    if case_id in results or not case_id.startswith(SURVIVES):
        return results.get(case_id)
    # A case that was blocked or not offered was not played, so nothing is known of the server after it.
    played = results.get(case_id.removeprefix(SURVIVES))
    if played is None or played.verdict not in (Verdict.PASSED, *NOT_PASSED):
        return None
    return msgspec.structs.replace(played, case=survival(played.case), verdict=Verdict.PASSED, happened="")


def _became(
    old: CaseResult | None, new: CaseResult | None, previous: RunResult, current: RunResult
) -> ChangeKind | None:
    """How one case has changed; None if it has not."""
    was_bad = old is not None and old.verdict in NOT_PASSED
    is_bad = new is not None and new.verdict in NOT_PASSED
    kind = None
    # How old and new verdicts become a kind:
    # bad, bad: the causes decide (see _still); bad, passed: FIXED; bad, else: NOT TESTED;
    # passed, bad or not offered: REGRESSION; passed, else: no change;
    # not judged, bad: NEWLY VISIBLE if a root cause that hid it is mended, else NEW.
    # The traffic is one case for all messages, so a new kind of message that is wrong counts by itself.
    if new is not None and new.case.id == TRAFFIC.id and is_bad and _new_kinds(old, new):
        return ChangeKind.NEWLY_VISIBLE if _more_is_seen(previous, current) else ChangeKind.REGRESSION
    if old is not None and new is not None and was_bad and is_bad:
        kind = _still(old, new, previous, current)
    elif was_bad:
        kind = (
            ChangeKind.FIXED if new is not None and new.verdict is Verdict.PASSED else ChangeKind.NOT_TESTED
        )
    elif old is not None and old.verdict is Verdict.PASSED:
        dropped = new is not None and new.verdict is Verdict.NOT_OFFERED
        kind = ChangeKind.REGRESSION if is_bad or dropped else None
    elif is_bad:
        uncovered = old is not None and _is_uncovered(old, previous, current)
        kind = ChangeKind.NEWLY_VISIBLE if uncovered else ChangeKind.NEW
    return kind


def _still(old: CaseResult, new: CaseResult, previous: RunResult, current: RunResult) -> ChangeKind | None:
    """What became of a case that failed in both runs; None if it is a known failure in both."""
    if new.case.id == TRAFFIC.id:
        return ChangeKind.PARTIAL if _new_kinds(new, old) else ChangeKind.NOT_FIXED
    if cause(old) != cause(new):
        # Where it is unknown which of the two is worse, the new one is a fault that was not there before.
        return ChangeKind.PARTIAL if is_further(new, old) else ChangeKind.REGRESSION
    # An accepted failure is no news.
    if new.verdict is old.verdict is Verdict.KNOWN_FAILURE:
        return None
    # One cause, but it may block fewer cases than before.
    return ChangeKind.PARTIAL if _impact(new, current) < _impact(old, previous) else ChangeKind.NOT_FIXED


def _new_kinds(old: CaseResult | None, new: CaseResult) -> set[str]:
    """The kinds of messages that are not valid in the new run only."""
    runs = (old, new)
    # A report that is older than `kinds` has them in its sentence only, which names some.
    if all(each is None or each.kinds for each in runs):
        before, now = ({alike(kind) for kind in each.kinds} if each is not None else set() for each in runs)
    else:
        before, now = (
            set(alike(each.happened.partition(EXAMPLE)[0]).split("; ")) if each is not None else set()
            for each in runs
        )
    return now - before


def _more_is_seen(previous: RunResult, current: RunResult) -> bool:
    """Whether a root cause is mended that had kept cases from being played, and so messages from being seen."""
    before = {each.case.id: each for each in previous.results}
    schema = before.get(SCHEMA)
    return (schema is not None and schema.verdict in NOT_PASSED) or any(
        _is_uncovered(before[each.case.id], previous, current)
        for each in current.results
        if each.case.id in before
    )


def _is_uncovered(old: CaseResult, previous: RunResult, current: RunResult) -> bool:
    """Whether a case was blocked by a failure that blocks it no more."""
    root = next((each for each in previous.results if each.case.id == old.root), None)
    mended = any(each.case.id == old.root and each.verdict is Verdict.PASSED for each in current.results)
    return old.verdict is Verdict.BLOCKED_BY and root is not None and root.verdict in NOT_PASSED and mended


def compare_to_base(
    base: RunResult, head: RunResult, name: str, *, again: RunResult | None = None, may_drop: bool = False
) -> RunResult:
    """What a change did: ``head`` with what is not its doing taken for known failures.

    That is what fails on ``base`` for the same cause, or came no further there, and what a root cause hid on ``base``
    that the change mends. A case that the change has made impossible to test is trouble, and no verdict.

    Args:
        base: The run on what the change is based on.
        head: The run on the change.
        name: What to call the base, such as a branch.
        again: A second run on the base, of some cases: what fails there as on the head is the base's, too.
        may_drop: Whether the change may stop offering something.
    """
    changes = tuple(
        each
        for each in _seen_again(compare(base, head), again, head)
        if not (may_drop and each.kind is ChangeKind.REGRESSION and _is_dropped(each, head))
    )
    kinds = {each.case.id: each.kind for each in changes}
    before = {each.case.id: each for each in base.results}

    def judged(result: CaseResult) -> CaseResult:
        kind = kinds.get(result.case.id)
        if kind is ChangeKind.REGRESSION and result.verdict is Verdict.NOT_OFFERED:
            # Else a change could get rid of a failure by no longer claiming the feature.
            lost = f"it is not offered any more: {result.happened}"
            expected = f"what {name} does"
            return msgspec.structs.replace(result, verdict=Verdict.FAILED, expected=expected, happened=lost)
        if result.verdict is not Verdict.FAILED:
            return result
        old = _of(before, result.case.id)
        if kind is ChangeKind.REGRESSION and old is not None and old.verdict in NOT_PASSED:
            happened = f"{result.happened} (on {name} it fails for another cause: {old.happened})"
            return msgspec.structs.replace(result, happened=happened)
        if kind not in NOT_OF_THE_CHANGE:
            return result
        if kind is ChangeKind.NEWLY_VISIBLE:
            was_blocked = old is not None and old.verdict is Verdict.BLOCKED_BY
            root = f"{before[result.case.id].root}, which is" if was_blocked else "what is"
            reason = f"hidden on {name} by {root} mended: {result.happened}"
        elif kind is ChangeKind.PARTIAL and old is not None and came_further(old, result):
            reason = f"came less far on {name} ({old.happened}), and now: {result.happened}"
        else:
            reason = f"fails on {name} already: {result.happened}"
        return msgspec.structs.replace(result, verdict=Verdict.KNOWN_FAILURE, reason=reason)

    # A case that could be tested on the base must not slip through as untestable: it becomes trouble, and the
    # run has no verdict.
    untested = [
        f"{each.case.id} could be tested on {name}, and not here: {each.happened.strip().splitlines()[-1]}"
        for each in head.of(Verdict.COULD_NOT_TEST)
        if not each.broken
        and each.case.id in before
        and before[each.case.id].verdict in (Verdict.PASSED, *NOT_PASSED)
    ]
    return msgspec.structs.replace(
        head,
        results=tuple(judged(each) for each in head.results),
        changes=tuple(each for each in changes if each.kind is not ChangeKind.NOT_FIXED),
        trouble=(*head.trouble, *untested),
    )


def _seen_again(changes: tuple[Change, ...], again: RunResult | None, head: RunResult) -> tuple[Change, ...]:
    """The changes, where a regression that is seen on the base as well is none."""
    causes = (
        {each.case.id: cause(each) for each in again.results if each.verdict in NOT_PASSED} if again else {}
    )
    # The same case is not enough: it must fail for the same cause, or a real regression of a flaky case would
    # be let through.
    also = {each.case.id for each in head.results if causes.get(each.case.id) == cause(each)}
    return tuple(
        msgspec.structs.replace(each, kind=ChangeKind.NOT_FIXED)
        if each.kind is ChangeKind.REGRESSION and each.case.id in also
        else each
        for each in changes
    )


def came_further(old: CaseResult, new: CaseResult) -> bool:
    """Whether a case that fails for less than before does so at another place."""
    return new.case.id != TRAFFIC.id and cause(old) != cause(new)


def _is_dropped(change: Change, head: RunResult) -> bool:
    return any(
        each.case.id == change.case.id and each.verdict is Verdict.NOT_OFFERED for each in head.results
    )


def _impact(result: CaseResult, run: RunResult) -> tuple[int, int]:
    """How bad a failure is: its severity, and how many cases it blocks."""
    severity = list(reversed(Severity)).index(result.case.severity)
    return severity, sum(each.root == result.case.id for each in run.of(Verdict.BLOCKED_BY))
