"""A child process whose every descendant is gone when its block ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from impl import family as family_module
from impl.family import VARIABLE, marked, send
from impl.pipes import Inlet, Outlet, ignore
from impl.tasks import uncancelled
from impl.together import Together

logger = logging.getLogger(__name__)

STDERR_TAIL = 4096
STRANGER_SECONDS = 0.5
"""How long the end of the pipes may take once the whole family is gone."""


class Families:
    """Which processes that carry a mark live. To look at all processes takes long: one look serves all who ask."""

    def __init__(self, mark: str, thread: Executor) -> None:
        self._mark = mark
        self._looks: Together[str, list[int]] = Together(thread, self._look, most=sys.maxsize)

    def living(self, mark: str) -> asyncio.Future[list[int]]:
        """Those of just this mark, which begins with that of all."""
        return self._looks.ask(mark)

    def _look(self, marks: Sequence[str]) -> list[list[int]]:
        found = marked(self._mark)
        return [found.get(mark, []) for mark in marks]


class Process:
    """A running child: its pipes, and the end of what it wrote on stderr.

    asyncio's own child processes are not used: they report the end of a child only after that of its pipes, whoever
    holds those, and cost three transports and a thread or a task each.

    Attributes:
        exited: Is done when the child itself has ended.
    """

    __slots__ = (
        "_child",
        "_families",
        "_mark",
        "_stderr",
        "_stdin",
        "_stdout",
        "_tail",
        "exited",
        "pid",
    )

    def __init__(
        self, child: subprocess.Popen[bytes], mark: str, hear: Callable[[bytes], None], families: Families
    ) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        loop = asyncio.get_running_loop()
        self.pid = child.pid
        self.exited: asyncio.Future[None] = loop.create_future()
        self._child = child
        self._mark = mark
        self._families = families
        self._tail = b""
        self._stdin = Inlet(child.stdin)
        self._stdout = Outlet(child.stdout, hear)
        self._stderr = Outlet(child.stderr, self._note)
        if sys.platform == "linux":
            watch = os.pidfd_open(self.pid)
            loop.add_reader(watch, self._reap, watch)
        else:
            waiting = loop.run_in_executor(None, child.wait)
            waiting.add_done_callback(lambda _: self._ended())

    @property
    def stderr_tail(self) -> str:
        """The last 4 KiB of stderr."""
        return self._tail.decode("utf-8", "replace").strip()

    @property
    def returncode(self) -> int | None:
        """The exit code; ``None`` while the process lives; negative for a signal."""
        return self._child.returncode

    def send_line(self, line: bytes) -> None:
        """Write a line as the child reads it; what it does not read waits here, at most a prompt and an interrupt."""
        self._stdin.write(line + b"\n")

    def hold(self, *, held: bool) -> None:
        """Leave what the child writes in the pipe, so that it waits when that is full; or read on."""
        self._stdout.hold(held=held)

    async def stop(self, grace: float) -> None:
        """Ask the child to end: end of input, then TERM, each with at most ``grace`` seconds to obey.

        What it writes meanwhile is read, and told to nobody.
        """
        self._stdout.hear = ignore
        self._stdout.hold(held=False)
        self._stdin.close()
        await asyncio.wait([self.exited], timeout=grace)
        if not self.exited.done():
            send([self.pid], signal.SIGTERM)
            await asyncio.wait([self.exited], timeout=grace)

    async def kill(self) -> None:
        """KILL whatever is left of the family, and reap the child (PROC-3)."""
        self._stdout.hear = ignore
        if self.returncode is None:
            send([self.pid], signal.SIGKILL)
        while left := await self._families.living(self._mark):
            send(left, signal.SIGKILL)
            await asyncio.sleep(0.01)  # the kernel tells nobody when a grandchild is gone
        await asyncio.wait([self.exited])
        ends = [self._stdout.ended, self._stderr.ended]
        self._stdout.hold(held=False)
        _, held = await asyncio.wait(ends, timeout=STRANGER_SECONDS)
        if held:
            logger.warning(
                "something that claude %d started, and that has shed its mark, holds its pipes", self.pid
            )
        self._stdin.close()
        self._stdout.close()
        self._stderr.close()

    def _reap(self, watch: int) -> None:
        asyncio.get_running_loop().remove_reader(watch)
        os.close(watch)
        self._child.wait()
        self._ended()

    def _ended(self) -> None:
        """What the child wrote is in the pipes, though a child of its own may hold them open."""
        self.exited.set_result(None)
        self._stderr.finish()
        self._stdout.finish()

    def _note(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-STDERR_TAIL:]


@asynccontextmanager
async def running(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    grace: float,
    mark: str,
    families: Families,
    hear: Callable[[bytes], None],
) -> AsyncIterator[Process]:
    """Run ``argv`` for the length of the block; nothing that it started outlives the block.

    ``mark`` is the name by which its family is known among ``families``; it has no other process.
    ``hear`` gets what the child writes on stdout, as it comes, and an empty piece when it has ended, or has closed it.

    Raises:
        OSError: The program cannot be started.
    """
    child = subprocess.Popen(  # noqa: ASYNC220 - asyncio's would block as long
        argv,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env={**env, VARIABLE: mark},
        start_new_session=True,
    )
    try:
        process = Process(child, mark, hear, families)
    except BaseException:
        with child:
            child.kill()
        raise
    try:
        yield process
    finally:
        try:
            await process.stop(grace)
        finally:  # reached too when a cancellation lands in the wait
            await uncancelled(process.kill())
            logger.info("= claude %d ended with %s", process.pid, process.returncode)


@asynccontextmanager
async def guarded(mark: str, env: Mapping[str, str]) -> AsyncIterator[Families]:
    """Have processes marked ``mark…`` ended if this process dies within the block, SIGKILL included (PROC-5).

    ``env`` is all that the guardian has of the server's environment: every process of its user can read it.
    """
    guardian = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", family_module.__file__, mark),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        env=env,
        start_new_session=True,  # what is sent to the server's group is not meant for it
    )
    assert guardian.stdin is not None
    try:
        with ThreadPoolExecutor(1, "families") as thread:
            yield Families(mark, thread)
    finally:
        guardian.stdin.close()
        await guardian.wait()
