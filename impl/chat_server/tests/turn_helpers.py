"""What tests of turns share: how a turn ended, what is stored of it, and a database that fails."""

from __future__ import annotations

import asyncio
import sqlite3

from chat_server.protocol import Complete, Event, Failed
from chat_server.store.records import StoredTurn
from chat_server.tests.loop_clock import in_time
from chat_server.tests.sites import Parts
from chat_server.turns.event_log import TurnLog


def completed(got: list[Event]) -> Complete:
    """The terminal event of a turn that went well, or was cancelled."""
    last = got[-1]
    assert isinstance(last, Complete), last
    return last


def failed(got: list[Event]) -> Failed:
    """The terminal event of a turn that did not end well."""
    last = got[-1]
    assert isinstance(last, Failed), last
    return last


async def stored(server: Parts, conversation_id: str) -> list[StoredTurn]:
    return await server.store.turns(conversation_id)


async def break_database(server: Parts, statement: str) -> None:
    """Do something to the database behind the server's back, as soon as it is not writing itself."""

    def execute() -> None:
        with sqlite3.connect(server.settings.data / "chat.sqlite3") as database:
            database.execute(statement)
        database.close()

    await asyncio.to_thread(execute)


NO_ANSWERS = (
    "CREATE TRIGGER full BEFORE UPDATE OF answer ON turns BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
)
NO_SESSIONS = (
    "CREATE TRIGGER full BEFORE UPDATE OF claude_session ON conversations "
    "BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
)
NO_TURNS = "CREATE TRIGGER full BEFORE INSERT ON turns BEGIN SELECT RAISE(ABORT, 'disk is full'); END"


class Reader:
    """A reader of a log and of a conversation."""

    def __init__(self) -> None:
        self.updated = asyncio.Event()
        self.started: list[TurnLog] = []

    def on_log_update(self, _: TurnLog) -> None:
        self.updated.set()

    def on_turn_started(self, log: TurnLog) -> None:
        self.started.append(log)


async def changed(log: TurnLog) -> None:
    reader = Reader()
    log.subscribe(reader)
    try:
        async with in_time():
            await reader.updated.wait()
    finally:
        log.unsubscribe(reader)
