"""Rows of control requests: each row sends many, one after the other, so that a start of the CLI serves them all."""

from __future__ import annotations

import json
from typing import Any

from fake_claude.fidelity.invocation import OTHER, SI, UUID1, UUID2, Act, Invocation, V, control, done, user

FILES = {
    "note.txt": "one\ntwo\n",
    "sub/deep.txt": "x\n",
    "bin": "hex:00ff41",
    "uni.txt": "äöü\n",
    "src/main.py": "print(1)\n",
}

UNKNOWN = (
    "can_use_tool",
    "hook_callback",
    "set_color",
    "elicitation",
    "request_user_dialog",
    "no_such",
    "ui_copy",
    "ui_prompt_read",
    "start_shell_task",
    "list_directory",
    "oauth_token_refresh",
    "dictate",
    "",
)
"""Subtypes that the CLI does not know, or sends itself."""

OFFLINE = (
    "claim_session", "claude_oauth_callback", "claude_oauth_wait_for_completion", "fork_conversation",
    "get_chrome_browsers", "get_plan", "get_skills_dialog", "list_cloud_sessions", "log_host_events",
    "mcp_tasks_changed", "poll_event", "prompt_draft_activity", "register_device_hooks", "reload_connectors",
    "remote_tools_announce", "select_chrome_browser", "set_chrome_browser_hints", "stage_file", "submit_feedback",
    "turn_handoff", "ui_panes", "upload_device_hook_template",
)  # fmt: skip
"""Subtypes that have one answer where there is no network, browser or terminal."""

UPDATES: tuple[Any, ...] = ({}, [], {"outputStyle": "Concise"}, {"theme": "dark"}, {"language": "de", "x": 1})
"""What is asked to be written into settings files."""

Request = tuple[str, dict[str, Any]]


def _after(name: str, requests: list[Request], argv: list[str] = SI, **more: Any) -> Invocation:
    """Initialize, play a turn, then send the requests one by one."""
    acts: list[Act] = [
        ("now", "send", control("initialize", "i")),
        ("response:i", "send", user("hi", uuid=UUID1)),
    ]
    last = "result:1"
    for number, (subtype, members) in enumerate(requests):
        acts.append((last, "send", control(subtype, f"r{number}", **members)))
        last = f"response:r{number}"
    acts.append((last, "eof", None))
    return Invocation(f"ctl_{name}", "control", argv, acts, **{"files": FILES, **more})


def _each(subtype: str, *members: dict[str, Any]) -> list[Request]:
    return [(subtype, each) for each in members]


def _settings(**members: Any) -> str:
    return json.dumps(members)


