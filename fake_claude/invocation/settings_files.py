"""The CLI's settings files, as far as they change what it tells: model, permission mode and rules."""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.invocation.options import Options

MANAGED = "/etc/claude-code/managed-settings.json"
SOURCES = ("user", "project", "local")


class SettingsFiles:
    """What the settings of all sources add up to; ``wrong`` is why the CLI refuses to start with them."""

    def __init__(self, options: Options, *, config_dir: str, cwd: str) -> None:
        self.wrong: str | None = None
        self.model: str | None = None
        self.output_style: str | None = None
        self.language: str | None = None
        self.mode: str | None = None
        self.allow: list[str] = []
        self.ask: dict[str, str] = {}  # rules, with the source of each
        self.deny: list[str] = []
        self.directories: list[str] = []
        self.hooks: dict[str, list[str]] = {}
        self.hooks_off = False
        self.files: list[str] = []  # that were read
        self.sources: tuple[str, ...] = ()
        paths = {
            "user": os.path.join(config_dir, "settings.json"),
            "project": os.path.join(cwd, ".claude", "settings.json"),
            "local": os.path.join(cwd, ".claude", "settings.local.json"),
        }
        given = options.text("settings")
        inline = given is not None and given.strip()[:1] == "{" and given.strip()[-1:] == "}"
        if given is not None and not inline and not os.path.isfile(os.path.join(cwd, given)):
            self.wrong = f"Error: Settings file not found: {os.path.join(cwd, given)}"
            return
        self.sources = self._sources(options)
        self._add(self._read(MANAGED), "policySettings")
        for source in self.sources:
            self._add(self._read(paths[source]), f"{source}Settings")
        if given is None:
            return
        if not inline:
            self._add(self._read(os.path.join(cwd, given)), "flagSettings")
            return
        try:
            self._add(json.loads(given), "flagSettings")
        except ValueError:
            self.wrong = "Error: Invalid JSON provided to --settings"

    def _sources(self, options: Options) -> tuple[str, ...]:
        given = options.text("setting-sources")
        if given is None:
            return SOURCES
        wanted = [name.strip() for name in given.split(",") if name.strip()]
        unknown = [name for name in wanted if name not in SOURCES]
        if unknown:
            self.wrong = (
                f"Error processing --setting-sources: Invalid setting source: {unknown[0]}."
                f" Valid options are: {', '.join(SOURCES)}"
            )
            return ()
        return tuple(name for name in SOURCES if name in wanted)

    def _add(self, settings: Any, source: str) -> None:
        """Take over one source; later ones win, and rules add up."""
        if not isinstance(settings, dict):
            return
        if isinstance(settings.get("model"), str):
            self.model = settings["model"]
        if isinstance(settings.get("outputStyle"), str):
            self.output_style = settings["outputStyle"]
        if isinstance(settings.get("language"), str):
            self.language = settings["language"] or None
        self.hooks_off = settings.get("disableAllHooks", self.hooks_off) is True
        self._add_hooks(settings.get("hooks"))
        permissions = settings.get("permissions")
        if not isinstance(permissions, dict):
            return
        if isinstance(permissions.get("defaultMode"), str):
            self.mode = permissions["defaultMode"]
        self.allow += _texts(permissions.get("allow"))
        self.ask |= dict.fromkeys(_texts(permissions.get("ask")), source)
        self.deny += _texts(permissions.get("deny"))
        self.directories += _texts(permissions.get("additionalDirectories"))

    def _read(self, path: str) -> Any:
        """Return the settings in a file; a file that is not there or broken has none (docs/claude-cli.md, sessions)."""
        try:
            with open(path, encoding="utf-8") as file:
                settings = json.load(file)
        except (OSError, ValueError):
            return None
        self.files.append(path)
        return settings

    def _add_hooks(self, hooks: Any) -> None:
        """Take over the commands of hooks, by event; a matcher is not looked at."""
        for event, groups in hooks.items() if isinstance(hooks, dict) else ():
            for group in groups if isinstance(groups, list) else ():
                for hook in group.get("hooks", ()) if isinstance(group, dict) else ():
                    if isinstance(hook, dict) and isinstance(hook.get("command"), str):
                        self.hooks.setdefault(event, []).append(hook["command"])


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
