"""The result line that ends a turn (docs/claude-cli.md, result)."""

from __future__ import annotations

import time

from fake_claude.clock import milliseconds_since
from fake_claude.ids import fresh_uuid
from fake_claude.lines.costs import Costs, add_usage, empty_usage
from fake_claude.lines.events import subagent_stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.invocation.context import Context

    Message = dict[str, Any]


class TurnTotals:
    """The totals of one turn, while it runs."""

    def __init__(self, costs: Costs, api_ms_before: int) -> None:
        self.started = time.monotonic()
        self.costs = costs
        # Costs run over the session; the copy is what makes the turn's part of them.
        self.costs_before = costs.copy()
        self.usage = empty_usage()
        self.api_ms = api_ms_before  # of the session
        self.user_lines = 0
        self.begun: list[str] = []
        self.first_usage: Message | None = None
        self.denials: list[Message] = []
        self.stop_reason: str | None = None
        self.timed = True  # errors report no times
        self.safety_stops = 0
        self.requested_ms: int | None = None
        self.first_event_ms: int | None = None
        self.first_frame_ms: int | None = None
        self.first_message_ms: int | None = None

    def now(self) -> int:
        """Return milliseconds since the turn began."""
        return milliseconds_since(self.started)

    def note_request(self, usage: Message) -> None:
        """Keep the token counts of the turn's first request."""
        if self.first_usage is None:
            self.first_usage = usage

    def count(self, model: str, usage: Message) -> None:
        """Count one API call that was answered to its end."""
        add_usage(self.usage, usage)
        self.costs.add(model, usage)


def result(
    context: Context,
    tally: TurnTotals,
    *,
    index: int,
    queued: int,
    terminal_reason: str | None,
    origin: Message | None = None,
    text: str | None = None,
    subtype: str = "success",
    is_error: bool = False,
    errors: list[str] | None = None,
    api_error: Message | None = None,
    structured: Message | None = None,
    extra: Message | None = None,
) -> Message:
    """Build the line; ``text`` for subtype ``success``, ``errors`` for the others."""
    # In the CLI's order, in which ``type`` comes late: a reader that matches the start of a line fails here
    # as it would there (docs/claude-cli.md, output formats: the order is not fixed).
    message: Message = {
        "duration_api_ms": tally.api_ms,
        "stop_reason": tally.stop_reason,
        "session_id": context.session_id,
        "total_cost_usd": tally.costs.total,
        "usage": tally.usage,
        "modelUsage": tally.costs.copy(),
        "permission_denials": tally.denials,
    }
    if terminal_reason is not None:
        message["terminal_reason"] = terminal_reason
    if origin is not None:
        message["origin"] = origin
    message |= {
        "fast_mode_state": "off",
        "fast_mode_disabled_reason": "sdk_opt_in_required",
        "subagent_stats": subagent_stats(),
        "safety_stops": tally.safety_stops,
        "is_error": is_error,
        # Not rounds: docs/claude-cli.md, the result. Two parallel tools give 3.
        "num_turns": 1 + tally.user_lines,
        "subtype": subtype,
    }
    # ``errors`` or ``result``, never both; an API error is a success with ``is_error`` (docs/claude-cli.md,
    # the result).
    if errors is not None:
        message["errors"] = errors
    else:
        message |= api_error or {"api_error_status": None}
        message["result"] = text
        if structured is not None:
            message["structured_output"] = structured
    if tally.timed and tally.first_message_ms is not None:
        message["ttft_ms"] = tally.first_message_ms
    message["type"] = "result"
    message["duration_ms"] = tally.now()
    message["uuid"] = fresh_uuid()
    if context.streams_out and context.partial and not context.before_330:
        message["begun_message_ids"] = tally.begun
    if tally.timed:
        times = {
            "ttft_stream_ms": tally.first_event_ms,
            "time_to_request_ms": tally.requested_ms,
            "first_content_frame_ms": tally.first_frame_ms,
        }
        message |= {key: value for key, value in times.items() if value is not None}
    message["queued_turn_count"] = queued
    message |= extra or {}
    message["result_index"] = index
    if context.streams_out:
        message["model_usage_since_last_result"] = tally.costs.since(tally.costs_before)
    return message


def early_error(context: Context, text: str) -> Message:
    """The result of a run that never had a turn, such as one that resumes an unknown session."""
    return {
        "type": "result",
        "subtype": "error_during_execution",
        "duration_ms": 0,
        "duration_api_ms": 0,
        "is_error": True,
        "num_turns": 0,
        "stop_reason": None,
        "session_id": context.session_id,
        "total_cost_usd": 0,
        "usage": empty_usage(),
        "modelUsage": {},
        "permission_denials": [],
        "uuid": fresh_uuid(),
        "errors": [text],
        "result_index": 0,
    }


def final_text(message: Message) -> str:
    """Return what text output says for a result."""
    if "result" in message:
        return str(message["result"])
    # Text output has other words than the result for the same limits, so they are turned into each other
    # here.
    turns, budget = "Reached maximum number of turns (", "Reached maximum budget ($"
    said = str(message["errors"][0])
    if said.startswith(turns):
        return f"Error: Reached max turns ({said[len(turns) :]}"
    if said.startswith(budget):
        return f"Error: Exceeded USD budget ({said[len(budget) :]}"
    return "Execution error"
