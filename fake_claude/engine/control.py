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

    from fake_claude.engine.control_request import ControlRequest
    from fake_claude.engine.run import Run

    Message = dict[str, Any]


def answer_control(request: ControlRequest) -> None:
    """Carry out one control request and answer it."""
    handler = _HANDLERS.get(request.subtype)
    if handler is not None:
        handler(request)
        return
    from fake_claude.engine.requests.by_subtype import answer  # few runs have them

    answer(request)


def _initialize(request: ControlRequest) -> None:
    from fake_claude.lines.initialize import initialize_response  # long, and rarely wanted

    members, context = request.members, request.run.context
    wrong = _wrong_initialize(members)
    if wrong is not None:
        request.refuse(f"initialize: {wrong}", None)
        return
    if members.get("sdkMcpServers"):
        request.refuse("fake-claude does not imitate MCP servers", "unsupported_request")
        return
    if members.get("hooks"):
        from fake_claude.engine.hook_callback import callbacks_of

        request.run.callbacks = callbacks_of(members["hooks"])
    if isinstance(members.get("title"), str) and members["title"].strip():
        from fake_claude.engine.requests.session import set_title

        set_title(request.run, " ".join(members["title"].split()))
    # Only the first ``initialize`` brings agents; a host that attaches later finds them fixed.
    if isinstance(members.get("agents"), dict) and not request.run.initialized:
        context.take_agents(members["agents"])
    if isinstance(members.get("jsonSchema"), dict):
        context.wants_structure = context.late_structure = True
    response = initialize_response(request.run.context, running=request.run.playing)
    if members.get("hooks"):
        response["hooks_applied"] = True
    request.succeed(response, pending_permission_requests=[], pending_user_dialog_requests=[])
    # Into a session that goes on already, a host that attaches late is sent the tasks after its answer.
    if request.run.results or request.run.initialized:
        request.run.emit(events.system(request.run.context, "background_tasks_changed", tasks=[]))
    request.run.initialized = True


def _wrong_initialize(members: Message) -> str | None:
    """Return why the CLI does not accept an ``initialize``."""
    hooks, servers, skills = members.get("hooks"), members.get("sdkMcpServers"), members.get("skills", [])
    exempt = members.get("webSearchIsolationExemptMcpServers")
    if not all(names is None or _are_texts(names) for names in (servers, exempt)):
        return "sdkMcpServers and webSearchIsolationExemptMcpServers must be arrays of strings"
    if hooks is not None and not (isinstance(hooks, dict) and all(map(_are_matchers, hooks.values()))):
        return "hooks must map hook events to arrays of matchers carrying hookCallbackIds arrays and string matchers"
    return None if _are_texts(skills) else "skills must be an array of strings"


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _are_matchers(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(matcher, dict)
        and _are_texts(matcher.get("hookCallbackIds"))
        and isinstance(matcher.get("matcher"), str | None)
        for matcher in value
    )


def _interrupt(request: ControlRequest) -> None:
    # The order is the contract (docs/claude-cli.md, control protocol): open questions are withdrawn, the
    # answer comes, then what the interrupted turn still prints. A host that waits for the answer must not
    # find the result first.
    request.turns.cancel_open_requests()
    queued = [waiting["uuid"] for waiting in request.inbox.queue if waiting["uuid"]]
    response: Message = {"still_queued": queued}
    if request.members.get("cancel_queued") is True:
        response["cancelled"] = [uuid for uuid in queued if request.inbox.cancel(uuid)]
        response["still_queued"] = []
    request.succeed(response)
    # A script's ``ignore``: a CLI that says yes and goes on, for servers that trust the answer alone.
    if "interrupt" not in request.run.ignored:
        request.turns.interrupt(by_host=True)


def _set_model(request: ControlRequest) -> None:
    name = request.members.get("model")
    if not isinstance(name, str | None):
        _refuse_model(request, "set_model: model must be a string", "invalid_request")
        return
    # Before ``or``: an empty name is a mistake, only null means the default.
    if name == "":
        text = 'Model "(unrecognized model name)" is not a recognized model id. Run /model to see available models.'
        _refuse_model(request, text, "catalog_unknown")
        return
    name = name or "default"
    model = resolve_model(name)
    if not request.run.context.model_known(model):
        _refuse_model(request, f"Model '{name}' not found", "not_found")
        return
    change_model(request.run, name, model, model if name in (model, "default") else f"{name} ({model})")
    request.succeed({"model": model})


def change_model(run: Run, name: str, model: str, shown: str) -> None:
    """Have the turns that follow use a model; ``name`` is what the host called it, ``shown`` what is printed of it."""
    changed, run.context.model = model != run.context.model, model
    # Before the first turn there is no conversation to note it in; the ``init`` line will name the model.
    if changed and (run.results or run.playing):
        text = f"<local-command-stdout>Set model to `{shown}`</local-command-stdout>"
        event = events.user(run.context, text, isReplay=True)
        run.emit(event)
        # In the file the lines form a chain. In the middle of a turn this one would come between a prompt and
        # its answer.
        run.defer_write(lambda: run.transcript.local_command("model", name, event))


def _refuse_model(request: ControlRequest, text: str, code: str) -> None:
    answer = events.control_error(request.id, text, code)
    answer["response"]["model"] = request.run.context.model
    request.run.emit(answer)


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
    # One mode with two names: `manual` is taken, `default` is shown.
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


def _set_max_thinking_tokens(request: ControlRequest) -> None:
    tokens, display = request.members.get("max_thinking_tokens"), request.members.get("thinking_display")
    # JSON's ``true`` is an ``int`` to Python, not to the CLI.
    whole = tokens is None or (isinstance(tokens, int) and not isinstance(tokens, bool))
    if not whole or display not in (None, "summarized", "omitted", "highlights"):
        text = (
            "set_max_thinking_tokens: max_thinking_tokens must be an integer or null and thinking_display must be"
            ' "summarized", "omitted", "highlights", or null'
        )
        request.run.emit(events.control_error(request.id, text, None))
        return
    request.succeed(None)


def _end_session(request: ControlRequest) -> None:
    request.succeed(None)
    # An interrupted turn prints its result here, and the exit code goes by the last result: so this order.
    request.turns.interrupt()
    request.turns.end(request.run.exit_code())


_HANDLERS: dict[str, Callable[[ControlRequest], None]] = {
    "initialize": _initialize,
    "interrupt": _interrupt,
    "set_model": _set_model,
    "set_permission_mode": _set_permission_mode,
    "cancel_async_message": _cancel_async_message,
    "set_max_thinking_tokens": _set_max_thinking_tokens,
    "end_session": _end_session,
}
