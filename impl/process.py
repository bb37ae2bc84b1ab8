"""A child process whose every descendant is gone when its block ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from impl import family as family_module
from impl.family import VARIABLE, family, send
from impl.tasks import uncancelled

logger = logging.getLogger(__name__)

STDERR_TAIL = 4096
CHUNK = 65_536
STRANGER_SECONDS = 0.5
"""How long the end of the pipes may take once the whole family is gone."""


class Process:
    """A running child: its pipes, and the end of what it wrote on stderr."""

    def __init__(self, process: asyncio.subprocess.Process, mark: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdin = process.stdin
        self.stdout = process.stdout
        self.pid = process.pid
        self._process = process
        self._stderr = process.stderr
        self._mark = mark
        self._tail = b""

    @property
    def stderr_tail(self) -> str:
        """The last 4 KiB of stderr."""
        return self._tail.decode("utf-8", "replace").strip()

    @property
    def returncode(self) -> int | None:
        """The exit code; ``None`` while the process lives; negative for a signal."""
        return self._process.returncode

    def send_line(self, line: bytes) -> None:
        """Write a line as the child reads it; what it does not read waits here, at most a prompt and an interrupt."""
        self.stdin.write(line + b"\n")

    async def drain_stderr(self) -> None:
        """Read stderr to its end, so that the child never waits for a reader (PROC-1)."""
        while data := await self._stderr.read(CHUNK):
            self._tail = (self._tail + data)[-STDERR_TAIL:]

    async def drain_stdout(self) -> None:
        """Read what is left of stdout; asyncio reports the end of a child only after that of its pipes."""
        while await self.stdout.read(CHUNK):
            pass

    async def stop(self, grace: float) -> None:
        """Ask the child to end: end of input, then TERM, each with at most ``grace`` seconds to obey."""
        self.stdin.close()
        if not await self._gone_within(grace):
            send([self.pid], signal.SIGTERM)
            await self._gone_within(grace)

    async def kill(self, drains: Collection[asyncio.Task[None]]) -> None:
        """KILL whatever is left of the family, let ``drains`` end, and reap the child (PROC-3)."""
        if self.returncode is None:
            send([self.pid], signal.SIGKILL)
        while left := family(self._mark):
            send(left, signal.SIGKILL)
            await asyncio.sleep(0.01)  # the kernel tells nobody when a grandchild is gone
        _, unread = await asyncio.wait(drains, timeout=STRANGER_SECONDS)
        if unread:
            logger.warning(
                "something that claude %d started, and that has shed its mark, holds its pipes", self.pid
            )
            self._process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way
            await asyncio.wait(drains)
        await self._process.wait()

    async def exited(self) -> None:
        """Wait for the end of the child alone; asyncio's own ``wait`` waits for its pipes too, whoever holds them."""
        if self.returncode is not None:
            return
        try:
            watch = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        loop, gone = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(watch, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(watch)
            os.close(watch)

    async def _gone_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.exited()
        except TimeoutError:
            return False
        return True


@asynccontextmanager
async def running(
    argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], grace: float, mark: str
) -> AsyncIterator[Process]:
    """Run ``argv`` for the length of the block; nothing that it started outlives the block.

    ``mark`` is the name by which its family is known; no other process may have one that begins with it.

    Raises:
        OSError: The program cannot be started.
    """
    child = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
        env={**env, VARIABLE: mark},
        start_new_session=True,
    )
    process = Process(child, mark)
    drains = [asyncio.create_task(process.drain_stderr())]
    try:
        yield process
    finally:
        drains.append(asyncio.create_task(process.drain_stdout()))
        try:
            await process.stop(grace)
        finally:  # reached too when a cancellation lands in the wait
            await uncancelled(process.kill(drains))
            logger.info("= claude %d ended with %s", process.pid, process.returncode)


@asynccontextmanager
async def guarded(mark: str) -> AsyncIterator[None]:
    """Have processes marked ``mark…`` ended if this process dies within the block, SIGKILL included (PROC-5)."""
    guardian = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", family_module.__file__, mark),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # what is sent to the server's group is not meant for it
    )
    assert guardian.stdin is not None
    try:
        yield
    finally:
        guardian.stdin.close()
        await guardian.wait()
