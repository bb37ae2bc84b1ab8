"""The reference server with one member of a message that is not what the schema says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from chat_conformance.mutants.registry import breaks, put
from chat_server.protocol import Complete, Event, Tool, Usage
from chat_server.turns.event_log import TurnLog


def change_events(change: Callable[[Event], Event]) -> None:
    """Change what is appended to the log of a turn."""

    # At the log, so that live events, replays and POST have the fault alike.
    def make(append: Any) -> Any:
        def mutant(self: TurnLog, event: Event) -> None:
            append(self, change(event))

        return mutant

    put(TurnLog, "append", make)


@breaks("usage-as-text")
def usage_as_text() -> None:
    """The tokens of a turn are sent as text, which hardly any client reads."""

    def change(event: Event) -> Event:
        if not isinstance(event, Complete):
            return event
        # `Any`, since the fault is a wrong type: checked, it could not be written.
        counts: Any = (str(event.usage.input_tokens), str(event.usage.output_tokens))
        return replace(event, usage=Usage(*counts))

    change_events(change)


@breaks("tool-ids-as-numbers")
def tool_ids_as_numbers() -> None:
    """The id of a tool call is a number on the socket."""

    def change(event: Event) -> Event:
        if not isinstance(event, Tool):
            return event
        number: Any = sum(event.id.encode())
        return replace(event, id=number)

    change_events(change)
