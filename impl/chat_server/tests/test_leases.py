"""Of several servers on one PostgreSQL only the dead lose their turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from chat_server.limits import Limits
from chat_server.store.database import opened
from chat_server.store.leases import LEASE_SECONDS, Leases
from chat_server.store.schema import metadata, migrate, servers, turns
from chat_server.store.store import Store
from chat_server.tests.sites import Clock

NOW = 1_800_000_000.0


@dataclass
class Monotonic:
    """A clock that stands until it is moved."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def engine(postgres: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(postgres.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as db:
        migrate(db)
    yield engine
    with engine.begin() as db:
        metadata.drop_all(db)
    engine.dispose()


class Server:
    """A server of the database, without all else."""

    def __init__(self, engine: sa.Engine, name: str) -> None:
        self.engine, self.name, self.clock = engine, name, Monotonic()
        self.leases = Leases(name, self.clock)
        with engine.begin() as db:
            self.leases.begin(db, NOW)

    def run_turn(self) -> None:
        """Have a turn that runs."""
        with self.engine.begin() as db:
            place = {"id": self.name, "owner": "ada", "title": "", "created_at": NOW, "updated_at": NOW}
            db.execute(metadata.tables["conversations"].insert(), place)
            row = {"conversation_id": self.name, "message_id": "m", "opens": True, "prompt": "", "answer": ""}
            row |= {
                "status": "running",
                "stop_reason": "",
                "detail": "",
                "input_tokens": 0,
                "output_tokens": 0,
            }
            db.execute(turns.insert(), row | {"started_at": NOW, "server": self.name})

    def renew(self) -> int:
        with self.engine.begin() as db:
            return self.leases.renew(db, NOW)

    def live_for(self, seconds: float) -> int:
        """Renew once a second; how many turns were ended."""
        ended = 0
        for _ in range(int(seconds)):
            self.clock.now += 1.0
            ended += self.renew()
        return ended

    @property
    def turn(self) -> str:
        query = sa.select(turns.c.status).where(turns.c.server == self.name)
        with self.engine.begin() as db:
            return str(db.execute(query).scalar_one())


def age(engine: sa.Engine, name: str, seconds: float) -> None:
    """Have a server renewed its lease so long ago."""
    with engine.begin() as db:
        then = servers.c.seen_at - seconds
        db.execute(servers.update().where(servers.c.id == name).values(seen_at=then))


def test_another_servers_start_changes_no_turn(engine: sa.Engine) -> None:
    first = Server(engine, "first")
    first.run_turn()
    second = Server(engine, "second")
    second.live_for(3 * LEASE_SECONDS)

    assert first.turn == "running"


def test_server_started_again_ends_its_own_turns(engine: sa.Engine) -> None:
    killed, other = Server(engine, "a"), Server(engine, "b")
    killed.run_turn()
    other.run_turn()
    Server(engine, "a")

    assert (killed.turn, other.turn) == ("interrupted", "running")


def test_dead_servers_turns_end_after_lease(engine: sa.Engine) -> None:
    dead, living = Server(engine, "dead"), Server(engine, "living")
    dead.run_turn()
    living.run_turn()
    assert living.live_for(LEASE_SECONDS) == 0
    assert dead.turn == "running"
    age(engine, "dead", LEASE_SECONDS + 0.1)

    assert living.live_for(1) == 1
    assert (dead.turn, living.turn) == ("interrupted", "running")


def test_turns_without_lease_are_ended(engine: sa.Engine) -> None:
    gone, living = Server(engine, "gone"), Server(engine, "living")
    gone.run_turn()
    with engine.begin() as db:
        gone.leases.end(db)
    living.live_for(LEASE_SECONDS)

    assert gone.turn == "interrupted"


def test_server_that_has_just_started_judges_nobody(engine: sa.Engine) -> None:
    """The database was away for everybody: the others are about to renew their leases, too."""
    first = Server(engine, "first")
    first.run_turn()
    age(engine, "first", 100)
    second = Server(engine, "second")
    second.live_for(LEASE_SECONDS - 1)
    assert first.turn == "running"

    first.renew()
    second.live_for(LEASE_SECONDS)
    assert first.turn == "running"


@pytest.mark.parametrize("seconds", [100.0, -100.0])
def test_late_server_ends_no_turns(seconds: float, engine: sa.Engine) -> None:
    """It was away, or the clock of the database was set: the others look dead, and may not be."""
    first, second = Server(engine, "first"), Server(engine, "second")
    first.run_turn()
    second.live_for(LEASE_SECONDS)
    age(engine, "first", 100)
    age(engine, "second", seconds)

    assert second.renew() == 0
    assert second.live_for(LEASE_SECONDS - 1) == 0
    first.renew()
    assert second.live_for(LEASE_SECONDS) == 0
    assert first.turn == "running"


def test_lost_lease_is_taken_again(engine: sa.Engine) -> None:
    slow, judge = Server(engine, "slow"), Server(engine, "judge")
    age(engine, "slow", LEASE_SECONDS + 1)
    judge.live_for(LEASE_SECONDS)
    slow.renew()
    slow.run_turn()
    judge.live_for(LEASE_SECONDS)

    assert slow.turn == "running"


def test_servers_that_start_at_once_all_start(postgres: str) -> None:
    """On an empty database, whose tables only one of them can make."""

    async def start(name: str) -> None:
        async with opened(postgres, Clock(), server=name):
            pass

    async def all_at_once() -> None:
        await asyncio.gather(*(start(f"s{number}") for number in range(6)))

    engine = sa.create_engine(postgres.replace("postgresql:", "postgresql+psycopg:"))
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        for _ in range(3):
            try:
                asyncio.run(all_at_once())
            finally:
                with engine.begin() as db:
                    metadata.drop_all(db)


@asynccontextmanager
async def store(url: str, name: str) -> AsyncIterator[Store]:
    async with opened(url, Clock(), server=name) as opened_store:
        yield opened_store


async def test_store_returns_its_lease(postgres: str, engine: sa.Engine) -> None:
    async with store(postgres, "first") as first, store(postgres, "second") as second:
        begun = await first.begin_turn("ada", None, "m1", "hi", Limits(0, 0, 0))
        await second.prepare()
        await second.renew_lease()
        (turn,) = await second.turns(begun.conversation_id)
        with engine.begin() as db:
            present = set(db.execute(sa.select(servers.c.id)).scalars())
    with engine.begin() as db:
        left = db.execute(sa.select(servers.c.id)).scalars().all()

    assert (turn.status, present, left) == ("running", {"first", "second"}, [])
