"""A draft as a target file."""

from __future__ import annotations

import json
import re
from typing import Any

from chat_conformance.suite.propose.draft import Draft

HEAD = """# Proposed from a recorded session. `chat-conformance doctor --target FILE` goes through it step by step.
version = 1
name = "my chat"

# Where it ran when it was recorded. To let the suite start it, write {{port}} here, a start command, and in [env] how
# it finds the stand-in for the claude CLI at {{claude}}: start = ["./my-chat", "--port", "{{port}}"].
url = {url}
# start = []
"""

FAILED = """# What says that a turn failed, if there is such a message:
# [[events]]
# is = "error"
# when = { type = "error" }
"""


def written(draft: Draft) -> str:
    """The text of the target file."""
    found = draft.found
    assert found is not None
    parts = [HEAD.format(url=toml(draft.url))]
    if draft.transport != "websocket":
        parts.append(f"transport = {toml(draft.transport)}\n")
    if found.cli_lines:
        parts.append(f"cli_lines = {toml(found.cli_lines)} # where frames have the CLI's own lines\n")
    # A comment is one line.
    parts += [f"# {''.join(char if char.isprintable() else ' ' for char in each)}\n" for each in draft.notes]
    if draft.socket:
        parts.append(_table("paths", {"socket": draft.socket}))
    if draft.stream:
        parts.append(_table("stream", draft.stream))
    if draft.socket_io:
        parts.append(_table("socket_io", draft.socket_io))
    if draft.headers:
        parts.append(
            "[[users]] # who was logged in: keep this file to yourself\n"
            + _members({"name": "me", "headers": draft.headers})
        )
    parts += ["[[opening]]\n" + _members(each) for each in draft.opening]
    parts.append(_table("messages", {"chat_request": draft.chat_request}))
    if draft.captures:
        parts.append(_table("captures", draft.captures))
    if not found.cli_lines:
        token: dict[str, Any] = {"is": "token", "when": found.token, "text": found.text}
        token |= {"cumulative": True} if found.cumulative else {}
        if found.end is not None:
            parts.append(
                "[[events]]\n" + _members({"is": "complete", "when": found.end, "members": draft.members})
            )
        parts.append("[[events]]\n" + _members({**token, "members": draft.members}))
        parts.append(FAILED)
    return "\n".join(parts)


def _table(name: str, members: dict[str, Any]) -> str:
    return f"[{name}]\n{_members(members)}"


def _members(members: dict[str, Any]) -> str:
    return "".join(
        f"{_name(name)} = {toml(value)}\n"
        for name, value in members.items()
        if value is not None and (value != {} or name == "wait")
    )


def toml(value: Any) -> str:
    """A value of JSON as TOML, in one line; null has none, and so its member is left out."""
    match value:
        case dict():
            inner = ", ".join(
                f"{_name(name)} = {toml(each)}" for name, each in value.items() if each is not None
            )
            return f"{{ {inner} }}" if inner else "{}"
        case list():
            return f"[{', '.join(toml(each) for each in value if each is not None)}]"
        case _:
            # TOML wants DEL escaped, too, which JSON does not.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _name(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml(name)
