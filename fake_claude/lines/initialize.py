"""The long answer to the control request ``initialize``, loaded only when a host asks for it."""

from __future__ import annotations

import os

from fake_claude.catalog import MODELS, NEW_IN_330
from fake_claude.invocation.command_files import agents
from fake_claude.invocation.command_files import commands as file_commands

COMMANDS = (
    ("deep-research", "", ()),
    ("dataviz", "", ()),
    ("update-config", "", ()),
    ("verify", "", ()),
    ("debug", "[issue description]", ()),
    (
        "code-review",
        "[low|medium|high|xhigh|max] [--fix] [--comment] [<pr#>|<branch>|<path>] [--max-findings <n>|all]",
        ("review",),
    ),
    ("simplify", "[<target>]", ()),
    ("batch", "<instruction>", ()),
    ("fewer-permission-prompts", "", ()),
    ("doctor", "[prompt-audit [<path>]]", ("checkup",)),
    ("loop", "[interval] [prompt]", ("proactive",)),
    ("claude-api", "", ()),
    ("workflow-authoring", "", ()),
    ("run", "", ()),
    ("run-skill-generator", "", ()),
    ("plugin-authoring", "", ()),
    ("agents", "", ()),
    (
        "auto-mode-setup",
        (
            "[--request-id <uuid>] (--wizard posture=… scope=… depth=… --propose"
            " | --expect-sha256 <64-hex> --apply-file <path>)"
        ),
        (),
    ),
    ("autocompact", "[auto|<tokens>]", ()),
    ("clear", "[name]", ("reset", "new")),
    ("color", "[red|blue|green|yellow|purple|orange|pink|cyan|default]", ()),
    ("compact", "<optional custom summarization instructions>", ()),
    ("config", "key=value", ("settings",)),
    ("output-style", "[style]", ()),
    ("context", "", ()),
    ("effort", "<low|medium|high|xhigh|max|auto|ultracode [on|off]>", ()),
    ("fast", "[on|off]", ()),
    ("focus", "[on|off]", ()),
    ("heapdump", "", ()),
    ("init", "", ()),
    ("mcp", "[reconnect|enable|disable [<server>|all]]", ()),
    ("model", "<model>", ()),
    ("__remote-workflow", "", ()),
    ("workflow-launch-exec", "", ()),
    ("reload-plugins", "[--force]", ()),
    ("reload-skills", "", ()),
    ("rename", "[name]", ("name",)),
    ("security-review", "", ()),
    ("usage", "", ("cost", "stats")),
    ("insights", "", ()),
    ("recap", "", ()),
    ("goal", "", ()),
    ("list-agents", "", ("peers",)),
    ("team-onboarding", "", ()),
)
"""Slash commands: name, argument hint, aliases."""

HIDDEN = (("keybindings-help", "", ()),)
"""Skills that no list of commands has."""

SKILLS = (
    "dataviz", "update-config", "keybindings-help", "code-review", "simplify", "fewer-permission-prompts", "loop",
    "claude-api", "workflow-authoring", "run", "plugin-authoring", "init", "security-review",
)  # fmt: skip
"""Commands that are skills, in the order in which they are listed."""

OUTPUT_STYLES = ("default", "Proactive", "Concise", "Explanatory", "Learning")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from fake_claude.catalog import Model
    from fake_claude.invocation.context import Context

AGENTS = (
    {"name": "claude", "description": "For any task"},
    {"name": "Explore", "description": "Reads and searches code", "model": "inherit"},
    {"name": "general-purpose", "description": "Research and work in several steps"},
    {"name": "Plan", "description": "Plans an implementation", "model": "inherit"},
    {"name": "statusline-setup", "description": "Sets up the status line", "model": "sonnet"},
)
PURPOSES = {
    "opus": "Best for everyday, complex tasks",
    "fable": "Most capable for your hardest and longest-running tasks",
    "sonnet": "Efficient for routine tasks",
    "haiku": "Fastest for quick answers",
}
"""What each model is for, as hosts show it."""

MORE = {"haiku": "($0.50/$2.50 for prompts over 100k)"}
EFFORTS = ("low", "medium", "high", "xhigh", "max")


