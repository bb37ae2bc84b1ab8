"""Which servers of a shared database live: turns of those that do not are interrupted (PROC-7, PROC-5).

A server writes a row with the time of the database when it starts, and renews it every two seconds. One that has not
renewed it for the length of a lease is dead, and any other server then marks its turns. A server that could not reach
the database itself, that has only just started, or that sees the database's clock jump, cannot judge the others: it
marks nothing until it has renewed its own row for the length of a lease without a gap.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import sqlalchemy as sa

from chat_server.store.schema import servers, turns

LEASE_SECONDS = 10.0
RENEW_SECONDS = 2.0

_NOW = sa.func.extract("epoch", sa.func.clock_timestamp())
"""The database's clock, as Unix seconds: clocks of different machines are never compared."""

_LIVING = sa.select(servers.c.id)


class Leases:
    """The lease of this server, and what it knows of the others. Methods run in a transaction of PostgreSQL."""

    def __init__(self, server: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._clock = clock
        self._since = clock()  # no gap since then

    def begin(self, db: sa.Connection, now: float) -> None:
        """Take a lease; turns that this server left behind when it was last killed are interrupted.

        So are those of servers that knew no leases: their schema was older.
        """
        interrupt(db, turns.c.server.in_((self._server, "")), now)
        self._write(db)

    def renew(self, db: sa.Connection, now: float) -> int:
        """Renew the lease, and end the turns of servers that did not; how many turns those were."""
        db.execute(
            sa.text("SET LOCAL synchronous_commit TO OFF")
        )  # a lease that is lost in a crash is renewed
        # Read before the own row is written: how long the others could not see this server. A negative gap is a clock
        # that was set back.
        gap = db.execute(sa.select(_NOW - servers.c.seen_at).where(servers.c.id == self._server)).scalar()
        self._write(db)
        if gap is None or not 0 <= gap <= LEASE_SECONDS / 2:
            self._since = self._clock()
        if self._clock() - self._since < LEASE_SECONDS:
            return 0
        # First the rows of the dead, then the turns without a row: so turns of a server long forgotten end, too.
        db.execute(servers.delete().where(servers.c.seen_at < _NOW - LEASE_SECONDS))
        return interrupt(db, turns.c.server.not_in(_LIVING), now)

    def end(self, db: sa.Connection) -> None:
        """Give the lease back."""
        db.execute(servers.delete().where(servers.c.id == self._server))

    def _write(self, db: sa.Connection) -> None:
        renewed = db.execute(servers.update().where(servers.c.id == self._server).values(seen_at=_NOW))
        if renewed.rowcount == 0:
            db.execute(servers.insert().values(id=self._server, seen_at=_NOW))


def interrupt(db: sa.Connection, condition: sa.ColumnElement[bool], now: float) -> int:
    """Mark running turns as interrupted where the condition holds; how many there were."""
    return db.execute(
        turns.update()
        .where(turns.c.status == "running", condition)
        .values(
            status="interrupted",
            stop_reason="interrupted",
            detail="the server was stopped during this turn",
            ended_at=now,
        )
    ).rowcount
