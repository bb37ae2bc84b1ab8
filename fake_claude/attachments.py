"""What the CLI attaches to a prompt: files and folders that it mentions, as the model is shown them."""

from __future__ import annotations

import os

from .events import dumps
from .mentions import mentions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .context import Context
    from .mentions import Mention

    Attachment = dict[str, Any]

SWITCHES = ("CLAUDE_CODE_DISABLE_FILE_MENTIONS", "CLAUDE_CODE_DISABLE_ATTACHMENTS")
"""Variables that leave every mention as the text that it is."""

TEXT_LIMIT = 256 * 1024
"""Bytes of a file that is attached."""


def mentioned(context: Context, content: object, seen: set[str]) -> Iterator[Attachment]:
    """Read what a prompt mentions; ``seen`` are the files that this process showed before, and grows.

    Of content blocks only the last one is looked at. What is not there, or is no text, is passed over.
    """
    text = _text(content)
    if "@" not in text or context.bare or any(truthy(context.env.get(name)) for name in SWITCHES):
        return
    for mention in mentions(text, before_332=context.before_332):
        path = _absolute(mention.path, context)
        if path is None:
            continue
        shown = os.path.relpath(path, context.cwd)
        if os.path.isdir(path):
            yield _folder(path, shown)
        elif path in seen:
            yield {"type": "already_read_file", "filename": path, "displayPath": shown}
        elif os.path.exists(path):
            lines = _read(path)
            if lines is not None:
                seen.add(path)
                yield _file(path, shown, lines, mention, tells_lines=not context.before_332)


def truthy(value: str | None) -> bool:
    """Tell whether a variable is set as the CLI understands it."""
    return (value or "").lower().strip() in ("1", "true", "yes", "on")


def rendered(attachment: Attachment) -> list[str]:
    """Return the texts by which the model is shown an attachment."""
    return [item["content"] for item in attachment.get("rendered", [])]


def reminder(text: str) -> str:
    """Return the text as the CLI marks what no user said."""
    return f"<system-reminder>\n{text}\n</system-reminder>"


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    last = content[-1] if isinstance(content, list) and content else None
    return str(last.get("text", "")) if isinstance(last, dict) and last.get("type") == "text" else ""


def _absolute(path: str, context: Context) -> str | None:
    if path.startswith(("//", "\\\\")):
        return None  # a host's name could stand there
    if path == "~" or path.startswith("~/"):
        path = context.home + path[1:]
    return os.path.normpath(os.path.join(context.cwd, path))


def _folder(path: str, shown: str) -> Attachment:
    command = {"command": f"ls {path}", "description": f"Lists files in {path}"}
    names = "\n".join(sorted(os.listdir(path)))
    return {
        "type": "directory",
        "path": path,
        "content": names,
        "displayPath": shown,
        "rendered": _called("Bash", command, names),
    }


def _read(path: str) -> list[str] | None:
    """Return the lines of a text file; ``None`` for what is no text, too large, or not ours to read."""
    if not os.path.isfile(path) and os.path.realpath(path) != os.devnull:
        return None
    try:
        with open(path, "rb") as file:
            data = file.read(TEXT_LIMIT + 1)
    except OSError:
        return None
    if len(data) > TEXT_LIMIT or b"\0" in data:
        return None
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    return text.replace("\r\n", "\n").split("\n")


def _file(path: str, shown: str, lines: list[str], mention: Mention, *, tells_lines: bool) -> Attachment:
    given: dict[str, object] = {"file_path": path}
    start, total = 1, len(lines)
    if mention.first is not None and mention.count is not None:
        start = mention.first
        if tells_lines and start > 0:
            given |= {"offset": start, "limit": mention.count}
        begin = max(0, start - 1)
        lines = lines[begin : begin + max(0, mention.count)] if start > 0 else lines
    text = "\n".join(lines)
    if total == 1 and not text and start <= 1:
        warning = "Warning: the file exists but the contents are empty."
        shown_text = f"<system-reminder>{warning}</system-reminder>"
    elif not lines:
        warning = (
            f"Warning: the file exists but is shorter than the provided offset ({start})."
            f" The file has {total} lines."
        )
        shown_text = f"<system-reminder>{warning}</system-reminder>"
    else:
        shown_text = "\n".join(f"{start + index}\t{line}" for index, line in enumerate(lines))
    file = {
        "filePath": path,
        "content": text,
        "numLines": len(lines),
        "startLine": start,
        "totalLines": total,
    }
    return {
        "type": "file",
        "filename": path,
        "content": {"type": "text", "file": file},
        "displayPath": shown,
        "savedCopyFraming": {"enveloped": False},
        "rendered": _called("Read", given, shown_text),
    }


def _called(tool: str, given: dict[str, object] | dict[str, str], result: str) -> list[dict[str, str]]:
    return [
        {"content": reminder(f"Called the {tool} tool with the following input: {dumps(given)}")},
        {"content": reminder(f"Result of calling the {tool} tool:\n{result}")},
    ]
