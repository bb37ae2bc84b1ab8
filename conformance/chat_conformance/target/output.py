"""The output of a server as lines of bounded length."""

from __future__ import annotations

import re

_LAST_CHARACTER = re.compile(rb"[\xc0-\xff][\x80-\xbf]{0,3}\Z")


class LineCutter:
    """Lines from a stream of bytes; of a long one the beginning, and how much of it was left out.

    Args:
        limit: How much of a line is kept, in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._line = bytearray()
        self._left_out = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these bytes end, each with its line end."""
        *whole, rest = data.split(b"\n")
        lines = []
        for each in whole:
            self._add(each)
            lines.append(self._taken() + b"\n")
        self._add(rest)
        return lines

    def end(self) -> list[bytes]:
        """The last line, if it has no end."""
        return [self._taken()] if self._line else []

    def _add(self, data: bytes) -> None:
        # Dropped as it comes: a server that writes no line ends must not fill our memory.
        room = self._limit - len(self._line)
        self._line += data[:room]
        self._left_out += max(0, len(data) - room)

    def _taken(self) -> bytes:
        more = f" … ({self._left_out:,} bytes left out)".encode() if self._left_out else b""
        line = bytes(self._line)
        # A character that is cut through is no fault of who wrote it.
        if more:
            line = _LAST_CHARACTER.sub(b"", line) + more
        self._line.clear()
        self._left_out = 0
        return line
