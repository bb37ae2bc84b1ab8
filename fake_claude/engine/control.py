"""Control requests from the host (docs/claude-cli.md, control protocol)."""

from __future__ import annotations

from fake_claude.catalog import resolve_model
from fake_claude.ids import fresh_uuid
from fake_claude.invocation.options import MODES
from fake_claude.lines import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from fake_claude.engine.inbox import Inbox
    from fake_claude.engine.run import Run

    Message = dict[str, Any]

    class Turns(Protocol):
        """What a control request does to the turn that is played, and to the process."""

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
        self.subtype: object = self.members.get("subtype", "undefined")

    def succeed(self, response: Message | None, **beside: object) -> None:
        """Answer that it was carried out."""
        self.run.emit(events.control_success(self.id, response, **beside))

    def refuse(self, text: str, code: str | None) -> None:
        """Answer with an error."""
        self.run.emit(events.control_error(self.id, text, code))


def answer_control(request: ControlRequest) -> None:
    """Carry out one control request and answer it."""
    handler = _HANDLERS.get(request.subtype)
    if handler is None:
        text = f"Unsupported control request subtype: {request.subtype}"
        if request.subtype in _NOT_IMITATED:
            text = f"fake-claude does not imitate the control request {request.subtype}"
        request.refuse(text, "unsupported_request")
        return
    handler(request)


def _initialize(request: ControlRequest) -> None:
    from fake_claude.lines.initialize import initialize_response  # long, and rarely wanted

    if request.members.get("hooks") or request.members.get("sdkMcpServers"):
        what = "hooks" if request.members.get("hooks") else "MCP servers"
        request.refuse(f"fake-claude does not imitate {what}", "unsupported_request")
        return
    response = initialize_response(request.run.context, running=request.run.playing)
    request.succeed(response, pending_permission_requests=[], pending_user_dialog_requests=[])
    if request.run.results or request.run.initialized:
        request.run.emit(events.system(request.run.context, "background_tasks_changed", tasks=[]))
    request.run.initialized = True


def _interrupt(request: ControlRequest) -> None:
    request.turns.cancel_open_requests()
    queued = [waiting["uuid"] for waiting in request.inbox.queue if waiting["uuid"]]
    request.succeed({"still_queued": queued})
    if "interrupt" not in request.run.ignored:
        request.turns.interrupt(by_host=True)


def _set_model(request: ControlRequest) -> None:
    name = request.members.get("model") or "default"
    model = resolve_model(str(name))
    if not request.run.context.model_known(model):
        answer = events.control_error(request.id, f"Model '{name}' not found", "not_found")
        answer["response"]["model"] = request.run.context.model
        request.run.emit(answer)
        return
    changed = model != request.run.context.model
    request.run.context.model = model
    if changed and (request.run.results or request.run.playing):
        shown = model if name in (model, "default") else f"{name} ({model})"
        text = f"<local-command-stdout>Set model to `{shown}`</local-command-stdout>"
        event = events.user(request.run.context, text, isReplay=True)
        request.run.emit(event)
        request.run.defer_write(lambda: request.run.transcript.local_command("model", str(name), event))
    request.succeed({"model": model})


def _set_permission_mode(request: ControlRequest) -> None:
    context, mode = request.run.context, request.members.get("mode")
    if mode not in (*MODES, "default"):
        names = "acceptEdits, auto, bypassPermissions, default, dontAsk, plan"
        request.refuse(f"Cannot set permission mode: must be one of {names}", "invalid_mode")
        return
    if mode == "bypassPermissions" and not context.may_bypass:
        text = (
            "Cannot set permission mode to bypassPermissions because the session was not launched with"
            " --dangerously-skip-permissions"
        )
        request.refuse(text, "bypass_not_launched")
        return
    before = context.permission_mode
    context.permission_mode = "default" if mode == "manual" else mode
    request.succeed({"mode": context.permission_mode})
    if context.permission_mode == before:
        return
    request.run.emit(
        {
            "type": "system",
            "subtype": "status",
            "status": None,
            "permissionMode": context.permission_mode,
            "uuid": fresh_uuid(),
            "session_id": context.session_id,
        }
    )


def _cancel_async_message(request: ControlRequest) -> None:
    uuid = request.members.get("message_uuid")
    cancelled = request.inbox.cancel(uuid)
    response: Message = {"cancelled": cancelled}
    if cancelled and not request.run.context.before_330:
        response["message_uuid"] = uuid
    request.succeed(response)


def _mcp_status(request: ControlRequest) -> None:
    request.succeed({"mcpServers": list(request.run.context.mcp_servers)})


def _set_max_thinking_tokens(request: ControlRequest) -> None:
    tokens, display = request.members.get("max_thinking_tokens"), request.members.get("thinking_display")
    whole = tokens is None or (isinstance(tokens, int) and not isinstance(tokens, bool))
    if not whole or display not in (None, "summarized", "omitted", "highlights"):
        text = (
            "set_max_thinking_tokens: max_thinking_tokens must be an integer or null and thinking_display must be"
            ' "summarized", "omitted", "highlights", or null'
        )
        request.run.emit(events.control_error(request.id, text, None))
        return
    request.succeed(None)


def _get_settings(request: ControlRequest) -> None:
    applied = {
        "model": request.run.context.model,
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
    if not request.run.context.before_330:
        response["served_settings_state"] = "ineligible"
    response["applied"] = applied
    request.succeed(response)


def _get_context_usage(request: ControlRequest) -> None:
    from fake_claude.lines.context_usage import context_usage  # long, and rarely wanted

    request.succeed(context_usage(request.run.context.model, request.run.transcript.messages))


def _end_session(request: ControlRequest) -> None:
    request.succeed(None)
    request.turns.interrupt()
    request.turns.end(request.run.exit_code())


_HANDLERS: dict[object, Callable[[ControlRequest], None]] = {
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
