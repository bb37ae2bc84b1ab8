"""What the CLI attaches to a prompt: files and folders that it mentions, as the model is shown them."""

from __future__ import annotations

import os

from fake_claude.invocation.path_rules import denied
from fake_claude.json_lines import dumps
from fake_claude.prompt.mentions import mentions, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from fake_claude.invocation.context import Context
    from fake_claude.prompt.mentions import Mention

    Attachment = dict[str, Any]

FILES_OFF = "CLAUDE_CODE_DISABLE_FILE_MENTIONS"
"""With it no mentioned file is read; the model is only given its name."""

ALL_OFF = "CLAUDE_CODE_DISABLE_ATTACHMENTS"
"""With it a mention is the text that it is."""

SIZE_LIMIT = 256 * 1024
"""Bytes of a file beyond which the model is only given its name."""

TEXT_LIMIT = 100_000
"""Bytes beyond which a file has too many tokens, and is skipped."""

SMALLEST_IMAGE = 45
BINARY = frozenset(
    [".bin", ".exe", ".zip", ".dat", ".gz", ".tar", ".so", ".o", ".class", ".jar", ".sqlite", ".db"]
)
"""Endings of files that are never attached."""

IMAGES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".gif": "gif", ".webp": "webp"}
_SIGNATURES = {"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff", "gif": b"GIF8", "webp": b"RIFF"}
_KEEP = (
    " Edit and Write will refuse it: change it with a shell command that keeps its encoding, or ask the user whether to"
    " convert it to UTF-8.]"
)
NUL_NOTE = (
    "[This file has NUL bytes in its first 8 KB: binary data, UTF-16/UTF-32 without a byte-order mark, or text with"
    " embedded NULs." + _KEEP
)
CODE_NOTE = (
    "[This file is not valid UTF-8: it uses a legacy encoding such as Windows-1252, Shift-JIS or GBK, or it is binary."
    " Its undecodable bytes show above as U+FFFD." + _KEEP
)


def mentioned(context: Context, content: object, seen: set[str]) -> Iterator[Attachment]:
    """Read what a prompt mentions; ``seen`` are the files that this process showed before, and grows.

    Of content blocks only the last one is looked at. What is not there, forbidden, or no text is skipped.
    """
    text = said(content)
    # Each switch turns off as much as docs/claude-cli.md (what turns it off) lists; the names-only switch still sends
    # a remark, so it comes second.
    if "@" not in text or context.bare or truthy(context.env.get(ALL_OFF)):
        return
    if truthy(context.env.get(FILES_OFF)):
        yield from _names_only(text)
        return
    for mention in mentions(text, before_332=context.before_332):
        path = _absolute(mention.path, context)
        # Silence, not an error: the CLI sends the prompt as if the mention were plain text.
        if path is None or denied(path, context):
            continue
        shown = os.path.relpath(path, context.cwd)
        # A folder is shown each time, since its names may have changed; a file once per process.
        if os.path.isdir(path):
            yield _folder(path, shown)
        elif path in seen:
            yield {"type": "already_read_file", "filename": path, "displayPath": shown}
        elif os.path.exists(path):
            attachment = _shown_file(path, shown, mention, context)
            if attachment is not None:
                seen.add(path)
                yield attachment


def _names_only(text: str) -> Iterator[Attachment]:
    names = words(text)
    if names:
        text = (
            f"The user @-mentioned {', '.join(names)}. File contents are not attached automatically in this session: if"
            " these are files or directories in your working directory, read them with your file tools before"
            " responding."
        )
        rendered = [{"content": reminder(text)}]
        yield {
            "type": "at_mention_reference",
            "mentions": names,
            "rendered": rendered,
            "renderedRole": "system",
        }


def truthy(value: str | None) -> bool:
    """Return whether a variable is set as the CLI understands it."""
    return (value or "").lower().strip() in ("1", "true", "yes", "on")


def reminder(text: str) -> str:
    """Return the text as the CLI marks what no user said."""
    return f"<system-reminder>\n{text}\n</system-reminder>"


def said(content: object) -> str:
    """Return the text that commands and mentions are looked for in: all of a string, or the last block."""
    if isinstance(content, str):
        return content
    last = content[-1] if isinstance(content, list) and content else None
    return str(last.get("text", "")) if isinstance(last, dict) and last.get("type") == "text" else ""


def _absolute(path: str, context: Context) -> str | None:
    # On some systems such a path opens a connection to that host.
    if path.startswith(("//", "\\\\")):
        return None  # a host's name could stand there
    if path == "~" or path.startswith("~/"):
        path = context.home + path[1:]
    return os.path.normpath(os.path.join(context.cwd, path))


