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
    # No sign before `0x`: `Number("-0x2")` is NaN, and so it falls through to the decimal form, which refuses it.
    base = _BASES.get(text[:2].lower())
    if base is not None:
        try:
            return float(int(text[2:], base))
        except ValueError:
            return None
    # The length leaves out two signs, which ``lstrip`` would take.
    if text.lstrip("+-") == "Infinity" and len(text) <= len("+Infinity"):
        return -math.inf if text[0] == "-" else math.inf
    if not text:
        # `Number("")` is 0, not NaN.
        return 0.0
    # Not ``float`` alone: Python also takes `1_000`, `inf` and `nan`.
    return float(text) if _DECIMAL.fullmatch(text) else None


def shown(value: float) -> str:
    """Return how a number is printed: without a fraction of zero."""
    if math.isfinite(value) and value == int(value):
        return str(int(value))
    from decimal import Decimal  # few runs show such a number

    # JavaScript writes out decimals down to 1e-6, Python only to 1e-4; below, Python pads the exponent (`1e-07`).
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
    # Python's place of the mistake, put into the words of the CLI's parser; the order is from certain to general.
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
