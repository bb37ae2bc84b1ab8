"""The one door: every turn of every connection starts, is followed and is stopped here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never
from weakref import WeakValueDictionary

from chat_server.claude.events import Ended, Note, Rewound, Started, StreamEvent, Text, Thought, ToolStep
from chat_server.claude.parser import TurnParser
from chat_server.claude.pool import Claude
from chat_server.claude.session import Question, SessionUnknown
from chat_server.errors import (
    BadRequest,
    Busy,
    ChatError,
    ClaudeFailed,
    ClaudeUnavailable,
    Interrupted,
    Locked,
    NotFound,
    Reset,
    TooLarge,
    Unavailable,
)
from chat_server.limits import Limits, LimitStatus, limit_statuses
from chat_server.logging_setup import about
from chat_server.metrics import Metrics
from chat_server.protocol import Usage, check_ids
from chat_server.store.database import MAX_BATCH
from chat_server.store.records import Admitted, Progress, StoredTurn
from chat_server.store.store import Store, new_id
from chat_server.tasks import uncancelled
from chat_server.turns.event_log import TurnLog
from chat_server.turns.steps import StatusStep, StepRecorder, ThinkingStep, ToolStepRecord, decode_steps

logger = logging.getLogger(__name__)

SAVE_SECONDS = 2.0
"""How often the answers of running turns are saved, and how soon one is saved again that the store did not take."""

SAVE_BATCH = 64
"""So many are saved at once: fewer cost more each, and more keep those waiting who are being served."""

SAVE_SHARE = 10
"""Saving may take one part in so many of the time: long answers are saved less often."""

SAVE_RETRY_MAX_SECONDS = 60.0
"""The longest pause between such attempts; each is twice the one before."""

LOCKED_SECONDS = 60.0
"""How long the end of a turn waits while another process has the database for itself, before its reader is told."""

LOCKED_PAUSE, LOCKED_LONGEST_PAUSE = 0.25, 4.0
"""Between two attempts, in seconds; each pause is twice the one before, up to the longest."""

MAX_CONCURRENT_ADMISSIONS = MAX_BATCH
"""So many wait for the store side by side; more would take up memory, 1 KiB each, and be no sooner there."""

SAVE_FAILED = "the answer could not be stored"

FRESH_SESSION = "Claude no longer has the earlier part of this conversation"

TurnListener = Callable[[TurnLog], None]


@dataclass(eq=False, slots=True)
class Turn:
    """A turn that runs, or has ended a short while ago."""

    owner: str
    log: TurnLog
    question: Question
    session: str | None  # the CLI's id of the conversation, as far as it is known
    asked_at: float
    first_token_seen: bool = False  # the answer has
    steps: StepRecorder = field(default_factory=StepRecorder)
    # Events, length of the answer, version of the steps, and cost, when last saved.
    last_saved: tuple[int, int, int, Usage] = (0, 0, 0, Usage())
    pending_writes: tuple[
        asyncio.Task[None], ...
    ] = ()  # what is being written down meanwhile, or could not be
    ended: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    unsaved_usage: Usage | None = None  # what it cost, where the store did not take its end
    free: bool = False  # no Claude could be had for it, so that it counts for no limit (LIMIT-4)


class Turns:
    """All turns of the server. A context manager: it owns the running ones, and ends them when it is left."""

    def __init__(
        self,
        store: Store,
        claude: Claude,
        metrics: Metrics,
        *,
        limits: Limits,
        concurrent: int,
        message_max_bytes: int,
        kept_seconds: float,
        grace_seconds: float,
    ) -> None:
        """``concurrent`` turns of a user may run at the same time; 0 is any number."""
        self._store = store
        self._claude = claude
        self._metrics = metrics
        self._limits = limits
        self._concurrent = concurrent
        self._message_max_bytes = message_max_bytes
        self._kept_seconds = kept_seconds
        self._grace_seconds = grace_seconds
        self._held: dict[
            tuple[str, str], Turn
        ] = {}  # by conversation and message id, for a grace after the end
        self._running: dict[str, Turn] = {}  # by conversation
        self._of_user: Counter[str] = Counter()  # turns that run or are being admitted
        self._tasks: set[asyncio.Task[None]] = set()
        self._watchers: dict[str, set[TurnListener]] = {}  # by conversation
        self._deleting: set[str] = set()  # conversations that are being deleted
        self._locks: WeakValueDictionary[tuple[str, ...], asyncio.Lock] = WeakValueDictionary()
        self._at_once = asyncio.Semaphore(MAX_CONCURRENT_ADMISSIONS)
        self._stopping = False
        self._ending = asyncio.Event()  # the grace is over: nothing is waited for any more
        self._group = asyncio.TaskGroup()
        self._clock = asyncio.get_running_loop().time

    async def __aenter__(self) -> Turns:
        await self._group.__aenter__()
        self._saving = self._group.create_task(self._save())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()
        self._saving.cancel()
        await self._group.__aexit__(None, None, None)

    @property
    def running(self) -> int:
        """How many turns run."""
        return len(self._running)

    def refuse_new(self) -> None:
        """Let running turns go on, but start no more."""
        self._stopping = True
        self._claude.stop_soon()

    async def stop(self) -> None:
        """Start no more turns, let running ones finish within the grace, and break off the others (PROC-4)."""
        self.refuse_new()
        for door in tuple(self._locks.values()):
            async with door:
                pass  # who is in the doorway comes in first
        running = tuple(self._tasks)
        if running:
            await asyncio.wait(running, timeout=self._grace_seconds)
            self._ending.set()
            for task in running:
                task.cancel()  # a turn that still runs stores what it has, as interrupted
            await asyncio.wait(running)

    async def start(
        self, owner: str, message: str, message_id: str | None = None, conversation_id: str | None = None
    ) -> TurnLog:
        """Admit a turn and let it run; its log, ready to be read from the beginning.

        A ``message_id`` seen before gives the log of the turn it named then (TURN-7).

        Raises:
            BadRequest: The message is empty, or an id has the wrong form.
            TooLarge: The message exceeds the limit.
            NotFound: The conversation does not exist for this owner.
            Busy: The conversation is answering (TURN-9), or the owner has as many turns running as is allowed
                (LIMIT-8).
            RateLimited: A request limit is reached; nothing was counted.
            QuotaExceeded: The day's tokens are spent; nothing was counted.
            Unavailable: The store cannot be used, or the server is stopping.
        """
        try:
            check_ids(message_id, conversation_id)
            self._check(message)
            # What was admitted must run, though its sender may be gone before it is told so.
            return await uncancelled(
                self._admit(owner, message, message_id or uuid.uuid4().hex, conversation_id)
            )
        except ChatError as error:
            self._metrics.refused(error.code)
            raise

    async def limit_statuses(self, owner: str) -> list[LimitStatus]:
        """How the owner stands with each limit, as the next admission will see it (LIMIT-7).

        Raises:
            Unavailable: The store cannot be read.
        """
        used, now = await self._store.used(owner, self._limits)
        return limit_statuses(self._limits, used, now)

    async def _admit(self, owner: str, message: str, message_id: str, conversation_id: str | None) -> TurnLog:
        place = conversation_id or new_id()
        of_message = self._lock("message", owner, message_id)
        of_place = self._lock("conversation", owner, place)
        async with of_message, of_place, self._at_once:
            if self._stopping:
                raise Unavailable("the server is stopping; try again in a moment")
            if place in self._deleting:
                raise NotFound(f"there is no conversation {place}")
            running = self._running.get(place)
            if running is not None and running.owner == owner:
                begun: Admitted | StoredTurn = await self._known(
                    owner, conversation_id, message_id, "this conversation is still answering"
                )
            elif self._concurrent and self._of_user[owner] >= self._concurrent:
                begun = await self._known(
                    owner,
                    conversation_id,
                    message_id,
                    f"{self._concurrent} of your chats are still answering",
                )
            else:
                begun = await self._begin(owner, conversation_id, message_id, message, place)
            if isinstance(begun, StoredTurn):
                held = self._held.get((begun.conversation_id, message_id))
                return held.log if held else _log_from_history(begun)
            conversation_id, session = begun.conversation_id, begun.claude_session
            turn = self._create_turn(owner, message, TurnLog(message_id, conversation_id), session)
            self._running[conversation_id] = turn
            self._held[conversation_id, message_id] = turn
            task = self._group.create_task(self._run(turn))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        for watcher in tuple(self._watchers.get(conversation_id, ())):
            watcher(turn.log)
        return turn.log

    async def _known(
        self, owner: str, conversation_id: str | None, message_id: str, why_busy: str
    ) -> StoredTurn:
        """The turn that had this message id before (TURN-7), where no new one may start.

        Raises:
            Busy: There is none.
        """
        known = await self._store.same_turn(owner, conversation_id, message_id)
        if known is None:
            raise Busy(f"{why_busy}; wait for the end, or stop it")
        return known

    async def _begin(
        self, owner: str, conversation_id: str | None, message_id: str, message: str, place: str
    ) -> Admitted | StoredTurn:
        """Admit a turn and count it among those of its owner that run, before the store is asked (LIMIT-5)."""
        self._of_user[owner] += 1
        begun = None
        try:
            begun = await self._store.begin_turn(
                owner, conversation_id, message_id, message, self._limits, place=place
            )
            return begun
        finally:
            if not isinstance(begun, Admitted):
                self._release(owner)

    def _release(self, owner: str) -> None:
        """Count one turn less among those of its owner that run."""
        self._of_user[owner] -= 1
        if not self._of_user[owner]:
            del self._of_user[owner]

    def _lock(self, *key: str) -> asyncio.Lock:
        """One at a time comes in by it; others use theirs meanwhile. It is there for as long as somebody is in it."""
        return self._locks.setdefault(key, asyncio.Lock())

    def _create_turn(self, owner: str, message: str, log: TurnLog, session: str | None) -> Turn:
        question = Question(message, log.text, owner=owner)
        turn = Turn(owner, log, question, session, self._clock())
        question.on_event = lambda event: self._on_event(turn, event)
        log.on_pause = question.hold  # when all its readers are behind, so may be the CLI
        return turn

    async def follow(
        self, owner: str, conversation_id: str, message_id: str | None, after: int
    ) -> TurnLog | None:
        """The log to read from ``after`` on (SUB-1); ``None`` when no turn is named and none runs.

        Raises:
            NotFound: No such conversation or turn for this owner.
            Reset: The cursor cannot be served; history has the answer (SUB-3).
        """
        await self._store.conversation(owner, conversation_id)
        if message_id is None:
            running = self._running.get(conversation_id)
            if running is None:
                return None
            log = running.log
        else:
            held = self._held.get((conversation_id, message_id))
            if held is None:
                if await self._store.find_turn(owner, conversation_id, message_id) is None:
                    raise NotFound(
                        f"there is no turn {message_id} in this conversation", message_id=message_id
                    )
                raise Reset(
                    "this turn is over and no longer held; reload it from history", message_id=message_id
                )
            log = held.log
        if after > log.last:
            raise Reset(
                f"after is {after}, but the turn has had {log.last} events; reload it from history",
                message_id=log.accepted.message_id,
            )
        return log

    def subscribe(self, conversation_id: str, watcher: TurnListener) -> None:
        """Call ``watcher`` with the log of each turn that starts in the conversation, until ``unwatch``."""
        self._watchers.setdefault(conversation_id, set()).add(watcher)

    def unsubscribe(self, conversation_id: str, watcher: TurnListener) -> None:
        """Stop calling ``watcher``."""
        watchers = self._watchers.get(conversation_id, set())
        watchers.discard(watcher)
        if not watchers:
            self._watchers.pop(conversation_id, None)

    async def cancel(self, owner: str, message_id: str, conversation_id: str | None) -> TurnLog:
        """Stop a turn (CANCEL-1); its log, whose terminal event may still have to come.

        Raises:
            NotFound: No such turn for this owner (CANCEL-2).
        """
        for turn in reversed(self._held.values()):  # of several turns with this id the newest is meant
            accepted = turn.log.accepted
            if turn.owner != owner or accepted.message_id != message_id:
                continue
            if conversation_id is None or accepted.conversation_id == conversation_id:
                turn.question.stop()
                return turn.log
        known = await self._store.find_turn(owner, conversation_id, message_id)
        if known is None:
            raise NotFound(f"there is no turn {message_id}", message_id=message_id)
        return _log_from_history(known)

    async def delete(self, owner: str, conversation_id: str) -> None:
        """Delete a conversation; its running turn is stopped and its process ended (HIST-5).

        Raises:
            NotFound: No such conversation for this owner.
        """
        async with self._lock("conversation", owner, conversation_id):
            # Nothing is being admitted to it now, and nothing will be.
            await self._store.conversation(owner, conversation_id)
            self._deleting.add(conversation_id)
        try:
            turn = self._running.get(conversation_id)
            if turn is not None:
                turn.question.stop()
                await asyncio.wait([turn.ended])
            await self._claude.end(conversation_id)
            known = await self._store.conversation(
                owner, conversation_id
            )  # its turn may have begun a session
            await self._claude.forget(conversation_id, known.claude_session)
            await self._store.delete(owner, conversation_id)
        finally:
            self._deleting.discard(conversation_id)
        for key in [each for each in self._held if each[0] == conversation_id]:
            del self._held[key]

    def _check(self, message: str) -> None:
        if not message.replace(
            "\ufeff", ""
        ).strip():  # the CLI, as JavaScript, takes a byte order mark for blank
            raise BadRequest("the message is empty")  # MSG-4
        size = len(message.encode())
        if size > self._message_max_bytes:
            raise TooLarge(f"the message has {size:,} bytes; the limit is {self._message_max_bytes:,}")

    async def _run(self, turn: Turn) -> None:
        """Own a turn from admission to its terminal event."""
        conversation_id, message_id = turn.log.accepted.conversation_id, turn.log.accepted.message_id
        about(user=turn.owner, conversation_id=conversation_id, message_id=message_id)
        try:
            try:
                ended = await self._ask(turn)
                if turn.pending_writes:
                    await asyncio.wait(turn.pending_writes)
                    for note in turn.pending_writes:
                        note.result()
                cancelled = turn.question.stopped and ended.aborted
                if ended.error and not cancelled:
                    raise ClaudeFailed(ended.error)  # noqa: TRY301 - one place decides how turns end
                end = ("cancelled", "cancelled") if cancelled else ("complete", ended.stop_reason)
                await self._end(turn, *end, "", ended.usage)
            except asyncio.CancelledError:
                await uncancelled(self._fail(turn, Interrupted("the server was stopped during this turn")))
                raise
            except ChatError as error:
                turn.free = isinstance(error, ClaudeUnavailable)
                if turn.question.stopped:
                    await self._end(turn, "cancelled", "cancelled", "", turn.question.parser.usage)
                else:
                    await self._fail(turn, error)
            except Exception:
                logger.exception("the turn failed")
                await self._fail(turn, ClaudeFailed("the server failed during this turn; it is in the log"))
        finally:
            if pending := [note for note in turn.pending_writes if not note.done()]:
                await asyncio.wait(pending)
            del self._running[conversation_id]
            self._release(turn.owner)
            turn.ended.set_result(None)
            key = (conversation_id, message_id)
            asyncio.get_running_loop().call_later(self._kept_seconds, self._held.pop, key, None)
        await self._retry_save(turn)
        turn.question.parser = TurnParser()  # its text is in the log, and in history
        turn.steps = StepRecorder()

    async def _ask(self, turn: Turn) -> Ended:
        conversation_id = turn.log.accepted.conversation_id
        try:
            return await self._claude.ask(conversation_id, turn.session, turn.question)
        except SessionUnknown:
            self._note_fresh_session(turn)
            turn.question.parser = TurnParser(turn.log.text)
            turn.session = None
            return await self._claude.ask(conversation_id, None, turn.question)

    @staticmethod
    def _note_fresh_session(turn: Turn) -> None:
        turn.steps.add_status("fresh_session", FRESH_SESSION, turn.question.parser.length)
        turn.log.status("fresh_session", FRESH_SESSION)

    def _on_event(self, turn: Turn, event: StreamEvent) -> None:
        if isinstance(event, Text):
            if not turn.first_token_seen:
                turn.first_token_seen = True
                self._metrics.first_token(self._clock() - turn.asked_at)
            turn.log.extend_text()
            return
        if isinstance(event, Started) and event.session_id != turn.session:
            if turn.session is not None:  # TURN-8: the CLI has changed its session by itself
                self._note_fresh_session(turn)
            turn.session = event.session_id
            place = turn.log.accepted.conversation_id
            remember = partial(self._store.set_claude_session, place, event.session_id)
            note = asyncio.create_task(self._despite_locks(remember))
            note.add_done_callback(partial(_on_write_done, turn))
            turn.pending_writes = (*turn.pending_writes, note)
        turn.steps.record(event, turn.question.parser.length)
        _append(turn.log, event)

    async def _save(self) -> None:
        """Keep the answers so far, again and again: what people have read is in history even after a kill."""
        pause = SAVE_SECONDS
        while True:
            running = tuple(self._running.values())
            starts = range(0, len(running), SAVE_BATCH)
            spent = 0.0
            for start in starts or (0,):
                await asyncio.sleep(pause / max(1, len(starts)))  # all at once, they would be felt
                begun = self._clock()
                await self._save_batch(running[start : start + SAVE_BATCH])
                spent += self._clock() - begun
            pause = max(SAVE_SECONDS, SAVE_SHARE * spent)

    async def _save_batch(self, running: Sequence[Turn]) -> None:
        changed: dict[Turn, tuple[int, int, int, Usage]] = {}
        progress = []
        for turn in running:
            parser, ids = turn.question.parser, turn.log.accepted
            answer, spent = parser.text, parser.usage
            state = (turn.log.last, len(answer), turn.steps.version, spent)
            if state != turn.last_saved and not turn.log.ended:
                changed[turn] = state
                more = Usage() if spent == turn.last_saved[-1] else spent
                steps = None if turn.steps.version == turn.last_saved[2] else turn.steps.encoded()
                progress.append(Progress(ids.conversation_id, ids.message_id, answer, more, steps))
        if not progress:
            return
        try:
            await uncancelled(self._store.save_progress(progress))
        except Unavailable as error:
            logger.warning("the answers so far could not be saved: %s", error)
        else:
            for turn, state in changed.items():
                turn.last_saved = state

    async def _fail(self, turn: Turn, error: ChatError) -> None:
        status = "interrupted" if isinstance(error, Interrupted) else "failed"
        await self._end(turn, status, error.code, error.message, turn.question.parser.usage)

    async def _end(self, turn: Turn, status: str, stop_reason: str, detail: str, usage: Usage) -> None:
        """Make the outcome durable, then tell it (HIST-1)."""
        try:
            await self._despite_locks(partial(self._save_final, turn, status, stop_reason, detail, usage))
        except Exception as error:  # whatever it is: the reader is told, and other turns go on
            logger.exception("the answer could not be stored")
            self._metrics.ended("failed")
            reason = "internal error; see the server's log"
            if isinstance(error, Unavailable):
                reason, turn.unsaved_usage = error.message, usage
            turn.log.fail(Unavailable.code, f"{SAVE_FAILED}: {reason}")
            return
        self._metrics.ended(status)
        logger.info("= turn ended: %s %s", status, detail or stop_reason)
        if status in {"complete", "cancelled"}:
            turn.log.complete(usage, stop_reason)
        else:
            turn.log.fail(stop_reason, detail)

    async def _save_final(self, turn: Turn, status: str, stop_reason: str, detail: str, usage: Usage) -> None:
        await self._store.end_turn(
            turn.log.accepted.conversation_id,
            turn.log.accepted.message_id,
            answer=turn.question.parser.text,
            status=status,
            stop_reason=stop_reason,
            detail=detail,
            spent=None if turn.free else usage,
            steps=turn.steps.encoded(),
        )

    async def _despite_locks(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write what has to be in history; while another process has the database, again and again (TURN-11).

        Raises:
            Locked: It has had the database for ``LOCKED_SECONDS``, or the server ends.
            Unavailable: The store cannot be used.
        """
        deadline, pause = self._clock() + LOCKED_SECONDS, LOCKED_PAUSE
        while True:
            try:
                return await write()
            except Locked:
                if self._ending.is_set() or self._clock() >= deadline:
                    raise
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._ending.wait()
            pause = min(2 * pause, LOCKED_LONGEST_PAUSE)

    async def _retry_save(self, turn: Turn) -> None:
        """Store the end of a turn that the store did not take, as it was told, as soon as it takes it."""
        pause = SAVE_SECONDS
        while turn.unsaved_usage is not None:
            await asyncio.sleep(pause)
            pause = min(2 * pause, SAVE_RETRY_MAX_SECONDS)
            with contextlib.suppress(Unavailable):
                await uncancelled(
                    self._save_final(turn, "failed", Unavailable.code, SAVE_FAILED, turn.unsaved_usage)
                )
                turn.unsaved_usage = None


