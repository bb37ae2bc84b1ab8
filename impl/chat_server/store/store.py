"""Conversations and turns in the database, each looked up under its owner."""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import UTC, datetime
from math import inf, isfinite
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from chat_server.errors import BadRequest, Locked, NotFound, Unavailable
from chat_server.limits import HOUR, Limits, Used, admit, admit_new, day_start
from chat_server.protocol import Usage
from chat_server.store.leases import Leases, interrupt
from chat_server.store.records import Admitted, Conversation, LoginSession, Progress, StoredTurn
from chat_server.store.schema import (
    ESCAPE,
    conversations,
    listed_names,
    migrate,
    schema,
    sessions,
    turns,
    usage,
)
from chat_server.store.transactions import Transactions, Work

logger = logging.getLogger(__name__)

NO_MESSAGE = ""
"""In the ledger of usage: what was counted was an empty conversation, not a turn."""

TITLE_CHARS = 80
PREVIEW_CHARS = 120


T = TypeVar("T")

_PREVIEW = (
    sa.select(sa.func.substr(turns.c.answer, 1, PREVIEW_CHARS, type_=turns.c.answer.type))
    .where(turns.c.conversation_id == conversations.c.id)
    .order_by(turns.c.number.desc())
    .limit(1)
    .scalar_subquery()
    .label("preview")
)
_CONVERSATION = sa.select(conversations).where(
    conversations.c.id == sa.bindparam("conversation"), conversations.c.owner == sa.bindparam("owner")
)
_TURN = (
    sa.select(turns)
    .join(conversations)
    .where(conversations.c.owner == sa.bindparam("owner"), turns.c.message_id == sa.bindparam("message"))
)
_TURN_THERE = _TURN.where(turns.c.conversation_id == sa.bindparam("conversation"))
_TURN_THAT_OPENS = _TURN.where(turns.c.opens)
_LOCK = schema.update().values(version=schema.c.version)
_TOUCH = (
    conversations.update()
    .where(conversations.c.id == sa.bindparam("conversation"))
    .values(
        updated_at=sa.bindparam("now"),
        title=sa.case((conversations.c.title == "", sa.bindparam("begins")), else_=conversations.c.title),
    )
)
_REMEMBER = (
    conversations.update()
    .where(conversations.c.id == sa.bindparam("conversation"))
    .values(claude_session=sa.bindparam("session"))
)
_NOTHING_YET = {
    "answer": "",
    "status": "running",
    "stop_reason": "",
    "detail": "",
    "input_tokens": 0,
    "output_tokens": 0,
}
_UPDATE_USAGE = usage.update().where(
    usage.c.conversation_id == sa.bindparam("conversation"), usage.c.message_id == sa.bindparam("message")
)
_FORGET_USAGE = usage.delete().where(
    usage.c.conversation_id == sa.bindparam("conversation"), usage.c.message_id == sa.bindparam("message")
)
_CHARGE_MORE = _UPDATE_USAGE.where(usage.c.tokens < sa.bindparam("spent")).values(
    tokens=sa.bindparam("spent")
)
_UPDATE_TURN = turns.update().where(
    turns.c.conversation_id == sa.bindparam("conversation"), turns.c.message_id == sa.bindparam("message")
)
# Progress may be saved late: it must not replace the whole answer of a turn that has ended by then.
_RUNNING_TURN = _UPDATE_TURN.where(turns.c.status == "running")
_SAVE_ANSWER = _RUNNING_TURN.values(answer=sa.bindparam("text"))
_SAVE_STEPS = _RUNNING_TURN.values(steps=sa.bindparam("done"))


BATCH, BATCH_TURNS, BATCH_MOST = 1 << 18, 16, 1024
"""How many characters of turns are read at a time; how many turns at first, and at most."""


