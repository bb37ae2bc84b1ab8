"""What became of earlier findings."""

from __future__ import annotations

import json

import msgspec
import pytest

from chat_conformance.report import console, review
from chat_conformance.results import (
    Case,
    CaseResult,
    ChangeKind,
    Decision,
    RunResult,
    Severity,
    TraceLine,
    Verdict,
)
from chat_conformance.suite.compare import compare, compare_to_base
from chat_conformance.wire.contract import MOST, Contract


def result(
    case_id: str,
    verdict: Verdict,
    severity: Severity = Severity.MEDIUM,
    happened: str = "",
    *,
    step: int = 0,
) -> CaseResult:
    case = Case(id=case_id, title="It holds", clause="C-1", severity=severity, means=f"{case_id} hurts.")
    return CaseResult(case=case, verdict=verdict, happened=happened, step=step)


def run(*results: CaseResult) -> RunResult:
    return RunResult(target="t", url="http://x", seed=1, seconds=0.0, results=results)


FAILED, PASSED, BLOCKED = Verdict.FAILED, Verdict.PASSED, Verdict.BLOCKED_BY


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ([result("a/b", FAILED)], [result("a/b", PASSED)], ChangeKind.FIXED),
        ([result("a/b", FAILED)], [result("a/b", FAILED)], ChangeKind.NOT_FIXED),
        ([result("a/b", FAILED)], [result("a/b", Verdict.KNOWN_FAILURE)], ChangeKind.NOT_FIXED),
        ([result("a/b", Verdict.KNOWN_FAILURE)], [result("a/b", FAILED)], ChangeKind.NOT_FIXED),
        ([result("a/b", FAILED)], [], ChangeKind.NOT_TESTED),
        (
            [result("a/b", PASSED)],
            [result("a/b", PASSED), result("survives/a/b", FAILED)],
            ChangeKind.REGRESSION,
        ),
        ([result("survives/a/b", FAILED)], [result("a/b", PASSED)], ChangeKind.FIXED),
        ([], [result("survives/a/b", FAILED)], ChangeKind.NEW),
        ([result("a/b", FAILED)], [result("a/b", Verdict.COULD_NOT_TEST)], ChangeKind.NOT_TESTED),
        ([result("a/b", FAILED)], [result("a/b", BLOCKED, happened="a/c")], ChangeKind.NOT_TESTED),
        (
            [result("a/b", FAILED, Severity.BLOCKER)],
            [result("a/b", FAILED, Severity.LOW)],
            ChangeKind.PARTIAL,
        ),
        (
            [result("a/b", FAILED), result("a/c", BLOCKED, happened="a/b")],
            [result("a/b", FAILED), result("a/c", PASSED)],
            ChangeKind.PARTIAL,
        ),
        ([result("a/b", PASSED)], [result("a/b", FAILED)], ChangeKind.REGRESSION),
        ([result("a/b", PASSED)], [result("a/b", Verdict.KNOWN_FAILURE)], ChangeKind.REGRESSION),
        ([result("a/b", PASSED)], [result("a/b", Verdict.NOT_OFFERED)], ChangeKind.REGRESSION),
        ([], [result("a/b", FAILED)], ChangeKind.NEW),
        ([result("a/b", Verdict.NOT_OFFERED)], [result("a/b", FAILED)], ChangeKind.NEW),
        ([result("a/b", BLOCKED, happened="a/a")], [result("a/b", FAILED)], ChangeKind.NEW),
    ],
)
def test_every_finding_of_either_run_is_accounted_for(
    before: list[CaseResult], after: list[CaseResult], kind: ChangeKind
) -> None:
    assert [each.kind for each in compare(run(*before), run(*after))] == [kind]


@pytest.mark.parametrize("verdict", [FAILED, Verdict.KNOWN_FAILURE])
def test_one_case_failing_for_another_cause_is_a_change(verdict: Verdict) -> None:
    before = run(result("a/b", verdict, happened="each token came twice"))
    after = run(result("a/b", FAILED, happened="not within 5 s"))

    (change,) = compare(before, after)

    assert (change.kind, change.before, change.after) == (
        ChangeKind.REGRESSION,
        "each token came twice",
        "not within 5 s",
    )


