"""The JSON lines of stream-json output, member by member as the CLI writes them (docs/claude-cli.md, messages)."""

from __future__ import annotations

import os

from fake_claude.api.reply import DELTA_MEMBER
from fake_claude.catalog import (
    AGENTS,
    CAPABILITIES,
    NEW_IN_330,
    PLUGINS,
    SKILLS,
    SLASH_COMMANDS,
    TERMINAL_SLASH_COMMANDS,
    find_model,
)
from fake_claude.clock import timestamp
from fake_claude.ids import fresh_uuid
from fake_claude.invocation.command_files import agents, commands
from fake_claude.json_lines import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.api.reply import Delta
    from fake_claude.invocation.context import Context

    Message = dict[str, Any]


def init(context: Context, project_dir: str, uuids: list[str]) -> Message:
    """The first line of every turn."""
    known = find_model(context.model)
    named = commands(context)
    message = {
        "type": "system",
        "subtype": "init",
        # Follows the shell's `cd`; ``original_cwd`` below does not.
        "cwd": context.shell_cwd,
        "session_id": context.session_id,
        "tools": context.tools,
        "mcp_servers": context.mcp_servers,
        "model": context.model,
        "permissionMode": context.permission_mode,
        "slash_commands": [*(one.name for one in named), *SLASH_COMMANDS] if context.has_commands else [],
        "terminal_slash_commands": list(TERMINAL_SLASH_COMMANDS),
        "apiKeySource": "ANTHROPIC_API_KEY" if context.has_key else "none",
        "claude_code_version": context.version,
        "output_style": context.output_style,
        "agents": [
            *sorted(
                [
                    *(AGENTS[:-1] if context.safe else AGENTS),
                    *(name for name, _ in agents(context)),
                    *context.host_agents,
                    *context.agents,
                ],
                key=str.lower,
            ),
        ],
        "skills": [*(one.name for one in named if one.folder), *SKILLS] if context.has_commands else [],
        "plugins": [{"name": name, "path": "builtin", "source": f"{name}@builtin"} for name in PLUGINS],
        "capabilities": [
            name
            for name in CAPABILITIES
            # A host reads from this list what it may rely on, so an earlier version must not announce what is
            # new.
            if (context.streams_out or name != "lifecycle_wakeup_source_v1")
            and not (context.before_330 and name in NEW_IN_330)
        ],
        "analytics_disabled": True,
        "product_feedback_disabled": True,
        "served_by_anthropic": False,
        "uuid": fresh_uuid(),
        "memory_paths": {"auto": f"{project_dir}/memory/"},
        "original_cwd": context.cwd,
        "additional_directories": context.announced_folders,
        "messaging_socket_path": f"/tmp/cc-socks/{os.getpid()}.sock",  # noqa: S108 - printed, never created
        "fast_mode_state": "off",
        "fast_mode_disabled_reason": "sdk_opt_in_required",
        "per_turn_effort_active": known is not None and not known.earlier,
        "ultrathink_available": False,
        "ultrathink_typed_raises": False,
        "view_mode": "default",
    }
    # Modes leave these members out instead of sending them empty: a reader that indexes them breaks here, as
    # with the CLI.
    if context.bare:
        del message["messaging_socket_path"]
    if not context.customised:
        del message["memory_paths"]
    if not context.has_commands:
        del message["terminal_slash_commands"]
    if context.betas:
        message["betas"] = list(context.betas)
    if context.before_330:
        del message["served_by_anthropic"]
    if uuids:
        message["user_message_uuids"] = uuids
    return message


def status(context: Context, value: str | None, uuids: list[str] | None = None) -> Message:
    """A change of what the CLI is doing; ``requesting`` before each API call."""
    message: Message = {
        "type": "system",
        "subtype": "status",
        "status": value,
        "session_id": context.session_id,
    }
    if uuids:
        message["user_message_uuids"] = uuids
    message["uuid"] = fresh_uuid()
    return message


def stream_event(context: Context, event: Message, api_id: str, **extra: object) -> Message:
    """One API event as received."""
    return {
        "type": "stream_event",
        "event": event,
        "session_id": context.session_id,
        "parent_tool_use_id": None,
        "uuid": fresh_uuid(),
        **extra,
        "api_message_id": api_id,
    }


class DeltaLines:
    """The lines of content deltas, from a template: a flood must not wait for the encoder."""

    def __init__(self, context: Context, api_id: str) -> None:
        # A line is head, text, tail; head and tail change with block and kind only. For the delta `Hi`:
        # `{"type":"stream_event","event":{… "delta":{"type":"text_delta","text":` + `"Hi"` +
        # `}},"session_id":…}`.
        # The text alone goes through the encoder, and the tail's ``%s`` takes the uuid.
        ids = f'"session_id":"{context.session_id}","parent_tool_use_id":null,"uuid":"%s"'
        self._plain = f'}}}},{ids},"api_message_id":"{api_id}"}}'
        self._thinking = self._plain.replace(
            ',"api_message_id"', ',"thinking_display":"updates","api_message_id"'
        )
        self._tail = self._plain
        self._key = (-1, "")
        self._head = ""

    def __call__(self, delta: Delta) -> str:
        """Return the line of one delta."""
        # A block's signature has another kind than its thoughts, so both are the key.
        if (delta.index, delta.kind) != self._key:
            self._key = (delta.index, delta.kind)
            self._tail = self._thinking if delta.kind == "thinking_delta" else self._plain
            self._head = (
                f'{{"type":"stream_event","event":{{"type":"content_block_delta","index":{delta.index},'
                f'"delta":{{"type":"{delta.kind}","{DELTA_MEMBER[delta.kind]}":'
            )
        return self._head + dumps(delta.text) + self._tail % fresh_uuid()


