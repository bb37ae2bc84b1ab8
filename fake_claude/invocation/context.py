"""What one run of the CLI knows about itself."""

from __future__ import annotations

import os

from fake_claude.catalog import (
    BARE_TOOLS,
    DEFAULT_MODEL,
    HOST_TOOLS,
    STRUCTURED,
    TASK_LIST_TOOLS,
    TOOLS,
    VERSION,
    find_model,
    resolve_model,
)
from fake_claude.ids import fresh_uuid
from fake_claude.invocation.javascript import number
from fake_claude.invocation.rules import split_rules
from fake_claude.invocation.settings_files import SettingsFiles, folders_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from fake_claude.invocation.options import Options


class Context:
    """The settled facts of a run: directory, model, permission mode, formats and session id."""

    def __init__(self, options: Options, env: Mapping[str, str], version: str = VERSION) -> None:
        self.options = options
        self.env = env
        self.version = version
        # Compared as numbers: as texts, 2.1.9 would come after 2.1.330.
        numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
        self.before_330 = numbers < (2, 1, 330)
        self.before_332 = numbers < (2, 1, 332)
        self.cwd = os.getcwd()
        self.home = env.get("HOME", "/")
        self.config_dir = env.get("CLAUDE_CONFIG_DIR") or os.path.join(self.home, ".claude")
        self.state_file = os.path.join(env.get("CLAUDE_CONFIG_DIR") or self.home, ".claude.json")
        # The order matters from here on: settings may set variables, and a variable may name the model.
        configured = self.configuration = SettingsFiles(
            options, config_dir=self.config_dir, cwd=self.cwd, state_file=self.state_file
        )
        self.env = env = {**env, **configured.env}
        named = env.get("ANTHROPIC_MODEL") or configured.model or DEFAULT_MODEL
        self.model = resolve_model(options.text("model", named) or "")
        self.permission_mode = self._mode(options, configured.mode)
        self.granted: list[tuple[str, str]] = []  # rules that the host added: behaviour and rule
        self.take_rules()
        self.directories = [*configured.directories, *options.lists.get("add-dir", [])]
        self.shell_cwd = self.cwd  # where the last command of the shell ended
        self.output_style = configured.output_style or "default"
        self.language = configured.language
        self.agents: list[str] = []  # beyond the CLI's own, of the command line
        self.host_agents: list[str] = []
        self.described_agents: list[dict[str, str]] = []  # the host's, as it lists them
        self.betas: list[str] = []
        self.output_format = options.text("output-format", "text") or "text"
        self.streams_in = options.text("input-format") == "stream-json"
        self.verbose = options.flag("verbose")
        self.partial = options.flag("include-partial-messages")
        self.session_id = options.text("session-id") or fresh_uuid()
        self.may_bypass = any(
            options.flag(name)
            for name in ("dangerously-skip-permissions", "allow-dangerously-skip-permissions")
        )
        self.wants_structure = bool(options.text("json-schema"))
        self.late_structure = False  # a host brought the form, which puts the tool for it last
        self.bare = options.flag("bare")
        self.safe = options.flag("safe-mode")
        self.customised = not (self.bare or self.safe or env.get("CLAUDE_CODE_SIMPLE"))
        self.replay = options.flag("replay-user-messages")
        self.mcp_servers: list[dict[str, str]] = []
        self.emits_state = env.get("CLAUDE_CODE_SDK_READS_SESSION_STATE") == "1"
        # As JavaScript reads it: an empty value is 0, and 0 sets no limit.
        self.max_turns = number(options.text("max-turns") or "") or 0.0
        budget = options.text("max-budget-usd")
        self.max_budget = number(budget) if budget else None
        self.fallback_model = resolve_model((options.text("fallback-model") or "").split(",")[0])
        self.has_commands = not options.flag("disable-slash-commands")
        self.has_key = bool(env.get("ANTHROPIC_API_KEY"))
        self.host_answers = options.text("permission-prompt-tool") == "stdio"

    def take_agents(self, agents: dict[str, object]) -> None:
        """Take agents that the host defines beside the CLI's own."""
        for name, agent in agents.items():
            if isinstance(agent, dict) and name not in self.host_agents:
                self.host_agents.append(name)
                model = {"model": agent["model"]} if isinstance(agent.get("model"), str) else {}
                self.described_agents.append(
                    {"name": name, "description": str(agent.get("description")), **model}
                )

    def take_rules(self) -> None:
        """Take the rules of the command line, the settings and the host together."""
        # From the sources each time, never added to what is there: settings of a host replace rules of the settings,
        # and those must not come back.
        self.allow_rules = [rule for rule, _ in self.all_rules("allow")]
        self.deny_rules = [rule for rule, _ in self.all_rules("deny")]
        self.ask_rules = dict(self.all_rules("ask"))

    def grant(self, behaviour: str, rule: str) -> None:
        """Add a rule of the host for the rest of the session; ``behaviour`` is allow or deny."""
        self.granted.append((behaviour, rule))
        self.take_rules()

    def all_rules(self, behaviour: str) -> list[tuple[str, str]]:
        """Return the rules of all sources, each with its source; ``behaviour`` is allow, ask or deny."""
        configured = [source for source, _ in self.configuration.given]
        return [
            (rule, source)
            for source in ("cliArg", *configured, "session")
            for rule in self.rules_of(behaviour, source)
        ]

    def rules_of(self, behaviour: str, source: str) -> list[str]:
        """Return the rules of one source."""
        if source == "session":
            return [rule for name, rule in self.granted if name == behaviour]
        if source == "cliArg":
            option = {"allow": "allowed-tools", "deny": "disallowed-tools"}.get(behaviour, "")
            return split_rules(self.options.lists.get(option, []))
        return self.configuration.rules(behaviour, source)

    @property
    def folders(self) -> list[tuple[str, str]]:
        """The working directories beside the first, each with its source."""
        given = self.options.lists.get("add-dir", [])
        configured = self.configuration.directories
        return [
            (path, "cliArg" if path in given else "localSettings" if path in configured else "session")
            for path in self.directories
        ]

    @property
    def announced_folders(self) -> list[str]:
        """The working directories that the command line names, as whole paths."""
        flags = [settings for source, settings in self.configuration.given if source == "flagSettings"]
        configured = [path for settings in flags for path in folders_of(settings)]
        given = [*configured, *self.options.lists.get("add-dir", [])]
        whole = [os.path.normpath(os.path.join(self.cwd, path)) for path in given]
        inner = (self.cwd, f"{self.cwd}{os.sep}")
        return [
            path
            for path in whole
            if os.path.isdir(path) and path != inner[0] and not path.startswith(inner[1])
        ]

    @property
    def asks_host(self) -> bool:
        """Return whether questions about tools go to the host."""
        return self.host_answers and self.options.text("permission-prompts") != "none"

    @staticmethod
    def _mode(options: Options, configured: str | None) -> str:
        if options.flag("dangerously-skip-permissions"):
            return "bypassPermissions"
        mode = options.text("permission-mode", configured) or "default"
        # `manual` is its name on the command line; messages say `default`.
        return "default" if mode == "manual" else mode

    @property
    def streams_out(self) -> bool:
        """Return whether messages are printed as they come."""
        return self.output_format == "stream-json"

    @property
    def tools(self) -> list[str]:
        """Return the tool names of the init line, in the CLI's order."""
        options = self.options
        # The names wanted do not change the order: the line lists tools in the CLI's own.
        wanted = split_rules(options.lists.get("tools", ["default"]))
        if wanted != ["default"]:
            return [name for name in TOOLS if name in wanted]
        if self.bare:
            return [name for name in BARE_TOOLS if name not in self.deny_rules]
        # The steps follow the CLI's. `Task` stays first, whatever is sorted in behind it: the line that real versions
        # print does so, and a test that compares lists would see any other order.
        tools = list(TOOLS)
        known = find_model(self.model)
        if known is not None and known.lists_tasks:
            tools = ["Task", *sorted([*tools[1:], *TASK_LIST_TOOLS])]
        if not self.has_commands:
            tools.remove("Skill")
        if options.text("permission-prompt-tool") and options.text("permission-prompts") != "none":
            tools = ["Task", *sorted({*tools[1:], *HOST_TOOLS})]
        denied = {rule for rule in self.deny_rules if "(" not in rule}
        if self.wants_structure and not self.late_structure:
            tools = ["Task", *sorted([*tools[1:], STRUCTURED])]
        if "Bash" in denied:  # its work falls to the tools it replaces
            tools = sorted({*tools[1:], "Glob", "Grep"} - {"Monitor"})
            tools.insert(0, "Task")
        if self.late_structure:
            tools.append(STRUCTURED)
        return [name for name in tools if name not in denied]

    @property
    def all_tools(self) -> tuple[str, ...]:
        """Return every tool this CLI could have."""
        return (*TOOLS, *HOST_TOOLS, "Glob", "Grep")

    @staticmethod
    def model_known(name: str) -> bool:
        """Return whether the API has a model of this name; the CLI may not know it."""
        return find_model(name) is not None or name.startswith("claude-")
