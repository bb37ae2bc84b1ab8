"""The two ends of a child's pipes, read and written in the event loop without a task or a buffer of their own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import IO

CHUNK = 65_536
"""As much as a pipe holds (pipe(7))."""

MAX_FINAL_READS = 16
"""So much is taken at once at the end: more than the pipe held then, though somebody else may write on."""


class PipeReader:
    """What a child writes: ``hear`` gets it as it comes, and an empty piece at the end, once.

    Attributes:
        hear: Who is told; somebody else may be from now on.
        ended: Is done when nothing more comes.
    """

    __slots__ = ("_fd", "_file", "_held", "_loop", "ended", "hear")

    def __init__(self, file: IO[bytes], hear: Callable[[bytes], None]) -> None:
        self.hear = hear
        self._file = file
        self._fd = file.fileno()
        self._held = False
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        os.set_blocking(self._fd, False)
        self._loop.add_reader(self._fd, self._read)

    def hold(self, *, held: bool) -> None:
        """Leave what comes in the pipe, so that the child waits; or take it again."""
        if held == self._held or self.ended.done():
            return
        self._held = held
        if held:
            self._loop.remove_reader(self._fd)
        else:
            self._loop.add_reader(self._fd, self._read)

    def finish(self) -> None:
        """Tell what is in the pipe now, and then the end, though somebody else may hold the pipe open."""
        for _ in range(MAX_FINAL_READS):
            if self.ended.done() or not self._read():
                break
        self._tell_end()

    def close(self) -> None:
        """Take no more; nothing is told after this."""
        if not self.ended.done():
            if not self._held:
                self._loop.remove_reader(self._fd)
            self._file.close()
            self.ended.set_result(None)

    def _read(self) -> bool:
        """Tell one piece; whether there may be more at once."""
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
            self._tell_end()
            return False
        self.hear(data)
        return len(data) == CHUNK

    def _tell_end(self) -> None:
        hear, self.hear = self.hear, ignore
        hear(b"")


def ignore(_data: bytes) -> None:
    """Hear nothing any more."""


class PipeWriter:
    """What a child reads. What it does not take waits here; once it is gone, writing is no error."""

    __slots__ = ("_file", "_loop", "_waiting")

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._waiting = memoryview(b"")
        os.set_blocking(file.fileno(), False)

    def write(self, data: bytes) -> None:
        """Write now what the pipe takes, and the rest when it takes more."""
        if self._file.closed:
            return
        if self._waiting:
            self._waiting = memoryview(b"".join((self._waiting, data)))
            return
        self._waiting = memoryview(data)
        self._push()
        if self._waiting:
            self._loop.add_writer(self._file.fileno(), self._go_on)

    def close(self) -> None:
        """End the input; what still waits is dropped."""
        if self._file.closed:
            return
        if self._waiting:
            self._loop.remove_writer(self._file.fileno())
            self._waiting = memoryview(b"")
        self._file.close()

    def _push(self) -> None:
        try:
            self._waiting = self._waiting[os.write(self._file.fileno(), self._waiting) :]
        except BlockingIOError:
            pass
        except OSError:
            self._waiting = memoryview(b"")  # the child has gone, or has closed its input

    def _go_on(self) -> None:
        self._push()
        if not self._waiting:
            self._loop.remove_writer(self._file.fileno())
