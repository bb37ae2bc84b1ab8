from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from chat_conformance.errors import UsageError
from chat_conformance.suite.propose.draft import draft
from chat_conformance.suite.propose.read import read
from chat_conformance.suite.propose.write import written
from chat_conformance.target.file import Target, parse
from chat_conformance.target.speech import Speech

ID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
OTHER = "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"
PROMPT = "What is the capital of France?"


def delta(text: str) -> dict[str, Any]:
    """A line of the CLI with a part of the text."""
    event = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return {"type": "stream_event", "event": event, "session_id": ID}


RESULT = {"type": "result", "subtype": "success", "result": "It is Paris.", "session_id": ID}
# Whose servers these are like: lines forwarded as they are, the CLI's lines in an envelope, words of one's own, a chat
# framework with events over Socket.IO, and text.
SESSIONS: dict[str, list[dict[str, Any]]] = {
    "forwarded": [
        {"send": {"type": "user", "message": {"role": "user", "content": PROMPT}}},
        {"receive": {"type": "system", "subtype": "init", "session_id": ID}},
        {"receive": delta("It is ")},
        {"receive": delta("Paris.")},
        {"receive": RESULT},
    ],
    "enveloped": [
        {"send": {"type": "claude-command", "command": PROMPT, "options": {"cwd": "/srv"}}},
        {"receive": {"type": "session-created", "sessionId": ID}},
        {"receive": {"type": "claude-response", "data": delta("It is ")}},
        {"receive": {"type": "claude-response", "data": delta("Paris.")}},
        {"receive": {"type": "claude-response", "data": RESULT}},
        {"receive": {"type": "claude-complete", "sessionId": ID, "exitCode": 0}},
    ],
    "own words": [
        {"request": "POST /api/sessions", "json": {"title": "x"}, "answer": {"session": {"id": ID}}},
        {"connect": f"ws://127.0.0.1:4000/live/{ID}?v=2"},
        {"receive": {"kind": "hello", "server": "x"}},
        {"send": {"kind": "say", "body": {"text": PROMPT}, "ref": OTHER}},
        {"receive": {"kind": "piece", "ref": OTHER, "chunk": "It is "}},
        {"receive": {"kind": "piece", "ref": OTHER, "chunk": "Paris."}},
        {"receive": {"kind": "finished", "ref": OTHER, "tokens": 3}},
    ],
    "cumulative": [
        {"send": {"prompt": PROMPT, "session": None}},
        {"receive": {"text": "It is ", "done": False, "sid": ID}},
        {"receive": {"text": "It is Paris", "done": False, "sid": ID}},
        {"receive": {"text": "It is Paris.", "done": False, "sid": ID}},
        {"receive": {"text": "It is Paris.", "done": True, "sid": ID}},
        {"send": {"prompt": "And of Spain?", "session": ID}},
        {"receive": {"text": "Madrid", "done": False, "sid": ID}},
        {"receive": {"text": "Madrid", "done": True, "sid": ID}},
    ],
    "socket.io": [
        {"connect": "ws://127.0.0.1:4000/socket.io/?EIO=4&transport=websocket"},
        {"receive": "0{}"},
        {"send": "40" + msgspec.json.encode({"clientType": "webapp", "sessionId": ID}).decode()},
        {"send": "42" + msgspec.json.encode(["client_message", {"output": PROMPT}]).decode()},
        {"receive": "42" + msgspec.json.encode(["stream_token", {"id": ID, "token": "It is "}]).decode()},
        {"receive": "42" + msgspec.json.encode(["stream_token", {"id": ID, "token": "Paris."}]).decode()},
        {"receive": "42" + msgspec.json.encode(["task_end", {}]).decode()},
    ],
    "text": [
        {"send": PROMPT},
        {"receive": "It is "},
        {"receive": "Paris."},
        {"receive": "[DONE]"},
    ],
    "text without an end": [{"send": PROMPT}, {"receive": "It is "}, {"receive": "Paris."}],
    "events": [
        {
            "request": "POST http://127.0.0.1:4000/api/chat",
            "json": {"messages": [{"role": "user", "content": PROMPT}], "stream": True},
            "kind": "text/event-stream",
            "answer": 'event: delta\ndata: {"t": "It is "}\n\nevent: delta\ndata: {"t": "Paris."}\n\n'
            "event: done\ndata: {}\n\n",
        }
    ],
    "lines": [
        {
            "request": "POST http://127.0.0.1:4000/ask",
            "json": {"q": PROMPT},
            "kind": "application/x-ndjson",
            "answer": '{"content": "It is "}\n{"content": "Paris."}\n{"status": "done"}\n',
        }
    ],
}


