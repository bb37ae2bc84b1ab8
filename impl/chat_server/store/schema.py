"""The tables, and how a database of an older version becomes one of this version."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import sqlalchemy as sa

from chat_server.errors import Unavailable

metadata = sa.MetaData()

ESCAPE, NUL = "\ufdd0", "\ufdd1"
"""Noncharacters of Unicode, which no text has a use for."""


class AnyText(sa.types.TypeDecorator[str]):
    """Text of any characters. PostgreSQL takes no U+0000: there it is written as ``ESCAPE NUL``."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """What the database keeps."""
        if value is None or dialect.name == "sqlite":
            return value
        return value.replace(ESCAPE, ESCAPE * 2).replace("\0", ESCAPE + NUL)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """What was meant."""
        if value is None or dialect.name == "sqlite":
            return value
        return re.sub(f"{ESCAPE}(.)", lambda found: "\0" if found[1] == NUL else found[1], value)


schema = sa.Table("chatgate_schema", metadata, sa.Column("version", sa.Integer, nullable=False))

conversations = sa.Table(
    "conversations",
    metadata,
    sa.Column("id", sa.String(12), primary_key=True),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("title", sa.String, nullable=False),
    sa.Column("claude_session", sa.String),  # what --resume takes; NULL before the first turn began
    sa.Column("created_at", sa.Float, nullable=False),  # Unix seconds, as all times here
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.Index("conversations_by_owner", "owner", "updated_at", "id"),
)

_RUNNING = sa.text("status = 'running'")
turns = sa.Table(
    "turns",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column(
        "conversation_id", sa.ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("message_id", sa.String(64), nullable=False),
    sa.Column("opens", sa.Boolean, nullable=False),  # the turn that began its conversation
    sa.Column("prompt", AnyText, nullable=False),
    sa.Column("answer", AnyText, nullable=False),
    sa.Column("status", sa.String, nullable=False),  # running, complete, cancelled, failed, interrupted
    sa.Column("stop_reason", sa.String, nullable=False),  # of a complete turn; else the error's code
    sa.Column("detail", AnyText, nullable=False),  # the error's sentence
    sa.Column("input_tokens", sa.BigInteger, nullable=False),
    sa.Column("output_tokens", sa.BigInteger, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
    sa.Column("steps", sa.Text, nullable=False, server_default=""),  # JSON, or empty: see turns/steps.py
    sa.Column("server", sa.String, nullable=False, server_default=""),  # the id of the one that runs it
    sa.UniqueConstraint("conversation_id", "message_id"),
    sa.Index("turns_by_message", "message_id"),
    sa.Index("turns_that_run", "status", sqlite_where=_RUNNING, postgresql_where=_RUNNING),
)

usage = sa.Table(
    "usage",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("admitted_at", sa.Float, nullable=False),
    sa.Column("tokens", sa.BigInteger, nullable=False),  # input and output, once the turn has ended
    sa.Column("conversation_id", sa.String(12), nullable=False),  # no reference: usage outlives deletion
    sa.Column("message_id", sa.String(64), nullable=False),
    sa.Index("usage_by_owner", "owner", "admitted_at"),
    sa.Index("usage_by_turn", "conversation_id", "message_id"),
)
"""The ledger that limits and quotas are read from."""

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),  # a hash of the token in the cookie
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),  # of the user when they logged in, for show
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Column("used_at", sa.Float, nullable=False),
    sa.Index("sessions_by_owner", "owner"),
)

listed_names = sa.Table(
    "listed_names",
    metadata,
    sa.Column("name", sa.String, primary_key=True),  # in lower case
    sa.Column("owner", sa.String, nullable=False),
    sa.Index("listed_names_by_owner", "owner"),
)
"""To which account a name in CHAT_USERS belongs: the first that logged in by it."""

servers = sa.Table(
    "servers",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("seen_at", sa.Float, nullable=False),  # by the clock of the database
)
"""The servers that share a PostgreSQL: see impl/chat_server/store/leases.py."""

Migration = Callable[[sa.Connection], None]


MIGRATIONS: Sequence[Migration] = ()
"""The n-th takes a database from version n to n + 1. None is ever changed, only added, together with the same change to
the tables above: an empty database is made from these, without any step."""


MIGRATING = 0x63686174
"""The key of the lock that PostgreSQL holds for us: "chat" in ASCII."""


def migrate(connection: sa.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring a database to the newest version, which is one more than there are ``migrations``; all of it or nothing.

    Raises:
        Unavailable: A newer server wrote it, or one of before the first release.
    """
    newest = len(migrations) + 1
    # Servers that start at the same time do this one by one.
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATING)))
    schema.create(connection, checkfirst=True)
    version = connection.execute(sa.select(schema.c.version)).scalar()
    # The version is written first: SQLite begins a transaction with a change of data, not with one of tables.
    if version is None:
        connection.execute(schema.insert().values(version=newest))
        metadata.create_all(connection)
        return
    # Checkouts before the first release counted from 1 to 5; their version 1 had not all tables of today's.
    if version > newest or (version == 1 and not _has_all_tables(connection)):
        raise Unavailable(
            f"the database has schema version {version} of a newer server, or of one before the first release; this "
            f"server knows {newest}: use the server version that wrote it, or another CHAT_DATABASE or CHAT_DATA"
        )
    connection.execute(schema.update().values(version=newest))
    for step in migrations[version - 1 :]:
        step(connection)


def _has_all_tables(connection: sa.Connection) -> bool:
    return {*metadata.tables} <= {*sa.inspect(connection).get_table_names()}
