"""A second look: what became of the findings of an earlier run."""

from __future__ import annotations

import msgspec

from chat_conformance.results import CaseResult, Change, Kind, RunResult, Severity, Verdict

BAD = (Verdict.FAILED, Verdict.KNOWN_FAILURE)


def compare(previous: RunResult, current: RunResult) -> tuple[Change, ...]:
    """Every finding of either run, with what became of it; the most urgent kind first.

    An earlier finding that is still there is ``PARTIAL`` if it does less harm: a lower severity, or fewer cases that it
    keeps from being judged. A new one is a ``REGRESSION`` if its case passed before.
    """
    before = {each.case.id: each for each in previous.results}
    after = {each.case.id: each for each in current.results}
    changes = []
    for old in previous.findings:
        new = after.get(old.case.id)
        still = new is not None and new.verdict in BAD
        if new is None or not (still or new.verdict is Verdict.PASSED):
            kind = Kind.NOT_TESTED
        elif not still:
            kind = Kind.FIXED
        else:
            kind = Kind.PARTIAL if _harm(new, current) < _harm(old, previous) else Kind.NOT_FIXED
        case = (new or old).case
        changes.append(Change(kind=kind, case=case, before=old.happened, after=new.happened if new else ""))
    known = {each.case.id for each in previous.findings}
    for new in current.findings:
        if new.case.id in known:
            continue
        old_one = before.get(new.case.id)
        passed = old_one is not None and old_one.verdict is Verdict.PASSED
        kind = Kind.REGRESSION if passed else Kind.NEWLY_TESTED
        changes.append(Change(kind=kind, case=new.case, after=new.happened))
    order = list(Kind)
    return tuple(sorted(changes, key=lambda each: order.index(each.kind)))


def against(base: RunResult, head: RunResult, name: str) -> RunResult:
    """What a change did: ``head`` with what failed on ``base`` already taken for a known failure.

    Args:
        base: The run on what the change is based on.
        head: The run on the change.
        name: What to call the base, such as a branch.
    """
    old = {each.case.id for each in base.results if each.verdict in BAD}

    def judged(result: CaseResult) -> CaseResult:
        if result.verdict is not Verdict.FAILED or result.case.id not in old:
            return result
        happened = f"fails on {name} already: {result.happened}"
        return msgspec.structs.replace(result, verdict=Verdict.KNOWN_FAILURE, happened=happened)

    changes = tuple(each for each in compare(base, head) if each.kind is not Kind.NOT_FIXED)
    return msgspec.structs.replace(
        head, results=tuple(judged(each) for each in head.results), changes=changes
    )


def _harm(result: CaseResult, run: RunResult) -> tuple[int, int]:
    """How bad a failure is: its severity, and how many cases it blocks."""
    severity = list(reversed(Severity)).index(result.case.severity)
    return severity, sum(each.happened == result.case.id for each in run.of(Verdict.BLOCKED_BY))
