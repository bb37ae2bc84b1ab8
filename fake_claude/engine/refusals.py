"""Answers that the model's safeguards stop: the turn continues once, and ends at the second."""

from __future__ import annotations

from fake_claude.engine.retries import title
from fake_claude.lines import events
from fake_claude.script.ask import REFUSED_NOTE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.engine.assistant_message import AssistantMessage
    from fake_claude.engine.turn_state import TurnState

    Message = dict[str, Any]


class Refusals:
    """The refusals of one turn."""

    def __init__(self, state: TurnState) -> None:
        self.final_line: Message | None = None  # printed for a second refusal
        self._state = state
        self._count = 0

    def on_message_end(self, message: AssistantMessage) -> None:
        """Before the last lines of a message: if it is a second refusal, print the line that says so."""
        if message.stop_reason != "refusal":
            return
        state, run = self._state, self._state.run
        # The count in results runs over the session, so the run keeps it and each turn takes a copy.
        run.safety_stops += 1
        state.tally.safety_stops = run.safety_stops
        # A first refusal is noted after the message's last lines (``continue_once``), a second before them:
        # the order in which the CLI prints them.
        if self._count == 0:
            return
        name = title(state.model)
        if name.startswith("Haiku"):
            text = (
                f"API Error: {name} can't help with this. Start a new session to continue.\n\nLearn more:"
                " https://www.anthropic.com/legal/aup\n\nRequest ID:"
                f" {run.request_id}\n\nMessage ID: {message.id}"
            )
        else:
            text = self._flagged(name, message.id)
        self._print_final(text, message.id)

    def _flagged(self, name: str, message_id: str) -> str:
        request_id = self._state.run.request_id
        return (
            f"API Error: {name}'s safeguards flagged this message (https://www.anthropic.com/legal/aup). This sometimes"
            f" happens with safe, normal conversations. Claude Code can't respond to this message with {name}.\n\nTry"
            " rephrasing the request in a new session or change your model.\n\nLearn more:"
            " https://support.claude.com/en/articles/8106465\n\nRequest ID:"
            f" {request_id}\n\nMessage ID: {message_id}"
        )

    def _print_final(self, text: str, message_id: str) -> None:
        state, run = self._state, self._state.run
        run.emit(
            events.system(
                run.context,
                "model_refusal_no_fallback",
                original_model=state.model,
                request_id=run.request_id,
                api_refusal_category=None,
                api_refusal_explanation=None,
                refused_user_message_uuid=run.transcript.last_prompt_uuid,
                content="",
            )
        )
        event = events.synthetic_assistant(run.context, text)
        event["message"]["stop_reason"] = "refusal"
        event |= {
            "error": "invalid_request",
            "request_id": run.request_id,
            "is_api_error_message": True,
        }
        event["refused_message_id"] = message_id
        run.emit(event, "full")
        # Printed now, written at the end of the turn: its message must be in the transcript before it.
        self.final_line = event

    def continue_once(self, message: AssistantMessage) -> None:
        """Ask the model again after a first refusal."""
        self._count += 1
        state = self._state
        state.run.emit(
            events.system(
                state.context,
                "informational",
                content=f"{title(state.model)}'s safeguards stopped the response above"
                " · continuing once with that noted",
                level="notice",
            )
        )
        state.add_synthetic_line(REFUSED_NOTE, refused_message_id=message.id)
