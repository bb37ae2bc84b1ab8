"""One warm ``claude`` process per conversation."""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from impl.errors import ClaudeFailed, ClaudeUnavailable, TimedOut
from impl.logs import only_about
from impl.process import CHUNK, Process, guarded, running
from impl.settings import Settings
from impl.stream import Ended, Lines, LineTooLong, StreamEvent, TurnParser

logger = logging.getLogger(__name__)

UNKNOWN_SESSION = "No conversation found with session ID"
"""How the CLI says on stderr that it cannot resume an id."""

LAST_WORDS_SECONDS = 1.0
"""How long the pipe of a process that has ended is read on, where somebody else holds it open."""

_json = msgspec.json.Encoder()


class SessionUnknown(Exception):
    """The CLI does not know the session it was to resume."""


@dataclass
class _Turn:
    """The turn that a session is answering."""

    parser: TurnParser
    sink: Callable[[StreamEvent], None]
    done: asyncio.Future[Ended]
    timeout: asyncio.Timeout
    silence: float


@dataclass(eq=False)
class Session:
    """A conversation's process, and the turn it answers, if any."""

    conversation_id: str
    started: asyncio.Future[Process]
    task: asyncio.Task[None] | None = None
    turn: _Turn | None = None
    idle: asyncio.TimerHandle | None = None
    closing: asyncio.Event = field(default_factory=asyncio.Event)


