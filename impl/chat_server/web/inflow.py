"""What comes in on a WebSocket, and how fast: it stands before aiohttp's reader of frames.

aiohttp reads all frames that one read of the socket brought in one go, and goes on reading for as long as something
comes. A flood of small frames thus keeps the event loop from everybody else. Here the reader is fed piece by piece,
with a round of the loop between the pieces, and no faster than the connection's token bucket allows: what is beyond
that waits in the kernel, and with it its sender.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from chat_server.buckets import TokenBucket
from chat_server.web.frame_scanner import FrameScanner

FRAMES_AT_ONCE = 8
BYTES_AT_ONCE = 131_072
"""What is fed in one round of the loop; of bytes it may be what one read brings (256 KiB)."""

FRAME_COST = 4096
"""What a frame costs besides its bytes, in bytes: about what it takes to serve one."""

BURST_SECONDS = 8.0
"""A connection may send this many seconds of its rate at once."""

FLOOD_SECONDS = 5.0
"""A connection that is slowed down for longer is closed."""

POLICY_VIOLATION = 1008


class Reader(Protocol):
    """aiohttp's reader of frames."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Read frames; whether they were faulty, and what is left."""

    def feed_eof(self) -> None:
        """Nothing more comes."""


class Line(Protocol):
    """The protocol of the connection."""

    def pause(self) -> None:
        """Read nothing from the socket."""

    def resume(self) -> None:
        """Read again."""

    def close(self) -> None:
        """The frames were faulty."""

    def drop(self) -> None:
        """End the connection at once."""


