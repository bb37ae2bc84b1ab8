"""A text that grows at its end, kept in few pieces."""

from __future__ import annotations

FOLDED = 16
"""So many pieces are joined into one: an object of its own for every few letters would outweigh them."""


class GrowingText:
    """A text to which pieces are added, and whose end is asked for again and again. Lengths are in code points."""

    __slots__ = ("_blocks", "_blocks_length", "_length", "_tail")

    def __init__(self) -> None:
        self._blocks: list[str] = []  # folded, oldest first
        self._tail: list[str] = []  # the newest pieces
        self._blocks_length = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, piece: str) -> None:
        """Add a piece to the end."""
        self._tail.append(piece)
        self._length += len(piece)
        if len(self._tail) == FOLDED:
            self._fold()

    def cut(self, length: int) -> None:
        """Forget all but the first ``length`` code points."""
        text = str(self)[:length]
        self._blocks, self._blocks_length, self._length = [text], length, length

    def since(self, start: int) -> str:
        """The text from ``start`` on; what is asked for mostly, the newest piece, costs nothing."""
        if start < self._blocks_length:
            return str(self)[start:]
        length, pieces = self._length, []
        for piece in reversed(self._tail):
            if length <= start:
                break
            pieces.append(piece)
            length -= len(piece)
        text = pieces[0] if len(pieces) == 1 else "".join(reversed(pieces))
        return text if length == start else text[start - length :]

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
            self._blocks_length = self._length
