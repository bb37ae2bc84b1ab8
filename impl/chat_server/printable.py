"""Text of others made safe to print: one line, no control characters, bounded."""

from __future__ import annotations

import unicodedata

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that steer a terminal, a viewer or a parser: controls (C0, DEL, C1), format
characters (such as those that turn the direction of text), halves of surrogate pairs, separators of lines."""

_JOINERS = frozenset("\u200c\u200d")
"""Format characters that ordinary words and emoji need."""


def printable(text: str, most: int = 2_000) -> str:
    r"""The text with every unsafe character written as ``\x1b``, and cut to ``most`` characters with a note.

    A backslash stays as it is: the result is for people, and is not parsed.
    """
    left_out = len(text) - most
    text = text[:most] if left_out > 0 else text
    if not text.isprintable():  # most texts are
        text = "".join(map(_escaped, text))
    return f"{text}… ({left_out:,} more characters)" if left_out > 0 else text


def _escaped(character: str) -> str:
    if unicodedata.category(character) in _UNSAFE and character not in _JOINERS:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character
