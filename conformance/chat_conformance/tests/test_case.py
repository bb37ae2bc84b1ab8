from __future__ import annotations

import pytest

from chat_conformance.errors import UsageError
from chat_conformance.results import Case, Severity
from chat_conformance.suite.case import all_cases, case, select

CASES = tuple(
    Case(id=name, title="t", clause=clause, severity=Severity.LOW, means="m", finding=finding)
    for name, clause, finding in [
        ("a/one", "C-1", "R1-1"),
        ("a/two", "C-10", None),
        ("b/one", "C-1", "R1-10"),
    ]
)


@pytest.mark.parametrize(
    ("selections", "chosen"),
    [
        ((), ["a/one", "a/two", "b/one"]),
        (("a",), ["a/one", "a/two"]),
        (("a/one",), ["a/one"]),
        (("C-1",), ["a/one", "b/one"]),
        (("R1-1",), ["a/one"]),
        (("b", "a/t"), ["a/two", "b/one"]),
    ],
)
def test_selection_is_by_prefix_clause_or_finding(selections: tuple[str, ...], chosen: list[str]) -> None:
    assert [each.id for each in select(CASES, selections)] == chosen


def test_a_selection_of_nothing_names_what_is_near() -> None:
    with pytest.raises(UsageError, match="did you mean a/one"):
        select(CASES, ("a/oen",))


def test_needs_come_first() -> None:
    seen: set[str] = set()
    for each in all_cases():
        assert set(each.needs) <= seen, each.id
        seen.add(each.id)


def test_an_id_is_given_once() -> None:
    with pytest.raises(ValueError, match="taken already"):
        case("turns/answered", title="t", clause="C", severity=Severity.LOW, means="m")


def test_what_a_case_says_is_a_sentence() -> None:
    for each in all_cases():
        assert each.means.endswith("."), each.id
        assert not each.title.endswith("."), each.id
