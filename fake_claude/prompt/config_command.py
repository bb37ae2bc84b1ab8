"""``/config key=value``: what the CLI writes to settings files because a user said so."""

from __future__ import annotations

import json
import os
import re

from fake_claude.catalog import MODELS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.invocation.context import Context

USER, LOCAL, STATE = "user", "local", "state"
"""Where a setting goes: the user's settings.json, this folder's settings.local.json, the CLI's own .claude.json."""

BOOLEAN = ("true", "false")
MODEL_NAMES = (
    "default", "sonnet", "opus", "haiku", "fable", "best", "sonnet[1m]", "opus[1m]", "fable[1m]", "opusplan",
)  # fmt: skip
STYLES = ("default", "Proactive", "Concise", "Explanatory", "Learning")
THEMES = ("auto", "dark", "light", "light-daltonized", "dark-daltonized", "light-ansi", "dark-ansi")
CHANNELS = (
    "auto", "iterm2", "terminal_bell", "iterm2_with_bell", "kitty", "ghostty", "notifications_disabled",
)  # fmt: skip
FREE: tuple[str, ...] = ()


class Key:
    """One key: its title in answers, the values it takes, and where which member is written.

    ``standard`` is the value that removes the member instead of writing it.
    """

    __slots__ = ("member", "more", "standard", "title", "values", "where")

    def __init__(
        self,
        title: str,
        member: str,
        values: tuple[str, ...] = BOOLEAN,
        *,
        where: str = USER,
        standard: str | None = None,
        more: str = "",
    ) -> None:
        self.title = title
        self.member = member
        self.values = values
        self.where = where
        self.standard = standard
        self.more = more


KEYS = {
    "autoCompact": Key("Auto-compact", "autoCompactEnabled"),
    "autoConnectIde": Key(
        "Auto-connect to IDE (external terminal)", "autoConnectIde", where=STATE, standard="false"
    ),
    "autoScroll": Key("Auto-scroll", "autoScrollEnabled"),
    "checkpoints": Key("Rewind code (checkpoints)", "fileCheckpointingEnabled"),
    "copyFullResponse": Key("Skip the /copy picker", "copyFullResponse", where=STATE, standard="false"),
    "copyOnSelect": Key("Copy on select", "copyOnSelect", where=STATE),
    "defaultToAgentsView": Key("Open agents view by default", "defaultToAgentsView", where=STATE),
    "editor": Key("Editor mode", "editorMode", ("normal", "vim")),
    "externalEditorContext": Key(
        "Show last response in external editor", "externalEditorContext", where=STATE, standard="false"
    ),
    "gitignore": Key("Respect .gitignore in file picker", "respectGitignore", where=STATE, standard="true"),
    "idleCompaction": Key("Idle compaction", "idleCompaction"),
    "language": Key("Language", "language", FREE, standard=""),
    "leftArrowOpensAgents": Key("← opens agents", "leftArrowOpensAgents", where=STATE),
    "model": Key(
        "Model", "model", MODEL_NAMES, standard="default", more=" For a specific model ID, use /model."
    ),
    "notifChannel": Key("Local notifications", "preferredNotifChannel", CHANNELS),
    "outputStyle": Key(
        "Output style", "outputStyle", STYLES, where=LOCAL, more=" For custom styles, open /config."
    ),
    "permissionMode": Key(
        "Default permission mode",
        "permissions.defaultMode",
        ("default", "plan", "acceptEdits", "auto", "dontAsk"),
    ),
    "prStatus": Key("Show PR status footer", "prStatusFooterEnabled", where=STATE),
    "progressBar": Key("Terminal progress bar", "terminalProgressBarEnabled"),
    "recap": Key("Session recap", "awaySummaryEnabled", standard="true"),
    "reduceMotion": Key("Reduce motion", "prefersReducedMotion"),
    "switchModelsOnFlag": Key(
        "Switch models when a message is flagged",
        "switchModelsOnFlag",
        ("Switch automatically", "Ask each time"),
    ),
    "theme": Key("Theme", "theme", THEMES, more=" For custom themes, use /theme."),
    "thinking": Key("Thinking mode", "alwaysThinkingEnabled", standard="true"),
    "timeFormat": Key("Time format", "timeFormat", ("auto", "12-hour", "24-hour", "24-hour-utc")),
    "tips": Key("Show tips", "spinnerTipsEnabled"),
    "turnDuration": Key("Show turn duration", "showTurnDuration"),
    "useAutoModeDuringPlan": Key("Use auto mode during plan", "useAutoModeDuringPlan"),
    "verbose": Key("Verbose output", "verbose"),
    "workflowKeywordTriggerEnabled": Key(
        "Ultracode keyword trigger", "workflowKeywordTriggerEnabled", standard="true"
    ),
    "workflowSizeGuideline": Key(
        "Dynamic workflow size",
        "workflowSizeGuideline",
        ("unrestricted", "small", "medium", "large"),
        where=STATE,
    ),
    "workflows": Key("Dynamic workflows", "enableWorkflows", standard="true"),
    "worktreeBaseRef": Key("Worktree base ref", "worktree.baseRef", ("fresh", "head")),
}

_BY_NAME = {name.lower(): name for name in KEYS}
HELP = ("", "?", "-h", "--help", "help", "list")

