"""Log lines that say whose they are: readable on a terminal, JSON elsewhere."""

from __future__ import annotations

import contextvars
import logging
import sys
import time
from typing import Any, TextIO

import msgspec
from aiohttp.http_exceptions import HttpProcessingError

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


def to_stderr(stream: TextIO = sys.stderr) -> None:
    """Send the log to ``stream``: JSON, one object a line, unless it is a terminal."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Readable() if stream.isatty() else _Json())
    handler.addFilter(_without_the_peers_bytes)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _without_the_peers_bytes(record: logging.LogRecord) -> bool:
    """Shorten what aiohttp says of a request that is not HTTP: its error quotes the line, a cookie's for one."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.msg, record.args = "= a request that is not HTTP: %s", (type(error).__name__,)
        record.exc_info, record.levelno, record.levelname = None, logging.INFO, "INFO"
    return True


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _utc(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line = {**_about.get({}), **line}  # no name may hide the line's own
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class _Readable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        whose = " ".join(f"{name}={value}" for name, value in names().items())
        text = f"{_utc(record)} {record.levelname:<7} {record.name} {record.getMessage()}"
        line = f"{text}  [{whose}]" if whose else text
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _utc(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z"
