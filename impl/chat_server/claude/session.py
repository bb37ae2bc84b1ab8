"""One ``claude`` process and the question it answers."""

from __future__ import annotations

import asyncio
import logging
import signal
import uuid
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from chat_server.claude.events import Ended, StreamEvent
from chat_server.claude.invocation import Content
from chat_server.claude.lines import LineSplitter, LineTooLong
from chat_server.claude.parser import TurnParser
from chat_server.claude.workspaces import Workspace
from chat_server.errors import ClaudeFailed, TimedOut
from chat_server.logging_setup import about, only_about, share_names
from chat_server.processes.process import Process
from chat_server.text_buffer import TextBuffer

logger = logging.getLogger(__name__)

UNKNOWN_SESSION = "No conversation found with session ID"
"""How the CLI says on stderr that it cannot resume an id."""

_json = msgspec.json.Encoder()


STOPPED_CODES = frozenset(
    code for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) for code in (-number, 128 + number)
)
"""Exit codes of a process that a stop signal ended: by its own hand, or (128 + n) as the CLI and shells report it."""


class SessionUnknown(Exception):
    """The CLI does not know the session it was to resume."""


class ClaudeEnded(ClaudeFailed):
    """The process ended, or broke off its answer, and nobody here had asked it to.

    Attributes:
        signalled: Whether a stop signal did it: perhaps one that was sent to the server, too.
    """

    def __init__(self, message: str, *, signalled: bool) -> None:
        super().__init__(message)
        self.signalled = signalled


class Asked(Protocol):
    """Who has a question: the process that answers it, or the line in which it waits for one."""

    def interrupt(self) -> None:
        """It was stopped."""

    def hold(self, *, held: bool) -> None:
        """Its readers are behind; or not any more."""


class Question:
    """A prompt, what becomes of its answer, and how it is stopped or held up meanwhile.

    The answer is added to ``told``, and ``sink`` hears of each piece and of all else that happens.

    Attributes:
        owner: Whose it is.
        parser: What the CLI has said so far; a new one when the question is asked anew.
        stopped: Whether it was asked to stop.
    """

    __slots__ = ("_asked", "held", "on_event", "owner", "parser", "prompt", "stopped")

    def __init__(
        self,
        prompt: str,
        told: TextBuffer | None = None,
        sink: Callable[[StreamEvent], None] = lambda _: None,
        *,
        owner: str = "",
    ) -> None:
        self.prompt = prompt
        self.owner = owner
        self.on_event = sink
        self.parser = TurnParser(told)
        self.stopped = False
        self.held = False
        self._asked: Asked | None = None

    def stop(self) -> None:
        """Interrupt the answer: the result says so, or, after a grace, the process is ended."""
        if not self.stopped:
            self.stopped, self.held = True, False
            if self._asked is not None:
                self._asked.interrupt()

    def hold(self, held: bool) -> None:  # noqa: FBT001 - a callback of the log
        """Let the CLI wait, because everybody who reads the answer does; or go on. What is stopped is heard out."""
        self.held = held and not self.stopped
        if self._asked is not None:
            self._asked.hold(held=self.held)

    def attach(self, asked: Asked | None) -> None:
        """Whom to tell."""
        self._asked = asked


