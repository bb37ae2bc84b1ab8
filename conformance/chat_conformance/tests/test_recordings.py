"""Recordings as tools and people make them: what differs between browsers, and what is said of what cannot be read."""

from __future__ import annotations

import base64
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from chat_conformance.__main__ import main
from chat_conformance.errors import UsageError
from chat_conformance.suite.propose.draft import Draft, draft
from chat_conformance.suite.propose.read import read
from chat_conformance.suite.propose.write import written
from chat_conformance.target.cli_lines import CliLines
from chat_conformance.target.templates import filled

PROMPT = "What is the capital of France?"
FRAMES: list[tuple[str, dict[str, str]]] = [
    ("send", {"type": "ask", "text": PROMPT}),
    ("receive", {"type": "delta", "text": "It is "}),
    ("receive", {"type": "delta", "text": "Paris."}),
    ("receive", {"type": "done"}),
]
EVENTS = "".join(f"data: {json.dumps(frame)}\n\n" for kind, frame in FRAMES if kind == "receive")
LINES = [
    json.dumps({"connect": "ws://127.0.0.1:8000/ws"}),
    *(json.dumps({kind: frame}) for kind, frame in FRAMES),
]


def encoded(text: str) -> str:
    """A text in Base64."""
    return base64.b64encode(text.encode()).decode()


def messages(opcode: int = 1) -> list[dict[str, Any]]:
    """The messages of a WebSocket as HARs have them."""
    texts = [(kind, json.dumps(frame)) for kind, frame in FRAMES]
    return [
        {"type": kind, "opcode": opcode, "data": encoded(text) if opcode == 2 else text}
        for kind, text in texts
    ]


def socket(frames: list[dict[str, Any]], **other: Any) -> dict[str, Any]:
    """The entry of a WebSocket."""
    return {
        "request": {"url": "wss://chat.example/ws", "headers": []},
        "_webSocketMessages": frames,
        **other,
    }


def posted(**content: Any) -> dict[str, Any]:
    """The entry of a prompt that is sent by POST."""
    body = {"mimeType": "application/json", "text": json.dumps({"message": PROMPT})}
    return {
        "request": {"method": "POST", "url": "http://127.0.0.1:8000/chat", "headers": [], "postData": body},
        "response": {"status": 200, "headers": [], "content": content},
    }


def har(*entries: Any) -> bytes:
    """A HAR of these entries."""
    return json.dumps({"log": {"version": "1.2", "entries": entries}}).encode()


NULLS = {"request": {"method": "GET", "url": "http://x/", "headers": None}, "response": None}
CONTROL = [{"type": "receive", "opcode": 9, "data": ""}, {"type": "error", "opcode": -1, "data": "closed"}]
SSE = "text/event-stream"
SAID: dict[str, bytes] = {
    "with a byte order mark": b"\xef\xbb\xbf" + har(socket(messages())),
    "in UTF-16": har(socket(messages())).decode().encode("utf-16"),
    "in binary messages": har(socket(messages(2))),
    "with control frames and an error": har(socket([CONTROL[0], *messages(), *CONTROL])),
    "with members that are null": har(NULLS, socket(messages(), response=None)),
    "in Base64": har(posted(mimeType=SSE, encoding="base64", text=encoded(EVENTS))),
    "in events apart": har(
        {
            **posted(mimeType=SSE),
            "_eventSourceMessages": [
                {"eventName": "message", "data": json.dumps(frame)}
                for kind, frame in FRAMES
                if kind == "receive"
            ],
        }
    ),
    "in lines that are called JSON": har(
        posted(mimeType="application/json", text=EVENTS.replace("data: ", "").replace("\n\n", "\n"))
    ),
    "in lines with CRLF": "\r\n".join(LINES).encode(),
    "in lines with comments": "\n".join(["# by hand", "// mine", *LINES]).encode(),
}


@pytest.mark.parametrize("recording", SAID)
def test_the_answer_is_found(recording: str) -> None:
    made = draft(read(SAID[recording], "session"))
    assert made.found is not None
    assert (made.found.said, made.found.end) == ("It is Paris.", {"type": "done"})


