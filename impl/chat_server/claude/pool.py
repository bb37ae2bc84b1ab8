"""Warm ``claude`` processes: one per conversation, and a few started ahead."""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress

from chat_server.claude import invocation
from chat_server.claude.environment import config_folder, environment, passed_on
from chat_server.claude.events import Result
from chat_server.claude.session import ClaudeEnded, Exchange, Session
from chat_server.claude.waiting_line import WaitingLine
from chat_server.claude.workspaces import Workspace, Workspaces, adopt_transcripts, remove, transcripts
from chat_server.errors import ClaudeUnavailable, Interrupted
from chat_server.processes.starter import running, starting
from chat_server.protocol import Status
from chat_server.settings import PLACEHOLDER, Settings
from chat_server.tasks import uncancelled

logger = logging.getLogger(__name__)


STOP_SECONDS = 1.0
"""How soon after a claude that died of a stop signal the server must get one, too, for the two to be one event."""


class Claude:
    """All ``claude`` processes of the server; the one place that starts them.

    Use as a context manager: it owns the processes, and none outlives it (PROC-3).
    """

    def __init__(self, command: Sequence[str], settings: Settings) -> None:
        self._command = [*command, *invocation.arguments(settings)]
        self._settings = settings
        self._server_env = dict(os.environ)
        self._passed_on = passed_on(self._server_env, settings.claude_env)
        home = settings.claude_home
        shared = self._server_env if home is None else {**self._server_env, "HOME": str(home)}
        # Where the CLI kept sessions before each conversation had a HOME of its own.
        self._shared_config = config_folder(shared)
        self._workspaces = Workspaces(settings.data / "workspaces")
        self._sessions: dict[str, Session] = {}  # by conversation
        self._spares: list[Session] = []  # started ahead, for new conversations
        # Users take turns in the queue, so that one with many tabs does not keep others out.
        self._line = WaitingLine()
        # Places given to waiting turns that have not started their process yet: they count as taken.
        self._granted = 0
        self._group = asyncio.TaskGroup()
        self._stopping = asyncio.Event()
        self._owned = AsyncExitStack()

    async def __aenter__(self) -> Claude:
        await asyncio.to_thread(self._workspaces.prepare)
        self._starter = await self._owned.enter_async_context(starting(uuid.uuid4().hex, self._passed_on))
        await self._owned.enter_async_context(self._group)
        self._refill_spares()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.stop_soon()
        # All at once: one after the other, their graces would add up.
        for session in (*self._sessions.values(), *self._spares):
            session.close()
        await self._owned.aclose()

    def stop_soon(self) -> None:
        """Learn that the server is stopping: no process is started ahead any more."""
        self._stopping.set()

    @property
    def processes(self) -> int:
        """How many processes live or are being ended."""
        return len(self._sessions) + len(self._spares)

    @property
    def waiting(self) -> int:
        """How many turns wait for a process."""
        return len(self._line)

    async def ask(self, conversation_id: str, resume: str | None, exchange: Exchange) -> Result:
        """Send a prompt to the conversation's process, and wait for the result.

        ``resume`` is the session to continue when no warm process has it; ``None`` begins a new one.

        Raises:
            ClaudeUnavailable: The CLI cannot be started, or no process got free in time.
            ClaudeFailed: The CLI ended without a result.
            Interrupted: The same, because of a stop signal that was meant for the server, too (PROC-5).
            SessionUnknown: The CLI does not know ``resume``.
            TimedOut: The turn was silent for too long.
        """
        session = await self._session(conversation_id, resume, exchange)
        healthy = False
        try:
            await asyncio.wait([session.started])
            session.started.result()
            result = await session.ask(exchange, invocation.content(exchange.prompt, self._settings))
            healthy = True
        except OSError as error:
            detail = f"{error.strerror}: {error.filename}"
            logger.warning("claude could not be started: %s", detail)
            raise ClaudeUnavailable("Claude could not be started", detail=detail) from error
        except ClaudeEnded as error:
            if not exchange.stopped and await self._is_stopping(soon=error.signalled):
                raise Interrupted("the server was stopped during this turn") from error
            raise
        finally:
            # Kept warm only after a result: what a process without one still writes could get into the next turn.
            if healthy and self._settings.claude_idle_seconds > 0:
                loop = asyncio.get_running_loop()
                session.idle = loop.call_later(self._settings.claude_idle_seconds, session.close)
            else:
                session.close()
            self._line.release(exchange.owner)
            self._make_room()
        return result

    async def _is_stopping(self, *, soon: bool) -> bool:
        """Whether the server is stopping, or ``soon`` will be: a signal that is sent to all need not reach it first."""
        if soon:
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._stopping.wait()
        return self._stopping.is_set()

    async def end(self, conversation_id: str) -> None:
        """End the conversation's process, if there is one, and wait until it is gone."""
        session = self._sessions.get(conversation_id)
        if session is not None and session.task is not None:
            session.close()
            await asyncio.wait([session.task])

    async def forget(self, conversation_id: str, session: str | None) -> None:
        """Remove all that the CLI keeps of a conversation whose process has ended (HIST-5)."""
        workspace = self._workspaces.release(conversation_id)
        if workspace is not None:
            await asyncio.to_thread(self._workspaces.remove, workspace)
        if session is not None:
            await asyncio.to_thread(self._remove_transcripts, session)

    def _remove_transcripts(self, session: str) -> None:
        """Those in a HOME that conversations share, or shared when this one began."""
        for path in tuple(transcripts(self._shared_config, session)):
            remove(path)

    async def _session(self, conversation_id: str, resume: str | None, exchange: Exchange) -> Session:
        """The conversation's process, warm or just started, counted among its user's."""
        while (session := self._sessions.get(conversation_id)) is not None:
            if not session.closing.done():
                if session.idle is not None:
                    session.idle.cancel()
                    session.idle = None
                self._line.serve(exchange.owner)
                return session
            assert session.task is not None
            # Never two processes on one session: both would append to its transcript.
            await asyncio.wait([session.task])
        spare = next((each for each in self._spares if not each.closing.done()), None)
        # A spare has empty folders and a new session: it suits only a conversation that has neither.
        if resume is None and spare is not None and self._workspaces.find(conversation_id) is None:
            session = spare
            self._assign(session.workspace, conversation_id)
            self._spares.remove(session)
            session.assign(conversation_id)
            self._line.serve(exchange.owner)
        else:
            await self._place(exchange)
            try:
                session = self._start(conversation_id, resume)
            except ClaudeUnavailable:
                self._line.release(exchange.owner)
                self._make_room()
                raise
        self._sessions[conversation_id] = session
        self._refill_spares()
        return session

    def _refill_spares(self) -> None:
        """Have as many spare processes as are wanted, where there is room."""
        # Not at the cost of those who wait: each takes one off what is free.
        wanted = min(self._settings.claude_spare, len(self._spares) + self._free - len(self._line))
        try:
            while len(self._spares) < wanted and not self._stopping.is_set():
                self._spares.append(self._start("", None))
        except ClaudeUnavailable as error:
            logger.warning("no process can be started ahead: %s", error)

    def _start(self, conversation_id: str, resume: str | None) -> Session:
        """Start a process in the folders of its conversation, if it has one, else in new ones.

        Raises:
            ClaudeUnavailable: The folders cannot be made.
        """
        session = Session(
            conversation_id,
            self._workspace(conversation_id, resume),
            line_max_bytes=self._settings.claude_line_max_bytes,
            silence=self._settings.claude_silence_seconds,
            grace=self._settings.claude_grace_seconds,
        )
        named = ("--resume", resume) if resume else ("--session-id", str(uuid.uuid4()))
        session.task = self._group.create_task(self._run(session, named), context=session.context)
        return session

    def _workspace(self, conversation_id: str, resume: str | None) -> Workspace:
        try:
            known = self._workspaces.find(conversation_id) if conversation_id else None
            if known is not None:
                return known
            made = self._workspaces.new()
            if resume is not None and self._settings.claude_home is None:
                adopt_transcripts(self._shared_config, resume, made)
        except OSError as error:
            raise _no_folders(error) from error
        if conversation_id:
            self._assign(made, conversation_id)
        return made

    def _assign(self, workspace: Workspace, conversation_id: str) -> None:
        try:
            self._workspaces.assign(workspace, conversation_id)
        except OSError as error:
            raise _no_folders(error) from error

    @property
    def _free(self) -> int:
        """How many more processes may be started; those who wait get them first."""
        return self._settings.claude_max_processes - self.processes - self._granted

    async def _place(self, exchange: Exchange) -> None:
        """Wait until one more process may be started, and count it among the owner's.

        Raises:
            ClaudeUnavailable: All are answering, and too many wait, or it took too long; or the turn was stopped.
        """
        # With a free place the queue is empty: places are granted as soon as they are free.
        if self._free > 0:
            self._line.serve(exchange.owner)
            return
        ticket = self._line.join(exchange.owner)
        try:
            self._make_room()
            if (more := len(self._line) - self._leaving) > 0:
                self._let_wait(more, exchange)
            exchange.attach(ticket)
            if exchange.stopped:
                ticket.interrupt()
            async with asyncio.timeout(self._settings.claude_wait_seconds or None):
                await ticket.granted
        except BaseException as error:
            exchange.attach(None)
            self._line.leave(ticket)
            # The place was granted in the very moment in which the wait ended: the next ticket gets it.
            if ticket.has_place:
                self._granted -= 1
                self._line.release(exchange.owner)
                self._make_room()
            if isinstance(error, TimeoutError):
                raise ClaudeUnavailable(self._all_answer()) from None
            raise
        exchange.attach(None)
        self._line.leave(ticket)
        self._granted -= 1

    def _let_wait(self, more: int, exchange: Exchange) -> None:
        """Say that this turn waits for others; if too many wait, refuse one."""
        most = self._settings.claude_waiting if self._settings.claude_wait_seconds else 0
        if more > most:
            self._line.refuse_one(self._all_answer())
        if most:
            detail = "every Claude is answering others; this question is in line"
            exchange.on_event(Status(status="waiting", detail=detail))

    def _all_answer(self) -> str:
        limit = self._settings.claude_max_processes
        return f"all {limit} claude processes are answering; try again soon"

    @property
    def _leaving(self) -> int:
        """How many processes are being ended."""
        return sum(1 for each in (*self._sessions.values(), *self._spares) if each.closing.done())

    def _make_room(self) -> None:
        """Give free places to those who wait; for the others end spare processes, or those that were idle longest."""
        while self._free > 0 and self._line.grant():
            self._granted += 1
        # Processes that are being ended will make room by themselves. Example: of four, one answers, two are idle,
        # and one is being ended; two turns wait. The place of the fourth is for one of them, so one of the idle is
        # ended for the other.
        more = len(self._line) - self._leaving
        if more > 0:
            idle = [each for each in self._sessions.values() if each.idle is not None]
            # All may be idle for the same time, so the timer that is due first is that of the one that was idle
            # longest.
            idle.sort(key=lambda each: each.idle.when() if each.idle else 0.0)
            unneeded = [each for each in (*self._spares, *idle) if not each.closing.done()]
            for session in unneeded[:more]:
                session.close()

    async def _run(self, session: Session, named: tuple[str, str]) -> None:
        """Own one process from start to end."""
        workspace, home = session.workspace, self._settings.claude_home
        cwd = self._settings.claude_cwd or workspace.work
        folders = {"home": str(home or workspace.home), "work": str(cwd), "tmp": str(workspace.tmp)}
        try:
            async with running(
                self._starter,
                [*wrapped(self._settings.claude_wrapper, self._command, folders), *named],
                cwd=cwd,
                env=environment(self._server_env, self._passed_on, workspace, home)
                | invocation.environment(self._settings),
                grace=self._settings.claude_grace_seconds,
                listener=session,
            ) as process:
                session.started.set_result(process)
                logger.info("= claude %d started", process.pid)
                await session.closing
        except Exception as error:
            if session.started.done():
                logger.exception("the process failed")
            else:
                session.started.set_exception(error)
                # Mark it as retrieved: the turn may have been cancelled.
                session.started.exception()
        finally:
            # First out of the maps: `_make_room` counts what is in them.
            if self._sessions.get(session.conversation_id) is session:
                del self._sessions[session.conversation_id]
            if session in self._spares:
                self._spares.remove(session)
            session.on_exit()
            self._make_room()
            if not session.conversation_id:
                # No conversation has its folders, so no later `forget` would remove them.
                await uncancelled(asyncio.to_thread(self._workspaces.remove, workspace))


def wrapped(wrapper: Sequence[str], command: Sequence[str], folders: Mapping[str, str]) -> list[str]:
    """The command after its wrapper, whose placeholders are filled in."""
    values = {**folders, "claude": command[0]}
    return [*(PLACEHOLDER.sub(lambda found: values[found[1]], word) for word in wrapper), *command]


def _no_folders(error: OSError) -> ClaudeUnavailable:
    return ClaudeUnavailable(
        f"Claude could not be started: its folders cannot be made: {error.strerror}: {error.filename}"
    )
