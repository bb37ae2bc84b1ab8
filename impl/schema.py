"""The tables, and how a database of an older version becomes one of this version."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from impl.errors import Unavailable

metadata = sa.MetaData()

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

turns = sa.Table(
    "turns",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column(
        "conversation_id", sa.ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("message_id", sa.String(64), nullable=False),
    sa.Column("opens", sa.Boolean, nullable=False),  # the turn that began its conversation
    sa.Column("prompt", sa.Text, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("status", sa.String, nullable=False),  # running, complete, cancelled, failed, interrupted
    sa.Column("stop_reason", sa.String, nullable=False),  # of a complete turn; else the error's code
    sa.Column("detail", sa.Text, nullable=False),  # the error's sentence
    sa.Column("input_tokens", sa.Integer, nullable=False),
    sa.Column("output_tokens", sa.Integer, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
    sa.UniqueConstraint("conversation_id", "message_id"),
)

usage = sa.Table(
    "usage",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("admitted_at", sa.Float, nullable=False),
    sa.Column("tokens", sa.Integer, nullable=False),  # input and output, once the turn has ended
    sa.Column("conversation_id", sa.String(12), nullable=False),  # no reference: usage outlives deletion
    sa.Column("message_id", sa.String(64), nullable=False),
    sa.Index("usage_by_owner", "owner", "admitted_at"),
)
"""The ledger that limits and quotas are read from."""

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),  # a hash of the token in the cookie
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
)

Migration = Callable[[sa.Connection], None]

MIGRATIONS: Sequence[Migration] = (metadata.create_all,)
"""The n-th takes a database from version n to n + 1; the first makes an empty one. None is ever changed, only added."""


def migrate(connection: sa.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring a database to the version of ``migrations``, all of it or nothing.

    Raises:
        Unavailable: A newer server wrote it.
    """
    schema.create(connection, checkfirst=True)
    version = connection.execute(sa.select(schema.c.version)).scalar()
    if version is None:
        version = 0
        connection.execute(schema.insert().values(version=0))
    if version > len(migrations):
        raise Unavailable(
            f"the database has schema version {version}, this server knows {len(migrations)}: "
            "use the server version that wrote it, or another CHAT_DATABASE"
        )
    # Written first: SQLite begins a transaction with a change of data, not with one of tables.
    connection.execute(schema.update().values(version=len(migrations)))
    for step in migrations[version:]:
        step(connection)