def lines(session: list[dict[str, Any]]) -> bytes:
    """A session as JSON Lines."""
    return b"\n".join(msgspec.json.encode(each) for each in session)


def proposed(session: list[dict[str, Any]], prompt: str = "") -> Target:
    """The target that a session suggests."""
    text = written(draft(read(lines(session), "session"), prompt))
    return parse(text.encode(), Path("proposed.toml"), "proposed", here=Path())


def played(target: Target, session: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the frames behind the first prompt mean in that target's words."""
    recording = read(lines(session), "session")
    frames = list(recording.exchanges[-1].frames()) if not recording.sockets else recording.sockets[0].frames
    speech = Speech(target)
    events = [event for each in frames if not each.sent for event in speech.events(each.value, each.text)]
    until = next((place for place, each in enumerate(events) if each["type"] == "complete"), len(events))
    return events[: until + 1]


@pytest.mark.parametrize("name", SESSIONS)
@pytest.mark.parametrize("prompt", [PROMPT, ""])
def test_recorded_session_is_read_by_its_draft(name: str, prompt: str) -> None:
    target = proposed(SESSIONS[name], prompt)
    events = played(target, SESSIONS[name])

    assert "".join(each.get("token", "") for each in events) == "It is Paris."
    assert (events[-1]["type"] == "complete") is (name != "text without an end")
    message = Speech(target).message({"type": "chat_request", "message": "Other words"})
    assert "Other words" in (message if isinstance(message, str) else msgspec.json.encode(message).decode())


def test_session_of_a_post_is_captured_for_the_address() -> None:
    target = proposed(SESSIONS["own words"])

    step = target.opening[0]
    assert (step.request, step.capture) == ("POST /api/sessions", {"session_id": "session.id"})
    assert target.paths.socket == "/live/{session_id}?v=2"
    assert target.opening[1].wait == {"kind": "hello"}
    assert target.messages["chat_request"]["ref"] == "{message_id}"
    assert {each.members.get("message_id") for each in target.events} == {"ref"}


def test_second_prompt_shows_the_conversation() -> None:
    target = proposed(SESSIONS["cumulative"])

    assert target.messages["chat_request"] == {"prompt": "{prompt}", "session": "{conversation_id}"}
    assert target.captures == {"conversation_id": "sid"}
    assert target.events[1].cumulative


def test_transport_of_the_recording_is_named() -> None:
    found = {name: proposed(SESSIONS[name]).transport for name in SESSIONS}

    assert found["socket.io"] == "socket.io"
    joined = proposed(SESSIONS["socket.io"]).socket_io
    assert joined.auth == {"clientType": "webapp", "sessionId": "{connection_uuid}"}
    assert (found["events"], found["lines"], found["text"]) == ("sse", "json-lines", "websocket")
    assert proposed(SESSIONS["events"]).stream.send == "POST /api/chat"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"not a recording", "is no HAR and no recorded session"),
        (b'{"log": {}}', "is no HAR and no recorded session"),
        (b'{"send": {"type": "ping"}}\n{"receive": {"type": "pong"}}', "no prompt is recognised"),
        (lines(SESSIONS["text"][:1]), "record until the answer is over"),
    ],
)
def test_recording_without_a_chat_is_refused_in_words(data: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        draft(read(data, "session"))


def test_token_of_a_user_is_kept_and_times_are_no_ids() -> None:
    session: list[dict[str, Any]] = [
        {"connect": "ws://127.0.0.1:4000/ws?token=eyJhbGciOiJIUzI1NiJ9.e30.abc0"},
        {"send": {"text": PROMPT, "at": "2026-01-01T10:00:00Z", "ms": 1_790_000_000_000, "ref": OTHER}},
        {"receive": {"t": "It is "}},
        {"receive": {"t": "Paris."}},
        {"receive": {"done": True}},
    ]
    target = proposed(session)

    assert target.paths.socket.endswith("token=eyJhbGciOiJIUzI1NiJ9.e30.abc0")
    message = target.messages["chat_request"]
    times = (message["at"], message["ms"])
    assert times == ("2026-01-01T10:00:00Z", 1_790_000_000_000)
    assert message["ref"] == "{uuid}"


def test_two_ids_of_one_name_are_two_captures() -> None:
    session: list[dict[str, Any]] = [
        {"request": "POST /login", "answer": {"id": ID}},
        {"request": "POST /rooms", "answer": {"id": OTHER}},
        {"connect": f"ws://127.0.0.1:4000/{ID}/rooms/{OTHER}"},
        *SESSIONS["text"],
    ]
    target = proposed(session)

    assert [each.capture for each in target.opening] == [{"session_id": "id"}, {"session_id2": "id"}]
    assert target.paths.socket == "/{session_id}/rooms/{session_id2}"