class Claude:
    """All ``claude`` processes of the server; the one place that starts them.

    Use as a context manager: it owns the processes, and none outlives it (PROC-3).
    """

    def __init__(self, command: Sequence[str], settings: Settings, cwd: Path) -> None:
        self._command = [
            *command,
            *("-p", "--input-format", "stream-json", "--output-format", "stream-json"),
            *("--verbose", "--include-partial-messages"),  # PROC-2: stream-json needs --verbose
            *("--tools", settings.claude_tools),
            *(("--permission-mode", mode) if (mode := settings.claude_permission_mode) else ()),
            *(("--model", settings.claude_model) if settings.claude_model else ()),
            *settings.claude_args,
        ]
        self._settings = settings
        self._cwd = cwd
        self._sessions: dict[str, Session] = {}
        self._group = asyncio.TaskGroup()
        self._mark = uuid.uuid4().hex  # all processes are marked with it and a number
        self._started = 0
        self._owned = AsyncExitStack()

    async def __aenter__(self) -> Claude:
        await self._owned.enter_async_context(guarded(self._mark))
        await self._owned.enter_async_context(self._group)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for session in tuple(self._sessions.values()):
            self._close(session)
        await self._owned.aclose()

    @property
    def processes(self) -> int:
        """How many processes live or are being ended."""
        return len(self._sessions)

    async def ask(
        self,
        conversation_id: str,
        resume: str | None,
        prompt: str,
        *,
        sink: Callable[[StreamEvent], None],
        parser: TurnParser,
        stop: asyncio.Event,
    ) -> Ended:
        """Run one turn of a conversation, telling what ``parser`` makes of it to ``sink`` as it comes.

        ``resume`` is the session to continue when no warm process has it; ``None`` begins a new one.
        Setting ``stop`` interrupts the turn: the result says so, or, after the grace, the process is ended.

        Raises:
            ClaudeUnavailable: The CLI cannot be started, or every process is busy.
            ClaudeFailed: The CLI ended without a result.
            SessionUnknown: The CLI does not know ``resume``.
            TimedOut: The turn was silent for too long.
        """
        session = await self._session(conversation_id, resume)
        try:
            process = await asyncio.shield(session.started)
        except OSError as error:
            raise ClaudeUnavailable(
                f"Claude could not be started: {error.strerror}: {error.filename}"
            ) from error
        done: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        healthy = False
        try:
            async with asyncio.timeout(self._settings.claude_silence_seconds) as timeout:
                session.turn = _Turn(parser, sink, done, timeout, self._settings.claude_silence_seconds)
                message = {"type": "user", "message": {"role": "user", "content": prompt}}
                process.send_line(_json.encode(message))
                ended = await self._until_done(session, done, stop)
            if ended.error.startswith(UNKNOWN_SESSION):
                raise SessionUnknown
            healthy = True
        except TimeoutError:
            seconds = self._settings.claude_silence_seconds
            raise TimedOut(f"Claude was silent for {seconds:g} seconds; the turn was ended") from None
        finally:
            session.turn = None
            if healthy and self._settings.claude_idle_seconds > 0:
                loop = asyncio.get_running_loop()
                session.idle = loop.call_later(self._settings.claude_idle_seconds, self._close, session)
            else:
                self._close(session)
        return ended

    async def _until_done(self, session: Session, done: asyncio.Future[Ended], stop: asyncio.Event) -> Ended:
        stopping = asyncio.create_task(stop.wait())
        try:
            waits: list[asyncio.Future[Any]] = [done, stopping]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                process = session.started.result()
                request_id = uuid.uuid4().hex
                request = {
                    "type": "control_request",
                    "request_id": request_id,
                    "request": {"subtype": "interrupt"},
                }
                process.send_line(_json.encode(request))
                await asyncio.wait([done], timeout=self._settings.claude_grace_seconds)
                if not done.done():
                    self._close(session)
            return await done
        finally:
            stopping.cancel()

    async def end(self, conversation_id: str) -> None:
        """End the conversation's process, if there is one, and wait until it is gone."""
        session = self._sessions.get(conversation_id)
        if session is not None and session.task is not None:
            self._close(session)
            await asyncio.wait([session.task])

    async def _session(self, conversation_id: str, resume: str | None) -> Session:
        while (session := self._sessions.get(conversation_id)) is not None:
            if not session.closing.is_set():
                if session.idle is not None:
                    session.idle.cancel()
                    session.idle = None
                return session
            assert session.task is not None
            await asyncio.wait([session.task])  # never two processes on one session
        while len(self._sessions) >= self._settings.claude_max_processes:
            await self._make_room()
        session = Session(conversation_id, asyncio.get_running_loop().create_future())
        self._sessions[conversation_id] = session
        named = ("--resume", resume) if resume else ("--session-id", str(uuid.uuid4()))
        session.task = self._group.create_task(
            self._run(session, [*self._command, *named]), context=only_about(conversation_id=conversation_id)
        )
        return session

    async def _make_room(self) -> None:
        """Wait for a process that is being ended, or else end the one that has been idle longest.

        Raises:
            ClaudeUnavailable: All are answering.
        """
        leaving = [each for each in self._sessions.values() if each.closing.is_set()]
        if not leaving:
            idle = [each for each in self._sessions.values() if each.idle is not None]
            if not idle:
                limit = self._settings.claude_max_processes
                raise ClaudeUnavailable(f"all {limit} claude processes are answering; try again soon")
            oldest = min(idle, key=lambda each: each.idle.when() if each.idle else 0.0)
            self._close(oldest)
            leaving = [oldest]
        tasks = [each.task for each in leaving if each.task is not None]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    def _close(self, session: Session) -> None:
        if session.idle is not None:
            session.idle.cancel()
        session.closing.set()

    async def _run(self, session: Session, argv: list[str]) -> None:
        """Own one process from start to end."""
        try:
            env = {name: value for name, value in os.environ.items() if not name.startswith("CHAT_")}
            grace = self._settings.claude_grace_seconds
            self._started += 1
            mark = f"{self._mark}-{self._started}."
            async with running(argv, cwd=self._cwd, env=env, grace=grace, mark=mark) as process:
                session.started.set_result(process)
                logger.info("= claude %d started", process.pid)
                reading = asyncio.create_task(self._read(session, process))
                closing = asyncio.create_task(session.closing.wait())
                exited = asyncio.create_task(process.exited())
                try:
                    await asyncio.wait([reading, closing, exited], return_when=asyncio.FIRST_COMPLETED)
                    if (
                        exited.done()
                    ):  # what it wrote is in the pipe, though a child of its own may hold that open
                        await asyncio.wait([reading], timeout=LAST_WORDS_SECONDS)
                finally:
                    session.closing.set()
                    for task in (reading, closing, exited):
                        task.cancel()
                    await asyncio.wait([reading, closing, exited])
                if not reading.cancelled():
                    reading.result()
        except Exception as error:
            if session.started.done():
                logger.exception("the process failed")
            else:
                session.started.set_exception(error)
                session.started.exception()  # seen, even if nobody waits any more
        finally:
            session.closing.set()
            if self._sessions.get(session.conversation_id) is session:
                del self._sessions[session.conversation_id]
            if session.turn is not None and not session.turn.done.done():
                session.turn.done.set_exception(self._why(session))

    async def _read(self, session: Session, process: Process) -> None:
        """Tell the running turn what the process writes; lines outside a turn belong to nobody."""
        lines = Lines(self._settings.claude_line_max_bytes)
        try:
            while data := await process.stdout.read(CHUNK):
                for line in lines.feed(data):
                    if session.turn is not None:
                        _tell(session.turn, line)
        except LineTooLong as error:
            if session.turn is not None and not session.turn.done.done():
                session.turn.done.set_exception(ClaudeFailed(f"Claude wrote {error}"))

    def _why(self, session: Session) -> Exception:
        """Why a process that ended left its turn without a result."""
        process = session.started.result()
        if UNKNOWN_SESSION in process.stderr_tail:
            return SessionUnknown()
        logger.warning(
            "= claude %d ended with %s during a turn; stderr: %s",
            process.pid,
            process.returncode,
            process.stderr_tail,
        )
        return ClaudeFailed(f"Claude ended in the middle of the turn (exit code {process.returncode})")


def _tell(turn: _Turn, line: bytes) -> None:
    if not turn.timeout.expired():
        turn.timeout.reschedule(asyncio.get_running_loop().time() + turn.silence)
    for event in turn.parser.feed(line):
        if isinstance(event, Ended):
            if not turn.done.done():
                turn.done.set_result(event)
        else:
            turn.sink(event)
