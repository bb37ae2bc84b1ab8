"""Control requests about settings and permission rules."""

from __future__ import annotations

import os

from fake_claude.catalog import resolve_model
from fake_claude.engine.control import change_model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.engine.control_request import ControlRequest

SOURCES = (
    "userSettings",
    "projectSettings",
    "localSettings",
    "flagSettings",
    "policySettings",
    "cliArg",
    "session",
)
"""Where rules come from, in the order in which they are listed."""

EDITABLE = {
    "cliArg": "session",
    "session": "session",
    "flagSettings": "readonly",
    "policySettings": "readonly",
}


def _shape(value: object, *, absent: bool) -> str:
    """Name a value that is no object, as the CLI does."""
    if absent:
        return "undefined"
    # JavaScript calls lists and null objects; the CLI names these two itself, and ``bool`` must come before
    # the numbers because Python's is one.
    if isinstance(value, list):
        return "an array"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"


def _settings(request: ControlRequest) -> dict[str, Any] | None:
    """Return the settings that a request brings; ``None`` if it was refused for want of them."""
    settings = request.members.get("settings")
    if isinstance(settings, dict):
        return settings
    got = _shape(settings, absent="settings" not in request.members)
    request.refuse(f"{request.subtype} requires `settings` to be an object, got {got}")
    return None


def _apply_flag_settings(request: ControlRequest) -> None:
    settings = _settings(request)
    if settings is None:
        return
    context = request.run.context
    # Settings first: the rules are read out of them.
    context.configuration.apply(settings)
    context.take_rules()
    if "model" in settings:
        name = str(settings["model"] or "default")
        model = resolve_model(name)
        change_model(request.run, name, model, model)
    if isinstance(settings.get("outputStyle"), str):
        context.output_style = settings["outputStyle"]
    request.succeed()


def _update_settings(request: ControlRequest) -> None:
    source = request.members.get("source")
    # A request without settings is refused for that, whatever its source.
    if "settings" in request.members and source not in ("localSettings", "userSettings"):
        request.refuse(f"update_settings: unsupported source {source}")
        return
    settings = _settings(request)
    if settings is None:
        return
    # A host may write one key, and only into the local settings: rules and hooks there would be rights that
    # it gives itself.
    allowed = ("outputStyle",) if source == "localSettings" else ()
    refused = [key for key in settings if key not in allowed]
    texts = [key for key, value in settings.items() if not isinstance(value, str)]
    if not settings:
        request.refuse("update_settings requires at least one key")
    elif refused:
        request.refuse(f"update_settings keys not allowed: {', '.join(refused)}")
    elif texts:
        names = ", ".join(texts)
        request.refuse(f"update_settings values must be strings (deletion is not supported): {names}")
    else:
        from fake_claude.prompt.config_command import Change, write

        # On disk and in this process: the file alone would count from the next start on.
        path = os.path.join(request.run.context.cwd, ".claude", "settings.local.json")
        for key, value in settings.items():
            write(path, key, value)
            request.run.note_setting(Change(key, path, key, value))
        request.run.context.configuration.set_local(settings)
        request.run.context.output_style = settings["outputStyle"]
        request.succeed({})


def _get_settings(request: ControlRequest) -> None:
    context = request.run.context
    effort = context.configuration.effective().get("effortLevel", "medium")
    response: dict[str, Any] = {
        "effective": context.configuration.effective(),
        "sources": [
            {"source": source, "settings": settings} for source, settings in context.configuration.given
        ],
    }
    if not context.before_330:
        response["served_settings_state"] = "ineligible"
    response["applied"] = {
        "model": context.model,
        "effort": effort,
        "advisor": None,
        "ultracode": False,
        "ultracodeRequested": False,
        "ultracodeAvailable": True,
        "ultrathinkAvailable": False,
        "outsideFileToolReadsBlocked": False,
        "outsideFileToolWritesBlocked": False,
        "outsideBlocksCountLaunchFoldersOnly": False,
        "launchEnvLeftOwnFilesInPlace": True,
    }
    request.succeed(response)


def _description(rule: str) -> dict[str, str] | None:
    """Say in words what a rule covers."""
    tool, _, content = rule.removesuffix(")").partition("(")
    if not content:
        return {"prefix": "Any use of the ", "emphasis": tool, "suffix": " tool"}
    if tool == "Bash" and content.endswith((" *", ":*")):
        return {"prefix": "Any Bash command starting with ", "emphasis": content[:-2]}
    if tool == "Bash":
        return {"prefix": "The Bash command ", "emphasis": content}
    return None


def _list_permission_rules(request: ControlRequest) -> None:
    context = request.run.context
    rules = []
    # All that is allowed first, then what asks, then what is denied, each by source: hosts show them in this
    # order.
    for behaviour, source in [
        (behaviour, source) for behaviour in ("allow", "ask", "deny") for source in SOURCES
    ]:
        for rule in context.rules_of(behaviour, source):
            listed: dict[str, Any] = {"behavior": behaviour, "source": source, "rule": rule}
            description = _description(rule)
            if description is not None:
                listed["description"] = description
            rules.append({**listed, "editability": EDITABLE.get(source, "persistent")})
    folders = [
        {"path": os.path.normpath(os.path.join(context.cwd, path)), "source": source}
        for path, source in context.folders
    ]
    state = {
        "rules": rules,
        "workspaceDirectories": folders,
        "originalCwd": context.cwd,
        "managedOnly": False,
    }
    request.succeed({"state": state})


ANSWERS = {
    "apply_flag_settings": _apply_flag_settings,
    "get_settings": _get_settings,
    "list_permission_rules": _list_permission_rules,
    "update_settings": _update_settings,
}
