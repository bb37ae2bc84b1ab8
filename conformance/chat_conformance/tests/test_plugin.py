from __future__ import annotations

from chat_conformance.results import Case, CaseResult, Severity, Verdict
from chat_conformance.suite.plugin import blocked_by, not_explained


def result(name: str, verdict: Verdict, happened: str = "") -> CaseResult:
    case = Case(id=name, title="It holds", clause="C-1", severity=Severity.LOW, means="Nobody can chat.")
    return CaseResult(case=case, verdict=verdict, happened=happened)


def test_a_case_is_blocked_by_the_root() -> None:
    passed, root = result("a/passed", Verdict.PASSED), result("a/root", Verdict.FAILED, "not within 5 s")
    between = result("a/between", Verdict.BLOCKED_BY, "a/root")

    assert blocked_by([passed, root]) == "a/root"
    assert blocked_by([passed, between]) == "a/root"


def test_what_was_not_judged_blocks_nothing() -> None:
    needed = [result("a/x", verdict) for verdict in (Verdict.NOT_OFFERED, Verdict.COULD_NOT_TEST)]

    assert blocked_by(needed) is None


def test_server_of_one_at_a_time_explains_disturbances() -> None:
    said = [("a/x fails among other cases only", {"survives/a/y"})]
    others = [result("a/root", Verdict.FAILED), result("handshake/two-at-once", Verdict.PASSED)]

    assert not_explained(said, others) == [said[0][0]]
    assert not_explained(said, [result("survives/a/y", Verdict.FAILED)]) == []
    assert not_explained(said, [result("handshake/two-at-once", Verdict.FAILED)]) == []
