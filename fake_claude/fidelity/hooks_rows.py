"""Rows of hooks: commands of settings, and callbacks of the host over the control protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fake_claude.fidelity.invocation import SI, Act, Invocation, V, control, done, user

GROUP = "hooks"
RUN, TOUCH = "TOOL `echo hi`", "TOOL `touch x`"


def _command(
    name: str, event: str, command: str, prompt: str = RUN, *options: str, **group: Any
) -> Invocation:
    timeout = {"timeout": group.pop("timeout")} if "timeout" in group else {}
    hooks = {event: [{**group, "hooks": [{"type": "command", "command": command, **timeout}]}]}
    argv = [*V, "--settings", json.dumps({"hooks": hooks}), *options, "--", prompt]
    return Invocation(f"hook_{name}", GROUP, argv)


def _says(answer: dict[str, Any]) -> str:
    return f"echo '{json.dumps(answer)}'"


def _special(event: str, **members: Any) -> dict[str, Any]:
    return {"hookSpecificOutput": {"hookEventName": event, **members}}


def _callbacks(
    name: str, events: Mapping[str, str | None], answers: list[Any], prompt: str = RUN, argv: list[str] = SI
) -> Invocation:
    """Register callbacks, send a prompt, and give the answers one after the other."""
    hooks = {
        event: [{"matcher": matcher, "hookCallbackIds": [f"on_{event}"]}] for event, matcher in events.items()
    }
    acts: list[Act] = [
        ("now", "send", control("initialize", "i", hooks=hooks)),
        ("response:i", "send", user(prompt)),
        *((f"ask:{number}", "answer", answer) for number, answer in enumerate(answers, 1)),
        done(),
    ]
    return Invocation(f"callback_{name}", GROUP, argv, acts)


def _before_tools() -> list[Invocation]:
    event = "PreToolUse"
    deny = _special(event, permissionDecision="deny", permissionDecisionReason="because")
    ask = _special(event, permissionDecision="ask", permissionDecisionReason="hm")
    allow = _special(event, permissionDecision="allow", permissionDecisionReason="fine")
    updated = _special(event, permissionDecision="allow", updatedInput={"command": "echo changed"})
    return [
        _command("before_exit_two", event, "exit 2"),
        _command("before_exit_two_says_why", event, "echo no way >&2; exit 2"),
        _command("before_exit_one", event, "echo oops >&2; exit 1"),
        _command("before_other_tool", event, "exit 2", matcher="Write"),
        _command("before_pattern", event, "exit 2", matcher="Ba.*"),
        _command("before_names", event, "exit 2", matcher="Bash|Read"),
        _command("before_deny", event, _says(deny)),
        _command("before_ask", event, _says(ask)),
        _command("before_allow", event, _says(allow), TOUCH),
        _command("before_updated", event, _says(updated)),
        _command("before_block", event, _says({"decision": "block", "reason": "old"})),
        _command("before_approve", event, _says({"decision": "approve"}), TOUCH),
        _command("before_stops", event, _says({"continue": False, "stopReason": "stopped"})),
        _command("before_message", event, _says({"systemMessage": "note this"})),
        _command("before_no_json", event, "echo '{'"),
        _command("before_too_slow", event, "sleep 5", timeout=1),
        _command("before_shown", event, "true", RUN, "--include-hook-events"),
        _callbacks("before_nothing", {event: "Bash"}, [{}]),
        _callbacks("before_deny", {event: "Bash"}, [deny]),
        _callbacks("before_allow", {event: None}, [allow], TOUCH),
        _callbacks("before_updated", {event: "Bash"}, [updated]),
        _callbacks("before_other_tool", {event: "Write"}, []),
        _callbacks(
            "before_host_is_asked",
            {event: None},
            [{}, {"behavior": "allow"}],
            TOUCH,
            [*SI, "--permission-prompt-tool", "stdio"],
        ),
    ]


def rows() -> list[Invocation]:
    """Return the rows."""
    registered = control("initialize", "i", hooks={"PreToolUse": [{"hookCallbackIds": ["x"], "timeout": 1}]})
    begun: list[Act] = [("now", "send", registered), ("response:i", "send", user(RUN))]
    stop = {"continue": False, "stopReason": "enough"}
    block = {"decision": "block", "reason": "go on"}
    nothing: dict[str, Any] = {}
    every = {"UserPromptSubmit": None, "PreToolUse": None, "PostToolUse": None, "Stop": None}
    return [
        *_before_tools(),
        _command("after_exit_two", "PostToolUse", "echo bad >&2; exit 2"),
        _command("after_stops", "PostToolUse", _says(stop)),
        _command("stop_refused", "Stop", "echo more >&2; exit 2", "hi"),
        _command("stop_prevented", "Stop", _says(stop), "hi"),
        _command("prompt_stopped", "UserPromptSubmit", _says(stop), "hi"),
        _command("prompt_shown", "UserPromptSubmit", "true", "hi", "--include-hook-events"),
        _command("session_end", "SessionEnd", "echo bye", "hi"),
        _callbacks("every_event", every, [nothing] * 4),
        _callbacks(
            "prompt_blocked", {"UserPromptSubmit": None}, [{"decision": "block", "reason": "no"}], "hi"
        ),
        _callbacks("stop_refused_once", {"Stop": None}, [block, nothing], "hi"),
        _callbacks("session_has_begun", {"SessionStart": None, "Notification": None}, [], "hi"),
        Invocation("callback_unanswered", GROUP, SI, [*begun, done()]),
        Invocation("callback_input_ends", GROUP, SI, [*begun, ("ask", "eof", None)]),
        Invocation(
            "callback_interrupted", GROUP, SI, [*begun, ("ask", "send", control("interrupt", "stop")), done()]
        ),
    ]
