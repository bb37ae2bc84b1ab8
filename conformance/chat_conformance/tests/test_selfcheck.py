"""What selfcheck takes for a difference."""

from __future__ import annotations

import pytest

from chat_conformance.results import Case, CaseResult, Severity, Verdict
from chat_conformance.suite.selfcheck import ALONE, compare, steady


def result(case_id: str, verdict: Verdict, happened: str = "", expected: str = "") -> CaseResult:
    case = Case(id=case_id, title="It holds", clause="C-1", severity=Severity.LOW, means="Nobody can chat.")
    return CaseResult(case=case, verdict=verdict, happened=happened, expected=expected)


def differences(alone: list[CaseResult], among: list[CaseResult]) -> list[str]:
    found = {
        name: {each.case.id: each for each in some} for name, some in ((ALONE, alone), ("in order", among))
    }
    return [each.about for each in compare(found)]


FAILED, PASSED, BLOCKED = Verdict.FAILED, Verdict.PASSED, Verdict.BLOCKED_BY


@pytest.mark.parametrize(
    ("alone", "among"),
    [
        ([result("a/b", FAILED, "it is 1")], [result("a/b", PASSED)]),
        ([result("a/b", FAILED, "it is 404")], [result("a/b", FAILED, "it is 500")]),
        ([result("a/b", FAILED, "it is 1", "2")], [result("a/b", FAILED, "it is 1", "3")]),
        ([result("a/b", PASSED)], [result("a/b", PASSED), result("survives/a/b", FAILED, "it hangs")]),
    ],
)
def test_other_verdict_or_sentence_differs(alone: list[CaseResult], among: list[CaseResult]) -> None:
    assert len(differences(alone, among)) == 1


@pytest.mark.parametrize(
    ("alone", "among"),
    [
        ([result("a/b", FAILED, "it is 1")], [result("a/b", FAILED, "it is 1")]),
        ([result("a/b", FAILED, "it is 1")], [result("a/b", BLOCKED, "a/c")]),
        (
            [result("a/b", FAILED, "a redirect to http://127.0.0.1:1")],
            [result("a/b", FAILED, "a redirect to http://127.0.0.1:29999")],
        ),
        (
            [result("a/b", PASSED), result("survives/a/b", FAILED, "it hangs")],
            [result("a/b", BLOCKED, "a/c")],
        ),
    ],
)
def test_what_changes_by_nature_does_not(alone: list[CaseResult], among: list[CaseResult]) -> None:
    assert differences(alone, among) == []


def test_steady_keeps_what_was_judged() -> None:
    assert steady("expected 101, it is 404 not within 5 s, CLOSE 1011 [2 bytes]") == (
        "expected 101, it is 404 not within 5 s, CLOSE 1011 [2 bytes]"
    )
    assert steady("it is {'sent_at': 1764331234.8252175}") == "it is {'sent_at': …}"
    assert steady("Claude (pid 17) of 9f86d081884c after 0.53 s at 2026-01-02T03:04:05.6Z") == (
        "Claude (…) of … after … at …"
    )
