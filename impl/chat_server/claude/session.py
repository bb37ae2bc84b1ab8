"""One ``claude`` process: it is sent a prompt, its output goes to the turn, and it is interrupted or ended."""

from __future__ import annotations

import asyncio
import logging
import signal
import uuid
from typing import Any, Protocol

import msgspec

from chat_server.claude.events import Init, Result, TurnEvent
from chat_server.claude.invocation import Content
from chat_server.claude.lines import LineSplitter, LineTooLong
from chat_server.claude.parser import TurnParser
from chat_server.claude.workspaces import Workspace
from chat_server.errors import ClaudeFailed, TimedOut
from chat_server.logging_setup import about, only_about, share_names
from chat_server.processes.pipes import PipeReader
from chat_server.processes.process import Process

logger = logging.getLogger(__name__)

UNKNOWN_SESSION = "No conversation found with session ID"
"""How the CLI says on stderr, or in a result, that it cannot resume an id."""

_json = msgspec.json.Encoder()


STOPPED_CODES = frozenset(
    code for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) for code in (-number, 128 + number)
)
"""Exit codes of a process that a stop signal ended: directly, or (128 + n) as the CLI and shells report it."""


class SessionUnknown(Exception):
    """The CLI does not know the session it was to resume."""


class ClaudeEnded(ClaudeFailed):
    """The process exited, or broke off its answer, though this server had not asked it to.

    Attributes:
        signalled: Whether a stop signal did it: perhaps one that was sent to the server, too.
    """

    def __init__(self, message: str, *, signalled: bool) -> None:
        super().__init__(message)
        self.signalled = signalled


class Interruptible(Protocol):
    """What a stopped exchange interrupts: the session that answers it, or the ticket with which it waits for one."""

    def interrupt(self) -> None:
        """The user has stopped the answer."""


class AnswerLog(Protocol):
    """The log that an answer goes to (turns/event_log.py)."""

    def extend_text(self) -> None:
        """The parser may have appended text."""

    def set_source(self, source: PipeReader | None) -> None:
        """Pause this pipe while all readers lag."""


class Exchange(Protocol):
    """A prompt and where its answer goes: what a session needs of a turn (turns/turn.py). It outlives a retry."""

    @property
    def owner(self) -> str:
        """The user's name."""

    @property
    def prompt(self) -> str:
        """What the user wrote."""

    @property
    def stopped(self) -> bool:
        """Whether the user has stopped the answer."""

    @property
    def parser(self) -> TurnParser:
        """Reads the output; its text goes to the log."""

    @property
    def log(self) -> AnswerLog:
        """Where text goes."""

    def on_event(self, event: Init | TurnEvent) -> None:
        """An event of the answer that is no text; called before any later text is in the log."""

    def on_text(self) -> None:
        """The first text has come."""

    def attach(self, process: Interruptible | None) -> None:
        """``interrupt`` this when the answer is stopped; ``None``: nothing any more."""


