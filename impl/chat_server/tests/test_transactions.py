"""Who writes at the same time shares a transaction, and nothing else: not an error, a refusal or a cancellation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError

from chat_server.errors import NotFound
from chat_server.store.transactions import Transactions, Work
from chat_server.tests.loop_clock import PATIENCE

names = sa.Table("names", sa.MetaData(), sa.Column("name", sa.String, primary_key=True))


def add(name: str) -> Work[str]:
    def work(db: sa.Connection) -> str:
        db.execute(names.insert().values(name=name))
        return name

    return work


def refuse(_db: sa.Connection) -> str:
    raise NotFound("there is no such name")


class Database:
    """A file of SQLite with one thread that writes, which can be kept busy."""

    def __init__(self, path: Path, together: int = 64) -> None:
        self.path = path
        self.commits = 0
        self.engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
        sa.event.listen(self.engine, "commit", self._count)
        self.threads = ThreadPoolExecutor(1)
        self.transactions = Transactions(
            self.engine, readers=self.threads, writers=self.threads, together=together
        )

    def _count(self, _connection: sa.Connection) -> None:
        self.commits += 1

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """Another connection holds the write lock in the block, and rolls back."""
        go, there = threading.Event(), threading.Event()

        def wait(_db: sa.Connection) -> None:
            there.set()
            assert go.wait(PATIENCE)
            raise NotFound("nothing to write")

        writing = self.transactions.write(wait)
        assert await asyncio.to_thread(there.wait, PATIENCE)
        try:
            yield
        finally:
            go.set()
            with suppress(NotFound):
                await writing

    def begin(self, *works: Work[str]) -> list[asyncio.Future[str]]:
        return [self.transactions.write(work) for work in works]

    async def names(self) -> set[str]:
        return await self.transactions.read(lambda db: set(db.execute(sa.select(names.c.name)).scalars()))


@asynccontextmanager
async def opened(folder: Path, together: int = 64) -> AsyncIterator[Database]:
    database = Database(folder / "names.sqlite3", together)
    await database.transactions.write(names.create)
    database.commits = 0
    try:
        yield database
    finally:
        database.threads.shutdown()
        database.engine.dispose()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(tmp_path) as database:
        yield database


async def outcomes(tasks: list[asyncio.Future[str]]) -> list[object]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_waiting_calls_share_a_transaction(database: Database) -> None:
    async with database.busy():
        tasks = database.begin(*(add(str(number)) for number in range(10)))

    assert await outcomes(tasks) == [str(number) for number in range(10)]
    assert await database.names() == {str(number) for number in range(10)}
    assert database.commits == 1


@pytest.mark.parametrize(("together", "commits"), [(1, 5), (2, 3), (5, 1)])
async def test_batch_has_a_maximum(tmp_path: Path, together: int, commits: int) -> None:
    async with opened(tmp_path, together) as database:
        async with database.busy():
            tasks = database.begin(*(add(str(number)) for number in range(5)))

        assert await outcomes(tasks) == [str(number) for number in range(5)]
        assert database.commits == commits


async def test_later_ones_see_what_earlier_ones_wrote(database: Database) -> None:
    def count(db: sa.Connection) -> str:
        return str(db.execute(sa.select(sa.func.count()).select_from(names)).scalar())

    async with database.busy():
        tasks = database.begin(count, add("a"), count, add("b"), count)

    assert await outcomes(tasks) == ["0", "a", "1", "b", "2"]


async def test_failure_is_its_own(database: Database) -> None:
    def stumble(db: sa.Connection) -> str:
        add("half")(db)
        raise ZeroDivisionError

    async with database.busy():
        tasks = database.begin(add("a"), add("b"), add("a"), stumble, add("c"))

    first, second, again, odd, last = await outcomes(tasks)
    assert (first, second, last) == ("a", "b", "c")
    assert isinstance(again, IntegrityError)
    assert isinstance(odd, ZeroDivisionError)
    assert await database.names() == {"a", "b", "c"}


async def test_refusal_is_its_own(database: Database) -> None:
    async with database.busy():
        tasks = database.begin(add("a"), refuse, add("b"))

    first, refused, last = await outcomes(tasks)
    assert (first, last, type(refused)) == ("a", "b", NotFound)
    assert await database.names() == {"a", "b"}
    assert database.commits == 1


async def test_refused_batch_does_not_commit(database: Database) -> None:
    async with database.busy():
        tasks = database.begin(refuse, refuse)

    assert [type(each) for each in await outcomes(tasks)] == [NotFound, NotFound]
    assert database.commits == 0


async def test_unavailable_database_is_tried_once(database: Database) -> None:
    tries: list[str] = []

    def attempt(name: str) -> Work[str]:
        def work(db: sa.Connection) -> str:
            tries.append(name)
            return add(name)(db)

        return work

    other = sa.create_engine(f"sqlite:///{database.path}")
    with other.connect() as holder:
        holder.execute(names.insert().values(name="held"))
        async with database.busy():
            tasks = database.begin(attempt("a"), attempt("b"), attempt("c"))
        got = await outcomes(tasks)
    other.dispose()

    assert [type(each) for each in got] == [OperationalError] * 3
    assert tries == ["a"]
    assert await database.transactions.write(add("d")) == "d"
    assert await database.names() == {"d"}


async def test_failed_commit_fails_all(database: Database) -> None:
    def too_early(_connection: sa.Connection) -> None:
        raise ArithmeticError

    sa.event.listen(database.engine, "commit", too_early)
    async with database.busy():
        tasks = database.begin(add("a"), refuse, add("b"))
    got = await outcomes(tasks)
    sa.event.remove(database.engine, "commit", too_early)

    assert [type(each) for each in got] == [ArithmeticError] * 3
    assert await database.names() == set()


async def test_who_leaves_in_the_queue_writes_nothing(database: Database) -> None:
    async with database.busy():
        tasks = database.begin(add("a"), add("b"), add("c"))
        tasks[1].cancel()

    first, left, last = await outcomes(tasks)
    assert (first, type(left), last) == ("a", asyncio.CancelledError, "c")
    assert await database.names() == {"a", "c"}


async def test_cancelled_caller_has_written(database: Database) -> None:
    there, go = threading.Event(), threading.Event()

    def slow(db: sa.Connection) -> str:
        there.set()
        assert go.wait(PATIENCE)
        return add("slow")(db)

    async with database.busy():
        leaving, staying = database.begin(slow, add("stays"))
    await asyncio.to_thread(there.wait, PATIENCE)
    leaving.cancel()
    await asyncio.wait([leaving])
    go.set()

    assert await staying == "stays"
    assert await database.transactions.write(add("next")) == "next"
    assert await database.names() == {"slow", "stays", "next"}


async def test_cursor_stays_in_its_thread(database: Database) -> None:
    add_a = names.insert().values(name="a")
    with pytest.raises(TypeError, match="not a cursor"):
        await database.transactions.write(lambda db: db.execute(add_a))
    with pytest.raises(TypeError, match="not a cursor"):
        await database.transactions.read(lambda db: db.execute(sa.select(names.c.name)))
    assert await database.names() == set()


async def test_error_holds_no_cursor(database: Database) -> None:
    freed = threading.Event()

    class Held:
        def __del__(self) -> None:
            freed.set()

    def fail(db: sa.Connection) -> str:
        held = Held()
        db.exec_driver_sql("SELECT * FROM nothing_of_this_name")
        return str(held)

    for ask in (database.transactions.read, database.transactions.write):
        freed.clear()
        with pytest.raises(OperationalError) as raised:
            await ask(fail)
        assert freed.is_set(), "the traceback keeps what the transaction had"
        del raised


async def test_refusal_holds_no_cursor(database: Database) -> None:
    freed = threading.Event()

    class Held:
        def __del__(self) -> None:
            freed.set()

    def look(db: sa.Connection) -> str:
        held = Held()
        if db.execute(sa.select(names.c.name)).first() is None:
            raise NotFound("there is no such name")
        return str(held)

    with pytest.raises(NotFound) as raised:
        await database.transactions.write(look)
    assert freed.is_set(), "the traceback keeps what the transaction had"
    del raised
