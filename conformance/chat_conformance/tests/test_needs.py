from __future__ import annotations

import pytest

from chat_conformance.results import Case, Severity
from chat_conformance.suite import case as cases
from chat_conformance.suite.case import all_cases
from chat_conformance.suite.needs import ROOTS

CASES = {each.id: each for each in all_cases()}


def test_every_root_is_a_case() -> None:
    assert ROOTS.keys() <= CASES.keys()


@pytest.mark.parametrize(
    ("case_id", "need"),
    [
        ("processes/stderr", "turns/text"),  # it looks at the answer
        ("keepalive/first-ping", "handshake/two-at-once"),  # two connections in one block
        ("identity/others", "handshake/two-at-once"),  # the second one in a function that it calls
        ("shapes/whole", "history/socket-turn"),  # read by a function that it calls
        ("stopping/goes-on", "stopping/cancel"),
        ("limits/others", "limits/hour"),
    ],
)
def test_a_case_needs_what_it_calls(case_id: str, need: str) -> None:
    assert need in CASES[case_id].needs


@pytest.mark.parametrize(
    ("case_id", "other"),
    [
        ("processes/options", "turns/answered"),  # what Claude was given can be judged without an answer
        ("http/post", "handshake/completes"),  # another route
        ("turns/order", "turns/text"),  # it looks at kinds of events only
        ("keepalive/dead-peer", "turns/answered"),
        ("stopping/unknown", "stopping/cancel"),
    ],
)
def test_a_case_needs_nothing_else(case_id: str, other: str) -> None:
    assert other not in _all_needs(CASES[case_id])


def _all_needs(case: Case) -> set[str]:
    return {*case.needs, *(deep for need in case.needs for deep in _all_needs(CASES[need]))}


def test_cases_that_need_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, need in (("a/one", "a/two"), ("a/two", "a/one")):
        made = Case(id=name, title="t", clause="C", severity=Severity.LOW, means="m", needs=(need,))
        monkeypatch.setitem(cases._registry, name, made)

    with pytest.raises(ValueError, match="a/one needs a/two needs a/one"):
        cases._depth("a/one")
