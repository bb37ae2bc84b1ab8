"""Where frames begin and end in a stream of bytes, whatever they carry (RFC 6455 section 5.2)."""

from __future__ import annotations

_SHORTEST = 2
_EXTENDED = {126: 2, 127: 8}  # bytes of the extended payload length
_MASK = 4


class FrameScanner:
    """Follows the frames of one direction of a connection. Whether they are legal is for the reader to find out.

    Attributes:
        unfinished: Bytes of payload that have come of the message under way.
        ended: The sizes of the messages that have ended, oldest first; the reader takes them out.
        rests: How often a frame has ended with no message left under way.
    """

    __slots__ = ("_data", "_fin", "_head", "_left", "_open", "ended", "rests", "unfinished")

    def __init__(self) -> None:
        self.unfinished = 0
        self.ended: list[int] = []
        self.rests = 0
        self._head = bytearray()  # the header under way
        # Bytes that the payload under way still has.
        self._left = 0
        # Of the frame under way: whether it is no control frame; its FIN bit.
        self._data = self._fin = False
        # Whether a message has begun that has not ended.
        self._open = False

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, neither frame nor message."""
        return not (self._open or self._left or self._head)

    def advance(self, data: bytes, start: int, frames: int) -> tuple[int, int]:
        """Go on from ``start`` to the end of ``data``, or to where one frame more than ``frames`` would begin.

        Returns:
            That place, and how many frames have begun.
        """
        # A state machine, since the bytes may be cut anywhere: with `_left` it is within a payload, with `_head` within
        # a header, with neither between two frames. Example: 81 85, four bytes of mask and five of text are one frame;
        # if only 81 has come, it waits in `_head` for the rest.
        place, size, begun = start, len(data), 0
        while place < size:
            if self._left:
                step = min(self._left, size - place)
                self._left -= step
                place += step
                if self._data:
                    self.unfinished += step
            else:
                if not self._head:
                    # Counted at its first byte: a header that comes in two pieces must not count twice.
                    if begun == frames:
                        break
                    begun += 1
                place = self._read_header(data, place)
                if self._head:
                    break  # the rest of it has not come
            if not self._left:
                # Also for an empty payload: such a frame ends with its header.
                self._end_frame()
        return place, begun

    def _read_header(self, data: bytes, place: int) -> int:
        """Take what there is of a header; ``_head`` is empty when it is complete."""
        # Two steps: the first two bytes say how long the length and the mask are, and so where the header ends.
        head, wanted = self._head, _SHORTEST
        while True:
            more = data[place : place + max(0, wanted - len(head))]
            head += more
            place += len(more)
            if len(head) < wanted:
                return place
            length = head[1] & 0x7F
            extended = _EXTENDED.get(length, 0)
            whole = _SHORTEST + extended + (_MASK if head[1] & 0x80 else 0)
            if len(head) == whole:
                break
            wanted = whole
        # Opcodes from 8 on are control frames; they may stand between the fragments of a message (RFC 6455 §5.4).
        self._data = head[0] & 0x0F < 8
        self._fin = head[0] >= 0x80
        self._left = int.from_bytes(head[_SHORTEST : _SHORTEST + extended]) if extended else length
        self._open |= self._data
        head.clear()
        return place

    def _end_frame(self) -> None:
        if self._data and self._fin:
            self.ended.append(self.unfinished)
            self.unfinished = 0
            self._open = False
        if not self._open:
            self.rests += 1