LANGUAGES = {
    "ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
    "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian", "id": "Indonesian",
    "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "no": "Norwegian", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sv": "Swedish", "th": "Thai", "tr": "Turkish",
    "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
"""Codes that stand for a language; any other text is taken as its name."""


class Change:
    """One setting that was written: the file, the member, and its value (``None``: it was removed)."""

    __slots__ = ("key", "member", "path", "value")

    def __init__(self, key: str, path: str, member: str, value: object) -> None:
        self.key = key
        self.path = path
        self.member = member
        self.value = value


def configure(context: Context, arguments: str) -> tuple[str, list[Change]]:
    """Carry out ``/config`` with these arguments; return what it answers and what it wrote."""
    if arguments.strip() in HELP:
        return _usage(), []
    pairs = _pairs(arguments.strip())
    if pairs is None:
        return f'Expected key=value, got "{arguments.strip()}". Run /config to see what\'s available.', []
    answers: list[str] = []
    changes: list[Change] = []
    # Each pair stands alone: one that is wrong does not undo those before it.
    for name, value in pairs:
        text, change = _set(context, name, value)
        answers.append(text)
        if change is not None:
            changes.append(change)
    return "\n".join(answers), changes


def _pairs(text: str) -> list[tuple[str, str]] | None:
    """Split ``a=1 b=2``; one pair alone may have spaces in its value."""
    words = text.split()
    # `a=1 b=2` is two pairs, `language=old English` one with a space; `a=1 b=2 c` could be either and is refused.
    with_sign = [word for word in words if word.find("=") > 0]
    if len(with_sign) == len(words):
        found = words
    elif sum("=" in word for word in words) == 1 and with_sign == words[:1]:
        found = [text]
    else:
        return None
    return [(name, value.strip()) for name, _, value in (word.partition("=") for word in found)]


def _usage() -> str:
    lines = ["Usage: /config key=value [key=value ...]"]
    return "\n".join(
        [*lines, *(f"  {name}={'|'.join(key.values) or '<value>'}" for name, key in KEYS.items())]
    )


def _set(context: Context, name: str, value: str) -> tuple[str, Change | None]:
    key = KEYS.get(_BY_NAME.get(name.lower(), ""))
    if key is None:
        return f"{name} isn't a /config setting. Run /config to see what's available.", None
    if not key.values:
        shown = stored = language(value)
    else:
        known = {choice.lower(): choice for choice in key.values}
        # Before the check of values: the CLI refuses anything but true in the same words.
        if key.member == "alwaysThinkingEnabled" and value.lower() != "true":
            model = next((model.title for model in MODELS if model.name == context.model), context.model)
            return f"Couldn't save {key.title}: Thinking can't be turned off for {model}", None
        if value.lower() not in known:
            if key.values == BOOLEAN:
                return f'{key.title} takes true or false, not "{value}".', None
            return f"{key.title} takes one of: {', '.join(key.values)}.{key.more}", None
        shown = stored = known[value.lower()]
    if key.where == LOCAL and stored == context.output_style:
        return f"Set {key.title} to {shown} (already the current style)", None
    written: object = stored
    if key.values == BOOLEAN:
        written = stored == "true"
    elif key.member == "switchModelsOnFlag":
        written = stored == key.values[0]
    # The CLI keeps its files short: what is the standard anyway is taken out.
    if stored == key.standard:
        written = None
    path = {
        USER: os.path.join(context.config_dir, "settings.json"),
        LOCAL: os.path.join(context.cwd, ".claude", "settings.local.json"),
        STATE: context.state_file,
    }[key.where]
    write(path, key.member, written)
    return f"Set {key.title} to {shown or 'default'}", Change(
        _BY_NAME[name.lower()], path, key.member, written
    )


def language(text: str) -> str:
    """Return the name of a language as the CLI writes it: a known code's, or each word with a capital."""
    known = LANGUAGES.get(text.lower())
    return known or re.sub(r"\S+", lambda word: word[0][:1].upper() + word[0][1:].lower(), text)


def _in_model(member: str) -> list[str]:
    """Split a member that has a model's name, which may hold dots, in its middle."""
    first, _, rest = member.partition(".")
    return [first, *rest.rsplit(".", 1)]


def write(path: str, member: str, value: object) -> None:
    """Change one member of a JSON file; its other members stay, a broken file is replaced."""
    try:
        with open(path, encoding="utf-8") as file:
            settings = json.load(file)
    except (OSError, ValueError):
        # As in the CLI: a broken file costs its owner the other members, and the answer does not say so.
        settings = {}
    if not isinstance(settings, dict):
        settings = {}
    inside: dict[str, Any] = settings
    # `permissions.defaultMode` is two levels. A model's name in the middle has dots of its own: `a.claude-3.5.b`.
    *outer, last = member.split(".") if member.count(".") < 2 else _in_model(member)
    for name in outer:
        inner = inside.get(name)
        inside[name] = inner if isinstance(inner, dict) else {}
        inside = inside[name]
    if value is None:
        inside.pop(last, None)
    else:
        inside[last] = value
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # Another process may read the file at this moment: it finds the old one or the new one, never half of it.
    fresh = f"{path}.{os.getpid()}.tmp"
    with open(fresh, "w", encoding="utf-8") as file:
        file.write(json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    os.replace(fresh, path)
