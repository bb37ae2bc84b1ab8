"""The messages of chat-stream-v1 (docs/protocol.md §4), as values with the bounds that the page states.

Members that are not named here may come (MSG-1). Optional members of the server's messages may be null.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

ConversationId = Annotated[
    str, Meta(pattern="^[0-9a-f]{12}$", description="12 lower-case hexadecimal digits (MSG-5).")
]
MessageId = Annotated[
    str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$", description="1 to 64 characters, by the client (MSG-6).")
]
Seq = Annotated[int, Meta(ge=1, description="The place in the turn's log: 1, 2, 3, … (TURN-3).")]
Count = Annotated[int, Meta(ge=0)]
Word = Annotated[str, Meta(min_length=1)]
CODES = (
    *("bad_request", "unauthorized", "forbidden", "not_found", "busy", "too_large", "rate_limited"),
    *(
        "quota_exceeded",
        "claude_failed",
        "claude_unavailable",
        "unavailable",
        "timeout",
        "interrupted",
        "reset",
    ),
)
Code = Annotated[str, Meta(min_length=1, description="What went wrong, for programs.", examples=list(CODES))]
Seconds = Annotated[float, Meta(ge=0, description="After how many seconds it may be tried again.")]


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """What all messages have: ``type``."""


class ChatRequest(Message, frozen=True, kw_only=True, tag="chat_request"):
    """Run one turn (TURN-1)."""

    message: Annotated[str, Meta(pattern=r"\S", description="The prompt; not only white space (MSG-4).")]
    message_id: MessageId | UnsetType = UNSET
    conversation_id: ConversationId | UnsetType = UNSET


class Subscribe(Message, frozen=True, kw_only=True, tag="subscribe"):
    """Follow a turn from after ``after`` on; without ``message_id`` whatever runs in the conversation (SUB-1)."""

    conversation_id: ConversationId
    message_id: MessageId | UnsetType = UNSET
    after: Count = 0


class Cancel(Message, frozen=True, kw_only=True, tag="cancel"):
    """Stop a turn (CANCEL-1)."""

    message_id: MessageId
    conversation_id: ConversationId | UnsetType = UNSET


class Accepted(Message, frozen=True, kw_only=True, tag="accepted"):
    """The turn is counted, its prompt durable, and Claude is being asked (TURN-1)."""

    message_id: MessageId
    conversation_id: ConversationId


class Event(Message, frozen=True, kw_only=True):
    """One entry of a turn's log, in its envelope (TURN-6)."""

    message_id: MessageId
    conversation_id: ConversationId
    seq: Seq


class Token(Event, frozen=True, kw_only=True, tag="token"):
    """The next piece of the answer."""

    token: str


class Thinking(Event, frozen=True, kw_only=True, tag="thinking"):
    """A piece of what Claude thinks before it answers."""

    thinking: str


class Tool(Event, frozen=True, kw_only=True, tag="tool"):
    """A tool at work."""

    id: str
    name: str
    state: Literal["started", "finished", "failed"]
    detail: str


class Status(Event, frozen=True, kw_only=True, tag="status"):
    """Something that the user may like to know, such as a retry."""

    status: Word
    detail: str | None = None


class Rewind(Event, frozen=True, kw_only=True, tag="rewind"):
    """Forget the answer after its first ``to`` code points (TURN-4)."""

    to: Count


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn cost, in tokens."""

    input_tokens: Count
    output_tokens: Count


class Complete(Event, frozen=True, kw_only=True, tag="complete"):
    """The turn's last event when it ended well, or was cancelled (TURN-2)."""

    usage: Usage
    stop_reason: Word


class ErrorMessage(Message, frozen=True, kw_only=True, tag="error"):
    """A turn's last event when it failed, in its envelope (TURN-2); or the answer to a message that started nothing."""

    code: Code
    message: str
    retry_after: Seconds | None = None
    message_id: str | None = None
    conversation_id: str | None = None
    seq: Seq | None = None


CLIENT = (ChatRequest, Subscribe, Cancel)
SERVER = (Accepted, Token, Thinking, Tool, Status, Rewind, Complete, ErrorMessage)
ClientMessage = ChatRequest | Subscribe | Cancel
ServerMessage = Accepted | Token | Thinking | Tool | Status | Rewind | Complete | ErrorMessage
