"""What the parser makes of the CLI's output."""

from __future__ import annotations

import msgspec

from chat_server.protocol import Usage


class Started(msgspec.Struct, frozen=True):
    """The CLI has begun the turn, in this session."""

    session_id: str


class Text(msgspec.Struct, frozen=True):
    """A piece of the answer, which the text of what was told ends with."""

    text: str


class Thought(msgspec.Struct, frozen=True):
    """A piece of thinking."""

    text: str


class ToolStep(msgspec.Struct, frozen=True):
    """A tool call began (``started``) or ended (``finished``, ``failed``)."""

    id: str
    name: str
    state: str
    detail: str


class Note(msgspec.Struct, frozen=True):
    """Something the user may like to know meanwhile."""

    status: str
    detail: str


class Rewound(msgspec.Struct, frozen=True):
    """The answer is only its first ``to`` code points; what follows is told anew."""

    to: int


class Ended(msgspec.Struct, frozen=True):
    """The result of the turn.

    ``error`` is empty when the turn went well, else the CLI's sentence. ``aborted`` says that an interrupt ended it.
    """

    usage: Usage
    stop_reason: str
    error: str = ""
    aborted: bool = False


StreamEvent = Started | Text | Thought | ToolStep | Note | Rewound | Ended
