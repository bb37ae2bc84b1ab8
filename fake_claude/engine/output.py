"""Standard output as a buffer that never blocks the process."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections import deque

CHUNK = 64 * 1024
"""Bytes that are joined for one write, if lines are short."""

HIGH_WATER = 16 * 1024 * 1024
"""Bytes a slow reader may leave unread before a turn pauses."""


class Output:
    """Collects lines and writes as much as the reader takes.

    The CLI does not notice a reader that went away (docs/claude-cli.md, pipes): nor do we; what cannot be
    delivered is dropped.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.bytes_out = 0
        self.wait_until: float | None = None  # a dribble's next moment, by time.monotonic()
        self._pending: deque[bytes | memoryview] = deque()
        self._size = 0
        self._reader_closed = False
        self._limit = 0
        self._gap = 0.0
        self._split: float | None = None
        # The flag belongs to the open file, not to this descriptor: a shell or a test that shares the pipe
        # has it as well. So ``restore`` puts it back, and files and terminals, which do not block for long,
        # never get it.
        mode = os.fstat(fd).st_mode
        self._flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            fcntl.fcntl(fd, fcntl.F_SETFL, self._flags | os.O_NONBLOCK)

    def line(self, text: str) -> None:
        """Add one line."""
        self.raw(text.encode("utf-8", "surrogatepass") + b"\n")

    def raw(self, data: bytes) -> None:
        """Add bytes as they are."""
        self._pending.append(data)
        self._size += len(data)

    @property
    def size(self) -> int:
        """Bytes not yet taken by the reader."""
        return self._size

    def dribble(self, limit: int, gap: float) -> None:
        """From here on, write at most ``limit`` bytes at a time, ``gap`` seconds apart."""
        self.flush()
        self._limit, self._gap = limit, gap

    def split_next(self, gap: float) -> None:
        """Cut the next character that takes more than one byte in two writes, ``gap`` seconds apart."""
        self.flush()
        self._split = gap

    def close(self) -> None:
        """Close the stream; what is added later is dropped."""
        self._reader_closed = True
        self._pending.clear()
        self._size = 0
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fd)  # no other file may get this descriptor
        os.close(null)

    def flush(self) -> bool:
        """Write what the reader takes now; return whether everything is written."""
        if self._reader_closed:
            self._pending.clear()
            self._size = 0
        # One round is one write. It goes on until nothing is left, the reader takes no more, or a pause has
        # begun. For example ``dribble(10, 0.5)`` with 25 bytes: three calls, of which the first two write ten
        # bytes each and return False with ``wait_until`` half a second ahead.
        # What a write leaves is a slice of the same memory, so a line of 10 MB to a slow reader is never
        # copied again.
        while self._pending:
            if self.wait_until is not None:
                if time.monotonic() < self.wait_until:
                    return False
                self.wait_until = None
            data = self._front()
            try:
                written = os.write(self.fd, self._part(data))
            except BlockingIOError:
                # ``_part`` has begun a pause for bytes that then did not go out: there is nothing to pause
                # after.
                self.wait_until = None
                return False
            except OSError:  # the reader is gone
                self._reader_closed = True
                self._pending.clear()
                self._size = 0
                return True
            self.bytes_out += written
            self._size -= written
            if written < len(data):
                self._pending[0] = data[written:]
            else:
                self._pending.popleft()
        return True

    def _front(self) -> memoryview:
        """Return the first pending bytes, short lines joined, so that a rest is never copied again."""
        first = self._pending.popleft()
        if len(first) < CHUNK and self._pending:
            gathered, size = [first], len(first)
            while self._pending and size < CHUNK:
                gathered.append(self._pending.popleft())
                size += len(gathered[-1])
            first = b"".join(gathered)
        self._pending.appendleft(memoryview(first))
        return memoryview(first)

    def _part(self, data: memoryview) -> memoryview:
        """Return how much of the pending bytes may go in one write."""
        if self._split is not None:
            # A byte from 0xC0 on begins a character of several. The cut is right behind it: a reader that
            # decodes each piece by itself breaks here.
            cut = next((i for i, byte in enumerate(data) if byte >= 0xC0), None)
            if cut is not None:
                self.wait_until = time.monotonic() + self._split
                self._split = None
                return data[: cut + 1]
        if self._limit and len(data) > self._limit:
            if self._gap:
                self.wait_until = time.monotonic() + self._gap
            return data[: self._limit]
        return data

    def restore(self) -> None:
        """Leave the descriptor as it was found."""
        fcntl.fcntl(self.fd, fcntl.F_SETFL, self._flags)
