"""The steps of a turn are recorded in order, joined where they belong together, and bounded."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_server.protocol import Rewind, Status, Thinking, Token, Tool
from chat_server.turns import steps
from chat_server.turns.steps import StepRecorder, decode_steps


def recorded(*events: tuple[Any, int]) -> list[dict[str, Any]]:
    recorder = StepRecorder()
    for event, at in events:
        recorder.record(event, at)
    found: list[dict[str, Any]] = msgspec.to_builtins(decode_steps(recorder.encoded()))
    return found


def tool(call: str, name: str, state: str, detail: str) -> Tool:
    return Tool(id=call, name=name, state=state, detail=detail)


def test_no_steps_are_empty() -> None:
    recorder = StepRecorder()
    recorder.record(Token(token="hello"), 5)

    assert recorder.encoded() == ""
    assert list(decode_steps("")) == []


def test_steps_keep_their_order() -> None:
    found = recorded(
        (Thinking(thinking="Hm."), 0),
        (tool("t1", "Bash", "started", "ls"), 3),
        (Status(status="retrying", detail="attempt 1 of 10"), 3),
        (tool("t1", "Bash", "finished", "a.txt"), 3),
    )

    assert found == [
        {"type": "thinking", "at": 0, "thinking": "Hm."},
        {
            "type": "tool",
            "at": 3,
            "id": "t1",
            "name": "Bash",
            "state": "finished",
            "input": "ls",
            "result": "a.txt",
        },
        {"type": "status", "at": 3, "status": "retrying", "detail": "attempt 1 of 10"},
    ]


def test_thinking_deltas_are_joined() -> None:
    recorder = StepRecorder()
    for delta in ("I ", "think"):
        recorder.record(Thinking(thinking=delta), 0)
        assert "I " in recorder.encoded()  # saved in between, as running turns are
    recorder.record(Thinking(thinking="again"), 4)

    found = msgspec.to_builtins(decode_steps(recorder.encoded()))
    assert [each["thinking"] for each in found] == ["I think", "again"]


def test_thoughts_around_a_tool_stay_apart() -> None:
    found = recorded(
        (Thinking(thinking="a"), 0), (tool("t", "Bash", "started", ""), 0), (Thinking(thinking="b"), 0)
    )

    assert [each["type"] for each in found] == ["thinking", "tool", "thinking"]


def test_parallel_tools_get_own_results() -> None:
    found = recorded(
        (tool("a", "Bash", "started", "one"), 0),
        (tool("b", "Read", "started", "two"), 0),
        (tool("b", "", "failed", "no"), 0),
        (tool("a", "", "finished", "yes"), 0),
    )

    assert [(each["name"], each["state"], each["result"]) for each in found] == [
        ("Bash", "finished", "yes"),
        ("Read", "failed", "no"),
    ]


def test_rewind_moves_steps_back() -> None:
    found = recorded(
        (Status(status="a", detail=""), 2), (Status(status="b", detail=""), 9), (Rewind(to=4), 4)
    )

    assert [each["at"] for each in found] == [2, 4]


def test_version_grows_with_changes() -> None:
    recorder = StepRecorder()
    versions = [recorder.version]
    for event in (
        Thinking(thinking="a"),
        tool("t", "", "started", ""),
        tool("t", "", "failed", ""),
        Status(status="n", detail=""),
        Rewind(to=0),
    ):
        recorder.record(event, 0)
        versions.append(recorder.version)
    recorder.record(Token(token="x"), 1)

    assert len({*versions}) == len(versions)
    assert recorder.version == versions[-1]


def test_too_much_text_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "MAX_CHARS", 10)
    found = recorded(
        (tool("t", "Bash", "started", "12345"), 0),
        (Thinking(thinking="123456"), 0),
        (Thinking(thinking="1"), 0),
        (tool("t", "Bash", "finished", "x"), 0),
    )

    assert [each["type"] for each in found] == ["tool", "status"]
    assert (found[0]["state"], found[0]["result"]) == ("finished", "")
    assert (found[1]["status"], found[1]["detail"]) == ("steps_omitted", "3 more were not kept")


@given(st.lists(st.text(max_size=5), max_size=20), st.text())
def test_any_text_survives(thoughts: list[str], detail: str) -> None:
    events = [(Thinking(thinking=each), 0) for each in thoughts]
    found = recorded(*events, (tool("t", "Bash", "started", detail), 0))

    assert "".join(each["thinking"] for each in found[:-1]) == "".join(thoughts)
    assert found[-1]["input"] == detail
