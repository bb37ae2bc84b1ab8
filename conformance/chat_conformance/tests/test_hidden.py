"""A change is seen behind what its base fails already."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chat_conformance.results import Case, CaseResult, ChangeKind, RunResult, Severity, Verdict
from chat_conformance.suite.case import survival
from chat_conformance.suite.compare import compare
from chat_conformance.suite.hidden import seen_through

NEEDS = {"a/root": (), "a/answer": ("a/root",), "a/text": ("a/answer",), "a/other": ("a/root",)}
CASES = {
    name: Case(id=name, title="t", clause="C", severity=Severity.MEDIUM, means="m", needs=needs)
    for name, needs in NEEDS.items()
}


def play(fails: dict[str, str], ids: Sequence[str] = (), falls: Sequence[str] = ()) -> RunResult:
    """A run of these cases on a server that fails some of them, as the suite would play them."""
    found: dict[str, CaseResult] = {}
    for name in ids or NEEDS:
        bad = (Verdict.FAILED, Verdict.BLOCKED_BY)
        roots = [found[each].root for each in NEEDS[name] if each in found and found[each].verdict in bad]
        verdict = Verdict.FAILED if name in fails else Verdict.PASSED
        happened = fails.get(name, "")
        if roots:
            verdict, happened = Verdict.BLOCKED_BY, roots[0]
        found[name] = CaseResult(case=CASES[name], verdict=verdict, happened=happened)
        if name in falls and not roots:
            died = CaseResult(case=survival(CASES[name]), verdict=Verdict.FAILED, happened="it ended")
            found[died.case.id] = died
    return RunResult(target="t", url="", seed=1, seconds=1, results=tuple(found.values()))


def changes(base: dict[str, str], head: dict[str, str], falls: Sequence[str] = ()) -> dict[str, ChangeKind]:
    played: list[Sequence[str]] = []

    def side(fails: dict[str, str], falls: Sequence[str] = ()) -> Callable[[Sequence[str]], RunResult]:
        def again(ids: Sequence[str]) -> RunResult:
            played.append(ids)
            return play(fails, ids, falls)

        return again

    before, after = seen_through(play(base), play(head, falls=falls), side(base), side(head, falls))
    return {each.case.id: each.kind for each in compare(before, after)}


OLD = {"a/root": "it is 1"}


def test_break_behind_an_old_root_is_a_regression() -> None:
    assert changes(OLD, {**OLD, "a/text": "no token"}) == {
        "a/text": ChangeKind.REGRESSION,
        "a/root": ChangeKind.NOT_FIXED,
    }


def test_break_behind_two_old_roots_is_a_regression() -> None:
    old = {**OLD, "a/answer": "it is 2"}

    assert changes(old, {**old, "a/text": "no token"})["a/text"] is ChangeKind.REGRESSION


def test_break_behind_a_mended_root_is_a_regression() -> None:
    assert changes(OLD, {"a/text": "no token"}) == {
        "a/text": ChangeKind.REGRESSION,
        "a/root": ChangeKind.FIXED,
    }


def test_old_failure_behind_a_mended_root_becomes_visible() -> None:
    old = {**OLD, "a/text": "no token"}

    assert changes(old, {"a/text": "no token"}) == {
        "a/text": ChangeKind.NEWLY_VISIBLE,
        "a/root": ChangeKind.FIXED,
    }


def test_consequence_of_old_root_is_silent() -> None:
    old = {**OLD, "a/text": "one", "a/other": "one"}

    assert changes(old, {**old, "a/text": "another"}) == {"a/root": ChangeKind.NOT_FIXED}


def test_fall_behind_an_old_root_is_a_regression() -> None:
    found = changes(OLD, OLD, falls=["a/text"])

    assert found == {"survives/a/text": ChangeKind.REGRESSION, "a/root": ChangeKind.NOT_FIXED}


def test_nothing_is_played_again_without_an_old_root() -> None:
    def never(ids: Sequence[str]) -> RunResult:
        raise AssertionError(ids)

    assert seen_through(play({}), play({"a/root": "new"}), never, never)[0] == play({})


def test_nothing_more_is_played_where_nothing_passes() -> None:
    fails = dict.fromkeys(NEEDS, "no answer to the handshake")
    played: list[Sequence[str]] = []

    def base(ids: Sequence[str]) -> RunResult:
        played.append(ids)
        return play(fails, ids)

    seen_through(play(fails), play(fails), base, base)

    assert played == [["a/answer", "a/text", "a/other"]]