class Session:
    """A process from its start to its end, and the exchange that it serves, if any.

    Attributes:
        started: The process, or why there is none.
        context: That of the task which owns the process; its log lines name the conversation.
        closing: Is done when the process is to end, or has exited.
        idle: When the process will be ended, unless it is asked something.
        workspace: The folders that it runs in.
    """

    __slots__ = (
        "_exchange",
        "_exited",
        "_grace",
        "_interrupt_timer",
        "_last_output",
        "_lines",
        "_loop",
        "_result",
        "_silence",
        "_silence_timer",
        "_text_seen",
        "closing",
        "context",
        "conversation_id",
        "idle",
        "started",
        "task",
        "workspace",
    )

    def __init__(
        self, conversation_id: str, workspace: Workspace, *, line_max_bytes: int, silence: float, grace: float
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.conversation_id = conversation_id
        self.workspace = workspace
        self.context = only_about(conversation_id=conversation_id) if conversation_id else only_about()
        self.started: asyncio.Future[Process] = self._loop.create_future()
        self.closing: asyncio.Future[None] = self._loop.create_future()
        self.task: asyncio.Task[None] | None = None
        self.idle: asyncio.TimerHandle | None = None
        self._lines = LineSplitter(line_max_bytes)
        self._silence = silence
        self._grace = grace
        self._exchange: Exchange | None = None
        self._text_seen = False
        self._result: asyncio.Future[Result] = self._loop.create_future()
        self._last_output = 0.0
        self._exited = False
        self._silence_timer: asyncio.TimerHandle | None = None
        self._interrupt_timer: asyncio.TimerHandle | None = None

    async def ask(self, exchange: Exchange, content: Content) -> Result:
        """Send ``content``, the prompt as the CLI takes it, and wait for the result.

        Raises:
            ClaudeFailed: The CLI ended without a result.
            ClaudeEnded: The same, and why it ended may not be known yet.
            SessionUnknown: The CLI does not know the session it was to resume.
            TimedOut: The turn was silent for too long.
        """
        # The process's log lines name the turn that it serves, or served last.
        share_names(self.context)
        self._exchange, self._result = exchange, self._loop.create_future()
        self._text_seen = False
        self._last_output = self._loop.time()
        self._silence_timer = self._loop.call_later(self._silence, self._check_silence)
        try:
            exchange.attach(self)
            exchange.log.set_source(self.started.result().stdout)
            self._send({"type": "user", "message": {"role": "user", "content": content}})
            # Stopped, or the process exited, between the admission of the turn and now.
            if exchange.stopped:
                self.interrupt()
            if self._exited:
                self.on_exit()
            result = await self._result
        finally:
            exchange.attach(None)
            exchange.log.set_source(None)
            self._exchange = None
            self._silence_timer.cancel()
            if self._interrupt_timer is not None:
                self._interrupt_timer.cancel()
                self._interrupt_timer = None
        if result.error.startswith(UNKNOWN_SESSION):
            raise SessionUnknown
        # Aborted, and not by us: this is what the CLI makes of SIGINT.
        if result.aborted and not exchange.stopped:
            raise ClaudeEnded(result.error, signalled=True)
        return result

    def assign(self, conversation_id: str) -> None:
        """Make a spare process that of a conversation."""
        self.conversation_id = conversation_id
        self.context.run(about, conversation_id=conversation_id)

    def interrupt(self) -> None:
        """Ask the CLI to break off the answer, and end the process if it does not within the grace."""
        request = {"subtype": "interrupt"}
        self._send({"type": "control_request", "request_id": uuid.uuid4().hex, "request": request})
        self._interrupt_timer = self._loop.call_later(self._grace, self.close)
        # The result stands behind all that the CLI has written: a stopped turn is read to its end, however slow its
        # readers are.
        if self._exchange is not None:
            self._exchange.log.set_source(None)

    def close(self) -> None:
        """Let the process be ended."""
        if self.idle is not None:
            self.idle.cancel()
            self.idle = None
        if not self.closing.done():
            self.closing.set_result(None)

    def on_output(self, data: bytes) -> None:
        """Parse output and pass it on; output outside a turn is dropped."""
        if not data:
            self.close()
            return
        self._last_output = self._loop.time()
        try:
            # Also outside a turn: half a line that was dropped would spoil the first line of the next turn.
            lines = self._lines.feed(data)
            exchange = self._exchange
            if exchange is None or self._result.done():
                return
            for event in exchange.parser.feed(lines):
                if isinstance(event, Result):
                    self._result.set_result(event)
                    break
                exchange.on_event(event)
            if not self._text_seen and exchange.parser.length:
                self._text_seen = True
                exchange.on_text()
            # Once per read and not per line: text that came together is sent together.
            exchange.log.extend_text()
        except LineTooLong as error:
            self.fail(ClaudeFailed(f"Claude wrote {error}"))
        except Exception:
            logger.exception("output of the CLI could not be processed")
            self.fail(ClaudeFailed("the server failed on what Claude wrote; it is in its log"))

    def fail(self, error: Exception) -> None:
        """End the process, and the turn that it serves with ``error``."""
        if self._exchange is not None and not self._result.done():
            self._result.set_exception(error)
        self.close()

    def on_exit(self) -> None:
        """The process has exited, or never started: a turn that waits for it fails."""
        self._exited = True
        self.close()
        if self._exchange is None or self._result.done():
            return
        # An exchange comes only after the start, so this does not raise.
        process = self.started.result()
        if UNKNOWN_SESSION in process.stderr_tail:
            self._result.set_exception(SessionUnknown())
            return
        logger.warning(
            "= claude %d ended with %s during a turn; stderr: %s",
            process.pid,
            process.returncode,
            process.stderr_tail,
        )
        self._result.set_exception(
            ClaudeEnded(
                f"Claude ended in the middle of the turn (exit code {process.returncode})",
                signalled=process.returncode in STOPPED_CODES,
            )
        )

    def _send(self, message: dict[str, Any]) -> None:
        self.started.result().stdin.write(_json.encode(message) + b"\n")

    def _check_silence(self) -> None:
        """End the turn if there was no output for too long."""
        if self.closing.done():
            # The process is being ended, and its exit ends the turn.
            return
        # While the pipe is paused nothing can be read, so that is no silence. And the time starts again when it is
        # resumed, since what the CLI wrote before may only be read after this check.
        now, stdout = self._loop.time(), self.started.result().stdout
        since = now if stdout.paused else max(self._last_output, stdout.resumed_at)
        if now - since >= self._silence:
            self.fail(TimedOut(f"Claude was silent for {self._silence:g} seconds; the turn was ended"))
        else:
            # One timer per silence, not one per line: it looks at the time of the last output.
            self._silence_timer = self._loop.call_at(since + self._silence, self._check_silence)
