"""What to say and how to misbehave: a list of steps per turn."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .conversation import Ask

QUOTE_LIMIT = 200
"""Characters of a prompt that the default answer quotes."""


class ScriptError(ValueError):
    """A script that cannot be understood; the message says what, where, and what would be valid."""


class Step:
    """One thing to do: its kind, its value, and where it was written."""

    __slots__ = ("kind", "value", "where")

    def __init__(self, kind: str, value: Any, where: str = "") -> None:
        self.kind = kind
        self.value = value
        self.where = where

    def __repr__(self) -> str:
        return f"Step({self.kind!r}, {self.value!r})"


def parse_duration(text: str) -> float:
    """Return seconds for ``50ms``, ``2s``, ``1.5s`` or ``0``.

    Raises:
        ScriptError: Anything else, or a negative time.
    """
    scale = {"ms": 0.001, "s": 1.0, "m": 60.0}
    number, factor = text, 1.0
    for unit in ("ms", "s", "m"):
        if text.endswith(unit):
            number, factor = text[: -len(unit)], scale[unit]
            break
    try:
        seconds = float(number) * factor
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise ScriptError(f"{text!r} is not a duration; write for example 50ms, 2s or 1m")
    return seconds


def words(text: str) -> Iterator[str]:
    """Cut ``text`` after each run of white space; the pieces joined are the text."""
    start, i = 0, 0
    while i < len(text):
        if text[i].isspace():
            while i < len(text) and text[i].isspace():
                i += 1
            yield text[start:i]
            start = i
        else:
            i += 1
    if start < len(text):
        yield text[start:]


def default_answer(ask: Ask, prompt: str) -> str:
    """Return what is said to a prompt that no script answers."""
    said = prompt.strip()
    if len(said) > QUOTE_LIMIT:
        said = said[:QUOTE_LIMIT] + "…"
    return f'You said: "{said}". This is turn {ask.turn} of our conversation.'
