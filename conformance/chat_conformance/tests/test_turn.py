from __future__ import annotations

import pytest

from chat_conformance.errors import Failure
from chat_conformance.suite.turn import comparable, join_tokens
from chat_conformance.wire.channel import Event


def token(text: str) -> Event:
    """A token event."""
    return {"type": "token", "token": text}


def test_tokens_are_joined_and_rewinds_applied() -> None:
    events = [
        token("Hello "),
        token("wörld"),
        {"type": "rewind", "to": 7},
        {"type": "status"},
        token("ow"),
    ]

    assert join_tokens(events) == "Hello wow"


@pytest.mark.parametrize(
    "event", [{"type": "token"}, {"type": "token", "token": 1}, {"type": "rewind", "to": 9}]
)
def test_an_event_without_what_it_must_have_fails(event: Event) -> None:
    with pytest.raises(Failure):
        join_tokens([token("short"), event])


def test_members_without_a_clause_may_differ() -> None:
    first, again = [{**TOKEN, "sent_at": number} for number in (1, 2)]

    assert comparable([first]) == comparable([again]) == [TOKEN]
    assert comparable([first]) != comparable([{**again, "seq": 2}])


TOKEN: Event = {"type": "token", "token": "a", "seq": 1, "message_id": "m", "conversation_id": "0123456789ab"}