def _folder(path: str, shown: str) -> Attachment:
    command = {"command": f"ls {path}", "description": f"Lists files in {path}"}
    names = "\n".join(os.listdir(path))  # in the folder's own order, as the CLI's
    return {
        "type": "directory",
        "path": path,
        "content": names,
        "displayPath": shown,
        "rendered": _called("Bash", command, names),
    }


def _shown_file(path: str, shown: str, mention: Mention, context: Context) -> Attachment | None:  # noqa: PLR0911 - a list of cases, read one by one
    """Return the attachment for one file; ``None`` for a file that the CLI skips."""
    kind = os.path.splitext(path)[1].lower()
    if kind in BINARY or path.startswith("/proc/self/"):
        return None
    # A FIFO or a device would block the read; the null device alone has an end at once.
    if not os.path.isfile(path) and os.path.realpath(path) != os.devnull:
        return None
    try:
        with open(path, "rb") as file:
            # One byte more than allowed is enough to know that it is too large, whatever its size.
            data = file.read(SIZE_LIMIT + 1)
        size = os.stat(path).st_size
    except OSError:
        return None
    # The limits below are for text: an image and a PDF go by their kind first.
    if kind in IMAGES:
        return _image(path, shown, data, IMAGES[kind])
    if kind == ".pdf":
        return _pdf(path, shown, size)
    if len(data) > SIZE_LIMIT:
        return _too_large(path, shown, size)
    if len(data) > TEXT_LIMIT:
        return None
    lines, note = _lines(data) if kind != ".ipynb" else (["[fake-claude does not imitate notebooks]"], "")
    return _file(path, shown, lines, mention, note, states_lines=not context.before_332)


def _lines(data: bytes) -> tuple[list[str], str]:
    """Return the lines of a file, and what the CLI says of bytes that are no text."""
    note = ""
    if data.startswith(b"\xff\xfe"):
        text = data.decode("utf-16", "replace")
    else:
        text = data.decode("utf-8", "replace").removeprefix("\ufeff")
        if b"\0" in data[:8192]:
            note = NUL_NOTE
        # The sign may stand in the file itself, in valid UTF-8: then nothing was undecodable.
        elif "\ufffd" in text and b"\xef\xbf\xbd" not in data:
            note = CODE_NOTE
    return text.replace("\r\n", "\n").split("\n"), note


def _image(path: str, shown: str, data: bytes, kind: str) -> Attachment | None:
    if not data.startswith(_SIGNATURES[kind]) or len(data) < SMALLEST_IMAGE:
        return None
    return {
        "type": "file",
        "filename": path,
        "displayPath": shown,
        "rendered": [_called("Read", {"file_path": path}, "")[0], {"content": f"[image/{kind}]"}],
    }


def _pdf(path: str, shown: str, size: int) -> Attachment:
    result = f"PDF file read: {path} ({_size(size)})"
    return {
        "type": "file",
        "filename": path,
        "displayPath": shown,
        "rendered": _called("Read", {"file_path": path}, result),
    }


def _too_large(path: str, shown: str, size: int) -> Attachment:
    text = (
        f"The user @-mentioned {path} ({_size(size)}). Its contents were not attached because the file is too large"
        " to read all at once. Read it in portions with the offset and limit parameters, starting with a few hundred"
        " lines, or search for specific content instead of reading the whole file. Only if you genuinely need all of"
        " it, call Read with allow_large: true, which reads it whole when it still fits in your context."
    )
    return {
        "type": "at_mention_reference",
        "mentions": [path],
        "unread": "too_large",
        "fileSize": size,
        "displayPath": shown,
        "rendered": [{"content": reminder(text)}],
        "renderedRole": "system",
    }


def _size(size: int) -> str:
    if size < 1024:
        return f"{size} bytes"
    return f"{size / 1024:.1f}".removesuffix(".0") + "KB"


def _file(
    path: str, shown: str, lines: list[str], mention: Mention, note: str, *, states_lines: bool
) -> Attachment:
    given: dict[str, object] = {"file_path": path}
    start, total = 1, len(lines)
    if mention.first is not None and mention.count is not None:
        start = mention.first
        if states_lines and start > 0:
            given |= {"offset": start, "limit": mention.count}
        # `#L0-5` has no first line to start from: the CLI then shows the whole file.
        begin = max(0, start - 1)
        lines = lines[begin : begin + max(0, mention.count)] if start > 0 else lines
    text = "\n".join(lines)
    # An empty file has one empty line, so the count alone does not say that it is empty.
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
        "rendered": _called("Read", given, f"{shown_text}\n\n{note}" if note else shown_text),
    }


def _called(tool: str, given: dict[str, object] | dict[str, str], result: str) -> list[dict[str, str]]:
    return [
        {"content": reminder(f"Called the {tool} tool with the following input: {dumps(given)}")},
        {"content": reminder(f"Result of calling the {tool} tool:\n{result}")},
    ]
