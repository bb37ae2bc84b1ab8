"""Numbers and JSON as JavaScript reads them, where the CLI shows what it made of an argument."""

from __future__ import annotations

import json
import math
import re

_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_BASES = {"0x": 16, "0o": 8, "0b": 2}


def number(text: str) -> float | None:
    """Return what ``Number(text)`` is; ``None`` for NaN."""
    text = text.strip()
    base = _BASES.get(text[:2].lower())
    if base is not None:
        try:
            return float(int(text[2:], base))
        except ValueError:
            return None
    if text.lstrip("+-") == "Infinity" and len(text) <= len("+Infinity"):
        return -math.inf if text[0] == "-" else math.inf
    if not text:
        return 0.0
    return float(text) if _DECIMAL.fullmatch(text) else None


def shown(value: float) -> str:
    """Return how a number is printed: without a fraction of zero."""
    if math.isfinite(value) and value == int(value):
        return str(int(value))
    from decimal import Decimal  # few runs show such a number

    if 1e-6 <= abs(value) < 1e-4:
        return format(Decimal(repr(value)), "f")
    return repr(value).replace("e-0", "e-")


def json_complaint(text: str) -> str:
    """Return what the CLI says of text that is no JSON."""
    try:
        json.loads(text)
    except ValueError as error:
        place = error.pos if isinstance(error, json.JSONDecodeError) else 0
        said = str(error)
    else:
        raise AssertionError("it is JSON")
    rest = text[place:].lstrip()
    word = re.match(r"[A-Za-z_$][\w$]*", rest)
    if not rest:
        why = "Unexpected EOF"
    elif rest[0] == "'":
        why = "Single quotes (') are not allowed in JSON"
    elif said.startswith("Extra data"):
        why = "Unable to parse JSON string"
    elif said.startswith("Expecting property name"):
        why = "Expected '}'"
    elif word:
        why = f'Unexpected identifier "{word.group()}"'
    else:
        why = f"Unexpected token '{rest[0]}'"
    return f"JSON Parse error: {why}"
