"""A text that grows at its end, and the part of it that is visible after rewinds."""

from __future__ import annotations

PIECES_PER_BLOCK = 16
"""How many appended pieces are joined into one block: a ``str`` object for every few letters would cost more than the
letters, and joining at every append would copy the text again and again."""


class TextBuffer:
    """A text that is appended to, and whose end is read often.

    Appending is O(1). Blocks and pieces are joined only when the whole text is asked for.

    Attributes:
        length: Of the whole text, in code points.
    """

    __slots__ = ("_blocks", "_tail", "length")

    def __init__(self) -> None:
        self._blocks: list[str] = []  # joined pieces, oldest first
        # The newest pieces, fewer than PIECES_PER_BLOCK.
        self._tail: list[str] = []
        self.length = 0

    def append(self, text: str) -> None:
        """Add text to the end."""
        self._tail.append(text)
        self.length += len(text)
        if len(self._tail) == PIECES_PER_BLOCK:
            self._join_tail()

    def slice(self, start: int, end: int) -> str:
        """The text from ``start`` to ``end``; only that part is copied."""
        # What is read is nearly always the newest piece as it was appended: it is handed out without a copy.
        if self._tail and start == self.length - len(self._tail[-1]) and end == self.length:
            return self._tail[-1]
        at = self.length
        found: list[str] = []
        for pieces in (self._tail, self._blocks):
            for piece in reversed(pieces):
                if at <= start:
                    break
                at -= len(piece)
                if at < end:
                    found.append(piece[max(0, start - at) : end - at])
        return found[0] if len(found) == 1 else "".join(reversed(found))

    def ends_with(self, text: str) -> bool:
        """Whether the text ends with ``text``; compared piece by piece, without a join."""
        if len(text) > self.length:
            return False
        at = len(text)
        for pieces in (self._tail, self._blocks):
            for piece in reversed(pieces):
                if at <= len(piece):
                    return piece.endswith(text[:at])
                at -= len(piece)
                if not text.startswith(piece, at):
                    return False
        return True

    def __str__(self) -> str:
        """The whole text."""
        self._join_tail()
        # Kept joined: periodic saves ask for the whole text, which then is copied once per save at most.
        if len(self._blocks) > 1:
            self._blocks = ["".join(self._blocks)]
        return self._blocks[0] if self._blocks else ""

    def _join_tail(self) -> None:
        if self._tail:
            self._blocks.append("".join(self._tail))
            self._tail.clear()


class VisibleText:
    """A view of a buffer, from its current end on, after rewinds; the buffer itself keeps everything.

    What is appended to the buffer is appended to the view. A rewind cannot shorten the buffer, because events in the
    log point into it; so what stays visible of the text before a rewind is kept here as ``_prefix``.
    """

    __slots__ = ("_buffer", "_prefix", "_start")

    def __init__(self, buffer: TextBuffer) -> None:
        self._buffer = buffer
        # Visible text from before the last rewind.
        self._prefix = ""
        # Where the visible text continues in the buffer.
        self._start = buffer.length

    def __len__(self) -> int:
        return len(self._prefix) + self._buffer.length - self._start

    def truncate(self, length: int) -> None:
        """Keep only the first ``length`` code points visible."""
        self._prefix, self._start = str(self)[:length], self._buffer.length

    def ends_with(self, text: str) -> bool:
        """Whether the visible text ends with ``text``."""
        if len(text) <= self._buffer.length - self._start:
            return self._buffer.ends_with(text)
        return str(self).endswith(text)

    def tail(self, start: int) -> str:
        """The visible text from ``start`` on."""
        prefix = len(self._prefix)
        if start < prefix:
            return str(self)[start:]
        return self._buffer.slice(self._start + start - prefix, self._buffer.length)

    def __str__(self) -> str:
        """All of the visible text."""
        rest = str(self._buffer)[self._start :]
        return self._prefix + rest if self._prefix else rest