class Store:
    """The database. Every method raises ``Unavailable`` when it cannot be read or written.

    Each of them is one piece of work in a transaction: what it awaits is its end, and a caller that is cancelled
    leaves nothing half done.
    """

    def __init__(
        self, transactions: Transactions, now: Callable[[], float], *, server: str = "", shared: bool = False
    ) -> None:
        """``server`` is the id that its turns are marked with; ``shared``: others may use the database as well."""
        self._transactions = transactions
        self._now = now
        self._server = server
        self._leases = Leases(server) if shared else None

    async def prepare(self) -> None:
        """Migrate, and mark turns that a killed server left running as interrupted (PROC-5, PROC-7).

        Raises:
            Unavailable: The database cannot be used, or a newer server wrote it.
        """

        def work(db: sa.Connection) -> None:
            migrate(db)
            if self._leases is None:
                interrupt(db, sa.true(), self._now())
            else:
                self._leases.begin(db, self._now())

        await self._write(work)

    async def renew_lease(self) -> None:
        """Show the servers that share the database that this one lives; turns of the dead are interrupted."""
        leases = self._leases
        if leases is not None and (ended := await self._write(lambda db: leases.renew(db, self._now()))):
            logger.warning("%d turns of servers that no longer answer were marked as interrupted", ended)

    async def end_lease(self) -> None:
        """Show them that it ends."""
        if self._leases is not None:
            await self._write(self._leases.end)

    async def check(self) -> None:
        """Whether the database can be read and written."""

        def work(db: sa.Connection) -> None:
            # To write what is there already would be no write.
            for step in (1, -1):
                db.execute(schema.update().values(version=schema.c.version + step))

        await self._write(work)

    async def new_conversation(self, owner: str, per_hour: int = 0) -> str:
        """Make an empty conversation; its id (HIST-6)."""

        def work(db: sa.Connection) -> str:
            if not per_hour:
                return self._insert_conversation(db, owner, new_id(), "")
            self._lock_for_update(db)
            now = self._now()
            admit_new(per_hour, self._hour(db, owner, per_hour, now, usage.c.message_id == NO_MESSAGE), now)
            there = self._insert_conversation(db, owner, new_id(), "")
            made = {"conversation_id": there, "message_id": NO_MESSAGE}
            db.execute(usage.insert(), {**made, "owner": owner, "admitted_at": now, "tokens": 0})
            return there

        return await self._write(work)

    async def conversation(self, owner: str, conversation_id: str) -> Conversation:
        """One conversation.

        Raises:
            NotFound: There is none with this id that is the owner's (MSG-5).
        """
        return await self._read(lambda db: self._conversation(db, owner, conversation_id))

    async def conversations(
        self, owner: str, *, before: str | None, limit: int
    ) -> tuple[list[Conversation], str | None]:
        """A page of the owner's conversations with previews, newest first, and the cursor of the next page (HIST-3).

        Raises:
            BadRequest: ``before`` is not a cursor that was given out.
        """
        query = (
            sa.select(conversations, _PREVIEW)
            .where(conversations.c.owner == owner)
            .order_by(conversations.c.updated_at.desc(), conversations.c.id.desc())
            .limit(limit + 1)
        )
        if before is not None:
            updated, _, last = before.partition("_")
            try:
                # `float` also reads nan and inf, which no cursor has; the check below refuses them.
                position = (float(updated), last)
            except ValueError:
                position = (inf, last)
            if not isfinite(position[0]):
                raise BadRequest(f"before is {before[:40]!r}; use the value of next")
            query = query.where(sa.tuple_(conversations.c.updated_at, conversations.c.id) < position)
        rows = await self._read(lambda db: db.execute(query).all())
        # One row more than the page was asked for: it says whether there is a next page, without counting.
        page = [_conversation(row, _one_line(row.preview or "")) for row in rows]
        if len(page) <= limit:
            return page, None
        # `repr` of a float is read back exactly, and the id decides between equal times: so these skip no row.
        last_shown = page[limit - 1]
        return page[:limit], f"{last_shown.updated_at!r}_{last_shown.id}"

    async def turns(self, conversation_id: str) -> list[StoredTurn]:
        """The turns of a conversation, oldest first."""
        return [turn async for batch in self.turn_batches(conversation_id) for turn in batch]

    async def turn_batches(self, conversation_id: str) -> AsyncIterator[list[StoredTurn]]:
        """The turns of a conversation, oldest first, about ``BATCH`` characters at a time.

        Reading a large conversation at once would take memory, and the time of others.
        """
        # It goes on after a number, not an offset: what changes between two reads moves no turn. How many are read next
        # follows from the last batch: 16 turns of 100,000 characters are too much, so the next are two.
        last, most = -1, BATCH_TURNS
        while True:
            query = (
                sa.select(turns)
                .where(turns.c.conversation_id == conversation_id, turns.c.number > last)
                .order_by(turns.c.number)
                .limit(most)
            )
            rows = await self._read(lambda db, query=query: db.execute(query).all())  # type: ignore[misc]
            batch = [_turn(row) for row in rows]
            yield batch
            if len(batch) < most:
                return
            last = rows[-1].number
            length = sum(len(each.prompt) + len(each.answer) + len(each.steps) for each in batch)
            most = min(max(1, most * BATCH // (length + 1)), BATCH_MOST)

    async def find_turn(self, owner: str, conversation_id: str | None, message_id: str) -> StoredTurn | None:
        """The owner's newest turn of this ``message_id``, in that conversation or in any (CANCEL-2)."""
        query = (_TURN if conversation_id is None else _TURN_THERE).order_by(turns.c.number.desc()).limit(1)
        wanted = {"owner": owner, "message": message_id, "conversation": conversation_id}
        row = await self._read(lambda db: db.execute(query, wanted).first())
        return None if row is None else _turn(row)

    async def same_turn(self, owner: str, conversation_id: str | None, message_id: str) -> StoredTurn | None:
        """The turn that a message of this id would repeat (TURN-7), if there is one.

        Raises:
            NotFound: There is no conversation with this id that is the owner's (MSG-5).
        """

        def work(db: sa.Connection) -> StoredTurn | None:
            if conversation_id is not None:
                self._conversation(db, owner, conversation_id)
            return self._same_turn(db, owner, conversation_id, message_id)

        return await self._read(work)

    async def begin_turn(
        self,
        owner: str,
        conversation_id: str | None,
        message_id: str,
        prompt: str,
        limits: Limits,
        *,
        place: str | None = None,
    ) -> Admitted | StoredTurn:
        """Admit a turn and make its prompt durable, both or neither (HIST-1).

        Without a conversation it opens one, of the id ``place`` where that is given. A turn that has this
        ``message_id`` already is given instead: one of the conversation, or, where none is named, the one that began
        its own (TURN-7).

        Raises:
            NotFound: There is no conversation with this id that is the owner's (MSG-5).
            RateLimited: A request limit is reached.
            QuotaExceeded: The day's tokens are spent.
        """

        def work(db: sa.Connection) -> Admitted | StoredTurn:
            self._lock_for_update(db)
            session = None
            if conversation_id is not None:
                session = self._conversation(db, owner, conversation_id).claude_session
            known = self._same_turn(db, owner, conversation_id, message_id)
            # Before the limits: a client that sends a message once more, after a lost connection, is not charged again.
            if known is not None:
                return known
            now = self._now()
            admit(limits, self._used(db, owner, limits, now), now)
            title = " ".join(prompt.replace("\0", "").split())[:TITLE_CHARS]
            if conversation_id is None:
                there = self._insert_conversation(db, owner, place or new_id(), title)
            else:
                there = conversation_id
                db.execute(_TOUCH, {"conversation": there, "now": now, "begins": title})
            turn = {"conversation_id": there, "message_id": message_id}
            opens = {
                "opens": conversation_id is None,
                "prompt": prompt,
                "started_at": now,
                "server": self._server,
            }
            db.execute(usage.insert(), {**turn, "owner": owner, "admitted_at": now, "tokens": 0})
            db.execute(turns.insert(), {**turn, **opens, **_NOTHING_YET})
            return Admitted(there, session)

        return await self._write(work)

    async def end_turn(
        self,
        conversation_id: str,
        message_id: str,
        *,
        answer: str,
        status: str,
        stop_reason: str,
        detail: str,
        spent: Usage | None,
        steps: str = "",
    ) -> None:
        """Make the answer and its steps durable, whole or partial (HIST-1, TURN-11), and charge what it cost.

        A turn with ``spent`` None was not served: it counts for no limit (LIMIT-4).
        """
        turn = {"conversation": conversation_id, "message": message_id}
        outcome = {
            "answer": answer,
            "status": status,
            "stop_reason": stop_reason,
            "detail": detail,
            "input_tokens": spent.input_tokens if spent else 0,
            "output_tokens": spent.output_tokens if spent else 0,
            "steps": steps,
        }

        def work(db: sa.Connection) -> None:
            if spent is None:
                db.execute(_FORGET_USAGE, turn)
            else:
                db.execute(_UPDATE_USAGE, {**turn, "tokens": spent.input_tokens + spent.output_tokens})
            db.execute(_UPDATE_TURN, {**turn, **outcome, "ended_at": self._now()})

        await self._write(work)

    async def save_progress(self, progress: Sequence[Progress]) -> None:
        """Keep what running turns have so far, in case the server is killed; a turn that has ended stays so."""
        rows = [
            {
                "conversation": each.conversation_id,
                "message": each.message_id,
                "text": each.answer,
                "spent": each.spent.input_tokens + each.spent.output_tokens,
            }
            for each in progress
        ]
        spent = [row for row in rows if row["spent"]]
        steps = [
            {"conversation": each.conversation_id, "message": each.message_id, "done": each.steps}
            for each in progress
            if each.steps is not None
        ]

        def work(db: sa.Connection) -> None:
            if spent:
                db.execute(_CHARGE_MORE, spent)
            db.execute(_SAVE_ANSWER, rows)
            if steps:
                db.execute(_SAVE_STEPS, steps)

        await self._write(work)

    async def set_claude_session(self, conversation_id: str, claude_session: str) -> None:
        """Keep the id by which the CLI can resume the conversation (TURN-8)."""
        row = {"conversation": conversation_id, "session": claude_session}
        await self._write(lambda db: db.execute(_REMEMBER, row).close())

    async def delete(self, owner: str, conversation_id: str) -> None:
        """Delete a conversation with all its turns (HIST-5).

        Raises:
            NotFound: There is none with this id that is the owner's.
        """
        change = conversations.delete().where(
            conversations.c.id == conversation_id, conversations.c.owner == owner
        )
        if await self._write(lambda db: db.execute(change).rowcount) == 0:
            raise NotFound(f"there is no conversation {conversation_id}")

    async def sessions(self, keys: Sequence[str]) -> list[LoginSession]:
        """The logins of these keys, as far as there are any, in the order of the keys."""
        query = (
            sa.select(sessions, listed_names.c.name.label("listed"))
            .outerjoin(listed_names, listed_names.c.owner == sessions.c.owner)
            .where(sessions.c.key.in_(keys))
        )
        rows = await self._read(lambda db: db.execute(query).all())
        # The join gives one row for each listed name of an owner, or one row without a name.
        listed: dict[str, set[str]] = {}
        for row in rows:
            listed.setdefault(row.key, set()).update([] if row.listed is None else [row.listed])
        found = {
            row.key: LoginSession(
                row.key, row.owner, row.name, row.expires_at, row.used_at, frozenset(listed[row.key])
            )
            for row in rows
        }
        return [found[key] for key in dict.fromkeys(keys) if key in found]

    async def open_session(
        self, key: str, owner: str, name: str, expires_at: float, *, ends: Sequence[str] = ()
    ) -> None:
        """Keep a login in place of those with the keys ``ends``; those that have expired are forgotten."""

        def work(db: sa.Connection) -> None:
            now = self._now()
            db.execute(sessions.delete().where(sessions.c.expires_at <= now))
            db.execute(sessions.delete().where(sessions.c.key.in_(ends)))
            row = {"key": key, "owner": owner, "name": name, "expires_at": expires_at, "used_at": now}
            db.execute(sessions.insert(), row)

        await self._write(work)

    async def use_session(self, key: str) -> None:
        """Note that a login is in use."""
        change = sessions.update().where(sessions.c.key == key).values(used_at=self._now())
        await self._write(lambda db: db.execute(change).close())

    async def close_sessions(self, *, keys: Collection[str] = (), owners: Collection[str] = ()) -> list[str]:
        """Forget the logins of these keys, or else all of these owners; the keys of those that there were."""
        # With neither, `IN ()` holds for no row, so that nothing is closed.
        which = sessions.c.key.in_(keys) if keys else sessions.c.owner.in_(owners)

        def work(db: sa.Connection) -> list[str]:
            closed = [*db.execute(sa.select(sessions.c.key).where(which)).scalars()]
            db.execute(sessions.delete().where(which))
            return closed

        return await self._write(work)

    async def names_of(self, owner: str) -> list[str]:
        """The names in CHAT_USERS that belong to an owner."""
        query = sa.select(listed_names.c.name).where(listed_names.c.owner == owner)
        return await self._read(lambda db: [*db.execute(query).scalars()])

    async def claim_name(self, name: str, owner: str) -> str:
        """Make a name in CHAT_USERS the owner's if it is nobody's yet; whose it is then."""
        query = sa.select(listed_names.c.owner).where(listed_names.c.name == name)

        def work(db: sa.Connection) -> str:
            self._lock_for_update(db)
            # Under the lock: of two accounts that come by one name at once, one gets it, the other sees whose it is.
            holder = db.execute(query).scalar()
            if holder is None:
                db.execute(listed_names.insert(), {"name": name, "owner": owner})
            return owner if holder is None else str(holder)

        return await self._write(work)

    async def used(self, owner: str, limits: Limits) -> tuple[Used, float]:
        """What the owner has used of the limits by now, and when that is (Unix seconds)."""

        def work(db: sa.Connection) -> tuple[Used, float]:
            now = self._now()
            return self._used(db, owner, limits, now), now

        return await self._read(work)

    @staticmethod
    def _conversation(db: sa.Connection, owner: str, conversation_id: str) -> Conversation:
        row = db.execute(_CONVERSATION, {"owner": owner, "conversation": conversation_id}).first()
        if row is None:
            raise NotFound(f"there is no conversation {conversation_id}")
        return _conversation(row)

    @staticmethod
    def _same_turn(
        db: sa.Connection, owner: str, conversation_id: str | None, message_id: str
    ) -> StoredTurn | None:
        query = _TURN_THAT_OPENS if conversation_id is None else _TURN_THERE
        wanted = {"owner": owner, "message": message_id, "conversation": conversation_id}
        row = db.execute(query, wanted).first()
        return None if row is None else _turn(row)

    @staticmethod
    def _used(db: sa.Connection, owner: str, limits: Limits, now: float) -> Used:
        """What is not limited is not counted: it may be much."""
        own = sa.and_(usage.c.owner == owner, usage.c.message_id != NO_MESSAGE)
        hour: list[float] = []
        if limits.requests_per_hour:
            hour = Store._hour(db, owner, limits.requests_per_hour, now, usage.c.message_id != NO_MESSAGE)
        requests = tokens = 0
        if limits.requests_per_day or limits.tokens_per_day:
            today = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(usage.c.tokens), 0)).where(
                own, usage.c.admitted_at >= day_start(now)
            )
            requests, tokens = db.execute(today).one()
        return Used(hour, requests, int(tokens))  # PostgreSQL adds up to decimals

    @staticmethod
    def _hour(
        db: sa.Connection, owner: str, limit: int, now: float, kind: sa.ColumnElement[bool]
    ) -> list[float]:
        """When the owner's newest entries of a kind were made in the sliding hour, oldest first."""
        query = (
            sa.select(usage.c.admitted_at)
            .where(usage.c.owner == owner, usage.c.admitted_at > now - HOUR, kind)
            .order_by(usage.c.admitted_at.desc())
            .limit(limit)
        )
        return [*db.execute(query).scalars()][::-1]

    @staticmethod
    def _lock_for_update(db: sa.Connection) -> None:
        """Wait until nobody else writes, and keep others from it until this transaction ends.

        SQLite has one writer at a time anyway; PostgreSQL locks the row. What is counted then stays true (LIMIT-5).
        """
        db.execute(_LOCK)

    def _insert_conversation(self, db: sa.Connection, owner: str, conversation_id: str, title: str) -> str:
        now = self._now()
        row = {"id": conversation_id, "owner": owner, "title": title, "created_at": now, "updated_at": now}
        db.execute(conversations.insert(), row)
        return conversation_id

    async def _write(self, work: Work[T]) -> T:
        try:
            return await self._transactions.write(work)
        except SQLAlchemyError as error:
            raise _unavailable(error) from error

    async def _read(self, work: Work[T]) -> T:
        try:
            return await self._transactions.read(work)
        except SQLAlchemyError as error:
            raise _unavailable(error) from error


