from __future__ import annotations

import pytest

from chat_conformance.report.console import verdict as console_verdict
from chat_conformance.report.markdown import render as markdown
from chat_conformance.results import LEVELS, Case, CaseResult, RunResult, Severity, Verdict
from chat_conformance.suite.case import all_cases
from chat_conformance.suite.levels import at_level

CASES = {each.id: each for each in all_cases()}


def result(
    level: str, verdict: Verdict, *, severity: Severity = Severity.BLOCKER, happened: str = ""
) -> CaseResult:
    """A case of a level that ended so."""
    case = Case(
        id=f"{level}/{verdict.name.lower()}",
        title="t",
        clause="C-1",
        severity=severity,
        means="m",
        level=level,
    )
    return CaseResult(case=case, verdict=verdict, happened=happened)


def judged(*results: CaseResult) -> dict[str, str]:
    """The verdict of each level."""
    run = RunResult(target="t", url="u", seed=1, seconds=1, results=results)
    return {each.level: each.verdict for each in run.judged_levels}


@pytest.mark.parametrize(
    ("case_id", "level"),
    [
        ("turns/streams", "core"),
        ("shapes/told-again", "core"),
        ("handshake/foreign-origin", "core"),
        ("following/replays", "resumable"),
        ("history/socket-turn", "resumable"),
        ("quotas/tokens", "limits"),
        ("identity/login", "identity"),
        ("stopping/cancel", "full"),
        ("messages/malformed", "full"),
    ],
)
def test_level_follows_from_what_a_case_relies_on(case_id: str, level: str) -> None:
    assert CASES[case_id].level == level


def test_full_asks_for_every_case() -> None:
    known = tuple(CASES.values())

    assert at_level(known, "full") == known
    assert {each.level for each in at_level(known, "limits")} == {"core", "limits"}
    assert {each.level for each in known} == LEVELS.keys()


def test_failure_in_the_core_fails_every_level() -> None:
    found = judged(
        result("core", Verdict.FAILED),
        result("limits", Verdict.PASSED),
        result("identity", Verdict.NOT_OFFERED),
    )

    assert (found["core"], found["limits"], found["full"]) == ("failed", "failed", "failed")
    assert found["identity"] == "not offered"


def test_level_is_judged_by_its_own_cases() -> None:
    found = judged(
        result("core", Verdict.PASSED),
        result("resumable", Verdict.NOT_OFFERED),
        result("limits", Verdict.FAILED),
        result("identity", Verdict.PASSED),
        result("full", Verdict.COULD_NOT_TEST),
    )

    assert found == {
        "core": "passed",
        "resumable": "not offered",
        "limits": "failed",
        "identity": "passed",
        "full": "failed",
    }


def test_what_is_blocked_counts_with_its_root() -> None:
    found = judged(
        result("limits", Verdict.FAILED), result("resumable", Verdict.BLOCKED_BY, happened="limits/failed")
    )

    assert (found["resumable"], found["core"]) == ("failed", "not tested")


def test_failure_below_the_gate_fails_no_level() -> None:
    found = judged(result("core", Verdict.FAILED, severity=Severity.LOW), result("limits", Verdict.PASSED))

    assert (found["core"], found["limits"]) == ("not tested", "passed")


def test_reports_have_the_levels() -> None:
    run = RunResult(target="t", url="u", seed=1, seconds=1, results=(result("core", Verdict.PASSED),))
    run = RunResult(target="t", url="u", seed=1, seconds=1, results=run.results, levels=run.judged_levels)

    assert "\nlevels: core passed (1 passed)\n" in console_verdict(run)
    assert "Levels: core passed" in markdown(run, {})
