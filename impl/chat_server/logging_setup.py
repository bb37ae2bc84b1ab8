"""Log lines that say whose they are: readable on a terminal, JSON elsewhere.

Whatever is logged may hold bytes of strangers. One record is one line; further lines begin with ``DETAIL``. None has a
control character, and each is bounded (HTTP-6).
"""

from __future__ import annotations

import contextvars
import logging
import re
import sys
import time
from typing import Any, TextIO

import msgspec

from chat_server.printable import printable

DETAIL = "    | "
"""How the lines of a traceback begin, so that none can be taken for a line of the log."""

NAME_MOST = 200
DETAIL_MOST = 500
_WORD = re.compile(r"[^\s=\[\]'\"]+")
DETAIL_LINES = 120
"""How many lines of a traceback are kept; the last ones say what went wrong."""

_about: contextvars.ContextVar[dict[str, str]] = contextvars.ContextVar("about")


def about(**names: str) -> None:
    """Name what the current task is about (``user``, ``conversation_id``, ``message_id``) on each of its log lines."""
    _about.set({**_about.get({}), **names})


def names() -> dict[str, str]:
    """What the current task is about."""
    return _about.get({})


def share_names(context: contextvars.Context) -> None:
    """Let the lines of that context carry the names of this one."""
    context.run(_about.set, names())


def only_about(**names: str) -> contextvars.Context:
    """A context for a new task whose lines carry these names and no others."""
    context = contextvars.copy_context()
    context.run(_about.set, names)
    return context


def configure(stream: TextIO = sys.stderr) -> None:
    """Send the log to ``stream``: JSON, one object a line, unless it is a terminal."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Readable() if stream.isatty() else _Json())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _utc(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": printable(record.getMessage()),
        }
        line = {**_names(), **line}  # no name may hide the line's own
        if details := _details(record):
            line["traceback"] = "\n".join(details)
        return msgspec.json.encode(line).decode()


class _Readable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        whose = " ".join(f"{name}={_quoted(value)}" for name, value in _names().items())
        text = f"{_utc(record)} {record.levelname:<7} {record.name} {printable(record.getMessage())}"
        lines = [f"{text}  [{whose}]" if whose else text, *_details(record)]
        return f"\n{DETAIL}".join(lines)


def _names() -> dict[str, str]:
    return {name: printable(value, NAME_MOST) for name, value in names().items()}


def _quoted(value: str) -> str:
    """As it is, unless it could be taken for another name and value."""
    return value if _WORD.fullmatch(value) else repr(value)


def _details(record: logging.LogRecord) -> list[str]:
    """What belongs to a record besides its sentence: a traceback, or the lines of ``extra={"details": TEXT}``."""
    text = getattr(record, "details", "")
    if record.exc_info:
        text += logging.Formatter().formatException(record.exc_info)
    lines = [printable(line, DETAIL_MOST) for line in text.split("\n")] if text else []
    left_out = len(lines) - DETAIL_LINES
    return [f"… ({left_out:,} lines before)", *lines[-DETAIL_LINES:]] if left_out > 0 else lines


def _utc(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z"
