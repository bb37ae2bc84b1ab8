"""A process that the guardian runs for the server: its pipes, and what is known of its life."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Sequence
from io import FileIO
from typing import Protocol

from chat_server.processes.pipes import OutputListener, PipeReader, PipeWriter

logger = logging.getLogger(__name__)

STDERR_TAIL = 4096

STRANGER_SECONDS = 0.5
"""How long the end of the pipes may take once the whole process tree is gone."""

END_SECONDS = 5.0
"""How long the end of a process tree may take once it was killed; only a device that does not answer takes longer."""


class Guardian(Protocol):
    """What a process needs of it; impl/chat_server/processes/starter.py has it."""

    def ask(self, word: str, number: int, value: int = 0) -> None:
        """Have something done to a process."""

    def forget(self, number: int) -> None:
        """Report no more of a process."""


class Process:
    """A running process: its pipes, and the end of what it wrote on stderr.

    asyncio's own child processes are not used: they report the end of a child only after that of its pipes, which
    other processes may hold, and cost three transports and a thread or a task each.

    Attributes:
        pid: Its process id, once it has started.
        started: Is done when the child has become its program, or could not.
        exited: Is done when the child itself has ended.
        gone: Is done when nothing is left of it, after its end was wanted.
        returncode: The exit code; ``None`` while the process lives; negative for a signal.
        stdin: The pipe that it reads lines from; at most a prompt and an interrupt are unsent.
        stdout: The pipe that it writes its output to.
    """

    __slots__ = (
        "_guardian",
        "_number",
        "_stderr",
        "_tail",
        "exited",
        "gone",
        "pid",
        "returncode",
        "started",
        "stdin",
        "stdout",
    )

    def __init__(
        self, guardian: Guardian, number: int, ours: Sequence[int], listener: OutputListener
    ) -> None:
        loop = asyncio.get_running_loop()
        self.pid = 0
        self.returncode: int | None = None
        self.started: asyncio.Future[None] = loop.create_future()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self._guardian = guardian
        self._number = number
        self._tail = b""
        stdin, stdout, stderr = ours
        self.stdin = PipeWriter(FileIO(stdin, "wb"))
        self.stdout = PipeReader(FileIO(stdout, "rb"), listener)
        self._stderr = PipeReader(FileIO(stderr, "rb"), self)

    @property
    def stderr_tail(self) -> str:
        """The last 4 KiB of stderr."""
        return self._tail.decode("utf-8", "replace").strip()

    async def stop(self, grace: float) -> None:
        """Ask the child to end: end of input, then TERM, each with at most ``grace`` seconds to obey.

        What it still writes is read and dropped.
        """
        # Before the input ends: a child that is blocked in a write to a full pipe would not see that end.
        self.stdout.discard()
        self.stdin.close()
        await asyncio.wait([self.exited], timeout=grace)
        if not self.exited.done():
            self._guardian.ask("signal", self._number, signal.SIGTERM)
            await asyncio.wait([self.exited], timeout=grace)

    async def kill(self) -> None:
        """KILL what is left of the process tree, and wait until nothing is (PROC-3)."""
        self.stdout.discard()
        self._guardian.ask("end", self._number)
        await asyncio.wait([self.gone], timeout=END_SECONDS)
        if not self.gone.done():
            logger.error(
                "claude %d, or what it started, has not ended within %g s of KILL", self.pid, END_SECONDS
            )
        # Not before the wait: `gone` itself would then not be passed on.
        self._guardian.forget(self._number)
        ends = [self.stdout.ended, self._stderr.ended]
        _, open_ends = await asyncio.wait(ends, timeout=STRANGER_SECONDS)
        # With the tree gone, a process outside it was handed the pipe. It is not ours to kill.
        if open_ends:
            logger.warning("something that claude %d did not start itself holds its pipes", self.pid)
        self.close()

    def close(self) -> None:
        """Close the pipes."""
        self.stdin.close()
        self.stdout.close()
        self._stderr.close()

    def on_report(self, word: str, value: int, what: str = "") -> None:
        """What the guardian reports of it."""
        # Each report counts once: for a guardian that was killed the starter reports the end of all, whatever came
        # before.
        match word:
            case "started" if not self.started.done():
                self.pid = value
                self.started.set_result(None)
            case "failed" if not self.started.done():
                self.started.set_exception(OSError(value, os.strerror(value), what))
                self.started.exception()  # seen, even if nobody waits any more
            case "exited" if not self.exited.done():
                self.returncode = value
                self._ended()
            case "gone" if not self.gone.done():
                self.gone.set_result(None)

    def _ended(self) -> None:
        """What the process wrote is in the pipes, though a child of its own may hold them open."""
        self.exited.set_result(None)
        # stderr first: its end is known when stdout reports EOF.
        self._stderr.drain_and_close()
        self.stdout.drain_and_close()

    def on_output(self, data: bytes) -> None:
        """Keep the end of what it writes on stderr."""
        self._tail = (self._tail + data)[-STDERR_TAIL:]
