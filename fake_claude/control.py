"""Control requests from the host (docs/claude-cli.md, control protocol)."""

from __future__ import annotations

from . import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .engine import Engine

    Message = dict[str, Any]


def answer_control(engine: Engine, message: Message) -> None:
    """Carry out one control request and answer it."""
    request_id, request = message.get("request_id"), message["request"]
    subtype = request.get("subtype")
    if subtype == "initialize":
        from .initialize import initialize_response  # noqa: PLC0415 - long, and rarely wanted

        engine.emit(
            events.control_success(
                request_id,
                initialize_response(engine.context, running=engine.running),
                pending_permission_requests=[],
                pending_user_dialog_requests=[],
            )
        )
    elif subtype == "interrupt":
        queued = [waiting["uuid"] for waiting in engine.queue if waiting["uuid"]]
        engine.emit(events.control_success(request_id, {"still_queued": queued}))
        engine.interrupt()
    elif subtype == "end_session":
        engine.emit(events.control_success(request_id, None))
        engine.end(0)
    else:
        text = f"Unsupported control request subtype: {subtype}"
        engine.emit(events.control_error(request_id, text, "unsupported_request"))
