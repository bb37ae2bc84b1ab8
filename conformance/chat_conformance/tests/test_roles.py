from __future__ import annotations

import pytest

from chat_conformance.suite.case import all_cases
from chat_conformance.suite.role_marks import AREAS, MARKS
from chat_conformance.suite.roles import absent, playable, roles_of
from chat_conformance.target.file import Target, load
from chat_conformance.target.roles import ROLES
from chat_conformance.tests.test_speech import NESTED, TEXT, target

CASES = {each.id: each for each in all_cases()}


@pytest.mark.parametrize(
    ("case_id", "relies", "not_on"),
    [
        ("turns/seq", {"seq"}, {"history", "post", "end"}),
        ("turns/remembers", {"conversation"}, {"post", "conversation_id"}),  # POST only where there is one
        ("following/replays", {"subscribe", "seq", "message_id"}, {"cancel"}),
        ("processes/cancelled", {"cancel"}, {"history"}),
        ("history/deleted", {"history"}, set()),
        ("keepalive/silent-turn", {"pings"}, {"seq"}),  # in a function that it calls
        ("shapes/surrogate", {"assembled"}, {"history"}),
        ("framing/illegal", {"frames"}, {"end"}),
    ],
)
def test_roles_follow_from_calls(case_id: str, relies: set[str], not_on: set[str]) -> None:
    roles = roles_of(CASES[case_id])

    assert relies <= roles
    assert not not_on & roles


def test_absent_role_is_named_with_its_remedy() -> None:
    lacks = target('lacks = ["seq"]')

    assert absent(CASES["turns/seq"], lacks) == "events are not numbered: members.seq of events"
    assert absent(CASES["turns/seq"], target("")) is None


@pytest.mark.parametrize(("given", "least"), [(target(TEXT), 70), (target(NESTED), 75)])
def test_little_is_enough_for_many_cases(given: Target, least: int) -> None:
    assert least < len(playable(CASES.values(), given)) < len(CASES)


def test_reference_has_every_role() -> None:
    reference = load("targets/reference.toml")

    assert reference.roles == ROLES.keys()
    assert len(playable(CASES.values(), reference)) == len(CASES)


def test_every_role_is_known_and_used() -> None:
    used = {*MARKS, *(role for roles in AREAS.values() for role in roles)}

    assert used == ROLES.keys()
