"""Conversations and turns in the database, each looked up under its owner."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf, isfinite
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from impl.errors import BadRequest, NotFound, Unavailable
from impl.limits import HOUR, Limits, Used, admit, day_start
from impl.messages import Usage
from impl.schema import ESCAPE, conversations, migrate, schema, sessions, turns, usage

logger = logging.getLogger(__name__)

TITLE_CHARS = 80
PREVIEW_CHARS = 120


_PREVIEW = (
    sa.select(sa.func.substr(turns.c.answer, 1, PREVIEW_CHARS, type_=turns.c.answer.type))
    .where(turns.c.conversation_id == conversations.c.id)
    .order_by(turns.c.number.desc())
    .limit(1)
    .scalar_subquery()
    .label("preview")
)
_CHARGE_MORE = (
    usage.update()
    .where(
        usage.c.conversation_id == sa.bindparam("conversation"),
        usage.c.message_id == sa.bindparam("message"),
        usage.c.tokens < sa.bindparam("spent"),
    )
    .values(tokens=sa.bindparam("spent"))
)
_SAVE_ANSWER = (
    turns.update()
    .where(
        turns.c.conversation_id == sa.bindparam("conversation"),
        turns.c.message_id == sa.bindparam("message"),
        turns.c.status == "running",
    )
    .values(answer=sa.bindparam("text"))
)


@dataclass(frozen=True, slots=True)
class LoginSession:
    """A login that was made here."""

    owner: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as its owner sees it; times are Unix seconds.

    ``preview`` is how the newest turn's answer begins, on one line; ``None`` where it was not asked for.
    """

    id: str
    title: str
    claude_session: str | None
    created_at: float
    updated_at: float
    preview: str | None = None


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn as the database has it."""

    conversation_id: str
    message_id: str
    prompt: str
    answer: str
    status: str
    stop_reason: str
    detail: str
    usage: Usage
    started_at: float
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class Progress:
    """What a running turn has so far; ``spent`` is zero where nothing was spent since the last time."""

    conversation_id: str
    message_id: str
    answer: str
    spent: Usage


class Store:
    """The database. Every method raises ``Unavailable`` when it cannot be read or written."""

    def __init__(self, engine: AsyncEngine, now: Callable[[], float]) -> None:
        self._engine = engine
        sqlite = engine.dialect.name == "sqlite"
        self._writing = asyncio.Lock() if sqlite else contextlib.nullcontext()
        self._now = now

    async def prepare(self) -> None:
        """Migrate, and mark turns that a killed server left running as interrupted (PROC-5).

        Raises:
            Unavailable: The database cannot be used, or a newer server wrote it.
        """
        async with self._write() as db:
            await db.run_sync(migrate)
            await db.execute(
                turns.update()
                .where(turns.c.status == "running")
                .values(
                    status="interrupted",
                    stop_reason="interrupted",
                    detail="the server was stopped during this turn",
                    ended_at=self._now(),
                )
            )

    async def check(self) -> None:
        """Whether the database can be read and written."""
        async with self._write() as db:
            for step in (1, -1):  # to write what is there already would be no write
                await db.execute(schema.update().values(version=schema.c.version + step))

    async def new_conversation(self, owner: str) -> str:
        """Make an empty conversation; its id (HIST-6)."""
        async with self._write() as db:
            return await self._insert_conversation(db, owner, "")

    async def conversation(self, owner: str, conversation_id: str) -> Conversation:
        """One conversation.

        Raises:
            NotFound: There is none with this id that is the owner's (MSG-5).
        """
        async with self._begin() as db:
            row = (
                await db.execute(
                    sa.select(conversations).where(
                        conversations.c.id == conversation_id, conversations.c.owner == owner
                    )
                )
            ).first()
        if row is None:
            raise NotFound(f"there is no conversation {conversation_id}")
        return _conversation(row)

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
                position = (float(updated), last)
            except ValueError:
                position = (inf, last)
            if not isfinite(position[0]):
                raise BadRequest(f"before is {before[:40]!r}; use the value of next")
            query = query.where(sa.tuple_(conversations.c.updated_at, conversations.c.id) < position)
        async with self._begin() as db:
            page = [_conversation(row, _one_line(row.preview or "")) for row in await db.execute(query)]
        if len(page) <= limit:
            return page, None
        last_shown = page[limit - 1]
        return page[:limit], f"{last_shown.updated_at!r}_{last_shown.id}"

    async def turns(self, conversation_id: str) -> list[StoredTurn]:
        """The turns of a conversation, oldest first."""
        query = sa.select(turns).where(turns.c.conversation_id == conversation_id).order_by(turns.c.number)
        async with self._begin() as db:
            return [_turn(row) for row in await db.execute(query)]

    async def find_turn(self, owner: str, conversation_id: str | None, message_id: str) -> StoredTurn | None:
        """The turn of this ``message_id``: in that conversation, or else the one that it began (TURN-7)."""
        query = (
            sa.select(turns)
            .join(conversations)
            .where(conversations.c.owner == owner, turns.c.message_id == message_id)
            .where(turns.c.conversation_id == conversation_id if conversation_id else turns.c.opens)
        )
        async with self._begin() as db:
            row = (await db.execute(query)).first()
        return None if row is None else _turn(row)

    async def newest_turn(
        self, owner: str, conversation_id: str | None, message_id: str
    ) -> StoredTurn | None:
        """The owner's newest turn of this ``message_id``, in that conversation or in any (CANCEL-2)."""
        query = (
            sa.select(turns)
            .join(conversations)
            .where(conversations.c.owner == owner, turns.c.message_id == message_id)
            .order_by(turns.c.number.desc())
            .limit(1)
        )
        if conversation_id is not None:
            query = query.where(turns.c.conversation_id == conversation_id)
        async with self._begin() as db:
            row = (await db.execute(query)).first()
        return None if row is None else _turn(row)

    async def begin_turn(
        self, owner: str, conversation_id: str | None, message_id: str, prompt: str, limits: Limits
    ) -> str:
        """Admit a turn and make its prompt durable, both or neither (HIST-1); the conversation's id.

        Raises:
            RateLimited: A request limit is reached.
            QuotaExceeded: The day's tokens are spent.
        """
        async with self._write() as db:
            await self._be_the_only_writer(db)
            now = self._now()
            admit(limits, await self._used(db, owner, limits, now), now)
            opens = conversation_id is None
            title = " ".join(prompt.replace("\0", "").split())[:TITLE_CHARS]
            if conversation_id is None:
                conversation_id = await self._insert_conversation(db, owner, title)
            else:
                await db.execute(
                    conversations.update()
                    .where(conversations.c.id == conversation_id)
                    .values(
                        updated_at=now,
                        title=sa.case((conversations.c.title == "", title), else_=conversations.c.title),
                    )
                )
            await db.execute(
                usage.insert().values(
                    owner=owner,
                    admitted_at=now,
                    tokens=0,
                    conversation_id=conversation_id,
                    message_id=message_id,
                )
            )
            await db.execute(
                turns.insert().values(
                    conversation_id=conversation_id,
                    message_id=message_id,
                    opens=opens,
                    prompt=prompt,
                    answer="",
                    status="running",
                    stop_reason="",
                    detail="",
                    input_tokens=0,
                    output_tokens=0,
                    started_at=now,
                )
            )
        return conversation_id

    async def end_turn(
        self,
        conversation_id: str,
        message_id: str,
        *,
        answer: str,
        status: str,
        stop_reason: str,
        detail: str,
        spent: Usage,
    ) -> None:
        """Make the answer durable, whole or partial (HIST-1, TURN-11), and charge what it cost."""
        async with self._write() as db:
            await self._charge(db, conversation_id, message_id, spent)
            await db.execute(
                turns.update()
                .where(turns.c.conversation_id == conversation_id, turns.c.message_id == message_id)
                .values(
                    answer=answer,
                    status=status,
                    stop_reason=stop_reason,
                    detail=detail,
                    input_tokens=spent.input_tokens,
                    output_tokens=spent.output_tokens,
                    ended_at=self._now(),
                )
            )

    async def save_progress(self, progress: Sequence[Progress]) -> None:
        """Keep what running turns have so far, in case the server is killed; what has ended meanwhile stays so."""
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
        async with self._write() as db:
            if spent:
                await db.execute(_CHARGE_MORE, spent)
            await db.execute(_SAVE_ANSWER, rows)

    async def remember_session(self, conversation_id: str, claude_session: str) -> None:
        """Keep the id by which the CLI can resume the conversation (TURN-8)."""
        async with self._write() as db:
            await db.execute(
                conversations.update()
                .where(conversations.c.id == conversation_id)
                .values(claude_session=claude_session)
            )

    async def delete(self, owner: str, conversation_id: str) -> None:
        """Delete a conversation with all its turns (HIST-5).

        Raises:
            NotFound: There is none with this id that is the owner's.
        """
        async with self._write() as db:
            gone = await db.execute(
                conversations.delete().where(
                    conversations.c.id == conversation_id, conversations.c.owner == owner
                )
            )
        if gone.rowcount == 0:
            raise NotFound(f"there is no conversation {conversation_id}")

    async def session(self, key: str) -> LoginSession | None:
        """The login of this key."""
        async with self._begin() as db:
            row = (await db.execute(sa.select(sessions).where(sessions.c.key == key))).first()
        return None if row is None else LoginSession(row.owner, row.expires_at)

    async def open_session(self, key: str, owner: str, expires_at: float) -> None:
        """Keep a login; those that have expired are forgotten."""
        async with self._write() as db:
            await db.execute(sessions.delete().where(sessions.c.expires_at <= self._now()))
            await db.execute(sessions.insert().values(key=key, owner=owner, expires_at=expires_at))

    async def close_session(self, key: str) -> None:
        """Forget a login."""
        async with self._write() as db:
            await db.execute(sessions.delete().where(sessions.c.key == key))

    async def used(self, owner: str, limits: Limits) -> tuple[Used, float]:
        """What the owner has used of the limits by now, and when that is (Unix seconds)."""
        async with self._begin() as db:
            now = self._now()
            return await self._used(db, owner, limits, now), now

    @staticmethod
    async def _used(db: AsyncConnection, owner: str, limits: Limits, now: float) -> Used:
        """What is not limited is not counted: it may be much."""
        own = usage.c.owner == owner
        hour: list[float] = []
        if limits.requests_per_hour:
            query = (
                sa.select(usage.c.admitted_at)
                .where(own, usage.c.admitted_at > now - HOUR)
                .order_by(usage.c.admitted_at.desc())
                .limit(limits.requests_per_hour)
            )
            hour = [*(await db.execute(query)).scalars()][::-1]
        requests = tokens = 0
        if limits.requests_per_day or limits.tokens_per_day:
            today = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(usage.c.tokens), 0)).where(
                own, usage.c.admitted_at >= day_start(now)
            )
            requests, tokens = (await db.execute(today)).one()
        return Used(hour, requests, int(tokens))  # PostgreSQL adds up to decimals

    @staticmethod
    async def _be_the_only_writer(db: AsyncConnection) -> None:
        """Wait until nobody else writes, and keep others from it until this transaction ends.

        SQLite has one writer at a time anyway; PostgreSQL locks the row. What is counted then stays true (LIMIT-5).
        """
        await db.execute(schema.update().values(version=schema.c.version))

    @staticmethod
    async def _charge(db: AsyncConnection, conversation_id: str, message_id: str, spent: Usage) -> None:
        await db.execute(
            usage.update()
            .where(usage.c.conversation_id == conversation_id, usage.c.message_id == message_id)
            .values(tokens=spent.input_tokens + spent.output_tokens)
        )

    async def _insert_conversation(self, db: AsyncConnection, owner: str, title: str) -> str:
        conversation_id = secrets.token_hex(6)
        now = self._now()
        await db.execute(
            conversations.insert().values(
                id=conversation_id, owner=owner, title=title, created_at=now, updated_at=now
            )
        )
        return conversation_id

    @asynccontextmanager
    async def _write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes. SQLite has one writer at a time, and lets the others poll: here they queue."""
        async with self._writing, self._begin() as db:
            yield db

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.begin() as db:
                yield db
        except (SQLAlchemyError, OSError) as error:  # a server that cannot be reached is an OSError
            reason = str(getattr(error, "orig", None) or error)
            logger.warning("the history cannot be used: %s", reason)
            raise Unavailable(f"the history cannot be used now: {reason}") from error


@asynccontextmanager
async def opened(url: str | sa.URL, now: Callable[[], float]) -> AsyncIterator[Store]:
    """The database at a SQLAlchemy URL, prepared, for the length of the block.

    Raises:
        Unavailable: It cannot be opened, or a newer server wrote it.
    """
    try:
        # What people wrote is not for the log; a database server that was restarted costs nobody an error.
        remote = sa.make_url(url).get_backend_name() != "sqlite"
        engine = create_async_engine(url, hide_parameters=True, pool_pre_ping=remote)
    except (SQLAlchemyError, ImportError) as error:  # no URL, no such kind of database, or no driver for it
        raise Unavailable(f"CHAT_DATABASE cannot be used: {error}") from error
    if engine.dialect.name == "sqlite":
        _try_sqlite(engine.url.database or ":memory:")
        sa.event.listen(engine.sync_engine, "connect", _tune_sqlite)
    try:
        store = Store(engine, now)
        await store.prepare()
        yield store
    finally:
        await engine.dispose()


def rfc3339(seconds: float) -> str:
    """A time as HIST-7 wants it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _try_sqlite(path: str) -> None:
    """Refuse a file that cannot be opened; aiosqlite would leave a thread behind that outlives the loop."""
    try:
        sqlite3.connect(path).close()
    except sqlite3.Error as error:
        raise Unavailable(f"the history cannot be used now: {error}: {path}") from error


def _tune_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")  # readers do not wait for the writer
    cursor.execute("PRAGMA synchronous = FULL")  # what was acknowledged survives a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA busy_timeout = 5000")
    cursor.close()


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
    )