def _on_write_done(turn: Turn, note: asyncio.Task[None]) -> None:
    if not note.cancelled() and note.exception() is None:
        turn.pending_writes = tuple(each for each in turn.pending_writes if each is not note)


def _append(log: TurnLog, event: Started | Thought | ToolStep | Note | Rewound | Ended) -> None:
    match event:
        case Thought():
            log.thinking(event.text)
        case ToolStep():
            log.tool(event.id, event.name, event.state, event.detail)
        case Note():
            log.status(event.status, event.detail)
        case Rewound():
            log.rewind(event.to)
        case Started() | Ended():
            pass
        case _:
            assert_never(event)


def _log_from_history(turn: StoredTurn) -> TurnLog:
    """The log of a turn that only history still has: its text and steps in order, and its end."""
    log = TurnLog(turn.message_id, turn.conversation_id)
    sent = 0
    for step in decode_steps(turn.steps):
        if step.at > sent:
            log.token(turn.answer[sent : step.at])
            sent = step.at
        match step:
            case ThinkingStep():
                log.thinking(step.thinking)
            case ToolStepRecord():
                log.tool(step.id, step.name, "started", step.input)
                if step.state != "started":
                    log.tool(step.id, step.name, step.state, step.result)
            case StatusStep():
                log.status(step.status, step.detail)
            case _:
                assert_never(step)
    if turn.answer[sent:]:
        log.token(turn.answer[sent:])
    if turn.status in {"complete", "cancelled"}:
        log.complete(turn.usage, turn.stop_reason)
    else:
        log.fail(turn.stop_reason or Interrupted.code, turn.detail or "the end of this turn is not known")
    return log
