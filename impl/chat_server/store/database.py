"""Open SQLite or PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from chat_server.errors import Unavailable
from chat_server.store.leases import RENEW_SECONDS
from chat_server.store.store import Store
from chat_server.store.transactions import Transactions

THREADS = 5
"""Transactions that run in parallel; SQLAlchemy keeps as many connections."""


CONNECTION_TIMEOUTS = {"connect_timeout": "10", "tcp_user_timeout": "10000"}
"""When PostgreSQL is taken for gone, in seconds and milliseconds, unless the URL says otherwise."""


MAX_BATCH = 64
"""Calls that may share one transaction of SQLite: its one writer must not delay the others for too long."""


@asynccontextmanager
async def opened(url: str | sa.URL, now: Callable[[], float], *, server: str = "") -> AsyncIterator[Store]:
    """The database at a SQLAlchemy URL, prepared, for the length of the block.

    SQLite is taken to be this server's alone. ``server`` is its id among those that share a PostgreSQL.

    Raises:
        Unavailable: It cannot be opened, or a newer server wrote it.
    """
    engine = _engine(url)
    one_writer = engine.dialect.name == "sqlite"
    in_memory = isinstance(engine.pool, sa.StaticPool)  # there is one connection, for one thread
    with (
        ThreadPoolExecutor(1 if one_writer else THREADS, "store") as writers,
        ThreadPoolExecutor(THREADS - 1, "store-reader") as others,
    ):
        readers = others if one_writer and not in_memory else writers
        transactions = Transactions(
            engine,
            readers=readers,
            writers=writers,
            # Side by side they would wait for each other's rows.
            together=MAX_BATCH if one_writer else 1,
            side_by_side=1 if one_writer else THREADS,
        )
        store = Store(transactions, now, server=server, shared=engine.dialect.name == "postgresql")
        try:
            await store.prepare()
            renewing = asyncio.create_task(_renew(store))
            try:
                yield store
            finally:
                renewing.cancel()
                await asyncio.wait([renewing])
            with suppress(Unavailable):
                await store.end_lease()
        finally:
            engine.dispose()


async def _renew(store: Store) -> None:
    """Renew the lease again and again; where the database cannot be reached, later."""
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        with suppress(Unavailable):
            await store.renew_lease()


def _engine(address: str | sa.URL) -> sa.Engine:
    # What people wrote is not for the log.
    settings: dict[str, Any] = {"hide_parameters": True}
    try:
        url = sa.make_url(address)
        # As most write it; SQLAlchemy would take an older driver.
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        if url.get_dialect().is_async:
            raise Unavailable(
                f"CHAT_DATABASE cannot be used: {url.drivername} is a driver for asyncio; "
                "write sqlite:///PATH or postgresql://..."
            )
        if url.get_backend_name() == "postgresql":
            # One that was restarted costs nobody an error.
            settings["pool_pre_ping"] = True
            url = url.update_query_dict({**CONNECTION_TIMEOUTS, **url.query})
        elif url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}:
            settings |= {"poolclass": sa.StaticPool, "connect_args": {"check_same_thread": False}}
        engine = sa.create_engine(url, **settings)
    except SQLAlchemyError as error:  # no URL, or no such kind of database
        raise Unavailable(f"CHAT_DATABASE cannot be used: {error}") from error
    except ImportError as error:  # no driver for it
        advice = "PostgreSQL needs: pip install 'chatgate[postgres]'"
        raise Unavailable(f"CHAT_DATABASE cannot be used: {error}; {advice}") from error
    if engine.dialect.name == "sqlite":
        _try_sqlite(engine.url.database or ":memory:")
        sa.event.listen(engine, "connect", _tune_sqlite)
    return engine


def sqlite_file(address: str | sa.URL) -> Path | None:
    """The file of a SQLite database, whatever symbolic links lead to it; ``None`` where there is no such file.

    Raises:
        Unavailable: The address is none.
    """
    try:
        url = sa.make_url(address)
    except SQLAlchemyError as error:
        raise Unavailable(f"CHAT_DATABASE cannot be used: {error}") from error
    name = url.database or ""
    if url.get_backend_name() != "sqlite" or name in {"", ":memory:"}:
        return None
    if name.startswith("file:"):  # https://www.sqlite.org/uri.html
        name = unquote(urlsplit(name).path)
        if url.query.get("mode") == "memory" or name in {"", ":memory:"}:
            return None
    return Path(name).resolve()


def _try_sqlite(path: str) -> None:
    """Refuse a file that cannot be opened, and say which; SQLite itself does not."""
    try:
        sqlite3.connect(path).close()
    except sqlite3.Error as error:
        raise Unavailable("database unavailable", detail=f"{error}: {path}") from error


def _tune_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")  # readers do not wait for the writer
    # What was acknowledged survives a power cut.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA busy_timeout = 5000")
    # KiB for each thread; the kernel has the file, too.
    cursor.execute("PRAGMA cache_size = -512")
    cursor.close()
