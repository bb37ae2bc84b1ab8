"""A database of an older version becomes one of this version, or stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from chat_server.errors import Unavailable
from chat_server.store.schema import MIGRATIONS, migrate, owners_by_name, schema, sessions, turns

NEWEST = len(MIGRATIONS) + 1


def add_column(connection: sa.Connection) -> None:
    connection.execute(sa.text("ALTER TABLE turns ADD COLUMN mood VARCHAR"))


def fail(connection: sa.Connection) -> None:
    add_column(connection)
    raise RuntimeError("the second half does not work")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'chat.sqlite3'}")
    yield engine
    engine.dispose()


def version(engine: sa.Engine) -> int | None:
    with engine.begin() as connection:
        return connection.execute(sa.select(schema.c.version)).scalar()


def columns(engine: sa.Engine) -> set[str]:
    return {column["name"] for column in sa.inspect(engine).get_columns("turns")}


def test_empty_database_gets_every_table(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        migrate(connection)

    assert version(engine) == NEWEST
    assert columns(engine) == {column.name for column in turns.columns}


def make_version_1(connection: sa.Connection) -> None:
    """A database as the first version made it."""
    migrate(connection, ())
    for index in ("turns_by_message", "turns_that_run", "usage_by_turn"):
        connection.execute(sa.text(f"DROP INDEX {index}"))
    for column in ("steps", "server"):
        connection.execute(sa.text(f"ALTER TABLE turns DROP COLUMN {column}"))
    for table in ("servers", "listed_names", "owners_by_name", "sessions"):
        connection.execute(sa.text(f"DROP TABLE {table}"))
    connection.execute(
        sa.text(
            "CREATE TABLE sessions (key VARCHAR(64) NOT NULL PRIMARY KEY, owner VARCHAR NOT NULL, "
            "expires_at FLOAT NOT NULL)"
        )
    )


def definitions(engine: sa.Engine) -> dict[str, object]:
    """Columns, keys and indexes of each table. The text of a table differs: SQLite adds new columns at its end."""
    inspector = sa.inspect(engine)
    return {
        table: (
            sorted(
                (column["name"], str(column["type"]), column["nullable"], column["default"])
                for column in inspector.get_columns(table)
            ),
            inspector.get_pk_constraint(table),
            inspector.get_foreign_keys(table),
            inspector.get_unique_constraints(table),
        )
        for table in inspector.get_table_names()
    } | {"indexes": indexes(engine)}


def indexes(engine: sa.Engine) -> set[str]:
    query = sa.text("SELECT sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
    with engine.begin() as connection:
        return {" ".join(sql.split()) for (sql,) in connection.execute(query)}


def test_older_database_becomes_like_a_new_one(engine: sa.Engine, tmp_path: Path) -> None:
    new = sa.create_engine(f"sqlite:///{tmp_path / 'new.sqlite3'}")
    with new.begin() as connection:
        migrate(connection)
    with engine.begin() as connection:
        make_version_1(connection)
    older = definitions(engine)

    with engine.begin() as connection:
        migrate(connection)

    assert version(engine) == NEWEST
    assert definitions(engine) == definitions(new) != older
    new.dispose()


def test_owners_of_an_older_database_can_be_adopted(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        make_version_1(connection)
        connection.execute(sa.text("INSERT INTO sessions VALUES ('k', 'ada', 1e10)"))
        connection.execute(sa.text("INSERT INTO conversations VALUES ('c', 'ada', '', NULL, 1, 1)"))
        connection.execute(sa.text("INSERT INTO usage VALUES (1, 'bob', 1, 0, 'c', 'm')"))

    with engine.begin() as connection:
        migrate(connection)

    with engine.begin() as connection:
        assert {*connection.execute(sa.select(owners_by_name.c.name)).scalars()} == {"ada", "bob"}
        assert connection.execute(sa.select(sessions)).all() == []


def test_database_of_this_version_is_left_alone(engine: sa.Engine) -> None:
    for _ in range(2):
        with engine.begin() as connection:
            migrate(connection)

    assert version(engine) == NEWEST


def test_older_database_gets_only_the_newer_steps(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        migrate(connection)
    with engine.begin() as connection:
        migrate(connection, (*MIGRATIONS, add_column))

    assert version(engine) == NEWEST + 1
    assert "mood" in columns(engine)


def test_empty_database_is_made_without_steps(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        migrate(connection, (*MIGRATIONS, fail))

    assert version(engine) == NEWEST + 1


def test_migration_that_fails_changes_nothing(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        migrate(connection)
    with pytest.raises(RuntimeError), engine.begin() as connection:
        migrate(connection, (*MIGRATIONS, fail))

    assert version(engine) == NEWEST
    assert "mood" not in columns(engine)


def test_database_of_a_newer_server_is_refused(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        migrate(connection, (*MIGRATIONS, add_column))

    with (
        pytest.raises(Unavailable, match=rf"version {NEWEST + 1}, this server knows {NEWEST}:"),
        engine.begin() as connection,
    ):
        migrate(connection)
