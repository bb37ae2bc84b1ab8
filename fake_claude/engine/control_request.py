"""One control request of the host, what it may act on, and its answer."""

from __future__ import annotations

from fake_claude import json_lines
from fake_claude.lines import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from fake_claude.engine.background import Background
    from fake_claude.engine.inbox import Inbox
    from fake_claude.engine.run import Run

    Message = dict[str, Any]

    # A protocol, because the loop imports this module: the other way round would be a circle.
    class Turns(Protocol):
        """What a control request does to the turn that is played, and to the process."""

        background: Background

        def interrupt(self, *, by_host: bool = False) -> None:
            """Interrupt the running turn."""

        def cancel_open_requests(self) -> None:
            """Cancel the requests that the host has not answered."""

        def end(self, code: int) -> None:
            """End the process after what is being handled."""


class ControlRequest:
    """One control request, what it may act on, and its answer."""

    def __init__(self, run: Run, inbox: Inbox, turns: Turns, message: Message) -> None:
        self.run = run
        self.inbox = inbox
        self.turns = turns
        self.id: object = message.get("request_id")
        self.members: Message = message["request"]
        # A host may send anything, and the refusal of an unknown subtype repeats it: a missing one as JavaScript
        # writes it, ``undefined``.
        subtype = self.members.get("subtype", "undefined")
        self.subtype: str = subtype if isinstance(subtype, str) else json_lines.dumps(subtype)

    def succeed(self, response: Message | None = None, **beside: object) -> None:
        """Answer that it was carried out."""
        self.run.emit(events.control_success(self.id, response, **beside))

    def refuse(self, text: str, code: str | None = None) -> None:
        """Answer with an error."""
        self.run.emit(events.control_error(self.id, text, code))