def test_comparison_shows_another_cause() -> None:
    old = run(result("a/b", FAILED, happened="each token came twice"))
    new = run(result("a/b", FAILED, happened="not within 5 s"))

    shown = console.comparison(old, msgspec.structs.replace(new, changes=compare(old, new)))

    assert "failed, for another cause" in shown
    assert "ended alike" not in shown
    assert "ended alike" in console.comparison(old, old)


def test_case_that_comes_further_is_mended_in_part() -> None:
    before = run(result("a/b", FAILED, happened="not within 5 s", step=3))
    after = run(result("a/b", FAILED, happened="each token came twice", step=7))

    assert [each.kind for each in compare(before, after)] == [ChangeKind.PARTIAL]
    assert [each.kind for each in compare(after, before)] == [ChangeKind.REGRESSION]
    assert [each.verdict for each in compare_to_base(before, after, "main").results] == [
        Verdict.KNOWN_FAILURE
    ]


def test_case_that_sends_more_of_the_same_comes_further() -> None:
    def after(*sent: str) -> RunResult:
        trace = tuple(TraceLine(1.0, "ws1", ">", text) for text in sent)
        failed = result("a/b", FAILED, happened=f"the {len(sent)}th was refused", step=3)
        return run(msgspec.structs.replace(failed, trace=trace))

    def kind(before: RunResult, now: RunResult) -> ChangeKind:
        return compare(before, now)[0].kind

    assert kind(after("TEXT 'one'"), after("TEXT 'one'", "TEXT 'two'")) is ChangeKind.PARTIAL
    assert kind(after("TEXT 'one'", "TEXT 'two'"), after("TEXT 'one'")) is ChangeKind.REGRESSION
    assert kind(after("TEXT 'one'"), after("TEXT 'two'", "TEXT 'one'")) is ChangeKind.REGRESSION
    asked = result("a/b", FAILED, happened="x", step=3)
    assert kind(run(asked), after("GET /a", "GET /b")) is ChangeKind.REGRESSION


def test_what_a_mended_root_uncovers_is_no_regression() -> None:
    base = run(
        result("a/root", FAILED, happened="not within 5 s"),
        result("a/hidden", BLOCKED, happened="a/root"),
        result("a/fine", PASSED),
    )
    head = run(
        result("a/root", PASSED), result("a/hidden", FAILED, happened="it is 'x'"), result("a/fine", PASSED)
    )

    judged = compare_to_base(base, head, "main")

    assert [(each.kind, each.case.id) for each in judged.changes] == [
        (ChangeKind.NEWLY_VISIBLE, "a/hidden"),
        (ChangeKind.FIXED, "a/root"),
    ]
    assert (judged.exit_status, judged.decision) == (0, Decision.DISCUSS)
    assert "hidden on main by a/root" in judged.results[1].reason
    assert json.loads(review.render(judged, {}))["verdict_reason"] == "what hid 1 failure is mended"


def test_green_runs_have_no_changes() -> None:
    green = run(result("a/b", PASSED), result("a/c", Verdict.KNOWN_FAILURE))

    assert compare(green, green) == ()


def test_worst_regression_comes_first() -> None:
    before = run(result("a/a", FAILED), result("a/b", PASSED), result("a/c", PASSED))
    after = run(result("a/a", PASSED), result("a/b", FAILED), result("a/c", FAILED, Severity.BLOCKER))

    assert [(each.kind, each.case.id) for each in compare(before, after)] == [
        (ChangeKind.REGRESSION, "a/c"),
        (ChangeKind.REGRESSION, "a/b"),
        (ChangeKind.FIXED, "a/a"),
    ]


def test_what_failed_on_the_base_is_debt_and_not_of_this_change() -> None:
    base = run(result("a/old", FAILED, happened="bad"), result("a/new", PASSED), result("a/mended", FAILED))
    head = run(result("a/old", FAILED, happened="bad"), result("a/new", FAILED), result("a/mended", PASSED))

    judged = compare_to_base(base, head, "origin/main")

    assert [each.verdict for each in judged.results] == [Verdict.KNOWN_FAILURE, FAILED, PASSED]
    assert judged.results[0].reason == "fails on origin/main already: bad"
    assert [(each.kind, each.case.id) for each in judged.changes] == [
        (ChangeKind.REGRESSION, "a/new"),
        (ChangeKind.FIXED, "a/mended"),
    ]
    assert judged.exit_status == 1
    assert compare_to_base(base, msgspec.structs.replace(head, results=head.results[:1]), "b").findings == ()