class Inflow:
    """The bytes that come in on one WebSocket.

    Args:
        loop: Its clock is the one that counts.
        rate: Bytes a second, ``FRAME_COST`` for each frame included; 0 is any number.
        seconds: How long a message may be under way (FRAME-3).
        wait: Counts bytes that have come and were not taken; whether these are not too many.

    Attributes:
        on_excess: Is called, once, with a close code and a reason when the connection is to be closed; without it, it
            is dropped.
        full: Whether aiohttp's queue of messages is full; then nothing is fed.
    """

    __slots__ = (
        "_age",
        "_bucket",
        "_chunks",
        "_line",
        "_loop",
        "_over",
        "_over_since",
        "_place",
        "_rate",
        "_reader",
        "_rests",
        "_scanner",
        "_seconds",
        "_sizes",
        "_timer",
        "_wait",
        "_waiting",
        "_whole",
        "full",
        "on_excess",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        rate: float,
        seconds: float,
        wait: Callable[[int], bool],
    ) -> None:
        self._loop = loop
        self._rate = rate
        self._bucket: TokenBucket | None = None  # most connections never need one
        self._seconds = seconds
        self._wait = wait
        self.on_excess: Callable[[int, str], None] | None = None
        self.full = False
        self._scanner = FrameScanner()
        self._reader: Reader | None = None
        self._line: Line | None = None
        self._chunks: list[bytes] = []  # what was read and not fed yet
        self._place = 0  # in the first of them
        self._timer: asyncio.Handle | None = None  # when to go on
        self._age: asyncio.TimerHandle | None = None  # when the message under way is too old
        self._rests = 0
        # Since when it has been slowed down again and again.
        self._over_since: float | None = None
        # It is being closed: nothing counts any more.
        self._over = False
        self._sizes: list[int] = []  # of whole messages that were not taken
        self._whole = 0  # their sum
        self._waiting = 0  # bytes that have come and were not taken

    def attach(self, reader: Reader, line: Line) -> Inflow:
        """Stand before the reader of this connection."""
        self._reader, self._line = reader, line
        return self

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take what the socket brought."""
        if self._over:
            return False, b""
        self._chunks.append(data)
        if self._timer is not None or self.full:
            assert self._line is not None
            self._line.pause()
            return False, b""
        return self._feed(), b""

    def feed_eof(self) -> None:
        """The connection has ended."""
        assert self._reader is not None
        self._reader.feed_eof()

    def resumed(self) -> None:
        """Aiohttp's queue has room again, and it has let the socket be read."""
        if self._timer is None and self._chunks:
            self._timer = self._loop.call_soon(self._go_on)
        if self._timer is not None:
            assert self._line is not None
            self._line.pause()

    def taken(self) -> None:
        """The oldest whole message was taken out of aiohttp's queue."""
        if self._sizes:
            size = self._sizes.pop(0)
            self._whole -= size
            self._count(-size)

    def close(self) -> None:
        """The connection is over."""
        self._over = True
        self._chunks.clear()
        self._count(-self._waiting)
        for handle in (self._timer, self._age):
            if handle is not None:
                handle.cancel()
        self._timer = self._age = None

    def _feed(self) -> bool:
        """Feed one piece; whether what it held was faulty."""
        assert self._reader is not None
        # Example: one read brought 20 small frames. Eight are fed now, eight in the next round of the loop, then four;
        # `_place` is where in the chunk the next piece begins.
        data, start = self._chunks[0], self._place
        end, frames = self._scanner.advance(data, start, FRAMES_AT_ONCE)
        if end == len(data):
            del self._chunks[0]
            self._place = 0
        else:
            self._place = end
        self._count_messages()
        wait = self._pay(frames, end - start)
        if self._over:
            return False
        faulty, _ = self._reader.feed_data(data[start:end] if end - start < len(data) else data)
        if self._chunks or wait or end - start >= BYTES_AT_ONCE:
            self._slow_down(wait)
        self._watch_age()
        return faulty

    def _go_on(self) -> None:
        assert self._line is not None
        self._timer = None
        if self.full:
            return  # `resumed` goes on
        if self._chunks and self._feed():
            self._line.close()
        elif self._timer is None:
            self._read_on()

    def _read_on(self) -> None:
        assert self._line is not None
        if not self.full:
            self._line.resume()

    def _slow_down(self, wait: float) -> None:
        assert self._line is not None
        self._line.pause()
        self._timer = self._loop.call_later(wait, self._go_on) if wait else self._loop.call_soon(self._go_on)

    def _pay(self, frames: int, size: int) -> float:
        """Take from the bucket; for how many seconds no more may be fed."""
        if not self._rate:
            return 0.0
        now = self._loop.time()
        if self._bucket is None:
            self._bucket = TokenBucket(self._rate, BURST_SECONDS * self._rate, now)
        # Only a full bucket ends the count of seconds. One that is no longer overdrawn would not do: a flood is slowed
        # down to exactly that each time, and would go on for ever.
        if self._bucket.full(now):
            self._over_since = None
        self._bucket.take(FRAME_COST * frames + size, now)
        wait = self._bucket.wait(now)
        if wait:
            if self._over_since is None:
                self._over_since = now
            elif now - self._over_since > FLOOD_SECONDS:
                self._exceed("too many frames, or bytes, in a second")
        return wait

    def _count_messages(self) -> None:
        ended = self._scanner.ended
        if ended:
            self._sizes += ended
            self._whole += sum(ended)
            ended.clear()
        # Whole messages and the unfinished one together; only the difference to the last count is passed on.
        self._count(self._whole + self._scanner.unfinished - self._waiting)

    def _count(self, more: int) -> None:
        if more:
            self._waiting += more
            # The sum is the user's, of all connections: one that has just been read is not closed for what others hold.
            if not self._wait(more) and more > 0:
                self._exceed("too much of your messages waits, or is unfinished")

    def _watch_age(self) -> None:
        # The time is for one message. After a rest it is another message, with all of its time. Further pieces of the
        # same one must not start the timer again: a byte now and then would keep it unfinished for ever.
        if self._scanner.rests != self._rests or self._scanner.idle:
            self._rests = self._scanner.rests
            if self._age is not None:
                self._age.cancel()
                self._age = None
        if self._age is None and not self._scanner.idle and not self._over:
            reason = f"a message was not complete after {self._seconds:g} seconds"
            self._age = self._loop.call_later(self._seconds, self._exceed, reason)

    def _exceed(self, reason: str) -> None:
        if not self._over:
            self._over = True
            self._chunks.clear()
            if self.on_excess is not None:
                self.on_excess(POLICY_VIOLATION, reason)
            elif self._line is not None:
                self._line.drop()
