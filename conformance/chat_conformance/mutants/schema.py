"""The reference server with one member of a message that is not what the schema says."""

from __future__ import annotations

from typing import Any

from chat_conformance.mutants.registry import breaks, put
from chat_server.protocol import Usage
from chat_server.turns.event_log import TurnLog


@breaks("usage-as-text")
def usage_is_text() -> None:
    """The tokens of a turn are told as text, which hardly anybody reads."""

    def make(complete: Any) -> Any:
        def mutant(self: TurnLog, usage: Usage, stop_reason: str) -> None:
            counts: Any = (str(usage.input_tokens), str(usage.output_tokens))
            complete(self, Usage(*counts), stop_reason)

        return mutant

    put(TurnLog, "complete", make)


@breaks("tool-ids-as-numbers")
def tools_have_numbers() -> None:
    """The id of a tool call is a number on the socket."""

    def make(tool: Any) -> Any:
        def mutant(self: TurnLog, tool_id: str, *told: str) -> None:
            number: Any = sum(tool_id.encode())
            tool(self, number, *told)

        return mutant

    put(TurnLog, "tool", make)
