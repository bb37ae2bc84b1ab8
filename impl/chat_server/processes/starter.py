"""Starts processes by way of the guardian, whose blocks no descendant of theirs outlives; the server's end of it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from errno import ESRCH
from pathlib import Path

from chat_server.processes.kernel import adopt_orphans
from chat_server.processes.marked import VARIABLE, descendants, kill, relations, send
from chat_server.processes.pipes import OutputListener
from chat_server.processes.process import END_SECONDS, Process
from chat_server.tasks import uncancelled

logger = logging.getLogger(__name__)

PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[2]); "
    "from chat_server.processes.guardian import main; main(sys.argv[1])"
)

STARTS_AT_ONCE = 16
"""How many starts wait for the guardian in parallel: each has four descriptors on their way."""

ANSWER_SECONDS = 10.0
"""How long the guardian may take to start a process, or to end; one that does not answer is taken for dead."""

AGAIN_SECONDS = 1.0
"""How long after the end of a guardian another one is started: it may have ended because it cannot run."""


class Starter:
    """What the server has of the guardian (processes/guardian.py), and of the one that follows when it is killed."""

    def __init__(self, mark: str, env: Mapping[str, str]) -> None:
        """``mark`` is the beginning of the marks of all processes, ``env`` the guardian's own environment."""
        self._mark = mark
        self._env = env
        self._loop = asyncio.get_running_loop()
        self._processes: dict[int, Process] = {}  # by number, those that are not gone
        self._last = 0
        self._places = asyncio.Semaphore(STARTS_AT_ONCE)
        self._ready = asyncio.Event()
        self._line: Line | None = None
        self._program: asyncio.subprocess.Process | None = None

    async def start(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], listener: OutputListener
    ) -> Process:
        """A process that runs ``argv``; the caller must have it killed.

        Raises:
            OSError: The program cannot be started.
            ValueError: A word has a null byte in it.
        """
        self._last += 1
        number = self._last
        marked = {**env, VARIABLE: f"{self._mark}-{number}."}
        words = [str(cwd), *argv, *(f"{name}={value}" for name, value in marked.items())]
        if any("\0" in word for word in words):
            raise ValueError("embedded null byte")
        async with self._places:
            await self._guarded(argv[0])
            with ExitStack() as stack:
                theirs, ours = _pipes(stack)
                # A message to the guardian has at most 4 KiB; words and environment can be far longer, so they go in
                # a file.
                spec = os.memfd_create("start")
                stack.callback(os.close, spec)
                os.write(spec, b"\0".join(map(os.fsencode, words)))
                # It is in the map before the guardian is asked, so that the answer finds it.
                process = self._processes[number] = Process(self, number, ours, listener)
                self.ask("start", number, len(argv), (*theirs, spec))
            try:
                await self._begun(process)
            except OSError as error:
                self.forget(number)
                process.close()
                error.filename = str(cwd) if error.filename == "cwd" else argv[0]
                raise
            except asyncio.CancelledError:
                await uncancelled(process.kill())
                raise
        return process

    async def _guarded(self, program: str) -> None:
        """Wait for the guardian, who may just be followed by another."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            raise OSError(ESRCH, "there is no guardian to start it", program) from None

    async def _begun(self, process: Process) -> None:
        await asyncio.wait([process.started], timeout=ANSWER_SECONDS)
        if not process.started.done():
            logger.error("the guardian of the claude processes does not answer")
            self._kill()  # all that wait get an error
            await asyncio.wait([process.started])
        process.started.result()

    def ask(self, word: str, number: int, value: int = 0, fds: Sequence[int] = ()) -> None:
        """Have something done; what was asked of a guardian that has ended since, its end has done."""
        if self._line is not None:
            self._line.send(f"{word} {number} {value:d}", fds)

    def forget(self, number: int) -> None:
        """Report no more of a process."""
        self._processes.pop(number, None)

    def _on_report(self, word: str, number: int, value: int, what: str = "") -> None:
        """What the guardian reports."""
        if word == "bare":
            logger.warning(
                "this system has no subreapers: what clears its environment is not found when it must end"
            )
            return
        if word == "beyond":
            logger.error(
                "process %d is another user's, though a claude started it: it cannot be ended", value
            )
            word = "gone"  # it is not waited for
        if process := self._processes.get(number):
            process.on_report(word, value, what)

    async def keep(self) -> None:
        """Have a guardian until this is cancelled: one that is killed is followed by another."""
        while True:
            try:
                await self._keep_one()
            except OSError:
                logger.exception("the guardian of the claude processes cannot be started")
            await asyncio.sleep(AGAIN_SECONDS)

    async def _keep_one(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        line = self._line = Line(ours, self._on_report)
        try:
            # Our copy of its end must be closed: else its death would not close the socket, and nobody would notice.
            with theirs:
                program = self._program = await asyncio.create_subprocess_exec(
                    # Neither PYTHON* variables nor site-packages (-I, -S) change what it runs; and it starts sooner.
                    *(sys.executable, "-I", "-S", "-c", PROGRAM, self._mark, str(Path(__file__).parents[2])),
                    stdin=theirs.fileno(),
                    stdout=asyncio.subprocess.DEVNULL,
                    env=self._env,
                    # What is sent to the server's group is not meant for it.
                    start_new_session=True,
                )
            self._ready.set()
            try:
                await asyncio.wait([line.ended])
                logger.error("the guardian of the claude processes has ended, and so do they")
            finally:
                self._ready.clear()
                line.close()
                await uncancelled(self._end(program))
        finally:
            line.close()

    def _kill(self) -> None:
        if self._program is not None and self._program.returncode is None:
            self._program.kill()

    async def _end(self, program: asyncio.subprocess.Process) -> None:
        """Wait for the end of a guardian, and end what one that was killed has left."""
        waiting = asyncio.ensure_future(program.wait())
        await asyncio.wait([waiting], timeout=ANSWER_SECONDS)
        self._kill()
        # With 0 it has come to the end of its own `_finish`; with another code it was killed, or failed, on the way.
        if await waiting == 0:
            return
        if left := await asyncio.to_thread(end_orphans, self._mark):
            logger.error("these processes do not end: %s", left)
        for process in tuple(self._processes.values()):
            process.on_report("failed", ESRCH, "program")
            process.on_report("exited", -signal.SIGKILL)
            process.on_report("gone", 0)


class Line:
    """The socket to the guardian.

    Attributes:
        ended: Is done when the other end is closed.
    """

    def __init__(self, ours: socket.socket, on_report: Callable[..., None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = ours
        self._on_report = on_report
        self._waiting: deque[tuple[bytes, list[int]]] = deque()  # what the socket did not take yet
        self.ended: asyncio.Future[None] = self._loop.create_future()
        ours.setblocking(False)
        self._loop.add_reader(ours.fileno(), self._read)

    def send(self, message: str, fds: Sequence[int]) -> None:
        """Send a message as soon as it can be; descriptors are copied."""
        if self.ended.done():
            return
        # Copies: the caller closes its own as soon as this returns.
        self._waiting.append((message.encode(), [os.dup(fd) for fd in fds]))
        # Else an earlier message waits for room, and this one waits behind it: the order must be kept.
        if len(self._waiting) == 1:
            self._write()
            if self._waiting:
                self._loop.add_writer(self._socket.fileno(), self._write_on)

    def close(self) -> None:
        """Close it; what was not sent is dropped."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket.fileno())
        if self._waiting:
            self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for _, fds in self._waiting:
            _close(fds)
        self._waiting.clear()
        if not self.ended.done():
            self.ended.set_result(None)

    def _write(self) -> None:
        while self._waiting:
            message, fds = self._waiting[0]
            try:
                socket.send_fds(self._socket, [message], fds)
            except BlockingIOError:
                return
            except OSError:
                # It has ended, which the reader learns, too.
                pass
            self._waiting.popleft()
            _close(fds)

    def _write_on(self) -> None:
        self._write()
        if not self._waiting:
            self._loop.remove_writer(self._socket.fileno())

    def _read(self) -> None:
        while not self.ended.done():
            try:
                message = self._socket.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self.close()
                return
            word, number, value, *what = message.decode().split()
            self._on_report(word, int(number), int(value), *what)


