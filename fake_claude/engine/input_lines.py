"""Lines of stream-json input, read and refused as the CLI does (docs/claude-cli.md, persistent process)."""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]


def read_chunk(fd: int) -> bytes:
    """Read what is there; nothing at the end of input, or if it cannot be read."""
    try:
        return os.read(fd, 1 << 18)
    except OSError:
        return b""


class StdinError(ValueError):
    """A line that ends the process; ``str`` is what it says on stderr."""


def read_line(text: str) -> Message | None:  # noqa: C901, PLR0911 - a list of cases, read one by one
    """Return a user message, a control request or ``None`` for a line without effect.

    A user message is ``{"type": "user", "content", "text", "uuid", "priority"}``.

    Raises:
        StdinError: The CLI would end with exit code 1.
    """
    # What ends the process and what is passed over is not what one would guess (docs/claude-cli.md,
    # persistent process):
    # `{` and `null` end it, `[]`, `7` and `{"type":"x"}` have no effect, a user line without a role ends it.
    stripped = text.strip()
    if not stripped:
        return None
    try:
        line = json.loads(stripped)
    except (ValueError, RecursionError):
        # JavaScript counts a string in UTF-16 units: 😀 is two.
        chars = len(text.encode("utf-16-le", "surrogatepass")) // 2
        raise StdinError(
            f"Error parsing streaming input line (type=unknown, {chars} chars): SyntaxError"
        ) from None
    # ``null`` is JSON; the CLI falls over it when it looks for a member.
    if line is None:
        raise StdinError("Error parsing streaming input line (type=unknown, 4 chars): TypeError")
    if not isinstance(line, dict):
        return None
    if line.get("type") == "control_request":
        request = line.get("request")
        # In JavaScript ``{}`` and ``[]`` are true, and only missing, null, 0, false and "" count as no
        # request.
        if not request and not isinstance(request, (dict, list)):
            raise StdinError("Error: Missing request on control_request")
        return {**line, "request": request if isinstance(request, dict) else {}}
    if line.get("type") == "control_response":
        return line
    if line.get("type") != "user":
        return None
    message = line.get("message")
    role = message.get("role", "undefined") if isinstance(message, dict) else "undefined"
    if role != "user":
        raise StdinError(f"Error: Expected message role 'user', got '{role}'")
    assert isinstance(message, dict)
    # Null counts as empty, and an empty message runs a turn; a number has no effect.
    content = message.get("content") if message.get("content") is not None else ""
    if not isinstance(content, (str, list)):
        return None
    texts = (
        [content] if isinstance(content, str) else [b.get("text", "") for b in content if isinstance(b, dict)]
    )
    joined = "\n".join(text for text in texts if text)
    return {
        "type": "user",
        "content": content if content != "" else "(no content)",
        "text": joined or "(no content)",
        "uuid": line.get("uuid") if isinstance(line.get("uuid"), str) else None,
        "priority": line.get("priority"),
    }
