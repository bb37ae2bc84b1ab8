"""Rows as values."""

from __future__ import annotations

from dataclasses import dataclass

from chat_server.protocol import Usage


@dataclass(frozen=True, slots=True)
class LoginSession:
    """A login that was made here; times are Unix seconds."""

    key: str
    owner: str
    name: str  # of the user, for show
    expires_at: float
    used_at: float
    # The names in CHAT_USERS that belong to the owner.
    listed_names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as its owner sees it; times are Unix seconds.

    ``preview`` is how the newest turn's answer begins, on one line; ``None`` where it was not asked for.
    """

    id: str
    title: str
    claude_session: str | None
    created_at: float
    updated_at: float
    preview: str | None = None


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn as the database has it."""

    conversation_id: str
    message_id: str
    prompt: str
    answer: str
    status: str
    stop_reason: str
    detail: str
    usage: Usage
    started_at: float
    ended_at: float | None
    steps: str  # JSON of decode_steps


@dataclass(frozen=True, slots=True)
class Admitted:
    """A turn that was admitted just now, and the CLI's id of its conversation, if there is one."""

    conversation_id: str
    claude_session: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    """What a running turn has so far.

    ``spent`` is zero where nothing was spent since the last time, and ``steps`` is ``None`` where they are the same.
    """

    conversation_id: str
    message_id: str
    answer: str
    spent: Usage
    steps: str | None = None
