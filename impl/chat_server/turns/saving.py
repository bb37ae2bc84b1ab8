"""When and how a turn is written to the database.

What is durable when, for a turn that runs:

    when                              what is written                                 a kill after this leaves
    admitted, before `accepted`       the prompt, and the request for the limits      the prompt
    `Init`, at once                   the CLI's session id                            the same, and what to resume
    every 2 s, if anything changed    the answer so far, its steps and usage          the answer up to the last save
    the end, before the terminal      answer, steps, outcome and usage, in one        all of it
    event is sent (HIST-1)            transaction

So a reader that has seen the terminal event finds the same in history. A turn that a kill left without an outcome is
shown as interrupted after the restart.

If the database is locked by another process, the session id and the outcome are written again with growing pauses, up
to a minute (TURN-11); the reader waits for its terminal event. If it cannot be written at all, the terminal event says
so, and the outcome is retried in the background until the database takes it: the usage must be counted in the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from chat_server.errors import Locked, Unavailable
from chat_server.protocol import Accepted, Complete, Failed, Usage
from chat_server.store.records import Progress
from chat_server.store.store import Store
from chat_server.tasks import uncancelled
from chat_server.turns.steps import StepRecorder

logger = logging.getLogger(__name__)

SAVE_SECONDS = 2.0
"""Interval between saves of running turns, and the first pause before an outcome is retried."""

SAVE_BATCH = 64
"""Turns saved per transaction: smaller batches cost more per turn, larger ones delay other queries."""

SAVE_DUTY_CYCLE = 10
"""Saving takes at most this part of the time (1/10): the interval grows with what the last round took."""

SAVE_RETRY_MAX_SECONDS = 60.0
"""The longest pause between two retries of an outcome; each is twice the one before."""

LOCKED_SECONDS = 60.0
"""How long the end of a turn waits for a locked database before its reader is sent an error."""

LOCKED_PAUSE, LOCKED_MAX_PAUSE = 0.25, 4.0
"""Seconds between two attempts on a locked database; each pause is twice the one before, up to the longest."""

SAVE_FAILED = "the answer could not be stored"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn ended.

    Attributes:
        status: complete, cancelled, failed or interrupted.
        code: The stop reason of a turn that is complete or cancelled, else the code of the error.
        message: Of the error.
        usage: What the turn cost.
        free: Whether it counts for no limit, because no process could be had for it (LIMIT-4).
    """

    status: str
    code: str
    message: str = ""
    usage: Usage = field(default_factory=Usage)
    free: bool = False

    def event(self) -> Complete | Failed:
        """The terminal event."""
        if self.status in {"complete", "cancelled"}:
            return Complete(usage=self.usage, stop_reason=self.code)
        return Failed(code=self.code, message=self.message)


