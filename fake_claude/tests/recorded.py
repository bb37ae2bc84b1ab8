"""Recordings of the CLI itself, 2.1.330, and the masks that make a run comparable with them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fake_claude.tests.conftest import Message

FOLDER = Path(__file__).with_name("recordings")

CUT_ANYHOW = ("partial_json",)
PLACES = ("cwd", "original_cwd", "messaging_socket_path", "memory_paths")
LISTS = ("tools", "slash_commands", "terminal_slash_commands", "agents", "skills", "plugins", "capabilities")
_ID = re.compile(
    r"(?P<msg>msg_\w+)|(?P<toolu>toolu_\w+)|(?P<req>req_(stub|01)\w*)"
    r"|(?P<id>(?!aaaaaaaa-|11111111-)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})"
)


@dataclass(frozen=True)
class Recording:
    """What the CLI was given, and what it said, masked."""

    version: str
    case: str
    argv: list[str]
    stdin: list[str]
    exit_code: int
    stderr: str
    messages: list[Message]


def load(case: str) -> Recording:
    """Read one recording."""
    return Recording(**json.loads((FOLDER / f"{case}.json").read_text(encoding="utf-8")))


def masked(messages: list[Message], cwd: str = "/work/dir") -> list[Message]:
    """Replace what no two runs have in common: ids by names in their order, times, places and long lists."""
    names: dict[str, str] = {}

    def name(found: re.Match[str]) -> str:
        kind = str(found.lastgroup)
        number = sum(known.startswith(f"<{kind}") for known in names.values()) + 1
        return names.setdefault(found.group(), f"<{kind} {number}>")

    def hide(value: Any, key: str, *, init: bool) -> Any:
        if _hidden(value, key, init=init):
            return "<ms>" if key.endswith("_ms") else f"<{key}>"
        if isinstance(value, dict):
            return {inner: hide(item, inner, init=init) for inner, item in value.items()}
        if isinstance(value, list):
            return [hide(item, key, init=init) for item in value]
        if isinstance(value, float):
            return round(value, 9)
        return _ID.sub(name, value.replace(cwd, "/work/dir")) if isinstance(value, str) else value

    once = [message for number, message in enumerate(messages) if not _goes_on(messages, number)]
    return [hide(message, "", init=message.get("subtype") == "init") for message in once]


def _goes_on(messages: list[Message], number: int) -> bool:
    """Return whether this is a further piece of a tool's input: where that is cut is the model's affair."""
    pair = [
        m.get("event", {}).get("delta", {}).get("type") for m in messages[max(0, number - 1) : number + 1]
    ]
    return pair == ["input_json_delta"] * 2


def _hidden(value: Any, key: str, *, init: bool) -> bool:
    if key in ("uuid", "timestamp"):
        return isinstance(value, str) and not value.startswith("aaaaaaaa-")
    if key in CUT_ANYHOW:
        return True
    return (key.endswith("_ms") and value is not None) or (init and (key in PLACES or key in LISTS))
