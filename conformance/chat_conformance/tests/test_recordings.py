"""Recordings as tools and people make them: what differs between browsers, and what is said of what cannot be read."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from chat_conformance.errors import UsageError
from chat_conformance.suite.propose.draft import draft
from chat_conformance.suite.propose.read import read

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


def test_a_text_in_a_line_may_have_any_line_separator() -> None:
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
        (b'{"connect": "localhost:8000/ws"}', "it must be like ws://127.0.0.1:8000/ws"),
        (b'{"request": "GET /a", "headers": [1]}', r"headers is \[1\], of the wrong type"),
    ],
)
def test_what_cannot_be_read_is_said(data: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        draft(read(data, "session"))


def test_a_prompt_that_is_not_there_is_said_with_what_is() -> None:
    with pytest.raises(
        UsageError, match=r"'nothing' is sent nowhere .* the last texts sent are 'ask', 'What"
    ):
        draft(read(har(socket(messages())), "session"), "nothing")