class TurnRecorder:
    """Writes one turn: its session id, its progress, its outcome.

    Attributes:
        steps: What was recorded besides the text.
    """

    __slots__ = (
        "_closing",
        "_ids",
        "_last_saved",
        "_pending",
        "_pending_writes",
        "_store",
        "_unsaved",
        "steps",
    )

    def __init__(self, store: Store, ids: Accepted, closing: asyncio.Event) -> None:
        """``closing`` is set when the server waits no longer for a locked database."""
        self._store = store
        self._ids = ids
        self._closing = closing
        self.steps = StepRecorder()
        # Events, length of the answer, version of the steps, and usage, when they were saved last; and when they are
        # saved next.
        self._last_saved: tuple[int, int, int, Usage] = (0, 0, 0, Usage())
        self._pending = self._last_saved
        # Writes that are in progress, or have failed: a turn is not complete without its session id.
        self._pending_writes: tuple[asyncio.Task[None], ...] = ()
        self._unsaved: tuple[Outcome, str] | None = None

    def save_session(self, session_id: str) -> None:
        """Begin to write the CLI's session id."""
        write = partial(self._store.set_claude_session, self._ids.conversation_id, session_id)
        task = asyncio.create_task(self._despite_locks(write))
        task.add_done_callback(self._on_write_done)
        self._pending_writes = (*self._pending_writes, task)

    def _on_write_done(self, task: asyncio.Task[None]) -> None:
        # A write that failed stays among them, so that `finish_writes` raises its error.
        if not task.cancelled() and task.exception() is None:
            self._pending_writes = tuple(each for each in self._pending_writes if each is not task)

    async def finish_writes(self) -> None:
        """Wait for the writes that have begun.

        Raises:
            Locked: The database was locked for too long.
            Unavailable: It cannot be written.
        """
        pending = self._pending_writes
        if pending:
            # First all, then the errors: when the first error is raised, no write is left in progress.
            await asyncio.wait(pending)
            for task in pending:
                task.result()

    async def settle(self) -> None:
        """Wait until no write is in progress, whatever comes of it."""
        if pending := [task for task in self._pending_writes if not task.done()]:
            await asyncio.wait(pending)

    def progress(self, seq: int, answer: str, usage: Usage) -> Progress | None:
        """What to save of a running turn; ``None`` if nothing has changed since ``on_saved``."""
        state = (seq, len(answer), self.steps.version, usage)
        if state == self._last_saved:
            return None
        _, _, saved_version, saved_usage = self._last_saved
        # It becomes `_last_saved` only when the database has it: what could not be saved is in the next round again.
        self._pending = state
        return Progress(
            self._ids.conversation_id,
            self._ids.message_id,
            answer,
            Usage() if usage == saved_usage else usage,
            None if self.steps.version == saved_version else self.steps.encoded(),
        )

    def on_saved(self) -> None:
        """What ``progress`` gave last is in the database."""
        self._last_saved = self._pending

    async def save_outcome(self, outcome: Outcome, answer: str) -> Outcome:
        """Make an outcome durable. What comes back is to be sent: the same, or that it could not be written."""
        try:
            await self._despite_locks(partial(self._write_outcome, outcome, answer))
        except Exception as error:
            # Whatever it is, the reader gets a terminal event, and other turns are not affected.
            logger.exception("the answer could not be stored")
            reason = "internal error; see the server's log"
            if isinstance(error, Unavailable):
                reason = error.message
                # History must not contradict the terminal event. So what is stored later is what the reader is sent
                # now.
                stored = Outcome("failed", Unavailable.code, SAVE_FAILED, outcome.usage, outcome.free)
                self._unsaved = (stored, answer)
            return Outcome(
                "failed", Unavailable.code, f"{SAVE_FAILED}: {reason}", outcome.usage, outcome.free
            )
        return outcome

    async def retry_outcome(self) -> None:
        """Retry a failed final save, with back-off, until the database accepts it."""
        pause = SAVE_SECONDS
        while self._unsaved is not None:
            await asyncio.sleep(pause)
            pause = min(2 * pause, SAVE_RETRY_MAX_SECONDS)
            with contextlib.suppress(Unavailable):
                await uncancelled(self._write_outcome(*self._unsaved))
                self._unsaved = None
        # What was recorded is in history; the turn stays in memory for a while.
        self.steps = StepRecorder()

    async def _write_outcome(self, outcome: Outcome, answer: str) -> None:
        await self._store.end_turn(
            self._ids.conversation_id,
            self._ids.message_id,
            answer=answer,
            status=outcome.status,
            stop_reason=outcome.code,
            detail=outcome.message,
            spent=None if outcome.free else outcome.usage,
            steps=self.steps.encoded(),
        )

    async def _despite_locks(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write what has to be in history; retry while another process has the database locked (TURN-11).

        Raises:
            Locked: It was locked for ``LOCKED_SECONDS``, or the server is closing.
            Unavailable: The store cannot be used.
        """
        clock = asyncio.get_running_loop().time
        deadline, pause = clock() + LOCKED_SECONDS, LOCKED_PAUSE
        while True:
            try:
                return await write()
            except Locked:
                if self._closing.is_set() or clock() >= deadline:
                    raise
            # The pause. It is cut short when the server closes, for one last attempt.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._closing.wait()
            pause = min(2 * pause, LOCKED_MAX_PAUSE)


class Saveable(Protocol):
    """A running turn (turns/turn.py)."""

    def progress(self) -> Progress | None:
        """What to save, if anything has changed."""

    def on_saved(self) -> None:
        """What ``progress`` gave last is in the database."""


async def save_running(store: Store, running: Mapping[str, Saveable]) -> None:
    """Save the turns in ``running`` every ``SAVE_SECONDS``, for ever."""
    clock = asyncio.get_running_loop().time
    pause = SAVE_SECONDS
    while True:
        turns = tuple(running.values())
        starts = range(0, len(turns), SAVE_BATCH)
        spent = 0.0
        # Without turns there is one empty batch: it waits for the interval, and the loop does not spin.
        for start in starts or (0,):
            # Batches are spread over the interval: one after the other they would delay the streams.
            await asyncio.sleep(pause / max(1, len(starts)))
            begin = clock()
            await _save_batch(store, turns[start : start + SAVE_BATCH])
            spent += clock() - begin
        pause = max(SAVE_SECONDS, SAVE_DUTY_CYCLE * spent)


async def _save_batch(store: Store, turns: Sequence[Saveable]) -> None:
    changed = [(turn, progress) for turn in turns if (progress := turn.progress()) is not None]
    if not changed:
        return
    try:
        await uncancelled(store.save_progress([progress for _, progress in changed]))
    except Unavailable as error:
        logger.warning("the answers so far could not be saved: %s", error)
    else:
        for turn, _ in changed:
            turn.on_saved()
