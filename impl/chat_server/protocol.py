"""What browser and server say to each other, as typed values (docs/protocol.md §4)."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from chat_server.errors import BadRequest, ChatError

CONVERSATION_ID = re.compile(r"[0-9a-f]{12}", re.ASCII)  # MSG-5
MESSAGE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)  # MSG-6


class Message(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    """Base of every message; on the wire ``type`` says which one it is."""


class ChatRequest(Message, frozen=True, tag="chat_request"):
    """Run one turn (TURN-1); without ``conversation_id`` in a new conversation."""

    message: str
    message_id: str | None = None
    conversation_id: str | None = None


class Subscribe(Message, frozen=True, tag="subscribe"):
    """Follow a turn from after ``seq`` on (SUB-1); without ``message_id`` whatever runs in the conversation."""

    conversation_id: str
    message_id: str | None = None
    after: int = 0


class Cancel(Message, frozen=True, tag="cancel"):
    """Stop a turn (CANCEL-1)."""

    message_id: str
    conversation_id: str | None = None


ClientMessage = ChatRequest | Subscribe | Cancel


class Accepted(Message, frozen=True, tag="accepted"):
    """The turn is counted, stored and being asked (TURN-1)."""

    message_id: str
    conversation_id: str


class Event(Message, frozen=True, kw_only=True):
    """One entry of a turn's log, in its envelope (TURN-3, TURN-6).

    The parser makes events without an envelope; ``TurnLog.append`` sets it. No event on the wire has the defaults,
    which the encoder would leave out: ids are never empty, and ``seq`` begins at 1.
    """

    message_id: str = ""
    conversation_id: str = ""
    seq: int = 0


class Token(Event, frozen=True, kw_only=True, tag="token"):
    """The next piece of the answer, at least one character."""

    token: str


class Thinking(Event, frozen=True, kw_only=True, tag="thinking"):
    """A piece of what Claude thinks before it answers."""

    thinking: str


class Tool(Event, frozen=True, kw_only=True, tag="tool"):
    """A tool at work; ``state`` is started, finished or failed."""

    id: str
    name: str
    state: str
    detail: str


class Status(Event, frozen=True, kw_only=True, tag="status"):
    """Something the user may like to know during the turn, such as a retry."""

    status: str
    detail: str = ""


class Rewind(Event, frozen=True, kw_only=True, tag="rewind"):
    """Forget the answer after its first ``to`` code points (TURN-4)."""

    to: int


class Usage(msgspec.Struct, frozen=True):
    """What a turn cost, in tokens."""

    input_tokens: int = 0
    output_tokens: int = 0


class Complete(Event, frozen=True, kw_only=True, tag="complete"):
    """The turn's last event (TURN-2)."""

    usage: Usage
    stop_reason: str


class Failed(Event, frozen=True, kw_only=True, tag="error"):
    """The turn's last event when it did not end well (TURN-2)."""

    code: str
    message: str


class Refused(Message, frozen=True, kw_only=True, tag="error"):
    """The answer to a message that started nothing (MSG-2, MSG-3)."""

    code: str
    message: str
    message_id: str | None = None
    retry_after: float | None = None


ServerMessage = Accepted | Event | Refused

_CLIENT: dict[str, type[ClientMessage]] = {
    "chat_request": ChatRequest,
    "subscribe": Subscribe,
    "cancel": Cancel,
}


class _Envelope(msgspec.Struct):
    """The members that say what a message is, undecoded."""

    type: msgspec.Raw = msgspec.Raw(b"null")
    message_id: msgspec.Raw = msgspec.Raw(b"null")


_decode = msgspec.json.Decoder(ClientMessage).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_MARKS = b",:{["
MOST_MARKS = 2**20 + 65_536
LONGEST_SHOWN = 200
encode: Callable[[ServerMessage], bytes] = msgspec.json.Encoder().encode
"""The payload of the text frame for a message."""


