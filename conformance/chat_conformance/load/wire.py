"""The least that shows what a server sends: frames are walked, not kept.

`chat_conformance.wire.frames` makes a value of every frame, which a generator of load has no time for. This walks over
headers, hands out the payload of data frames as it comes, whole or in parts, and keeps only what control frames say.
"""

from __future__ import annotations

import zlib
from typing import Final

CLOSE: Final = 0x88
PING: Final = 0x89


class FrameScanner:
    """The payload of a server's data frames from a stream of bytes, however it is cut (RFC 6455 §5.2).

    Attributes:
        frames: How many data frames have begun.
        pings: Payloads of pings that wait for their pong.
        closed: The close code, 1005 where the close frame had none, 0 while there was no close frame.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.pings: list[bytes] = []
        self.closed = 0
        # The rest of the payload of the current data frame.
        self._left = 0
        # Whether the current message is compressed.
        self._deflated = False
        self._final = True
        # A header or control frame that is not complete.
        self._held = b""
        self._inflater: zlib._Decompress | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """Add received bytes and return what they hold of data frames' payload, in order."""
        # Two states. In a payload (`_left` bytes to come) all that arrives is handed out at once, as a token
        # must not wait for the end of its frame. Between frames a header is read, or held until it is
        # complete: at most 10 bytes, or a control frame of at most 125 more.
        if self._held:
            data, self._held = self._held + data, b""
        pieces: list[bytes] = []
        at, size = 0, len(data)
        while at < size:
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                pieces.append(self._inflate(piece) if self._deflated else piece)
                continue
            if size - at < 2:
                break
            first = data[at]
            length, begin = _length(data, at)
            if begin > size:
                break
            if first & 0x08:
                if begin + length > size:
                    break
                self._control(first, data[begin : begin + length])
                at = begin + length
                continue
            if first & 0x0F:
                self._deflated = bool(first & 0x40)
            self._final = bool(first & 0x80)
            self.frames += 1
            self._left = length
            at = begin
        self._held = data[at:]
        return pieces

    def _control(self, first: int, payload: bytes) -> None:
        if first == PING:
            self.pings.append(payload)
        elif first == CLOSE:
            self.closed = int.from_bytes(payload[:2]) or 1005

    def _inflate(self, piece: bytes) -> bytes:
        if self._inflater is None:
            self._inflater = zlib.decompressobj(-15)
        # The four bytes that senders leave out (RFC 7692 §7.2.2).
        end = b"\x00\x00\xff\xff" if self._final and not self._left else b""
        return self._inflater.decompress(piece + end)


def _length(data: bytes, at: int) -> tuple[int, int]:
    """The payload length of the frame that begins there, and where its payload begins."""
    length = data[at + 1]
    if length < 126:
        return length, at + 2
    begin = at + (4 if length == 126 else 10)
    return int.from_bytes(data[at + 2 : begin]), begin


class TokenCounter:
    """Counts the tokens of an answer (`chat_conformance.load.answer`) in pieces of payload, and reads their times.

    What repeats an answer, as a forwarder's last lines do, has times that are not newer than the last one.

    Attributes:
        counted: How many counted tokens came, repeats included.
        size: Bytes of payload.
        stamped: How many tokens with a new time came.
        first: When the first one was read (CLOCK_MONOTONIC, seconds), 0.0 before.
        first_delay: Seconds from its writing to that.
    """

    DIGITS = 19

    def __init__(self) -> None:
        self.counted = 0
        self.size = 0
        self.stamped = 0
        self.first = self.first_delay = 0.0
        self.last_stamp = 0
        self._tail = b""

    def feed(self, piece: bytes, now: int, delays: list[int] | None) -> None:
        """Take a piece that was read at ``now``, nanoseconds of CLOCK_MONOTONIC; new delays are appended."""
        # Before the tail is put in front: marks in the tail were counted when it came.
        self.counted += piece.count(b"~")
        self.size += len(piece)
        if self._tail:
            piece, self._tail = self._tail + piece, b""
        at = piece.find(b"@")
        while at >= 0:
            digits = piece[at + 1 : at + 1 + self.DIGITS]
            if len(digits) < self.DIGITS:
                self._tail = piece[at:]
                return
            if digits.isdigit() and (stamp := int(digits)) > self.last_stamp:
                self.last_stamp = stamp
                self.stamped += 1
                if self.stamped == 1:
                    self.first = now / 1e9
                    self.first_delay = (now - stamp) / 1e9
                if delays is not None:
                    delays.append(now - stamp)
            at = piece.find(b"@", at + 1)


class PhraseFinder:
    """Whether some words came in a stream of payload, looked for at the end of what was read at once."""

    # A CLI's result line ends in some hundred bytes after its type.
    BACK = 8192

    def __init__(self, words: bytes) -> None:
        self._words = words
        self._tail = b""

    def feed(self, piece: bytes) -> bool:
        """Take the last piece of what was read."""
        # One byte less than the words are kept: enough for words that are cut, too few to find the same ones
        # twice.
        seen = self._tail + piece[-self.BACK :]
        self._tail = seen[-len(self._words) + 1 :]
        return self._words in seen