def assistant(context: Context, message: Message, block: Message, **extra: object) -> Message:
    """One finished content block; the message's usage and stop reason are those of its start."""
    return {
        "type": "assistant",
        # One line for each block, all with the message's id: readers join them by it (docs/claude-cli.md,
        # messages).
        "message": {**message, "content": [block], "context_management": None},
        "parent_tool_use_id": None,
        "session_id": context.session_id,
        "uuid": fresh_uuid(),
        "timestamp": timestamp(),
        **extra,
    }


def synthetic_assistant(context: Context, text: str, **extra: object) -> Message:
    """An answer that the CLI wrote itself, such as the text of an API error."""
    return {
        "type": "assistant",
        "message": {
            "diagnostics": None,
            "id": fresh_uuid(),
            "container": None,
            # How a reader knows that no model said this, and that its usage is not to be counted.
            "model": "<synthetic>",
            "role": "assistant",
            "stop_details": None,
            "stop_reason": "stop_sequence",
            "stop_sequence": "",
            "type": "message",
            "usage": {
                "output_tokens_details": None,
                "input_tokens": 0,
                "output_tokens": 0,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
                "service_tier": None,
                "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 0},
                "inference_geo": None,
                "iterations": None,
                "speed": None,
                "fallback_credit": None,
            },
            "content": [{"type": "text", "text": text}],
            "context_management": None,
        },
        "parent_tool_use_id": None,
        "session_id": context.session_id,
        "uuid": fresh_uuid(),
        "timestamp": timestamp(),
        **extra,
    }


def user(context: Context, content: object, **extra: object) -> Message:
    """A tool result, a note of interruption, or a prompt the CLI made up."""
    return {
        "type": "user",
        "message": {"role": "user", "content": content},
        "parent_tool_use_id": None,
        "session_id": context.session_id,
        "uuid": fresh_uuid(),
        "timestamp": timestamp(),
        **extra,
    }


def system(context: Context, subtype: str, **members: object) -> Message:
    """A line of type ``system``."""
    return {
        "type": "system",
        "subtype": subtype,
        **members,
        "session_id": context.session_id,
        "uuid": fresh_uuid(),
    }


def lifecycle(context: Context, command_uuid: str, state: str) -> Message:
    """The state of an input message that has a uuid."""
    return {
        "type": "command_lifecycle",
        "command_uuid": command_uuid,
        "state": state,
        "uuid": fresh_uuid(),
        "session_id": context.session_id,
    }


def control_request(request_id: str, request: Message) -> Message:
    """A question to the host."""
    return {"type": "control_request", "request_id": request_id, "request": request}


def control_cancel(request_id: str) -> Message:
    """A question to the host is withdrawn."""
    return {"type": "control_cancel_request", "request_id": request_id}


def replayed(context: Context, content: object, uuid: str | None, *, timestamped: bool) -> Message:
    """An echo of an input message."""
    message: Message = {
        "type": "user",
        "message": {"role": "user", "content": content},
        "session_id": context.session_id,
        "parent_tool_use_id": None,
        "uuid": uuid or fresh_uuid(),
    }
    if timestamped:
        message["timestamp"] = timestamp()
    message["isReplay"] = True
    return message


def subagent_stats() -> Message:
    """What a result says about subagents: there are none here."""
    return {
        "spawned": 0,
        "requested": {"background": 0, "foreground": 0, "unset": 0},
        "started_in_background": 0,
        "max_depth": 0,
        "spawned_by_subagents": 0,
        "completed": 0,
        "failed": 0,
        "killed": {"parent": 0, "user": 0, "system": 0},
        "refused": {"depth_limit": 0, "concurrency_limit": 0, "budget": 0},
        "by_type": {},
    }


def control_success(request_id: object, response: Message | None, **beside: object) -> Message:
    """The answer to a control request that was carried out."""
    inner: Message = {"subtype": "success"}
    # The CLI leaves out what it does not have: an answer may lack its response, too.
    if request_id is not None:
        inner["request_id"] = request_id
    if response is not None:
        inner["response"] = response
    return {"type": "control_response", "response": {**inner, **beside}}


def control_error(request_id: object, error: str, code: str | None) -> Message:
    """The answer to a control request that was refused."""
    inner: Message = {"subtype": "error", "request_id": request_id, "error": error, "error_code": code}
    return {
        "type": "control_response",
        "response": {key: value for key, value in inner.items() if value is not None},
    }
