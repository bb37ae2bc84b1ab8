"""The two ends of a child's pipes, read and written in the event loop without a task or a buffer of their own."""

from __future__ import annotations

import asyncio
import os
from typing import IO, Protocol

CHUNK = 65_536
"""As much as a pipe holds (pipe(7))."""

MAX_FINAL_READS = 16
"""How often a pipe is read at its end: more than it held then, though a process that shares it may write on."""


class OutputListener(Protocol):
    """Who is given what a pipe brings: a session (claude/session.py) for stdout, the process itself for stderr."""

    def on_output(self, data: bytes) -> None:
        """Take some output as it comes; empty at EOF, once."""


class PipeReader:
    """What a child writes, read in a callback of the event loop: no task, no buffer.

    Attributes:
        paused: Whether what the child writes stays in the pipe.
        resumed_at: When reading was resumed last, in the loop's time; 0 if it never was.
        ended: Is done when nothing more comes.
    """

    __slots__ = ("_discarding", "_fd", "_file", "_listener", "_loop", "ended", "paused", "resumed_at")

    def __init__(self, file: IO[bytes], listener: OutputListener) -> None:
        self._listener: OutputListener | None = listener
        self._file = file
        self._fd = file.fileno()
        self._discarding = False
        self._loop = asyncio.get_running_loop()
        self.paused = False
        self.resumed_at = 0.0
        self.ended: asyncio.Future[None] = self._loop.create_future()
        os.set_blocking(self._fd, False)
        self._loop.add_reader(self._fd, self._on_readable)

    def pause(self) -> None:
        """Leave what comes in the pipe; when it is full, the child blocks in its ``write``."""
        if not (self.paused or self._discarding or self.ended.done()):
            self.paused = True
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        """Read on."""
        if self.paused and not self.ended.done():
            self.paused = False
            self.resumed_at = self._loop.time()
            self._loop.add_reader(self._fd, self._on_readable)

    def discard(self) -> None:
        """Read on to the end without a pause, so that the child cannot block, and drop what comes."""
        self._listener = None
        self._discarding = True
        self.resume()

    def drain_and_close(self) -> None:
        """Read what is in the pipe now, then report EOF, though another process may hold the pipe open."""
        for _ in range(MAX_FINAL_READS):
            if self.ended.done() or not self._on_readable():
                break
        self._notify_eof()

    def close(self) -> None:
        """Read no more; nothing is reported after this."""
        if not self.ended.done():
            if not self.paused:
                self._loop.remove_reader(self._fd)
            self._file.close()
            self.ended.set_result(None)

    def _on_readable(self) -> bool:
        """Read once; whether there may be more at once."""
        try:
            # One read per callback: a child that floods its pipe must not keep the loop from all others.
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            # EIO and the like: what is behind it cannot be read, so it is the end.
            data = b""
        if not data:
            self.close()
            self._notify_eof()
            return False
        if self._listener is not None:
            self._listener.on_output(data)
        return len(data) == CHUNK

    def _notify_eof(self) -> None:
        # Once: `drain_and_close` reports EOF too, after a read that found it.
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.on_output(b"")


class PipeWriter:
    """What a child reads. What it does not take yet is kept here; once it has exited, writing is no error."""

    __slots__ = ("_file", "_loop", "_unsent")

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._unsent = memoryview(b"")
        os.set_blocking(file.fileno(), False)

    def write(self, data: bytes) -> None:
        """Write now what the pipe takes, and the rest when it takes more."""
        if self._file.closed:
            return
        if self._unsent:
            # Behind what is unsent: written now, it would overtake that.
            self._unsent = memoryview(b"".join((self._unsent, data)))
            return
        self._unsent = memoryview(data)
        self._flush()
        if self._unsent:
            self._loop.add_writer(self._file.fileno(), self._on_writable)

    def close(self) -> None:
        """End the input; what is unsent is dropped."""
        if self._file.closed:
            return
        if self._unsent:
            # Before the file is closed: its number may be given to another file at once.
            self._loop.remove_writer(self._file.fileno())
            self._unsent = memoryview(b"")
        self._file.close()

    def _flush(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._file.fileno(), self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            # EPIPE: the child has exited, or has closed its input. Its exit is reported elsewhere.
            self._unsent = memoryview(b"")

    def _on_writable(self) -> None:
        self._flush()
        if not self._unsent:
            self._loop.remove_writer(self._file.fileno())
