"""What became of earlier findings."""

from __future__ import annotations

import msgspec
import pytest

from chat_conformance.results import Case, CaseResult, Kind, RunResult, Severity, Verdict
from chat_conformance.suite.compare import against, compare


def result(
    case_id: str, verdict: Verdict, severity: Severity = Severity.MEDIUM, happened: str = ""
) -> CaseResult:
    case = Case(id=case_id, title="It holds", clause="C-1", severity=severity, means="It hurts.")
    return CaseResult(case=case, verdict=verdict, happened=happened)


def run(*results: CaseResult) -> RunResult:
    return RunResult(target="t", url="http://x", seed=1, seconds=0.0, results=results)


FAILED, PASSED, BLOCKED = Verdict.FAILED, Verdict.PASSED, Verdict.BLOCKED_BY


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ([result("a/b", FAILED)], [result("a/b", PASSED)], Kind.FIXED),
        ([result("a/b", FAILED)], [result("a/b", FAILED)], Kind.NOT_FIXED),
        ([result("a/b", FAILED)], [result("a/b", Verdict.KNOWN_FAILURE)], Kind.NOT_FIXED),
        ([result("a/b", FAILED)], [], Kind.NOT_TESTED),
        ([result("a/b", FAILED)], [result("a/b", Verdict.COULD_NOT_TEST)], Kind.NOT_TESTED),
        ([result("a/b", FAILED)], [result("a/b", BLOCKED, happened="a/c")], Kind.NOT_TESTED),
        (
            [result("a/b", FAILED, Severity.BLOCKER)],
            [result("a/b", FAILED, Severity.LOW)],
            Kind.PARTIAL,
        ),
        (
            [result("a/b", FAILED), result("a/c", BLOCKED, happened="a/b")],
            [result("a/b", FAILED), result("a/c", PASSED)],
            Kind.PARTIAL,
        ),
        ([result("a/b", PASSED)], [result("a/b", FAILED)], Kind.REGRESSION),
        ([], [result("a/b", FAILED)], Kind.NEWLY_TESTED),
        ([result("a/b", BLOCKED, happened="a/a")], [result("a/b", FAILED)], Kind.NEWLY_TESTED),
    ],
)
def test_every_finding_of_either_run_is_accounted_for(
    before: list[CaseResult], after: list[CaseResult], kind: Kind
) -> None:
    assert [each.kind for each in compare(run(*before), run(*after))] == [kind]


def test_green_runs_have_no_changes() -> None:
    green = run(result("a/b", PASSED), result("a/c", Verdict.KNOWN_FAILURE))

    assert compare(green, green) == ()


def test_regressions_come_first() -> None:
    before = run(result("a/a", FAILED), result("a/b", PASSED))
    after = run(result("a/a", PASSED), result("a/b", FAILED))

    assert [each.kind for each in compare(before, after)] == [Kind.REGRESSION, Kind.FIXED]


def test_what_failed_on_the_base_is_debt_and_not_of_this_change() -> None:
    base = run(result("a/old", FAILED, happened="bad"), result("a/new", PASSED), result("a/mended", FAILED))
    head = run(result("a/old", FAILED, happened="bad"), result("a/new", FAILED), result("a/mended", PASSED))

    judged = against(base, head, "origin/main")

    assert [each.verdict for each in judged.results] == [Verdict.KNOWN_FAILURE, FAILED, PASSED]
    assert judged.results[0].happened == "fails on origin/main already: bad"
    assert [(each.kind, each.case.id) for each in judged.changes] == [
        (Kind.REGRESSION, "a/new"),
        (Kind.FIXED, "a/mended"),
    ]
    assert judged.exit_status == 1
    assert against(base, msgspec.structs.replace(head, results=head.results[:1]), "b").findings == ()
