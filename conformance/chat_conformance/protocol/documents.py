"""The JSON documents that answer HTTP requests (docs/protocol.md §8, §9, LIMIT-7, ID-7)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from chat_conformance.protocol.messages import Code, ConversationId, Count, Seconds, Word

Time = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]00:00)$",
        description="UTC in RFC 3339 (HIST-7).",
    ),
]


class Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all documents have in common: members that are not named may come."""


class Cause(Document, frozen=True, kw_only=True):
    """What went wrong, for programs and for people."""

    code: Code
    message: str
    retry_after: Seconds | None = None


class Refusal(Document, frozen=True, kw_only=True):
    """The body of every error (§8); of a failed turn, which was not refused, with its ids."""

    error: Cause


class Answered(Document, frozen=True, kw_only=True):
    """The answer to a turn by POST (HTTP-2)."""

    response: str
    conversation_id: ConversationId
    message_id: str


class NewConversation(Document, frozen=True, kw_only=True):
    """An empty conversation (HIST-6)."""

    conversation_id: ConversationId


class Summary(Document, frozen=True, kw_only=True):
    """A conversation in the list."""

    id: ConversationId
    title: str
    created_at: Time
    updated_at: Time
    preview: Annotated[str, Meta(max_length=120, description="How the newest answer begins.")] | None = None


class ConversationList(Document, frozen=True, kw_only=True):
    """The user's conversations, newest first (HIST-3)."""

    conversations: list[Summary]
    next: str | None


class Step(Document, frozen=True, kw_only=True, tag_field="type"):
    """What was sent between texts (HIST-8); ``at`` is the number of code points of the answer before it."""

    at: Count


class ThinkingStep(Step, frozen=True, kw_only=True, tag="thinking"):
    """What Claude thought, consecutive pieces joined."""

    thinking: str


class ToolStep(Step, frozen=True, kw_only=True, tag="tool"):
    """One call of a tool, with the ``detail`` of its start and of its end."""

    id: str
    name: str
    state: Literal["started", "finished", "failed"]
    input: str
    result: str


class StatusStep(Step, frozen=True, kw_only=True, tag="status"):
    """A ``status`` event."""

    status: Word
    detail: str | None = None


class Entry(Document, frozen=True, kw_only=True, tag_field="role"):
    """A message in history (HIST-4)."""

    content: str
    message_id: str
    created_at: Time


class UserEntry(Entry, frozen=True, kw_only=True, tag="user"):
    """A prompt."""

    status: str


class AssistantEntry(Entry, frozen=True, kw_only=True, tag="assistant"):
    """An answer, as far as there is one."""

    status: Literal["running", "complete", "cancelled", "failed", "interrupted"]
    error: Cause | None = None
    steps: list[ThinkingStep | ToolStep | StatusStep] | None = None


class Conversation(Document, frozen=True, kw_only=True):
    """A conversation with its messages, oldest first (HIST-4)."""

    id: ConversationId
    title: str
    created_at: Time
    updated_at: Time
    messages: list[UserEntry | AssistantEntry]


class LimitStanding(Document, frozen=True, kw_only=True):
    """How much of a limit is used."""

    limit: Word
    used: Annotated[float, Meta(ge=0)]
    of: Annotated[float, Meta(ge=0)]
    resets_in: Annotated[float, Meta(ge=0)] | None


class Standing(Document, frozen=True, kw_only=True):
    """How one stands with each limit (LIMIT-7)."""

    limits: list[LimitStanding]


class Whoami(Document, frozen=True, kw_only=True):
    """Who is logged in (ID-7)."""

    user: str | None
    logout: bool
    logout_url: str | None
    fake: bool | None = None


DOCUMENTS = (Refusal, Answered, NewConversation, ConversationList, Conversation, Standing, Whoami)
