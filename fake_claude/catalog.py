"""What CLI 2.1.330 says it can do: versions, models, tools, commands and capabilities."""

from __future__ import annotations

VERSION = "2.1.330"
"""The CLI version that is imitated unless another one is asked for."""

TOOLS = (
    "Task",
    "Bash",
    "CronCreate",
    "CronDelete",
    "CronList",
    "Edit",
    "EnterWorktree",
    "ExitWorktree",
    "ListAgents",
    "Monitor",
    "NotebookEdit",
    "Read",
    "ReportFindings",
    "ScheduleWakeup",
    "SendMessage",
    "Skill",
    "TaskStop",
    "ToolSearch",
    "WebFetch",
    "WebSearch",
    "Workflow",
    "Write",
)
"""Built-in tools in the order of the init line."""

TASK_LIST_TOOLS = ("TaskCreate", "TaskGet", "TaskList", "TaskUpdate")
"""Tools that only some earlier models get."""

HOST_TOOLS = (
    "AskUserQuestion",
    "EnterPlanMode",
    "ExitPlanMode",
)
"""Tools that exist only with a host that answers permission questions."""

STRUCTURED = "StructuredOutput"
"""The tool by which the model gives an answer of the form that ``--json-schema`` asks for."""

BARE_TOOLS = ("Bash", "Edit", "Read")
"""Tools under ``--bare``."""

CAPABILITIES = (
    "interrupt_receipt_v1",
    "interrupt_cancel_queued_v1",
    "interrupt_send_now_v1",
    "interrupt_requeue_taken_v1",
    "msg_lifecycle_v1",
    "request_marker_lists_v1",
    "ask_user_question_unanswered_v1",
    "lifecycle_wakeup_source_v1",
    "sdk_mcp_tools_list_changed",
    "sdk_mcp_manifests",
    "mcp_read_resource_v1",
    "mcp_tool_ui_meta_v1",
    "ui_surface_v1",
    "mcp_call_result_not_for_model_v1",
    "mcp_call_check_permissions_v1",
    "voice_call_talk_line_v1",
    "withdrawn_files_note_v2",
    "withdrawn_tools_v1",
    "ui_pane_widget_v1",
    "reload_plugins_refuse_if_busy_v1",
    "get_usage_detached_v1",
    "silent_resend_files_v1",
)

NEW_IN_330 = frozenset(["withdrawn_tools_v1", "get_usage_detached_v1", "silent_resend_files_v1"])
"""Capabilities that earlier versions lack."""

SLASH_COMMANDS = (
    "deep-research",
    "dataviz",
    "update-config",
    "verify",
    "debug",
    "code-review",
    "simplify",
    "batch",
    "fewer-permission-prompts",
    "doctor",
    "loop",
    "claude-api",
    "workflow-authoring",
    "run",
    "run-skill-generator",
    "plugin-authoring",
    "agents",
    "auto-mode-setup",
    "autocompact",
    "clear",
    "color",
    "compact",
    "config",
    "output-style",
    "context",
    "effort",
    "fast",
    "focus",
    "heapdump",
    "init",
    "mcp",
    "model",
    "__remote-workflow",
    "workflow-launch-exec",
    "reload-plugins",
    "reload-skills",
    "rename",
    "security-review",
    "usage",
    "insights",
    "recap",
    "goal",
    "list-agents",
    "team-onboarding",
)

TERMINAL_SLASH_COMMANDS = (
    "doctor",
    "color",
    "focus",
    "reload-plugins",
)

AGENTS = (
    "claude",
    "Explore",
    "general-purpose",
    "Plan",
    "statusline-setup",
)

SKILLS = (
    "deep-research",
    "dataviz",
    "update-config",
    "verify",
    "debug",
    "code-review",
    "simplify",
    "batch",
    "fewer-permission-prompts",
    "doctor",
    "loop",
    "claude-api",
    "workflow-authoring",
    "run",
    "run-skill-generator",
    "plugin-authoring",
)

PLUGINS = ("cc-plugin-agents-md", "cc-plugin-privacy", "cc-plugin-plugin-authoring")


SUBCOMMANDS = frozenset(
    [
        "agents",
        "attach",
        "auth",
        "auto-mode",
        "doctor",
        "gateway",
        "import",
        "install",
        "kill",
        "logs",
        "mcp",
        "plugin",
        "plugins",
        "purge",
        "respawn",
        "rm",
        "setup-token",
        "stop",
        "ultrareview",
        "update",
        "upgrade",
    ]
)
"""Words that are commands of the CLI unless -p makes them prompts."""