def _unavailable(error: SQLAlchemyError) -> Unavailable:
    reason = str(getattr(error, "orig", None) or error)
    logger.warning("the history cannot be used: %s", reason)
    kind = Locked if _is_locked(error) else Unavailable
    return kind("database unavailable", detail=reason)


def _is_locked(error: SQLAlchemyError) -> bool:
    """Whether a lock is in the way: SQLITE_BUSY or SQLITE_LOCKED, or 55P03 (lock_not_available) of PostgreSQL."""
    cause = getattr(error, "orig", None)
    if isinstance(cause, sqlite3.Error):
        return (getattr(cause, "sqlite_errorcode", 0) & 0xFF) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
    return getattr(cause, "sqlstate", None) == "55P03"


def new_id() -> str:
    """An id that no conversation has yet."""
    return secrets.token_hex(6)


def rfc3339(seconds: float) -> str:
    """A time as HIST-7 wants it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _conversation(row: sa.Row[Any], preview: str | None = None) -> Conversation:
    return Conversation(row.id, row.title, row.claude_session, row.created_at, row.updated_at, preview)


def _one_line(start: str) -> str:
    """A text that was cut by the database: SQLite ends it at U+0000 too, PostgreSQL may leave half of an escape."""
    return " ".join(start.partition("\0")[0].rstrip(ESCAPE).split())


def _turn(row: sa.Row[Any]) -> StoredTurn:
    return StoredTurn(
        row.conversation_id,
        row.message_id,
        row.prompt,
        row.answer,
        row.status,
        row.stop_reason,
        row.detail,
        Usage(row.input_tokens, row.output_tokens),
        row.started_at,
        row.ended_at,
        row.steps,
    )