def refusal(error: ChatError, message_id: str | None = None) -> Refused:
    """The ``error`` message for ``error``, naming the client's message where it named itself (MSG-6)."""
    return Refused(
        code=error.code,
        message=error.message,
        message_id=error.message_id or message_id,
        retry_after=error.retry_after,
    )


def decode_client(text: str, most_marks: int = MOST_MARKS) -> ClientMessage:
    """A client's text frame as a value, if it has no more than ``most_marks`` of the characters that make JSON slow.

    A prompt may be full of them, so it is as many as a prompt may have bytes, and some.

    Raises:
        BadRequest: It is not a JSON object of a known type with members of the right types (MSG-2);
            names the ``message_id`` when one could be read (MSG-6).
    """
    # Lone surrogates, which no UTF-8 frame has, but a server behind another codec may get.
    try:
        payload = text.encode()
    except UnicodeEncodeError as error:
        raise BadRequest(f"the frame is not JSON: {error}") from None
    # Decoding costs by the value, not by the byte: a frame of `[[[[…` takes seconds, and gigabytes of memory.
    if len(payload) > most_marks and _has_more_marks(payload, most_marks):
        raise BadRequest("the frame has too many members")
    try:
        message: ClientMessage = _decode(payload)
    except msgspec.ValidationError as error:
        raise _explained(payload, error) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"the frame is not JSON: {error}") from None
    message_id = message.message_id
    check_ids(message.message_id, message.conversation_id)
    if isinstance(message, Subscribe) and message.after < 0:
        raise BadRequest(f"$.after is {message.after}; it must not be negative", message_id=message_id)
    return message


def _explained(payload: bytes, error: msgspec.ValidationError) -> BadRequest:
    """What is wrong with JSON that is no client message, by the type and the id that it names.

    Only these two are decoded: a megabyte of whatever else would be half a million objects (TURN-10).
    """
    try:
        envelope = _decode_envelope(payload)
    except msgspec.ValidationError:
        return BadRequest("the frame is not a JSON object")
    except (msgspec.DecodeError, RecursionError) as fault:
        return BadRequest(f"the frame is not JSON: {fault}")
    message_id = _readable_id(_small(envelope.message_id))
    kind = _small(envelope.type)
    if isinstance(kind, str) and kind in _CLIENT:
        return BadRequest(f"{kind}: {error}", message_id=message_id)
    known = ", ".join(_CLIENT)
    return BadRequest(f"$.type is {_shown(kind)}; known types are {known}", message_id=message_id)


def _has_more_marks(payload: bytes, most: int) -> bool:
    """Whether there are more than ``most`` of the characters that part JSON; mostly the first pieces decide."""
    found = 0
    for start in range(0, len(payload), 65_536):
        piece = payload[start : start + 65_536]
        found += len(piece) - len(piece.translate(None, _MARKS))
        if found > most:
            return True
    return False


def _small(raw: msgspec.Raw) -> object:
    """A value of the envelope; of a long one the beginning of its JSON."""
    written = bytes(raw)
    return (
        msgspec.json.decode(written)
        if len(written) <= LONGEST_SHOWN
        else written[:80].decode(errors="replace")
    )


def check_ids(message_id: str | None, conversation_id: str | None) -> None:
    """Refuse ids of the wrong form.

    Raises:
        BadRequest: One of them does not have the form of MSG-5 or MSG-6.
    """
    if message_id is not None and not MESSAGE_ID.fullmatch(message_id):
        raise BadRequest(f"message_id is {_shown(message_id)}; it must be 1 to 64 of A-Z a-z 0-9 _ -")
    if conversation_id is not None and not CONVERSATION_ID.fullmatch(conversation_id):
        raise BadRequest(
            f"conversation_id is {_shown(conversation_id)}; it must be 12 lower-case hexadecimal digits",
            message_id=message_id,
        )


def _readable_id(value: object) -> str | None:
    return value if isinstance(value, str) and MESSAGE_ID.fullmatch(value) else None


def _shown(value: object, limit: int = 40) -> str:
    text = repr(value) if value is not None else "missing"
    return text if len(text) <= limit else text[:limit] + "…"
