"""The CLI's settings files, as far as they change what it does: model, permission mode and rules."""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.invocation.options import Options

MANAGED = "/etc/claude-code/managed-settings.json"
MODES = ("acceptEdits", "auto", "bypassPermissions", "dontAsk", "manual", "plan")
SOURCES = ("user", "project", "local")


class HookCommand:
    """A command that settings run at an event: ``matcher`` chooses among tools, ``timeout`` is in seconds."""

    def __init__(self, event: str, matcher: str | None, hook: dict[str, Any], source: str) -> None:
        self.event = event
        self.matcher = matcher
        self.command: str = hook["command"]
        self.timeout = seconds_of(hook)
        self.source = source


def seconds_of(hook: dict[str, Any]) -> float | None:
    """Return the timeout of a hook; anything but a number is none."""
    timeout = hook.get("timeout")
    return timeout if isinstance(timeout, (int, float)) else None


class SettingsFiles:
    """What the settings of all sources add up to; ``wrong`` is why the CLI refuses to start with them."""

    def __init__(self, options: Options, *, config_dir: str, cwd: str, state_file: str) -> None:
        self.wrong: str | None = None
        self.warnings: list[str] = []  # what is ignored, and why
        self.env: dict[str, str] = {}
        self.granted_by_project: dict[str, Any] = {}
        self._place = (cwd, state_file)
        self.model: str | None = None
        self.output_style: str | None = None
        self.language: str | None = None
        self.mode: str | None = None
        self.directories: list[str] = []
        self.hook_commands: list[HookCommand] = []
        self.given: list[tuple[str, dict[str, Any]]] = []  # what each source holds
        self.hooks_off = False
        self.files: list[str] = []  # that were read
        self.sources: tuple[str, ...] = ()
        paths = {
            "user": os.path.join(config_dir, "settings.json"),
            "project": os.path.join(cwd, ".claude", "settings.json"),
            "local": os.path.join(cwd, ".claude", "settings.local.json"),
        }
        # Both braces make it JSON; anything else is a file's name and must exist, even if it only looks like
        # broken JSON.
        given = options.text("settings")
        inline = given is not None and given.strip()[:1] == "{" and given.strip()[-1:] == "}"
        if given is not None and not inline and not os.path.isfile(os.path.join(cwd, given)):
            self.wrong = f"Error: Settings file not found: {os.path.join(cwd, given)}"
            return
        self.sources = self._sources(options)
        # The order of taking over is the order of weight: later sources win for single values, and rules add up.
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
        # In the CLI's order, whatever the order they were named in.
        return tuple(name for name in SOURCES if name in wanted)

    def _add(self, settings: Any, source: str) -> None:
        """Take over one source; later ones win, and rules add up."""
        if not isinstance(settings, dict):
            return
        # A copy: hosts change it later, and the effective settings are merged from what each source holds.
        self.given.append((source, dict(settings)))
        if isinstance(settings.get("model"), str):
            self.model = settings["model"]
        if isinstance(settings.get("outputStyle"), str):
            self.output_style = settings["outputStyle"]
        if isinstance(settings.get("language"), str):
            self.language = settings["language"] or None
        self.hooks_off = settings.get("disableAllHooks", self.hooks_off) is True
        self._add_hooks(settings.get("hooks"), source)
        env = settings.get("env")
        self.env |= {str(name): str(value) for name, value in env.items()} if isinstance(env, dict) else {}
        permissions = settings.get("permissions")
        if not isinstance(permissions, dict):
            return
        mode = permissions.get("defaultMode")
        # A repository's files must not switch off the questions of the person who checks it out.
        shared = source in ("projectSettings", "localSettings")
        if mode in (*MODES, "default") and not (shared and mode in ("auto", "bypassPermissions")):
            self.mode = mode
        if source == "projectSettings":
            # Only what grants is taken out: deny and ask rules of a project always count.
            permissions = self._without_grants(permissions)
            self.granted_by_project = permissions
        self.directories += _texts(permissions.get("additionalDirectories"))

    def _without_grants(self, permissions: dict[str, Any]) -> dict[str, Any]:
        """Leave out what a project's file may grant only where a person trusts the workspace, and warn of it."""
        cwd, state_file = self._place
        try:
            with open(state_file, encoding="utf-8") as file:
                if json.load(file)["projects"][cwd]["hasTrustDialogAccepted"] is True:
                    return permissions
        except (OSError, ValueError, KeyError, TypeError):
            pass
        kept = dict(permissions)
        for name in ("allow", "additionalDirectories"):
            count = len(_texts(kept.pop(name, None)))
            if count:
                self.warnings.append(
                    f"Ignoring {count} permissions.{name} entr{'y' if count == 1 else 'ies'} from"
                    " .claude/settings.json: this workspace has not been trusted. Run Claude Code interactively here"
                    f' once and accept the trust dialog, or set projects["{cwd}"].hasTrustDialogAccepted: true in'
                    f" {state_file}."
                )
        return kept

    def _read(self, path: str) -> Any:
        """Return the settings in a file; a file that is not there or broken has none (docs/claude-cli.md, sessions)."""
        try:
            with open(path, encoding="utf-8") as file:
                settings = json.load(file)
        except (OSError, ValueError):
            return None
        self.files.append(path)
        return settings

    def rules(self, behaviour: str, source: str) -> list[str]:
        """Return the rules of one source, as they are written there; ``behaviour`` is allow, ask or deny."""
        if source == "projectSettings":
            return _texts(self.granted_by_project.get(behaviour))
        return [
            rule
            for name, settings in self.given
            if name == source and isinstance(settings.get("permissions"), dict)
            for rule in _texts(settings["permissions"].get(behaviour))
        ]

    def effective(self) -> dict[str, Any]:
        """Return what all sources add up to: members merge, lists are joined, later values win."""
        merged: dict[str, Any] = {}
        for _, settings in self.given:
            merged = _merged(merged, settings)
        return merged

    def set_local(self, settings: dict[str, Any]) -> None:
        """Put members over those of the local file, which has them now."""
        known = next((given for source, given in self.given if source == "localSettings"), None)
        if known is not None:
            known |= settings
            return
        # Behind the sources that weigh less, before those that weigh more.
        at = sum(source in ("policySettings", "userSettings", "projectSettings") for source, _ in self.given)
        self.given.insert(at, ("localSettings", dict(settings)))

    def apply(self, settings: dict[str, Any]) -> None:
        """Put settings of a host over those of the command line; each member takes the place of the one before."""
        known = next((given for source, given in self.given if source == "flagSettings"), None)
        if known is None:
            known = {}
            self.given.append(("flagSettings", known))
        known |= {key: value for key, value in settings.items() if value is not None}
        # A host takes a member back by sending ``null``.
        for key in [key for key, value in settings.items() if value is None]:
            known.pop(key, None)
        if not known:
            self.given = [(source, given) for source, given in self.given if source != "flagSettings"]

    def _add_hooks(self, hooks: Any, source: str) -> None:
        """Take over the commands of hooks."""
        for event, groups in hooks.items() if isinstance(hooks, dict) else ():
            for group in groups if isinstance(groups, list) else ():
                for hook in group.get("hooks", ()) if isinstance(group, dict) else ():
                    if isinstance(hook, dict) and isinstance(hook.get("command"), str):
                        matcher = group.get("matcher") if isinstance(group.get("matcher"), str) else None
                        self.hook_commands.append(HookCommand(event, matcher, hook, source))


def folders_of(settings: dict[str, Any]) -> list[str]:
    """Return the directories that settings add."""
    permissions = settings.get("permissions")
    return _texts(permissions.get("additionalDirectories")) if isinstance(permissions, dict) else []


def _merged(before: Any, after: Any) -> Any:
    if isinstance(before, dict) and isinstance(after, dict):
        return {**before, **{key: _merged(before.get(key), value) for key, value in after.items()}}
    if isinstance(before, list) and isinstance(after, list):
        return [*before, *(item for item in after if item not in before)]
    return after


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
