from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from chat_conformance.errors import NotOffered
from chat_conformance.target.file import Target, parse
from chat_conformance.target.speech import Speech

HEAD = 'name = "t"\nurl = "http://127.0.0.1:1"\n'
NESTED = """
[messages]
chat_request = { action = "ask", data = { text = "{prompt}", session = "{conversation_id}" } }
[captures]
conversation_id = "session.id"
[[events]]
is = "token"
when = { type = "stream_event", "event.delta.type" = ["text_delta", "text"] }
text = "event.delta.text"
[[events]]
is = "complete"
when = { type = ["result", "done"] }
members = { usage = "usage", stop_reason = "why" }
[[events]]
is = "error"
has = ["failure"]
members = { message = "failure.text" }
constants = { code = "claude_failed" }
"""
BLOCKS = """
[messages]
chat_request = ["say", { text = "{prompt}" }]
[[events]]
is = "token"
when = { "0" = "answer" }
text = "1.content.*.text"
cumulative = true
[[events]]
is = "complete"
when = { "1.over" = true }
"""
TEXT = """
messages = { chat_request = "ask {prompt}" }
[[events]]
is = "complete"
when = "[DONE]"
[[events]]
is = "token"
text = "*"
"""


def target(text: str) -> Target:
    """The target of a file with this text."""
    return parse((HEAD + text).encode(), Path("t.toml"), "t", here=Path())


def read(speech: Speech, frame: Any) -> list[Any]:
    """What a frame means."""
    text = frame if isinstance(frame, str) else msgspec.json.encode(frame).decode()
    return speech.events(frame, text)


def test_members_at_several_places_make_a_token() -> None:
    speech = Speech(target(NESTED))

    frame = {"type": "stream_event", "event": {"delta": {"type": "text_delta", "text": "hi"}}}
    assert read(speech, frame) == [{"type": "token", "token": "hi"}]
    frame["event"] = {"delta": {"type": "input_json_delta", "text": "no"}}
    assert read(speech, frame) == []
    assert read(speech, {"failure": {"text": "gone"}}) == [
        {"type": "error", "code": "claude_failed", "message": "gone"}
    ]


def test_captured_conversation_goes_into_the_next_message() -> None:
    speech = Speech(target(NESTED))

    assert speech.message({"type": "chat_request", "message": "a", "message_id": "m"}) == {
        "action": "ask",
        "data": {"text": "a"},
    }
    assert read(speech, {"session": {"id": 7}}) == []
    assert read(speech, {"type": "done", "why": "end"}) == [
        {"type": "complete", "stop_reason": "end", "conversation_id": 7}
    ]
    again = speech.message({"type": "chat_request", "message": "b", "conversation_id": 7})
    assert again["data"] == {"text": "b", "session": 7}


def test_cumulative_text_is_read_as_its_growth() -> None:
    speech = Speech(target(BLOCKS))

    def answer(*blocks: str) -> list[Any]:
        return read(speech, ["answer", {"content": [{"text": each} for each in blocks]}])

    assert answer("a") == [{"type": "token", "token": "a"}]
    assert answer("a", "b") == [{"type": "token", "token": "b"}]
    assert answer("a", "b") == []
    assert answer("x") == [{"type": "rewind", "to": 0}, {"type": "token", "token": "x"}]
    assert read(speech, ["end", {"over": True}]) == [{"type": "complete"}]
    assert read(speech, ["end", {"over": 1}]) == []


def test_growing_text_outlives_our_pong() -> None:
    speech = Speech(target(BLOCKS.replace("[messages]", '[messages]\npong = "p"')))

    def answer(said: str) -> list[Any]:
        return read(speech, ["answer", {"content": [{"text": said}]}])

    assert answer("Hel") == [{"type": "token", "token": "Hel"}]
    speech.message({"type": "pong"})
    assert answer("Hello") == [{"type": "token", "token": "lo"}]
    speech.message({"type": "chat_request", "message": "again"})
    assert answer("Bye") == [{"type": "token", "token": "Bye"}]


def test_thinking_grows_beside_the_text() -> None:
    rules = """
[[events]]
is = "token"
has = ["text"]
text = "text"
cumulative = true
[[events]]
is = "thinking"
has = ["why"]
text = "why"
cumulative = true
"""
    speech = Speech(target(f'messages = {{ chat_request = "{{prompt}}" }}{rules}'))

    frames = [{"text": "Hello"}, {"why": "hm"}, {"text": "Hello!"}, {"why": "ah"}]
    said = [event for frame in frames for event in read(speech, frame)]
    assert [(each["type"], each.get(each["type"])) for each in said] == [
        ("token", "Hello"),
        ("thinking", "hm"),
        ("token", "!"),
        ("thinking", "ah"),
    ]


def test_whole_frames_are_text_unless_a_rule_knows_them() -> None:
    speech = Speech(target(TEXT))

    assert speech.encode({"type": "chat_request", "message": "a{b} {prompt}"}) == b"ask a{b} {prompt}"
    assert speech.events(42, "42") == [{"type": "token", "token": "42"}]
    assert speech.events("[DONE]", "[DONE]\n") == [{"type": "complete"}]


def test_message_that_is_not_described_is_not_offered() -> None:
    with pytest.raises(NotOffered, match=r"no messages\.cancel"):
        Speech(target(TEXT)).message({"type": "cancel", "message_id": "m"})


def test_cli_lines_give_each_text_once() -> None:
    speech = Speech(target('cli_lines = "data"\nmessages = { chat_request = { text = "{prompt}" } }'))
    delta = {"delta": {"type": "text_delta", "text": "hi"}}
    whole = {"id": "1", "content": [{"type": "text", "text": "hi"}]}
    lines: list[Any] = [
        {"type": "stream_event", "event": {"type": "message_start", "message": {"id": "1"}}},
        {"type": "stream_event", "event": delta},
        {"type": "assistant", "message": whole},
        {"type": "assistant", "message": {**whole, "id": "2"}, "parent_tool_use_id": "t"},
        {"type": "result", "result": "hi", "session_id": "s", "subtype": "success"},
    ]

    events = [event for line in lines for event in read(speech, {"data": line})]
    assert [(each["type"], each.get("token")) for each in events] == [("token", "hi"), ("complete", None)]
    assert events[-1]["conversation_id"] == "s"
    events = read(speech, {"data": {"type": "result", "result": "only", "is_error": True}})
    assert [each["type"] for each in events] == ["token", "error"]


@pytest.mark.parametrize(
    ("text", "there", "absent"),
    [
        ("", {"seq", "history", "subscribe", "assembled"}, set()),
        ('lacks = ["seq"]', {"history"}, {"seq"}),
        (
            NESTED,
            {"end", "error", "usage", "conversation_id"},
            {"history", "code", "seq", "health", "accepted"},
        ),
        (TEXT, {"end", "conversation", "frames"}, {"error", "conversation_id", "checked"}),
    ],
)
def test_roles_follow_from_what_is_described(text: str, there: set[str], absent: set[str]) -> None:
    roles = target(text).roles

    assert there <= roles
    assert not absent & roles


def test_conversation_that_the_opening_made_is_in_every_message() -> None:
    speech = Speech(target(NESTED))
    speech.opened = {"conversation_id": 9}

    assert speech.message({"type": "chat_request", "message": "a"})["data"]["session"] == 9