def commands(names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return slash commands as hosts are given them: all of them, or those of these names."""
    # A list by names may have hidden skills; the list of all has none.
    known = {command[0]: command for command in (*COMMANDS, *HIDDEN)}
    return [
        {
            "name": name,
            "description": name.replace("-", " "),
            "argumentHint": hint,
            **({"aliases": list(aliases)} if aliases else {}),
            "builtin": True,
        }
        for name, hint, aliases in (known[name] for name in names or [command[0] for command in COMMANDS])
    ]


def models() -> list[dict[str, Any]]:
    """Return the models as hosts are given them."""

    # ``default`` is an entry of its own beside the model that it stands for: a host can show both.
    def entry(value: str, shown: str, name: str, description: str) -> dict[str, Any]:
        return {
            "value": value,
            "resolvedModel": name,
            "displayName": shown,
            "description": description,
            "supportsEffort": True,
            "supportedEffortLevels": list(EFFORTS),
            "supportsAdaptiveThinking": True,
            **({"supportsFastMode": True} if value in ("default", "opus", "fable") else {}),
            "supportsAutoMode": True,
            "supportsThinkingOff": False,
        }

    first = MODELS[0]
    default = f"Use the default model (currently {first.title}) · {_price(first)}"
    return [
        entry("default", "Default (recommended)", first.name, default),
        *(
            entry(
                model.alias,
                model.alias.capitalize(),
                model.name,
                f"{model.title} · {PURPOSES[model.alias]} · {_price(model)}{' ' * bool(MORE.get(model.alias))}"
                f"{MORE.get(model.alias, '')}",
            )
            for model in MODELS
        ),
    ]


def _price(model: Model) -> str:
    # $5 and $25, but $0.50: whole dollars have no cents.
    prices = (f"${price:g}" if price >= 1 else f"${price:.2f}" for price in (model.cost_in, model.cost_out))
    return f"{'/'.join(prices)} per Mtok"


def _of_files(context: Context) -> list[dict[str, Any]]:
    """Return the commands in files of the user and the project."""
    return [
        {
            "name": command.name,
            "description": command.members.get("description", command.name),
            "argumentHint": command.members.get("argument-hint", ""),
        }
        for command in file_commands(context)
    ]


def initialize_response(context: Context, *, running: bool) -> dict[str, Any]:
    """Return the ``response`` member: what this CLI offers to a host."""
    response: dict[str, Any] = {
        # Commands in files come first: they go before the CLI's own of the same name (docs/claude-cli.md,
        # commands).
        "commands": [*_of_files(context), *commands()],
        "agents": sorted(
            [
                *(dict(agent) for agent in AGENTS),
                *({"name": name, "description": text} for name, text in agents(context)),
                *context.described_agents,
            ],
            key=lambda agent: agent["name"].lower(),
        ),
        "output_style": context.output_style,
        "available_output_styles": list(OUTPUT_STYLES),
        "user_output_styles_dir": f"{context.config_dir}/output-styles",
        "models": models(),
        "account": {
            "tokenSource": "none",
            "apiKeySource": "ANTHROPIC_API_KEY" if context.has_key else "none",
            "apiProvider": "firstParty",
        },
        # A host that was given a wrapper's process id learns the CLI's here.
        "pid": os.getpid(),
        "claude_code_version": context.version,
        "current_permission_mode": context.permission_mode,
        "hook_on_failure_supported": True,
        "hooks_when_unanswered_kept": 0,
        "other_hook_ask_outranks_host": True,
        "feedback_mode": {"kind": "disabled"},
        "analytics_disabled": True,
        "remote_control_auto_enable": False,
        "remote_control_auto_connect_default": False,
        "remote_control_available": False,
        "remote_control_auto_on_by_default": False,
        "ide_rc_auto_enable_gate": False,
        "fast_mode_state": "off",
        "fast_mode_disabled_reason": "sdk_opt_in_required",
        # ``initialize`` may come at any time, also while a turn runs.
        "session_state": "running" if running else "idle",
        "capabilities": [
            "ui_surface_v1",
            "mcp_call_result_not_for_model_v1",
            "mcp_call_check_permissions_v1",
            "voice_call_talk_line_v1",
            "ui_pane_widget_v1",
            "reload_plugins_refuse_if_busy_v1",
            "get_usage_detached_v1",
        ],
    }
    # What a host decides by must be that of the version it asked for.
    if context.before_330:
        del response["hooks_when_unanswered_kept"]
        response["capabilities"] = [name for name in response["capabilities"] if name not in NEW_IN_330]
    return response
