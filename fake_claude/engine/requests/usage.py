"""Control requests about tokens and money."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fake_claude.engine.control_request import ControlRequest


def _get_context_usage(request: ControlRequest) -> None:
    from fake_claude.lines.context_usage import context_usage  # long, and rarely wanted

    run = request.run
    summary = request.members.get("detail") == "summary"
    request.succeed(
        context_usage(run.context.model, run.transcript.messages, run.last_usage, summary=summary)
    )


def _get_session_cost(request: ControlRequest) -> None:
    from fake_claude.lines.cost_text import cost_text

    run = request.run
    # The same words as ``/cost``, with no turn and no line in the conversation.
    text = cost_text(run.costs, run.api_ms, run.requests, before_330=run.context.before_330)
    request.succeed({"text": text})


def _get_usage(request: ControlRequest) -> None:
    run = request.run
    session = {
        "total_cost_usd": run.costs.total,
        "total_api_duration_ms": run.api_ms,
        "total_duration_ms": run.elapsed_ms,
        # The fake does not count the lines of files that its tools change.
        "total_lines_added": 0,
        "total_lines_removed": 0,
        "model_usage": run.costs.copy(),
    }
    request.succeed(
        {
            "session": session,
            "subscription_type": None,
            "rate_limits_available": False,
            "rate_limits": None,
            "behaviors": None,
        }
    )


ANSWERS = {
    "get_context_usage": _get_context_usage,
    "get_session_cost": _get_session_cost,
    "get_usage": _get_usage,
}
