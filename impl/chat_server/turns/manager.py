"""Turn manager: admit, start, follow, cancel and delete turns for all transports."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from typing import Protocol
from weakref import WeakValueDictionary

from chat_server.claude.pool import Claude
from chat_server.errors import BadRequest, Busy, ChatError, NotFound, Reset, TooLarge, Unavailable
from chat_server.limits import Limits, LimitStatus, limit_statuses
from chat_server.metrics import Metrics
from chat_server.protocol import check_ids
from chat_server.store.database import MAX_BATCH
from chat_server.store.records import Admitted, StoredTurn
from chat_server.store.store import Store, new_id
from chat_server.subscribers import Subscribers
from chat_server.tasks import uncancelled
from chat_server.turns.event_log import TurnLog
from chat_server.turns.history import log_from_history
from chat_server.turns.saving import TurnRecorder, save_running
from chat_server.turns.turn import Turn

MAX_CONCURRENT_ADMISSIONS = MAX_BATCH
"""How many admissions wait for the store at one time: more would fill memory, 1 KiB each, and be admitted no sooner."""


class ConversationReader(Protocol):
    """Who follows all turns of a conversation: a connection (web/connection.py)."""

    def on_turn_started(self, log: TurnLog) -> None:
        """A turn has started in a conversation that this one is subscribed to."""


class Turns:
    """All turns of the server. A context manager: it owns the running ones, and ends them at its exit."""

    def __init__(
        self,
        store: Store,
        claude: Claude,
        metrics: Metrics,
        *,
        limits: Limits,
        concurrent: int,
        message_max_bytes: int,
        retention_seconds: float,
        grace_seconds: float,
    ) -> None:
        """``concurrent`` turns of a user may run at the same time; 0 is any number.

        ``retention_seconds`` is how long the events of a turn can be read after its end, and ``grace_seconds`` how long
        running turns may take at shutdown.
        """
        self._store = store
        self._claude = claude
        self._metrics = metrics
        self._limits = limits
        self._concurrent = concurrent
        self._message_max_bytes = message_max_bytes
        self._retention_seconds = retention_seconds
        self._grace_seconds = grace_seconds
        # By conversation and message id: running turns, and those that ended within the retention.
        self._recent: dict[tuple[str, str], Turn] = {}
        self._running: dict[str, Turn] = {}  # by conversation
        # Turns that run or are being admitted, by user: counted before the store is asked, so that many admissions at
        # one time cannot exceed the limit.
        self._of_user: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscribers: dict[str, Subscribers[ConversationReader]] = {}  # by conversation
        self._deleting: set[str] = set()  # conversations that are being deleted
        # A lock is dropped when its last user lets go of it.
        self._locks: WeakValueDictionary[tuple[str, ...], asyncio.Lock] = WeakValueDictionary()
        self._admission_slots = asyncio.Semaphore(MAX_CONCURRENT_ADMISSIONS)
        self._stopping = False
        # The grace is over: no write waits for a lock any more.
        self._closing = asyncio.Event()
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Turns:
        await self._group.__aenter__()
        self._saving = self._group.create_task(save_running(self._store, self._running))
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
        """Start no more turns; running ones continue."""
        self._stopping = True
        self._claude.stop_soon()

    async def stop(self) -> None:
        """Start no more turns, let running ones finish within the grace, and interrupt the others (PROC-4)."""
        self.refuse_new()
        # Admissions that hold a lock have passed the check of `_stopping`: they start their turn first.
        for lock in tuple(self._locks.values()):
            async with lock:
                pass
        running = tuple(self._tasks)
        if running:
            await asyncio.wait(running, timeout=self._grace_seconds)
            self._closing.set()
            for task in running:
                # It stores what it has, as interrupted.
                task.cancel()
            await asyncio.wait(running)

    async def start(
        self, owner: str, message: str, message_id: str | None = None, conversation_id: str | None = None
    ) -> TurnLog:
        """Admit a turn and start it; its log, to be read from the beginning.

        A ``message_id`` seen before gives the log of the turn it named then (TURN-7).

        Raises:
            BadRequest: The message is empty, or an id has the wrong form.
            TooLarge: The message exceeds the limit.
            NotFound: The conversation does not exist for this owner.
            Busy: The conversation is answering (TURN-9), or the owner has as many turns running as is allowed
                (LIMIT-8).
            RateLimited: A request limit is reached; nothing was counted.
            QuotaExceeded: The day's tokens are spent; nothing was counted.
            Unavailable: The store is unavailable, or the server is stopping.
        """
        try:
            check_ids(message_id, conversation_id)
            self._check(message)
            # What was admitted must run, though its sender may have left before the answer.
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
        target_id = conversation_id or new_id()
        # The same message id twice, or two messages to one conversation: one at a time. Others are not delayed.
        message_lock = self._lock("message", owner, message_id)
        conversation_lock = self._lock("conversation", owner, target_id)
        async with message_lock, conversation_lock, self._admission_slots:
            if self._stopping:
                raise Unavailable("the server is stopping; try again in a moment")
            if target_id in self._deleting:
                raise NotFound(f"there is no conversation {target_id}")
            running = self._running.get(target_id)
            # Nothing is said here of another owner's conversation: the store answers as for an id that does not
            # exist.
            if running is not None and running.owner == owner:
                why_busy = "this conversation is still answering"
                admitted = await self._known(owner, conversation_id, message_id, why_busy)
            elif self._concurrent and self._of_user[owner] >= self._concurrent:
                why_busy = f"{self._concurrent} of your chats are still answering"
                admitted = await self._known(owner, conversation_id, message_id, why_busy)
            else:
                admitted = await self._begin(owner, conversation_id, message_id, message, target_id)
            if isinstance(admitted, StoredTurn):
                recent = self._recent.get((admitted.conversation_id, message_id))
                return recent.log if recent else log_from_history(admitted)
            turn = self._start(owner, message, message_id, admitted)
        for reader in self._subscribers.get(admitted.conversation_id, ()):
            reader.on_turn_started(turn.log)
        return turn.log

    async def _known(
        self, owner: str, conversation_id: str | None, message_id: str, why_busy: str
    ) -> Admitted | StoredTurn:
        """The turn that had this message id before (TURN-7), where no new one may start.

        Raises:
            Busy: There is none.
        """
        known = await self._store.same_turn(owner, conversation_id, message_id)
        if known is None:
            raise Busy(f"{why_busy}; wait for the end, or stop it")
        return known

    async def _begin(
        self, owner: str, conversation_id: str | None, message_id: str, message: str, target_id: str
    ) -> Admitted | StoredTurn:
        """Admit a turn and count it among those of its owner that run, before the store counts it (LIMIT-5)."""
        self._of_user[owner] += 1
        admitted = None
        try:
            admitted = await self._store.begin_turn(
                owner, conversation_id, message_id, message, self._limits, place=target_id
            )
            return admitted
        finally:
            # Refused, failed, or a turn that was known before: no new one has started.
            if not isinstance(admitted, Admitted):
                self._release(owner)

    def _release(self, owner: str) -> None:
        """Count one turn less among those of its owner that run."""
        self._of_user[owner] -= 1
        if not self._of_user[owner]:
            del self._of_user[owner]

    def _lock(self, *key: str) -> asyncio.Lock:
        """The lock of a key, created on first use."""
        return self._locks.setdefault(key, asyncio.Lock())

    def _start(self, owner: str, message: str, message_id: str, admitted: Admitted) -> Turn:
        conversation_id = admitted.conversation_id
        log = TurnLog(message_id, conversation_id)
        turn = Turn(
            owner,
            message,
            log,
            admitted.claude_session,
            claude=self._claude,
            recorder=TurnRecorder(self._store, log.accepted, self._closing),
            metrics=self._metrics,
        )
        self._running[conversation_id] = turn
        self._recent[conversation_id, message_id] = turn
        task = self._group.create_task(self._run(turn))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
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
        # The check above comes first: the maps below are by conversation and know no owners.
        if message_id is None:
            running = self._running.get(conversation_id)
            if running is None:
                return None
            log = running.log
        else:
            recent = self._recent.get((conversation_id, message_id))
            if recent is None:
                if await self._store.find_turn(owner, conversation_id, message_id) is None:
                    raise NotFound(
                        f"there is no turn {message_id} in this conversation", message_id=message_id
                    )
                raise Reset(
                    "this turn is over and no longer held; reload it from history", message_id=message_id
                )
            log = recent.log
        # With a cursor ahead of the log, the events up to it would be left out without a word.
        if after > log.last:
            raise Reset(
                f"after is {after}, but the turn has had {log.last} events; reload it from history",
                message_id=log.accepted.message_id,
            )
        return log

    def subscribe(self, conversation_id: str, reader: ConversationReader) -> None:
        """Notify ``reader`` of each turn that starts in the conversation, until ``unsubscribe``."""
        self._subscribers.setdefault(conversation_id, Subscribers()).add(reader)

    def unsubscribe(self, conversation_id: str, reader: ConversationReader) -> None:
        """Notify ``reader`` no more."""
        subscribers = self._subscribers.get(conversation_id)
        if subscribers is not None:
            subscribers.remove(reader)
            if not subscribers:
                del self._subscribers[conversation_id]

    async def cancel(self, owner: str, message_id: str, conversation_id: str | None) -> TurnLog:
        """Stop a turn (CANCEL-1); its log, whose terminal event may still have to come.

        Raises:
            NotFound: No such turn for this owner (CANCEL-2).
        """
        # Of several turns with this id the newest is meant.
        for turn in reversed(self._recent.values()):
            accepted = turn.log.accepted
            if turn.owner != owner or accepted.message_id != message_id:
                continue
            if conversation_id is None or accepted.conversation_id == conversation_id:
                turn.stop()
                return turn.log
        known = await self._store.find_turn(owner, conversation_id, message_id)
        if known is None:
            raise NotFound(f"there is no turn {message_id}", message_id=message_id)
        return log_from_history(known)

    async def delete(self, owner: str, conversation_id: str) -> None:
        """Delete a conversation; its running turn is stopped and its process ended (HIST-5).

        Raises:
            NotFound: No such conversation for this owner.
        """
        async with self._lock("conversation", owner, conversation_id):
            # Under the lock no turn is being admitted to it; once it is in `_deleting`, none will be.
            await self._store.conversation(owner, conversation_id)
            self._deleting.add(conversation_id)
        try:
            turn = self._running.get(conversation_id)
            if turn is not None:
                turn.stop()
                await asyncio.wait([turn.ended])
            await self._claude.end(conversation_id)
            # Read again: the turn may have begun a session.
            known = await self._store.conversation(owner, conversation_id)
            await self._claude.forget(conversation_id, known.claude_session)
            await self._store.delete(owner, conversation_id)
        finally:
            self._deleting.discard(conversation_id)
        for key in [each for each in self._recent if each[0] == conversation_id]:
            del self._recent[key]

    def _check(self, message: str) -> None:
        # To the CLI, which is JavaScript, a byte order mark is blank.
        if not message.replace("\ufeff", "").strip():
            raise BadRequest("the message is empty")  # MSG-4
        size = len(message.encode())
        if size > self._message_max_bytes:
            raise TooLarge(f"the message has {size:,} bytes; the limit is {self._message_max_bytes:,}")

    async def _run(self, turn: Turn) -> None:
        """Run a turn, and keep it for a while after its end: its events can still be read."""
        ids = turn.log.accepted
        try:
            await turn.run()
        finally:
            # `ended` comes last: `delete`, which waits for it, must not find the turn among those that run.
            del self._running[ids.conversation_id]
            self._release(turn.owner)
            turn.ended.set_result(None)
            key = (ids.conversation_id, ids.message_id)
            asyncio.get_running_loop().call_later(self._retention_seconds, self._recent.pop, key, None)
        await turn.forget()
