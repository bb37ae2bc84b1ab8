"""Texts of messages: JSON of client messages, mutated."""

from __future__ import annotations

import json
from random import Random
from typing import Any

# A valid id that no conversation has: messages pass the check of shapes and start nothing.
NOWHERE = "0123456789ab"
STRANGE_TEXTS = (
    "",
    " ",
    "\x00",
    "\x1b]0;title\x07",
    "a\nINFO forged",
    "\u2028\u202e",
    "é" * 300,
    "../../etc/passwd",
    "a" * 5_000,
    "__proto__",
    "%s%n%d",
    "\x85\x9b31m",
)
STRANGE_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    2**64,
    10**400,
    1e308,
    -0.0,
    [],
    {},
    [[]],
    {"a": {"b": []}},
)
RAW = (
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"NaN",
    b'{"type":}',
    b'{"type":"cancel","type":"subscribe"}',
    b'{"type":"chat_request","message":"\\ud800"}',
    b'{"type":"cancel","message_id":"\\udfff\\ud800"}',
    b'{"type":"subscribe","conversation_id":"0123456789ab","after":1e999}',
    b'{"type":"subscribe","conversation_id":"0123456789ab","after":' + b"9" * 2_000 + b"}",
    b"[" * 3_000,
    b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
    b'{"type":"cancel"}{"type":"cancel"}',
    b"\xef\xbb\xbf{}",
    b'{"type":"chat_request","message":" ","message":[]}',
)
TURN_ONE_IN = 5_000
"""So rarely a message runs a turn: each starts a process."""


def text(random: Random) -> bytes:
    """The payload of one text message, in valid UTF-8."""
    if random.random() < 0.2:
        return random.choice(RAW)
    if random.randrange(TURN_ONE_IN) == 0:
        return b'{"type":"chat_request","message":"[[fake tokens=2]]"}'
    message = _message(random)
    # Few mutations: a message with many is refused for its first fault, and all such messages are alike to a
    # server.
    for _ in range(random.choice((0, 0, 1, 1, 2))):
        _mutate(random, message)
    # A mutation may have removed the id: without it the message would begin a conversation, and so a process.
    if "message" in message and not isinstance(message.get("conversation_id"), str):
        message["conversation_id"] = NOWHERE
    return json.dumps(message, ensure_ascii=random.random() < 0.5).encode("utf-8", "replace")


def _message(random: Random) -> dict[str, Any]:
    match random.randrange(3):
        case 0:
            return {
                "type": "chat_request",
                "message": random.choice(STRANGE_TEXTS),
                "conversation_id": NOWHERE,
            }
        case 1:
            return {"type": "subscribe", "conversation_id": NOWHERE, "after": random.randrange(10)}
        case _:
            return {"type": "cancel", "message_id": f"m{random.randrange(100)}", "conversation_id": NOWHERE}


def _mutate(random: Random, message: dict[str, Any]) -> None:
    name = random.choice([*message, "more", "message_id"])
    match random.randrange(4):
        case 0:
            message.pop(name, None)
        case 1:
            message[name] = random.choice(STRANGE_VALUES)
        case 2:
            message[name] = random.choice(STRANGE_TEXTS)
        case _:
            message[random.choice(STRANGE_TEXTS)] = message.pop(name, 1)