def test_half_an_emoji_is_taken() -> None:
    frames = [*messages(), {"type": "receive", "data": '{"cut": "\\\\ud83d", "whole": "\\\\ud83d\\\\ude00"}'}]
    read_back = read(har(socket(frames)).replace(b"\\\\\\\\", b"\\\\"), "session").sockets[0].frames[-1]
    assert read_back.value == {"cut": "\ufffd", "whole": "\U0001f600"}
    lines = b'{"send": {"text": "a \\ud83d"}}\n{"receive": {"text": "\\ude00 b"}}'
    assert [each.value["text"] for each in read(lines, "session").sockets[0].frames] == [
        "a \ufffd",
        "\ufffd b",
    ]


def test_text_may_have_any_line_separator() -> None:
    lines = [*LINES[:2], json.dumps({"receive": {"type": "delta", "text": "a\u2028b"}}, ensure_ascii=False)]
    assert read("\n".join(lines).encode(), "session").sockets[0].frames[1].value["text"] == "a\u2028b"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "session is empty"),
        (b"PK\x03\x04", "session is an archive"),
        (har(socket(messages()))[:200], "session is a HAR that is not whole"),
        (b'{"log": {"entries": ' + b"[" * 99_999, "session is nested too deep"),
        (b'{"log": {}}', "its log.entries is no array"),
        (har(None), r"log.entries\[0\].request.url is no address"),
        (har(socket([])), "the WebSocket /ws is recorded without its messages"),
        (har(posted(mimeType=SSE, text="")), "POST /chat is recorded without its content"),
        (har(posted(mimeType="text/html", text="hi")), "no WebSocket and no streamed answer"),
        (b'{"send": "caf\xe9"}', "no text in UTF-8"),
        (b'{"send": "a"}\n{"recieve": "b"}', "line 2 must have one of .* did you mean 'receive'"),
        (b'{"send": "a", "receive": "b"}', "line 1 must have one of .* it has send and receive"),
        (b"[1]", "one object a line"),
        (b"# mine\n[1]", "line 2 is no object"),
        (b'{"send": ', "line 1 is no JSON"),
        (b'{"request": "POST"}', "it must be like POST /api/sessions"),
        (b'{"request": "GET /a", "response": {}}', "a request has no 'response'; it has .*, answer"),
        (b'{"request": "GET /a", "receive": {}}', "it has request and receive; .* its member answer"),
        (b'{"connect": "localhost:8000/ws"}', "it must be like ws://127.0.0.1:8000/ws"),
        (b'{"request": "GET /a", "headers": [1]}', r"headers is \[1\], of the wrong type"),
    ],
)
def test_what_cannot_be_read_is_said(data: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        draft(read(data, "session"))


def proposed(*lines: Any, prompt: str = "") -> Draft:
    """The draft of these lines."""
    return draft(read("\n".join(map(json.dumps, lines)).encode(), "session"), prompt)


def sse(body: Any, *frames: Any) -> dict[str, Any]:
    """A prompt by POST with its streamed answer."""
    texts = [each if isinstance(each, str) else json.dumps(each) for each in frames]
    answer = "".join(f"data: {each}\n\n" for each in texts)
    return {"request": "POST /chat", "json": body, "kind": SSE, "answer": answer}


def test_last_user_turn_is_the_prompt() -> None:
    system = {"role": "system", "content": "You are helpful, and answer in a word or two"}
    first, second = {"role": "user", "content": PROMPT}, {"role": "user", "content": "And of Spain?"}
    said = {"role": "assistant", "content": "Paris is the capital of France."}
    answer = [{"choices": [{"delta": {"content": text}}]} for text in ("It is ", "Paris.")]
    made = proposed(
        sse({"messages": [system, first]}, *answer, "[DONE]"),
        sse({"messages": [system, first, said, second]}, *answer, "[DONE]"),
    )
    assert made.chat_request == {"messages": [system, {"role": "user", "content": "{prompt}"}]}
    assert made.found is not None
    assert made.found.end == "[DONE]"
    assert any("lacks" in each for each in made.notes)


def test_end_of_part_is_no_end() -> None:
    frames = [{"type": "text-delta", "delta": text} for text in ("It is ", "Paris.")]
    made = proposed(sse({"prompt": PROMPT}, *frames, {"type": "text-end"}, {"type": "finish"}))
    assert made.found is not None
    assert made.found.end == {"type": "finish"}


def test_id_that_is_not_repeated_is_none() -> None:
    mine, nil = "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d", "00000000-0000-0000-0000-000000000000"
    made = proposed(
        sse(
            {"prompt": PROMPT, "ref": mine, "parent": nil},
            {"type": "created", "ref": mine},
            *(frame for _, frame in FRAMES[1:]),
        )
    )
    assert made.chat_request == {"prompt": "{prompt}", "ref": "{uuid}", "parent": nil}
    assert not made.members


def test_event_name_stands_before_the_object() -> None:
    made = proposed(
        {"send": ["3", "4", "room", "new", {"body": PROMPT}]},
        {"receive": ["3", None, "room", "delta", {"body": "It is "}]},
        {"receive": ["3", None, "room", "delta", {"body": "Paris."}]},
        {"receive": ["3", None, "room", "done", {}]},
    )
    assert made.found is not None
    assert (made.found.text, made.found.end) == ("4.body", {"3": "done"})


def test_lines_of_cli_may_be_texts() -> None:
    lines = [
        {"type": "system"},
        {"type": "assistant", "message": {"content": [{"type": "text", "text": "Paris."}]}},
        {"type": "result", "subtype": "success", "result": "Paris."},
    ]
    made = proposed(
        {"send": {"prompt": PROMPT}},
        *({"receive": {"type": "output", "content": json.dumps(each)}} for each in lines),
    )
    assert made.found is not None
    assert made.found.cli_lines == "content"
    events = [event for each in lines for event in CliLines().events(json.dumps(each))]
    assert events[0] == {"type": "token", "token": "Paris."}
    assert CliLines().events("no line") == []


def test_greeting_without_kind_is_waited_for() -> None:
    made = proposed({"send": {"id": 1, "hello": True}}, {"receive": {"id": 1}}, *map(json.loads, LINES[1:]))
    assert "[[opening]]\nwait = {}" in written(made)


def test_prompts_by_post_are_named() -> None:
    frames = [each for each in messages() if each["type"] == "receive"]
    data = har(socket(frames), posted(mimeType="application/json", text="{}"))
    with pytest.raises(UsageError, match="prompts, it seems, by POST /chat"):
        draft(read(data, "session"))


def test_prompt_that_is_missing_is_named() -> None:
    with pytest.raises(
        UsageError, match=r"'nothing' is sent nowhere .* the last texts sent are 'ask', 'What"
    ):
        draft(read(har(socket(messages())), "session"), "nothing")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none/chat.toml"], "none/chat.toml: No such file"),
        (["--prompt", "a", "b.toml"], "that --from names"),
    ],
)
def test_init_that_cannot_write_says_so(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_init_says_what_to_mend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "session.jsonl"
    message = json.dumps({"send": {"prompt": PROMPT, "system": "Be {kind}"}})
    place.write_text("\n".join([message, *LINES[2:]]), encoding="utf-8")
    assert main(["init", "--from", str(place), str(tmp_path / "chat.toml")]) == 0
    assert "to be mended by hand: " in capsys.readouterr().out


def test_member_without_its_value_is_left_out() -> None:
    template = {"text": "{prompt}", "ref": "session-{conversation_id}"}
    assert filled(template, {"prompt": "a"}) == {"text": "a"}
    assert filled(template, {"prompt": "a", "conversation_id": 1}) == {"text": "a", "ref": "session-1"}
    with pytest.raises(KeyError):
        filled("/ask {conversation_id} {prompt}", {"prompt": "a"})


def test_what_was_recorded_stays_in_line() -> None:
    sent = {"prompt": PROMPT, "a\nb\x7f": "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d", "c": "\x7f\x00"}
    made = proposed({"send": sent}, *({kind: frame} for kind, frame in FRAMES[1:]))
    assert tomllib.loads(written(made))["messages"]["chat_request"]["c"] == "\x7f\x00"