def test_break_of_what_fails_already_is_the_first_sentence() -> None:
    debt = [result(f"a/{number}", FAILED, Severity.BLOCKER, "bad") for number in range(20)]
    base = run(*debt, result("a/streams", FAILED, happened="each token came twice"))
    head = run(*debt, result("a/streams", FAILED, happened="not within 5 s"))

    said = json.loads(review.render(compare_to_base(base, head, "main"), {}))

    assert said["verdict"] == "REQUEST_CHANGES"
    assert said["verdict_reason"].startswith("REGRESSION in a/streams: It holds: expected ; not within 5 s")
    assert said["review_markdown"].startswith(
        "**REGRESSION** in `a/streams`: It holds: expected ; not within 5 s"
    )
    assert "on main it fails for another cause: each token came twice" in said["verdict_reason"]


def test_dropped_claim_stops_the_change() -> None:
    head = run(result("a/b", Verdict.NOT_OFFERED, happened="no variants.proxy"), result("a/c", PASSED))

    judged = compare_to_base(run(result("a/b", PASSED), result("a/c", PASSED)), head, "main")

    assert judged.exit_status == 1
    assert judged.findings[0].happened == "it is not offered any more: no variants.proxy"


def test_what_can_be_tested_no_more_is_no_verdict() -> None:
    head = run(result("a/b", Verdict.COULD_NOT_TEST, happened="no ledger"), result("a/c", PASSED))

    judged = compare_to_base(run(result("a/b", PASSED), result("a/c", PASSED)), head, "main")

    assert (judged.exit_status, judged.decision) == (3, Decision.DISCUSS)
    assert judged.trouble == ("a/b could be tested on main, and not here: no ledger",)


def traffic(*kinds: str, example: str = "{} in a/b") -> CaseResult:
    return result("traffic/schema", FAILED, happened=f"{'; '.join(kinds)} (such as {example})")


ROOT = [result("a/root", FAILED), result("a/b", BLOCKED, happened="a/root")]
MENDED = [result("a/root", PASSED), result("a/b", PASSED)]


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ([], [traffic("token: x")], ChangeKind.REGRESSION),
        ([traffic("token: x")], [], ChangeKind.FIXED),
        ([traffic("token: x")], [traffic("token: x", example="[] in c/d")], ChangeKind.NOT_FIXED),
        ([traffic("token: x", "error: y")], [traffic("error: y")], ChangeKind.PARTIAL),
        ([traffic("error: y")], [traffic("token: x", "error: y")], ChangeKind.REGRESSION),
        (ROOT, [*MENDED, traffic("token: x")], ChangeKind.NEWLY_VISIBLE),
        ([result("messages/schema", FAILED)], [traffic("token: x")], ChangeKind.NEWLY_VISIBLE),
    ],
)
def test_messages_of_a_run_are_compared_by_kind(
    before: list[CaseResult], after: list[CaseResult], kind: ChangeKind
) -> None:
    others = [result("c/d", PASSED)]
    base, head = run(*before, *others), run(*after, *others)

    found = {each.case.id: each.kind for each in compare(base, head)}

    assert found["traffic/schema"] is kind
    judged = compare_to_base(base, head, "main")
    assert bool(judged.of(FAILED)) is (kind is ChangeKind.REGRESSION)


def test_mended_kind_shows_no_new_one() -> None:
    contract = Contract()
    for number in range(MOST + 1):
        contract.note("c/d", f"kind {chr(97 + number)}", "Expected `str`, got `int` - at `$.x`", {})

    def seen() -> RunResult:
        failed = result("traffic/schema", FAILED, happened=contract.summary)
        return run(msgspec.structs.replace(failed, kinds=contract.kinds))

    before = seen()
    del contract.breaches[min(contract.breaches)]
    (change,) = compare(before, seen())

    assert (change.kind, "kind k" in change.before, "kind k" in change.after) == (
        ChangeKind.PARTIAL,
        False,
        True,
    )


def test_fall_that_is_new_is_judged() -> None:
    base, head = run(result("a/b", PASSED)), run(result("a/b", PASSED), result("survives/a/b", FAILED))

    assert [each.case.id for each in compare_to_base(base, head, "main").of(FAILED)] == ["survives/a/b"]