class Model:
    """One model: its id, alias, prices in dollars per million tokens, and its window in tokens.

    ``earlier`` models have no effort per turn; with ``lists_tasks`` the CLI gives them tools to keep a list of tasks.
    """

    __slots__ = (
        "alias",
        "cost_in",
        "cost_out",
        "earlier",
        "lists_tasks",
        "max_output",
        "name",
        "title",
        "window",
    )

    def __init__(
        self,
        name: str,
        alias: str,
        title: str,
        *,
        cost_in: float,
        cost_out: float,
        window: int = 1_000_000,
        max_output: int = 128_000,
        earlier: bool = False,
    ) -> None:
        self.name = name
        self.alias = alias
        self.title = title
        self.cost_in = cost_in
        self.cost_out = cost_out
        self.window = window
        self.max_output = max_output
        self.earlier = earlier
        self.lists_tasks = window < 1_000_000


MODELS = (
    Model("claude-opus-5-5", "opus", "Opus 5.5", cost_in=4, cost_out=20),
    Model("claude-fable-5-2", "fable", "Fable 5.2", cost_in=8, cost_out=40),
    Model("claude-sonnet-5-5", "sonnet", "Sonnet 5.5", cost_in=2, cost_out=10),
    Model("claude-haiku-5-5", "haiku", "Haiku 5.5", cost_in=0.1, cost_out=0.5),
)
DEFAULT_MODEL = MODELS[0].name


def _earlier(name: str, cost_in: float, cost_out: float, window: int, max_output: int) -> Model:
    return Model(
        name,
        "",
        name,
        cost_in=cost_in,
        cost_out=cost_out,
        window=window,
        max_output=max_output,
        earlier=True,
    )


EARLIER_MODELS = (
    _earlier("claude-opus-5", 5, 25, 1_000_000, 64_000),
    _earlier("claude-opus-4-8", 5, 25, 1_000_000, 64_000),
    _earlier("claude-fable-5", 10, 50, 1_000_000, 64_000),
    _earlier("claude-sonnet-5", 2, 10, 1_000_000, 64_000),
    _earlier("claude-opus-4-6", 5, 25, 200_000, 64_000),
    _earlier("claude-opus-4-5", 5, 25, 200_000, 32_000),
    _earlier("claude-sonnet-4-6", 3, 15, 200_000, 32_000),
    _earlier("claude-sonnet-4-5", 3, 15, 200_000, 32_000),
    _earlier("claude-sonnet-4-0", 3, 15, 200_000, 32_000),
    _earlier("claude-haiku-4-5", 1, 5, 200_000, 32_000),
    _earlier("claude-3-7-sonnet", 3, 15, 200_000, 32_000),
    _earlier("claude-3-5-haiku", 0.8, 4, 200_000, 8_192),
)
_ALIASES = {"default": "opus", "best": "opus", "opusplan": "sonnet", "claude-opus-4-1": "opus"}
"""Names that stand for a model of today: by the CLI's choice, or because the model is no more."""


def find_model(name: str) -> Model | None:
    """Return the model with this id or alias; a date or ``-latest`` after an id does not matter."""
    # `sonnet[1m]` asks for the long window of the same model.
    short = name.lower().removesuffix("[1m]")
    short = _ALIASES.get(short, short)
    # Eight digits are a date: `claude-sonnet-4-5-20250929`. The version itself is short and stays.
    head, _, tail = short.rpartition("-")
    if tail == "latest" or (len(tail) == 8 and tail.isdigit()):
        short = head
    models = (*MODELS, *EARLIER_MODELS)
    return next((model for model in models if short in (model.name, model.alias or model.name)), None)


def resolve_model(name: str) -> str:
    """Return the id that the CLI uses for a name: aliases stand for one, everything else is taken as it is."""
    known = find_model(name)
    return name if known is None or known.earlier else known.name


PROMPT_COMMANDS = frozenset(
    [
        "batch",
        "claude-api",
        "dataviz",
        "debug",
        "deep-research",
        "doctor",
        "fewer-permission-prompts",
        "init",
        "loop",
        "plugin-authoring",
        "run",
        "run-skill-generator",
        "security-review",
        "simplify",
        "team-onboarding",
        "update-config",
        "verify",
        "workflow-authoring",
    ]
)
"""Slash commands that become a prompt of the CLI's own."""
