"""Bytes into lines, with a limit."""

from __future__ import annotations


class LineTooLong(Exception):
    """The CLI wrote a line beyond the cap."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a line of more than {limit:,} bytes")


class LineSplitter:
    """Whole lines from a stream of bytes, however it is cut."""

    __slots__ = ("_begun", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begun = bytearray()  # a line of megabytes grows in place

    def feed(self, data: bytes) -> list[bytes | bytearray]:
        """The lines that ``data`` completes, without their newline.

        Raises:
            LineTooLong: A line exceeds the limit, whole or so far.
        """
        lines: list[bytes | bytearray] = [*data.split(b"\n")]
        rest = lines.pop()
        # Hardly ever: a read ends where a line does.
        if rest or self._begun or len(data) > self._limit:
            self._join(lines, rest, len(data))
        return lines

    def _join(self, lines: list[bytes | bytearray], rest: bytes | bytearray, size: int) -> None:
        # Example: b"ab" comes, then b"cd\nef\ngh". The first leaves "ab" begun. The second completes it to "abcd",
        # has "ef" as a whole line, and leaves "gh" begun.
        most = len(self._begun) + size  # no line is longer
        if self._begun and lines:
            self._begun += lines[0]
            lines[0] = self._begun
            self._begun = bytearray()
        self._begun += rest
        # The line that is only begun counts, too: one that never ends must not fill the memory.
        if most > self._limit and max(map(len, (self._begun, *lines))) > self._limit:
            raise LineTooLong(self._limit)
