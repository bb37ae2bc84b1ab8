"""What the schema has against a message or document; fast, since every one of a run is looked at.

msgspec checks a value against the types that the schema is made of, some 1 µs for a frame.
"""

from __future__ import annotations

from typing import Any

import msgspec

from chat_conformance.protocol.documents import (
    Answered,
    Conversation,
    ConversationList,
    NewConversation,
    Refusal,
    Standing,
)
from chat_conformance.protocol.messages import CLIENT, SERVER
from chat_conformance.protocol.schema import word

MISSING = "Object missing required field"
_CLIENT = {word(each): each for each in CLIENT}
_SERVER = {word(each): each for each in SERVER}
_DOCUMENTS: dict[str, Any] = {
    "post": Answered,
    "new": NewConversation,
    "list": ConversationList,
    "conversation": Conversation,
    "usage": Standing,
    "error": Refusal,
}


def wrong_in_event(event: dict[str, Any]) -> str | None:
    """What is wrong with a server's message, and where in it; None if nothing, or if its type is unknown."""
    return _wrong(event, _SERVER.get(str(event.get("type"))))


def wrong_in_request(message: dict[str, Any]) -> str | None:
    """What is wrong with a client's message, and where in it; None if nothing."""
    kind = str(message.get("type"))
    # Other than for a server's message, an unknown type is wrong here: it is the suite's own, and it knows its
    # protocol.
    return _wrong(message, _CLIENT[kind]) if kind in _CLIENT else f"{kind} is no type of a client's message"


def wrong_in_document(kind: str, document: Any) -> str | None:
    """What is wrong with the JSON of an HTTP answer, and where in it; None if nothing.

    Args:
        kind: ``post``, ``new``, ``list``, ``conversation``, ``usage`` or ``error``.
        document: The JSON, decoded.
    """
    if kind == "post" and isinstance(document, dict) and "error" in document:
        # The status line had been sent (HTTP-2).
        kind = "error"
    return _wrong(document, _DOCUMENTS[kind])


def _wrong(value: Any, kind: Any) -> str | None:
    if kind is None:
        return None
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        return str(error)
    return None