def rows() -> list[Invocation]:
    """Return the rows."""
    rules = {
        "allow": [
            "Bash(npm run test:*)",
            "Bash(ls)",
            "Read(src/**)",
            "WebFetch(domain:x.org)",
            "mcp__a",
            "Edit",
        ],
        "deny": ["WebFetch"],
        "ask": ["Bash(rm *)"],
        "additionalDirectories": ["{home}"],
    }
    hooks = {
        "PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "command", "command": "true", "timeout": 5}]}],
        "Stop": [{"hooks": [{"type": "command", "command": "true"}]}],
    }
    checkpoints = {"CLAUDE_CODE_ENABLE_SDK_FILE_CHECKPOINTING": "1"}
    rewinds = [
        *_each("rewind_files", {"user_message_id": UUID2}, {"user_message_id": UUID1, "dry_run": True}),
        *_each("rewind_files", {"user_message_id": UUID2, "dry_run": True}, {"user_message_id": UUID1}),
    ]
    return [
        _after("unknown_ones", [(name, {}) for name in UNKNOWN]),
        _after("offline_ones", [(name, {}) for name in OFFLINE]),
        _after(
            "read_file",
            _each(
                "read_file",
                *(
                    {"path": path}
                    for path in ("note.txt", "bin", "{cwd}/note.txt", "../dir/note.txt", "sub", "absent")
                ),
                *({"path": "note.txt", "max_bytes": count} for count in (3, 0, -1, 8, "x")),
                *({"path": "uni.txt", "max_bytes": 3}, {"path": "/etc/hostname"}, {"path": 5}, {}),
                *({"path": name, "encoding": "base64"} for name in ("bin", "note.txt")),
            ),
        ),
        _after(
            "titles",
            [
                *_each(
                    "rename_session", {}, {"title": ""}, {"title": "a", "session_id": OTHER}, {"title": "c"}
                ),
                *_each("rename_session", {"title": "b", "source": "x"}, {"title": " two\nlines "}),
                *_each(
                    "generate_session_title", {}, {"description": "x", "persist": 3}, {"description": "hello"}
                ),
                *_each("set_has_subscribers", {}, {"has_subscribers": True}, {"has_subscribers": None}),
            ],
        ),
        _after(
            "update_settings",
            [
                *_each("update_settings", {}, {"source": "x", "settings": {}}, {"source": "localSettings"}),
                *(
                    ("update_settings", {"source": source, "settings": settings})
                    for source in ("localSettings", "userSettings")
                    for settings in UPDATES
                ),
                ("get_settings", {}),
            ],
        ),
        _after(
            "apply_settings",
            [
                *_each("apply_flag_settings", {}, {"settings": []}),
                *(
                    ("apply_flag_settings", {"settings": settings})
                    for settings in (
                        {"permissions": {"allow": ["Bash(touch *)"]}},
                        {"model": "no-such"},
                        {"model": None},
                        {"outputStyle": "Concise"},
                        {"effortLevel": "high"},
                        {"nonsense": 1},
                    )
                ),
                ("get_settings", {}),
                ("list_permission_rules", {}),
            ],
        ),
        _after(
            "rules",
            [("list_permission_rules", {}), ("get_settings", {})],
            [
                *SI,
                "--settings",
                _settings(permissions=rules),
                "--allowedTools",
                "Bash(touch *)",
                "--add-dir",
                "/usr",
            ],
        ),
        _after("hooks_listed", [("get_hooks_listing", {})], [*SI, "--settings", _settings(hooks=hooks)]),
        _after("hooks_unlisted", [("get_hooks_listing", {})]),
        _after("file_suggestions", _each("file_suggestions", {"query": "zzz"}, {})),
        _after(
            "repo_roots",
            _each(
                "register_repo_root",
                *(
                    {"directory": path}
                    for path in ("{cwd}", "sub", "{cwd}/sub", "{home}", "{cwd}/note.txt", "absent")
                ),
                {},
            ),
        ),
        _after(
            "servers",
            [
                *(
                    (name, {})
                    for name in ("mcp_toggle", "mcp_reconnect", "mcp_read_resource", "mcp_set_servers")
                ),
                *(
                    (name, {"serverName": "a"})
                    for name in ("mcp_toggle", "mcp_reconnect", "mcp_read_resource")
                ),
                *((name, {}) for name in ("mcp_authenticate", "mcp_clear_auth", "mcp_oauth_callback_url")),
                *_each("mcp_call", {}, {"tool": "nonsense"}, {"tool": "mcp__a"}, {"tool": "mcp__a__b"}),
                *(("mcp_message", {"server_name": "a", "message": {}}), ("mcp_status", {"liveReply": True})),
                *(("channel_enable", {}), ("mcp_set_servers", {"servers": {}})),
            ],
        ),
        _after(
            "tasks",
            [
                *_each("stop_task", {}, {"task_id": "x"}),
                *_each("background_tasks", {}, {"tool_use_id": "x"}),
                *_each("get_task_output", {}, {"task_id": "x"}),
                ("interrupt", {"cancel_queued": True}),
            ],
        ),
        _after("rewind_disabled", rewinds),
        _after("rewind", rewinds, env=checkpoints),
        _after(
            "reloads",
            [
                *(
                    (name, {})
                    for name in ("reload_plugins", "reload_skills", "reload_output_styles", "list_models")
                ),
                *(
                    (name, {})
                    for name in ("get_usage", "get_session_cost", "get_context_usage", "get_binary_version")
                ),
                ("seed_read_state", {"path": "note.txt", "mtime": 1}),
            ],
        ),
        _after(
            "set_many",
            [
                *_each(
                    "set_model",
                    *({"model": model} for model in ("sonnet", "sonnet", "", 5, "default", "fable")),
                ),
                *_each(
                    "set_permission_mode", *({"mode": name} for name in ("manual", "auto", "x", 5, "plan"))
                ),
            ],
        ),
        Invocation(
            "ctl_initialize_wrong",
            "control",
            SI,
            [
                ("now", "send", control("initialize", "a", hooks=[])),
                ("now", "send", control("initialize", "b", sdkMcpServers="x")),
                ("now", "send", control("initialize", "c", skills="x")),
                (
                    "now",
                    "send",
                    control(
                        "initialize", "d", agents={"rev": {"description": "x", "prompt": "y"}}, title="t"
                    ),
                ),
                ("response:d", "send", user("hi")),
                done(),
            ],
        ),
        Invocation(
            "ctl_initialize_schema",
            "control",
            SI,
            [
                (
                    "now",
                    "send",
                    control("initialize", "a", jsonSchema={"type": "object"}, systemPrompt=["Be short."]),
                ),
                ("response:a", "send", user("hi")),
                done(),
            ],
        ),
    ]


SOURCES = {
    "user": "~/.claude/settings.json",
    "project": ".claude/settings.json",
    "local": ".claude/settings.local.json",
}


def settings_rows() -> list[Invocation]:
    """Return the rows of what settings files may grant, by the place of the file."""
    found: list[Invocation] = []

    def add(name: str, prompt: str, settings: dict[str, Any], *sources: str, **files: str) -> None:
        found.extend(
            Invocation(
                f"settings_{name}_{source}",
                "settings",
                [*V, "--", prompt],
                files={SOURCES[source]: json.dumps(settings), **files},
            )
            for source in sources or tuple(SOURCES)
        )

    touch = "TOOL `touch x`"
    add("allow_bash", touch, {"permissions": {"allow": ["Bash"]}})
    add("allow_rule", touch, {"permissions": {"allow": ["Bash(touch *)", "Read"]}}, "project", "local")
    add("deny_rule", touch, {"permissions": {"deny": ["Bash(touch *)"]}}, "project", "local")
    add("mode_auto", touch, {"permissions": {"defaultMode": "auto"}}, "project", "local")
    add("mode_bypass", touch, {"permissions": {"defaultMode": "bypassPermissions"}}, "project")
    add("mode_nonsense", touch, {"permissions": {"defaultMode": "nonsense"}}, "user")
    add("folders", "hi", {"permissions": {"additionalDirectories": ["../home"]}}, "project", "local")
    add(
        "read_denied",
        "READ `{cwd}/note.txt`",
        {"permissions": {"deny": ["Read(./note.txt)"]}},
        "project",
        **FILES,
    )
    add("read_allowed", "READ `/etc/hostname`", {"permissions": {"allow": ["Read(//etc/*)"]}}, "user")
    add("broken_rules", touch, {"permissions": {"allow": ["bash", "Bash(", "", 5]}}, "user")
    add("env", "TOOL `printenv FOO`", {"env": {"FOO": "bar"}, "permissions": {"allow": ["Bash"]}}, "local")
    return found
