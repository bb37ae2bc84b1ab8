"""A text that grows at its end, kept in few pieces, and what of it is shown after some was taken back."""

from __future__ import annotations

FOLDED = 16
"""So many pieces are joined into one: an object of its own for every few letters would outweigh them."""


class TextBuffer:
    """A text to which pieces are added, and whose end is asked for again and again.

    Attributes:
        length: Of all of it, in code points.
    """

    __slots__ = ("_blocks", "_tail", "length")

    def __init__(self) -> None:
        self._blocks: list[str] = []  # folded, oldest first
        self._tail: list[str] = []  # the newest pieces
        self.length = 0

    def append(self, piece: str) -> None:
        """Add a piece to the end."""
        self._tail.append(piece)
        self.length += len(piece)
        if len(self._tail) == FOLDED:
            self._fold()

    def between(self, start: int, end: int) -> str:
        """The text from ``start`` to ``end``; only what lies there is copied, and the newest piece not even that."""
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
        """Whether it ends with a text, which is found out without joining anything."""
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
        """All of it."""
        self._fold()
        if len(self._blocks) > 1:
            self._blocks = ["".join(self._blocks)]
        return self._blocks[0] if self._blocks else ""

    def _fold(self) -> None:
        if self._tail:
            self._blocks.append("".join(self._tail))
            self._tail.clear()


class VisibleText:
    """What a reader sees of a text that is told from now on and partly taken back: the text itself keeps all of it.

    What is added to the text is added to what is seen.
    """

    __slots__ = ("_kept", "_start", "_told")

    def __init__(self, told: TextBuffer) -> None:
        self._told = told
        self._kept = ""  # what was told before something was taken back, and is still seen
        self._start = told.length  # where in the text goes on what is seen

    def __len__(self) -> int:
        return len(self._kept) + self._told.length - self._start

    def cut(self, length: int) -> None:
        """Take back all but the first ``length`` code points."""
        self._kept, self._start = str(self)[:length], self._told.length

    def ends_with(self, text: str) -> bool:
        """Whether what is seen ends with a text."""
        if len(text) <= self._told.length - self._start:
            return self._told.ends_with(text)
        return str(self).endswith(text)

    def since(self, start: int) -> str:
        """What is seen from ``start`` on."""
        kept = len(self._kept)
        if start < kept:
            return str(self)[start:]
        return self._told.between(self._start + start - kept, self._told.length)

    def __str__(self) -> str:
        """All of what is seen."""
        told = str(self._told)[self._start :]
        return self._kept + told if self._kept else told
