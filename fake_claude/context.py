"""What one run of the CLI knows about itself."""

from __future__ import annotations

import os

from .catalog import DEFAULT_MODEL, HOST_TOOLS, TOOLS, VERSION, find_model
from .ids import fresh_uuid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .options import Options


class Context:
    """The settled facts of a run: directory, model, permission mode, formats and session id."""

    def __init__(self, options: Options, env: Mapping[str, str]) -> None:
        self.options = options
        self.env = env
        self.version = VERSION
        self.cwd = os.getcwd()
        self.home = env.get("HOME", "/")
        self.config_dir = env.get("CLAUDE_CONFIG_DIR") or os.path.join(self.home, ".claude")
        name = options.text("model") or env.get("ANTHROPIC_MODEL") or DEFAULT_MODEL
        known = find_model(name)
        self.model = known.name if known else name
        self.permission_mode = self._mode(options)
        self.output_format = options.text("output-format", "text") or "text"
        self.streams_in = options.text("input-format") == "stream-json"
        self.verbose = options.flag("verbose")
        self.partial = options.flag("include-partial-messages")
        self.session_id = options.text("session-id") or fresh_uuid()
        self.has_key = bool(env.get("ANTHROPIC_API_KEY"))
        self.host_answers = options.text("permission-prompt-tool") == "stdio"

    @staticmethod
    def _mode(options: Options) -> str:
        if options.flag("dangerously-skip-permissions"):
            return "bypassPermissions"
        mode = options.text("permission-mode", "default") or "default"
        return "default" if mode == "manual" else mode

    @property
    def streams_out(self) -> bool:
        """Tell whether messages are printed as they come."""
        return self.output_format == "stream-json"

    @property
    def tools(self) -> list[str]:
        """Return the tool names of the init line, in the CLI's order."""
        tools = list(TOOLS)
        if self.host_answers:
            tools = sorted({*tools, *HOST_TOOLS} - {"Task"})
            tools.insert(0, "Task")
        return tools
