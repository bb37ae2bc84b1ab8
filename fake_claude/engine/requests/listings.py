"""Control requests that list what the CLI has: models, hooks, skills, plugins, styles."""

from __future__ import annotations

from fake_claude.lines.initialize import AGENTS, OUTPUT_STYLES, SKILLS, commands, models

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.engine.control_request import ControlRequest

BUILD_TIMES = {"2.1.330": "2026-11-20T17:34:37Z", "2.1.332": "2026-11-24T19:09:44Z"}
OLDEST_DESKTOP_SDK = "0.3.280"
PLUGINS = ("cc-plugin-agents-md", "cc-plugin-privacy", "cc-plugin-plugin-authoring")
SOURCE_LABELS = {
    "userSettings": "User settings (~/.claude/settings.json)",
    "projectSettings": "Project settings (.claude/settings.json)",
    "localSettings": "Local settings (.claude/settings.local.json)",
    "flagSettings": "Startup settings (--settings option)",
}
EVENTS = (
    ("PreToolUse", "Before tool execution", True),
    ("PostToolUse", "After tool execution", True),
    ("PostToolUseFailure", "After tool execution fails", True),
    ("PostToolBatch", "After a batch of tool calls resolves", False),
    ("PermissionDenied", "After auto mode denies a tool call", True),
    ("Notification", "When notifications are sent", True),
    ("UserPromptSubmit", "When the user submits a prompt", False),
    ("UserPromptExpansion", "When a user-typed slash command expands into a prompt", True),
    ("SessionStart", "When a new session is started", True),
    ("Stop", "Right before Claude concludes its response", False),
    ("StopFailure", "When the turn ends due to an API error", True),
    ("SubagentStart", "When a subagent (Agent tool call) is started", True),
    ("SubagentStop", "Right before a subagent (Agent tool call) concludes its response", True),
    ("PreCompact", "Before conversation compaction", True),
    ("PostCompact", "After conversation compaction", True),
    ("PreModelSwitch", "Before a requested model switch (/model, model picker, set_model)", True),
    ("PostModelSwitch", "After the session model changes (any cause)", True),
    ("SessionEnd", "When a session is ending", True),
    ("PermissionRequest", "When a permission dialog is displayed", True),
    ("Setup", "Repo setup hooks for init and maintenance", True),
    ("TeammateIdle", "When a teammate is about to go idle", False),
    ("TaskCreated", "When a task is being created", False),
    ("TaskCompleted", "When a task is being marked as completed", False),
    ("Elicitation", "When an MCP server requests user input (elicitation)", True),
    ("ElicitationResult", "After a user responds to an MCP elicitation", True),
    ("ConfigChange", "When configuration files change during a session", True),
    ("InstructionsLoaded", "When an instruction file (CLAUDE.md or rule) is loaded", True),
    ("WorktreeCreate", "Create an isolated worktree for VCS-agnostic isolation", False),
    ("WorktreeRemove", "Remove a previously created worktree", False),
    ("CwdChanged", "After the working directory changes", False),
    ("FileChanged", "When a watched file changes", True),
    ("DirectoryAdded", "After a working directory is added mid-session", True),
    ("MessageDisplay", "While assistant message text is displayed", False),
)
"""The events that have hooks: name, summary, and whether a matcher chooses among them."""


def _get_binary_version(request: ControlRequest) -> None:
    version = request.run.context.version
    # A version that was never observed has the date of the one that the fake imitates by default.
    built = BUILD_TIMES.get(version, BUILD_TIMES["2.1.330"])
    request.succeed({"version": version, "buildTime": built, "oldestDesktopSdk": OLDEST_DESKTOP_SDK})


def _list_models(request: ControlRequest) -> None:
    request.succeed({"models": models()})


def _get_hooks_listing(request: ControlRequest) -> None:
    configured = request.run.context.configuration
    # A settings file may name events that do not exist; the CLI lists none of these.
    found = [hook for hook in configured.hook_commands if hook.event in {name for name, *_ in EVENTS}]
    counts = {name: sum(hook.event == name for hook in found) for name, *_ in EVENTS}
    catalogue: list[dict[str, Any]] = [
        {"name": name, "summary": summary, "supportsMatcher": matched} for name, summary, matched in EVENTS
    ]
    hooks = []
    for hook in found:
        listed: dict[str, Any] = {
            "event": hook.event,
            "matcher": hook.matcher or "",
            "source": hook.source,
            "sourceLabel": SOURCE_LABELS.get(hook.source, hook.source),
            "type": "command",
            "displayText": hook.command,
            "commandText": hook.command,
            "contentLabel": "Command",
        }
        # No default here: a host shows what the file says.
        if hook.timeout is not None:
            listed["timeout"] = hook.timeout
        hooks.append(listed)
    request.succeed(
        {
            # Events without hooks are in the catalogue alone.
            "events": [
                {**event, "hookCount": counts[event["name"]]} for event in catalogue if counts[event["name"]]
            ],
            "hooks": hooks,
            "eventCatalog": catalogue,
            "policy": {
                "disabledByPolicy": False,
                "managedOnly": False,
                "pluginOnly": False,
                "allDisabled": configured.hooks_off,
                "policyHookCount": 0,
            },
        }
    )


def _reload_plugins(request: ControlRequest) -> None:
    request.succeed(
        {
            "commands": commands(),
            "agents": [dict(agent) for agent in AGENTS],
            "plugins": [{"name": name, "path": "builtin", "source": f"{name}@builtin"} for name in PLUGINS],
            "mcpServers": list(request.run.context.mcp_servers),
            "error_count": 0,
        }
    )


def _reload_skills(request: ControlRequest) -> None:
    request.succeed({"skills": commands(SKILLS)})


def _reload_output_styles(request: ControlRequest) -> None:
    request.succeed({"available_output_styles": list(OUTPUT_STYLES)})


ANSWERS = {
    "get_binary_version": _get_binary_version,
    "get_hooks_listing": _get_hooks_listing,
    "list_models": _list_models,
    "reload_output_styles": _reload_output_styles,
    "reload_plugins": _reload_plugins,
    "reload_skills": _reload_skills,
}
