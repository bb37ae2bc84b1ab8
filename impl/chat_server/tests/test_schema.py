"""A database of an older version becomes one of this version, or stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from chat_server.errors import Unavailable
from chat_server.store.schema import MIGRATIONS, migrate, schema, turns

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


@pytest.mark.parametrize("version", [1, 2, 5])
def test_database_before_release_is_refused(engine: sa.Engine, version: int) -> None:
    """Unreleased versions counted up to 5; their first had neither servers nor names of users."""
    with engine.begin() as connection:
        migrate(connection)
        connection.execute(schema.update().values(version=version))
        for table in ("servers", "listed_names"):
            connection.execute(sa.text(f"DROP TABLE {table}"))

    with (
        pytest.raises(Unavailable, match=rf"version {version} of a newer server, or of one before the first"),
        engine.begin() as connection,
    ):
        migrate(connection)


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
        pytest.raises(
            Unavailable, match=rf"version {NEWEST + 1} of a newer server.* this server knows {NEWEST}:"
        ),
        engine.begin() as connection,
    ):
        migrate(connection)