class Session:
    """A process from its start to its end, and the question it answers, if any.

    Attributes:
        started: The process, or why there is none.
        context: That of the task which owns the process; its log lines name the conversation.
        closing: Is done when the process is to end, or has ended.
        idle: When the process will be ended, unless it is asked something.
        workspace: The folders that it runs in.
    """

    __slots__ = (
        "_done",
        "_exited",
        "_grace",
        "_interrupting",
        "_last_output",
        "_lines",
        "_loop",
        "_question",
        "_silence",
        "_silence_timer",
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
        self._question: Question | None = None
        self._done: asyncio.Future[Ended] = self._loop.create_future()
        self._last_output = 0.0
        self._exited = False
        self._silence_timer: asyncio.TimerHandle | None = None
        self._interrupting: asyncio.TimerHandle | None = None

    async def ask(self, question: Question, content: Content) -> Ended:
        """Send ``content``, the question's prompt as the CLI takes it, and wait for the result.

        Raises:
            ClaudeFailed: The CLI ended without a result.
            ClaudeEnded: The same, and why it ended may not be known yet.
            SessionUnknown: The CLI does not know the session it was to resume.
            TimedOut: The turn was silent for too long.
        """
        share_names(self.context)  # the process's lines name the turn that it answers, or answered last
        self._question, self._done = question, self._loop.create_future()
        self._last_output = self._loop.time()
        self._silence_timer = self._loop.call_later(self._silence, self._check_silence)
        try:
            question.attach(self)
            self._send({"type": "user", "message": {"role": "user", "content": content}})
            if question.stopped:
                self.interrupt()
            if question.held:
                self.hold(held=True)
            if self._exited:
                self.on_exit()
            ended = await self._done
        finally:
            question.attach(None)
            self._question = None
            self._silence_timer.cancel()
            if self._interrupting is not None:
                self._interrupting.cancel()
                self._interrupting = None
            self.hold(held=False)
        if ended.error.startswith(UNKNOWN_SESSION):
            raise SessionUnknown
        if ended.aborted and not question.stopped:  # what the CLI makes of SIGINT
            raise ClaudeEnded(ended.error, signalled=True)
        return ended

    def assign(self, conversation_id: str) -> None:
        """Become the session of a conversation, which a spare one has none of yet."""
        self.conversation_id = conversation_id
        self.context.run(about, conversation_id=conversation_id)

    def interrupt(self) -> None:
        """Ask the CLI to break off the answer, and end the process if it does not."""
        self._send(
            {
                "type": "control_request",
                "request_id": uuid.uuid4().hex,
                "request": {"subtype": "interrupt"},
            }
        )
        self._interrupting = self._loop.call_later(self._grace, self.close)
        self.hold(held=False)

    def hold(self, *, held: bool) -> None:
        """Leave what the process writes in its pipe, or read on."""
        self._last_output = self._loop.time()
        self.started.result().hold(held=held)

    def close(self) -> None:
        """Let the process be ended."""
        if self.idle is not None:
            self.idle.cancel()
            self.idle = None
        if not self.closing.done():
            self.closing.set_result(None)

    def on_stdout(self, data: bytes) -> None:
        """Tell the question's sink what the process wrote; lines that no question waits for belong to nobody."""
        if not data:
            self.close()
            return
        self._last_output = self._loop.time()
        try:
            lines = self._lines.feed(data)
            if self._question is None or self._done.done():
                return
            for event in self._question.parser.feed(lines):
                if isinstance(event, Ended):
                    self._done.set_result(event)
                    return
                self._question.on_event(event)
        except LineTooLong as error:
            self.fail(ClaudeFailed(f"Claude wrote {error}"))
        except Exception:
            logger.exception("output of the CLI could not be processed")
            self.fail(ClaudeFailed("the server failed on what Claude wrote; it is in its log"))

    def fail(self, error: Exception) -> None:
        """End the process, and the question it answers with ``error``."""
        if self._question is not None and not self._done.done():
            self._done.set_exception(error)
        self.close()

    def on_exit(self) -> None:
        """The process has ended, or never began: nobody need wait any more."""
        self._exited = True
        self.close()
        if self._question is None or self._done.done():
            return
        process = self.started.result()
        if UNKNOWN_SESSION in process.stderr_tail:
            self._done.set_exception(SessionUnknown())
            return
        logger.warning(
            "= claude %d ended with %s during a turn; stderr: %s",
            process.pid,
            process.returncode,
            process.stderr_tail,
        )
        self._done.set_exception(
            ClaudeEnded(
                f"Claude ended in the middle of the turn (exit code {process.returncode})",
                signalled=process.returncode in STOPPED_CODES,
            )
        )

    def _send(self, message: dict[str, Any]) -> None:
        self.started.result().send_line(_json.encode(message))

    def _check_silence(self) -> None:
        """End the turn if nothing was heard for too long; while it is held, nothing can be."""
        assert self._question is not None
        if self.closing.done():
            return  # the end of the process, which is on its way, ends the turn
        now = self._loop.time()
        since = now if self._question.held else self._last_output
        if now - since >= self._silence:
            self.fail(TimedOut(f"Claude was silent for {self._silence:g} seconds; the turn was ended"))
        else:
            self._silence_timer = self._loop.call_at(since + self._silence, self._check_silence)