def _pipes(stack: ExitStack) -> tuple[list[int], list[int]]:
    """Three pipes: the child's ends, which are closed with the stack, and ours."""
    theirs: list[int] = []
    ours: list[int] = []
    stack.callback(_close, theirs)
    with ExitStack() as failed:
        failed.callback(_close, ours)
        for number in range(3):
            read, write = os.pipe()
            theirs.append(write if number else read)
            ours.append(read if number else write)
        failed.pop_all()
    return theirs, ours


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def end_orphans(mark: str) -> list[int]:
    """KILL what a guardian left that was killed; returns what does not end. It blocks.

    Its descendants are children of this process now (``adopt_orphans``). Those that this process started itself are in
    its own session, where no orphan can get; what carries the mark may be anybody's child.
    """
    us, session = os.getpid(), os.getsid(0)
    deadline = time.monotonic() + END_SECONDS
    while True:
        known = relations()
        orphans = [pid for pid, each in known.items() if each.parent == us and each.session != session]
        for pid in orphans:
            if known[pid].ended:
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        tree = descendants(known, orphans)
        refused = send(tree, signal.SIGKILL)
        if len(refused) == len(tree) or time.monotonic() > deadline:
            return [*tree, *kill(mark, END_SECONDS)]
        # The loop, not this thread, sees the exits of children.
        time.sleep(0.01)


@asynccontextmanager
async def starting(mark: str, env: Mapping[str, str]) -> AsyncIterator[Starter]:
    """A guardian for the length of the block; if this process dies within it, all that was started ends (PROC-5)."""
    starter = Starter(mark, env)
    adopt_orphans()  # of a guardian that is killed
    keeping = asyncio.create_task(starter.keep())
    try:
        yield starter
    finally:
        keeping.cancel()
        await uncancelled(_until_over(keeping))
        adopt_orphans(adopt=False)


async def _until_over(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])


@asynccontextmanager
async def running(
    starter: Starter,
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    grace: float,
    listener: OutputListener,
) -> AsyncIterator[Process]:
    """Run ``argv`` for the length of the block; nothing that it started outlives the block.

    ``listener`` gets what the process writes on stdout, as it comes, and empty bytes at EOF.

    Raises:
        OSError: The program cannot be started.
        ValueError: A word has a null byte in it.
    """
    process = await starter.start(argv, cwd=cwd, env=env, listener=listener)
    try:
        yield process
    finally:
        try:
            await process.stop(grace)
        finally:  # reached too when a cancellation lands in the wait
            await uncancelled(process.kill())
            logger.info("= claude %d ended with %s", process.pid, process.returncode)
