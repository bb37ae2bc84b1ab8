"""Control requests from the host (docs/claude-cli.md, control protocol)."""

from __future__ import annotations

from fake_claude.catalog import resolve_model
from fake_claude.ids import fresh_uuid
from fake_claude.invocation.options import MODES
from fake_claude.lines import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fake_claude.engine.loop import Engine

    Message = dict[str, Any]


def answer_control(engine: Engine, message: Message) -> None:
    """Carry out one control request and answer it."""
    request_id, request = message.get("request_id"), message["request"]
    subtype = request.get("subtype", "undefined")
    handler = _HANDLERS.get(subtype)
    if handler is None:
        text = f"Unsupported control request subtype: {subtype}"
        if subtype in _NOT_IMITATED:
            text = f"fake-claude does not imitate the control request {subtype}"
        _refuse(engine, request_id, text, "unsupported_request")
        return
    handler(engine, request_id, request)


def _succeed(engine: Engine, request_id: object, response: Message | None, **beside: object) -> None:
    engine.emit(events.control_success(request_id, response, **beside))


def _refuse(engine: Engine, request_id: object, text: str, code: str) -> None:
    engine.emit(events.control_error(request_id, text, code))


def _initialize(engine: Engine, request_id: object, request: Message) -> None:
    from fake_claude.lines.initialize import initialize_response  # noqa: PLC0415 - long, and rarely wanted

    if request.get("hooks") or request.get("sdkMcpServers"):
        what = "hooks" if request.get("hooks") else "MCP servers"
        _refuse(engine, request_id, f"fake-claude does not imitate {what}", "unsupported_request")
        return
    response = initialize_response(engine.context, running=engine.running)
    _succeed(engine, request_id, response, pending_permission_requests=[], pending_user_dialog_requests=[])
    if engine.results or engine.initialized:
        engine.emit(events.system(engine.context, "background_tasks_changed", tasks=[]))
    engine.initialized = True


def _interrupt(engine: Engine, request_id: object, _request: Message) -> None:
    engine.withdraw_questions()
    queued = [waiting["uuid"] for waiting in engine.queue if waiting["uuid"]]
    _succeed(engine, request_id, {"still_queued": queued})
    if "interrupt" not in engine.ignored:
        engine.asked_to_interrupt = True
        engine.interrupt()
        engine.asked_to_interrupt = False


def _set_model(engine: Engine, request_id: object, request: Message) -> None:
    name = request.get("model") or "default"
    model = resolve_model(str(name))
    if not engine.context.model_known(model):
        answer = events.control_error(request_id, f"Model '{name}' not found", "not_found")
        answer["response"]["model"] = engine.context.model
        engine.emit(answer)
        return
    changed = model != engine.context.model
    engine.context.model = model
    if changed and (engine.results or engine.running):
        shown = model if name in (model, "default") else f"{name} ({model})"
        text = f"<local-command-stdout>Set model to `{shown}`</local-command-stdout>"
        event = events.user(engine.context, text, isReplay=True)
        engine.emit(event)
        engine.between_turns(lambda: engine.transcript.local_command("model", str(name), event))
    _succeed(engine, request_id, {"model": model})


def _set_permission_mode(engine: Engine, request_id: object, request: Message) -> None:
    context, mode = engine.context, request.get("mode")
    if mode not in (*MODES, "default"):
        names = "acceptEdits, auto, bypassPermissions, default, dontAsk, plan"
        _refuse(engine, request_id, f"Cannot set permission mode: must be one of {names}", "invalid_mode")
        return
    if mode == "bypassPermissions" and not context.may_bypass:
        text = (
            "Cannot set permission mode to bypassPermissions because the session was not launched with"
            " --dangerously-skip-permissions"
        )
        _refuse(engine, request_id, text, "bypass_not_launched")
        return
    before = context.permission_mode
    context.permission_mode = "default" if mode == "manual" else mode
    _succeed(engine, request_id, {"mode": context.permission_mode})
    if context.permission_mode == before:
        return
    engine.emit(
        {
            "type": "system",
            "subtype": "status",
            "status": None,
            "permissionMode": context.permission_mode,
            "uuid": fresh_uuid(),
            "session_id": context.session_id,
        }
    )


def _cancel_async_message(engine: Engine, request_id: object, request: Message) -> None:
    uuid = request.get("message_uuid")
    cancelled = engine.cancel_queued(uuid)
    response: Message = {"cancelled": cancelled}
    if cancelled and not engine.context.before_330:
        response["message_uuid"] = uuid
    _succeed(engine, request_id, response)


def _mcp_status(engine: Engine, request_id: object, _request: Message) -> None:
    _succeed(engine, request_id, {"mcpServers": list(engine.context.mcp_servers)})


def _set_max_thinking_tokens(engine: Engine, request_id: object, request: Message) -> None:
    tokens, display = request.get("max_thinking_tokens"), request.get("thinking_display")
    whole = tokens is None or (isinstance(tokens, int) and not isinstance(tokens, bool))
    if not whole or display not in (None, "summarized", "omitted", "highlights"):
        text = (
            "set_max_thinking_tokens: max_thinking_tokens must be an integer or null and thinking_display must be"
            ' "summarized", "omitted", "highlights", or null'
        )
        engine.emit(events.control_error(request_id, text, None))
        return
    _succeed(engine, request_id, None)


def _get_settings(engine: Engine, request_id: object, _request: Message) -> None:
    applied = {
        "model": engine.context.model,
        "effort": "medium",
        "advisor": None,
        "ultracode": False,
        "ultracodeRequested": False,
        "ultracodeAvailable": True,
        "ultrathinkAvailable": False,
        "outsideFileToolReadsBlocked": False,
        "outsideFileToolWritesBlocked": False,
        "outsideBlocksCountLaunchFoldersOnly": False,
        "launchEnvLeftOwnFilesInPlace": True,
    }
    response: Message = {"effective": {}, "sources": []}
    if not engine.context.before_330:
        response["served_settings_state"] = "ineligible"
    response["applied"] = applied
    _succeed(engine, request_id, response)


def _get_context_usage(engine: Engine, request_id: object, _request: Message) -> None:
    from fake_claude.lines.context_usage import context_usage  # noqa: PLC0415 - long, and rarely wanted

    _succeed(engine, request_id, context_usage(engine.context.model, engine.transcript.messages))


def _end_session(engine: Engine, request_id: object, _request: Message) -> None:
    _succeed(engine, request_id, None)
    engine.interrupt()
    engine.end(engine.exit_code())


_HANDLERS: dict[object, Callable[[Engine, object, Message], None]] = {
    "initialize": _initialize,
    "interrupt": _interrupt,
    "set_model": _set_model,
    "set_permission_mode": _set_permission_mode,
    "cancel_async_message": _cancel_async_message,
    "mcp_status": _mcp_status,
    "set_max_thinking_tokens": _set_max_thinking_tokens,
    "get_context_usage": _get_context_usage,
    "get_settings": _get_settings,
    "end_session": _end_session,
}

_NOT_IMITATED = ("mcp_message", "mcp_set_servers", "rewind_files", "reload_plugins")
"""Requests that the CLI carries out and the fake refuses by name."""
