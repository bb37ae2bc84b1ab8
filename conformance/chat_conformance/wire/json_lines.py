r"""JSON lines from a stream of bytes: one value to a line, blank lines left out (the NDJSON and JSON Lines pages).

The last line needs no end, and a CR before an LF is white space to JSON:

    >>> lines = JsonLines()
    >>> lines.feed(b'{"a": 1}\r\n\n{"b"')
    [b'{"a": 1}']
    >>> lines.feed(b": 2}"), lines.end()
    ([], [b'{"b": 2}'])
"""

from __future__ import annotations

MAX_LINE = 16 << 20
"""The longest line that is taken in, in bytes."""
_BLANK = b" \t\r\n"


class JsonLinesError(Exception):
    """A line that is longer than `MAX_LINE`."""


class JsonLines:
    """Lines from received bytes, not decoded.

    Args:
        max_line: The longest line, in bytes.

    Attributes:
        blanks: How many blank lines came; servers send them to keep a connection open.
    """

    def __init__(self, *, max_line: int = MAX_LINE) -> None:
        self.blanks = 0
        self._max_line = max_line
        self._line = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these bytes end, without white space around them.

        Raises:
            JsonLinesError: A line is too long.
        """
        # Not by `splitlines`: a lone CR would end a line there, while JSON has it as white space within a
        # value.
        *ended, rest = data.split(b"\n")
        lines = []
        for each in ended:
            self._line += each
            lines += self._taken()
        self._line += rest
        # The unfinished line is looked at, too: one that never ends would grow without bound.
        if len(self._line) > self._max_line:
            raise JsonLinesError(f"a line of more than {self._max_line} bytes")
        return lines

    def end(self) -> list[bytes]:
        """The last line, if it has no end."""
        return self._taken() if self._line else []

    def _taken(self) -> list[bytes]:
        if len(self._line) > self._max_line:
            raise JsonLinesError(f"a line of more than {self._max_line} bytes")
        line = bytes(self._line).strip(_BLANK)
        self._line.clear()
        self.blanks += not line
        return [line] if line else []
