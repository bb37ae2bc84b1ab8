"""What only the parser knows of a turn: how it begins and how it ends. All else are events of the protocol."""

from __future__ import annotations

import msgspec

from chat_server.protocol import Rewind, Status, Thinking, Tool, Usage


class Init(msgspec.Struct, frozen=True):
    """The CLI has begun the turn, in this session (``system`` line with ``subtype`` ``init``)."""

    session_id: str


class Result(msgspec.Struct, frozen=True):
    """The CLI has ended the turn (``result`` line).

    ``error`` is empty when the turn went well, else the CLI's message. ``aborted`` says that an interrupt ended it.
    """

    usage: Usage
    stop_reason: str
    error: str = ""
    aborted: bool = False


TurnEvent = Thinking | Tool | Status | Rewind
"""What goes on to the readers. The parser leaves ids and ``seq`` empty; the log of the turn sets them. Text is no
event: the parser appends it to the buffer that it shares with the log."""

ParsedEvent = Init | TurnEvent | Result
