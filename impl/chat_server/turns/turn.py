"""One running turn: its prompt, its parser, its log, and how it ends."""

from __future__ import annotations

import asyncio
import logging

from chat_server.claude.events import Init, Result, TurnEvent
from chat_server.claude.parser import TurnParser
from chat_server.claude.pool import Claude
from chat_server.claude.session import Interruptible, SessionUnknown
from chat_server.errors import ChatError, ClaudeFailed, ClaudeUnavailable, Interrupted
from chat_server.logging_setup import about
from chat_server.metrics import Metrics
from chat_server.protocol import Status
from chat_server.store.records import Progress
from chat_server.tasks import uncancelled
from chat_server.turns.event_log import TurnLog
from chat_server.turns.saving import Outcome, TurnRecorder

logger = logging.getLogger(__name__)

FRESH_SESSION = "Claude no longer has the earlier part of this conversation"


class Turn:
    """A turn that runs, or has ended a short while ago. To a claude session it is an ``Exchange``.

    Attributes:
        owner: The user's name.
        prompt: What the user wrote.
        log: The events that readers follow.
        session_id: The CLI's id of the conversation, as far as it is known.
        parser: Reads the CLI's output, and appends text to the log's buffer. A retry has a new one.
        stopped: Whether the user has stopped the turn.
        ended: Is done when the turn has ended and nothing of it runs any more.
    """

    __slots__ = (
        "__weakref__",
        "_admitted_at",
        "_claude",
        "_metrics",
        "_process",
        "_recorder",
        "ended",
        "log",
        "owner",
        "parser",
        "prompt",
        "session_id",
        "stopped",
    )

    def __init__(
        self,
        owner: str,
        prompt: str,
        log: TurnLog,
        session_id: str | None,
        *,
        claude: Claude,
        recorder: TurnRecorder,
        metrics: Metrics,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.owner = owner
        self.prompt = prompt
        self.log = log
        self.session_id = session_id
        self.parser = TurnParser(log.text)
        self.stopped = False
        self.ended: asyncio.Future[None] = loop.create_future()
        self._claude = claude
        self._recorder = recorder
        self._metrics = metrics
        self._process: Interruptible | None = None
        self._admitted_at = loop.time()

    def stop(self) -> None:
        """Interrupt the answer; its result says so, or, after a grace, the process is ended (CANCEL-1)."""
        # Once: a second interrupt would begin the grace again, and the timer of the first would be lost.
        if not self.stopped:
            self.stopped = True
            if self._process is not None:
                self._process.interrupt()

    def attach(self, process: Interruptible | None) -> None:
        """Interrupt this when the turn is stopped: a session, or the ticket of a turn that waits for one."""
        self._process = process

    def on_text(self) -> None:
        """The first text has come."""
        self._metrics.first_token(asyncio.get_running_loop().time() - self._admitted_at)

    def on_event(self, event: Init | TurnEvent) -> None:
        """Record an event of the CLI and append it to the log."""
        if not isinstance(event, Init):
            self._record(event)
        elif event.session_id != self.session_id:
            # TURN-8: a resumed session has the id of before; with another the CLI has begun a new one by itself.
            if self.session_id is not None:
                self._note_fresh_session()
            self.session_id = event.session_id
            self._recorder.save_session(event.session_id)

    def _record(self, event: TurnEvent) -> None:
        self._recorder.steps.record(event, self.parser.length)
        self.log.append(event)

    def _note_fresh_session(self) -> None:
        self._record(Status(status="fresh_session", detail=FRESH_SESSION))

    def progress(self) -> Progress | None:
        """What is to be saved now, if anything has changed."""
        # The outcome is stored, or `forget` retries it: there is no progress to add to it.
        if self.log.ended:
            return None
        return self._recorder.progress(self.log.last, self.parser.text, self.parser.usage)

    def on_saved(self) -> None:
        """What ``progress`` gave last is in the database."""
        self._recorder.on_saved()

    async def run(self) -> None:
        """Own the turn from admission to its terminal event."""
        ids = self.log.accepted
        about(user=self.owner, conversation_id=ids.conversation_id, message_id=ids.message_id)
        try:
            await self._end(await self._answer())
        except asyncio.CancelledError:
            # The server stops. What there is of the answer is stored all the same.
            interrupted = Interrupted("the server was stopped during this turn")
            await uncancelled(self._end(self._failure(interrupted)))
            raise
        finally:
            await self._recorder.settle()

    async def forget(self) -> None:
        """Retry an outcome that could not be stored; then keep only what readers of an ended turn need, the log."""
        await self._recorder.retry_outcome()
        self.parser = TurnParser()

    async def _answer(self) -> Outcome:
        """Have the prompt answered; how that ended."""
        try:
            result = await self._ask()
            # Without its session id the next turn could not continue this one: then it has failed, though Claude has
            # answered.
            await self._recorder.finish_writes()
        except ChatError as error:
            return self._failure(error)
        except Exception:
            logger.exception("the turn failed")
            message = "the server failed during this turn; it is in the log"
            return Outcome("failed", ClaudeFailed.code, message, self.parser.usage)
        # A stop that came too late changes nothing: the CLI had answered, and the turn is complete.
        if self.stopped and result.aborted:
            return Outcome("cancelled", "cancelled", usage=result.usage)
        if result.error:
            return self._failure(ClaudeFailed(result.error))
        return Outcome("complete", result.stop_reason, usage=result.usage)

    async def _ask(self) -> Result:
        conversation_id = self.log.accepted.conversation_id
        try:
            return await self._claude.ask(conversation_id, self.session_id, self)
        except SessionUnknown:
            # The CLI has lost the session: the prompt is answered in a new one, by a new process.
            self._note_fresh_session()
            self.parser = TurnParser(self.log.text)
            self.session_id = None
            return await self._claude.ask(conversation_id, None, self)

    def _failure(self, error: ChatError) -> Outcome:
        """The outcome of a turn without a good result; its usage is what the stream itself has reported."""
        usage, free = self.parser.usage, isinstance(error, ClaudeUnavailable)
        if isinstance(error, Interrupted):
            return Outcome("interrupted", error.code, error.message, usage)
        # An error after a stop is how the stop ended.
        if self.stopped:
            return Outcome("cancelled", "cancelled", usage=usage, free=free)
        return Outcome("failed", error.code, error.message, usage, free)

    async def _end(self, outcome: Outcome) -> None:
        """Make the outcome durable, then send it (HIST-1)."""
        outcome = await self._recorder.save_outcome(outcome, self.parser.text)
        self._metrics.ended(outcome.status)
        logger.info("= turn ended: %s %s", outcome.status, outcome.message or outcome.code)
        self.log.append(outcome.event())
