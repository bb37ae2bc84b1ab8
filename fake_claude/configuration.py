"""The CLI's settings files, as far as they change what it tells: model, permission mode and rules."""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .options import Options

SOURCES = ("user", "project", "local")


class Configuration:
    """What the settings of all sources add up to; ``wrong`` is why the CLI refuses to start with them."""

    def __init__(self, options: Options, *, config_dir: str, cwd: str) -> None:
        self.wrong: str | None = None
        self.model: str | None = None
        self.output_style: str | None = None
        self.language: str | None = None
        self.mode: str | None = None
        self.allow: list[str] = []
        self.deny: list[str] = []
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
        for source in self._sources(options):
            self._add(_read(paths[source]))
        if given is None:
            return
        if not inline:
            self._add(_read(os.path.join(cwd, given)))
            return
        try:
            self._add(json.loads(given))
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

    def _add(self, settings: Any) -> None:
        """Take over one source; later ones win, and rules add up."""
        if not isinstance(settings, dict):
            return
        if isinstance(settings.get("model"), str):
            self.model = settings["model"]
        if isinstance(settings.get("outputStyle"), str):
            self.output_style = settings["outputStyle"]
        if isinstance(settings.get("language"), str):
            self.language = settings["language"] or None
        permissions = settings.get("permissions")
        if not isinstance(permissions, dict):
            return
        if isinstance(permissions.get("defaultMode"), str):
            self.mode = permissions["defaultMode"]
        self.allow += _texts(permissions.get("allow"))
        self.deny += _texts(permissions.get("deny"))


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _read(path: str) -> Any:
    """Return the settings in a file; a file that is not there or broken has none (docs/claude-cli.md, sessions)."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None
