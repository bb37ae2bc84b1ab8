"""What becomes of an answer while the database cannot be written."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chat_conformance.cases.turns import STREAMS, pieces
from chat_conformance.errors import CouldNotTest, NotOffered
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect_equal

LOCKED_SECONDS = 8.0
"""Longer than most servers let SQLite wait, which is five seconds."""

RETRY_SECONDS = 10.0
"""How long after that a server may take to notice that the lock is gone."""


@case(
    "robustness/database-locked",
    title="An answer that ends while another process has the database locked is kept as complete",
    clause="TURN-11",
    severity=Severity.LOW,
    means="A backup at the wrong moment, and an answer that was whole is marked as failed for ever.",
    needs=(STREAMS, "history/socket-turn"),
    waits=True,
    slow=True,
)
async def database_locked(chat: CaseContext) -> None:
    async with chat.instance() as server, chat.fake.gate("locked", server=server) as gate:
        if server.sqlite is None:
            raise NotOffered("the target file names no sqlite")
        async with chat.peer(server=server) as peer:
            turn = await chat.start_turn(peer, chat.fake.prompt(tokens=4, hold=f"{gate.name}@2"))
            await turn.until_text(pieces(2))
            # Locked only once the turn runs: its prompt is stored by then (HIST-1), and only the end has to
            # wait.
            async with locked(server.sqlite, chat.target.within):
                gate.open()
                await turn.until_text(pieces(4))
                # The suite itself has set how long it lasts.
                await asyncio.sleep(LOCKED_SECONDS)
            last = await turn.finish(within=RETRY_SECONDS + chat.target.within)

        expect_equal(last.get("type"), "complete", "the last event of the turn")
        kept = (await chat.http.history(turn.conversation_id, server=server))[-1]
        expect_equal(
            (kept.get("content"), kept.get("status")), (pieces(4), "complete"), "the answer in history"
        )


@asynccontextmanager
async def locked(file: Path, within: float) -> AsyncIterator[None]:
    """Another process, ours, has a SQLite database for itself for the length of the block.

    Raises:
        CouldNotTest: It is no such database, or is not to be had.
    """

    def lock() -> sqlite3.Connection:
        # mode=rw: a wrong path has to be an error, and not a new database whose lock stops no server.
        uri = f"{file.absolute().as_uri()}?mode=rw"
        other = sqlite3.connect(uri, uri=True, timeout=within, isolation_level=None, check_same_thread=False)
        try:
            other.execute("BEGIN EXCLUSIVE")
            (version,) = other.execute("PRAGMA user_version").fetchone()
            # A write takes the lock for certain; BEGIN alone might not.
            other.execute(f"PRAGMA user_version = {version}")
        except sqlite3.Error:
            other.close()
            raise
        return other

    try:
        other = await asyncio.to_thread(lock)
    except sqlite3.Error as error:
        raise CouldNotTest(f"the database {file} cannot be locked: {error}") from None
    try:
        yield
    finally:
        other.close()
