"""JSON of a target, of bounded size and depth.

A parser in C is stopped by nothing, and what it makes is larger than the text: 64 MiB of ``[],[],…`` are more than a
gigabyte of lists.
"""

from __future__ import annotations

from typing import Any

import msgspec

MAX_DEPTH = 200
"""Of the JSON of an event: what is nested deeper cannot be written into a report either."""
MAX_VALUES = 4_000_000
"""How many values at most; each costs some tens of bytes."""


def decoded(text: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        msgspec.DecodeError: It is no JSON, or has more than `MAX_VALUES` values.
        RecursionError: It is nested deeper than `MAX_DEPTH` levels.
    """
    payload = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    # Marks inside strings count, too: that is no matter, as no text that a case asks for has this number.
    if sum(map(payload.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise msgspec.DecodeError(f"it has more than {MAX_VALUES:,} values")
    return shallow(msgspec.json.decode(payload))


def shallow(value: Any) -> Any:
    """The value, if it is not nested deeper than `MAX_DEPTH`.

    Raises:
        RecursionError: It is.
    """
    # Level by level, not by recursion: that would overflow the stack on the very value that it is to refuse.
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return value
    raise RecursionError
