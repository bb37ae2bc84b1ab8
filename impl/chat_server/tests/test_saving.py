"""What is written of a turn, and when: its progress, its session id and its outcome."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from chat_server.errors import (
    Locked,
)
from chat_server.tests.loop_clock import in_time
from chat_server.tests.sites import Fake, Parts, events, parts, program, until
from chat_server.tests.turn_helpers import (
    NO_ANSWERS,
    NO_SESSIONS,
    break_database,
    completed,
    failed,
    stored,
)
from chat_server.turns.event_log import TurnLog, answer_text

# --- progress


PAUSED = """
read(); init()
tool = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}
say("assistant", message={"id": "m2", "content": [tool]})
read()
"""


async def test_steps_of_running_turn_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_server.turns.saving.SAVE_SECONDS", 0.01)
    async with parts(program(tmp_path, PAUSED), tmp_path, stop_grace_seconds=0) as server:
        log = await server.turns.start("ada", "hello")
        async with in_time():
            while not (turn := (await stored(server, log.accepted.conversation_id))[0]).steps:
                pass

    assert turn.status == "running"
    assert [each["state"] for each in msgspec.json.decode(turn.steps)] == ["started"]


async def test_running_answer_is_in_history(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat_server.turns.saving.SAVE_SECONDS", 0.01)
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path) as server:
            log = await server.turns.start("ada", "[[fake tokens=4 hold=here@2]]")
            await gate.reached()
            async with in_time():
                while (turn := (await stored(server, log.accepted.conversation_id))[0]).answer != "t1 t2 ":
                    pass
            assert turn.status == "running"
            gate.open()

            assert answer_text(await events(log)) == "t1 t2 t3 t4 "


async def test_progress_is_saved_in_batches(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat_server.turns.saving.SAVE_SECONDS", 0.01)
    monkeypatch.setattr("chat_server.turns.saving.SAVE_BATCH", 1)
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path) as server:
            logs = [await server.turns.start("ada", "[[fake tokens=4 hold=here@2]]") for _ in range(3)]
            for log in logs:
                async with in_time():
                    while (await stored(server, log.accepted.conversation_id))[0].answer != "t1 t2 ":
                        pass
            for _ in logs:
                gate.open()

            assert {answer_text(await events(log)) for log in logs} == {"t1 t2 t3 t4 "}


async def test_failed_progress_save_is_retried(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("chat_server.turns.saving.SAVE_SECONDS", 0.01)
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path) as server:
            await break_database(server, NO_ANSWERS)
            log = await server.turns.start("ada", "[[fake tokens=4 hold=here@2]]")
            await gate.reached()
            await until(lambda: "the answers so far could not be saved" in caplog.text)
            await break_database(server, "DROP TRIGGER full")
            gate.open()

            completed(await events(log))


# --- the end of a turn


async def test_failed_final_save_fails_turn(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path, stop_grace_seconds=0) as server:
        await break_database(server, NO_ANSWERS)
        got = await server.turn("hello")
        conversation_id = got[0].conversation_id
        await break_database(server, "DROP TRIGGER full")
        again = await server.turn("again", conversation_id=conversation_id)

    last = failed(got)
    assert (last.code, last.message.startswith("the answer could not be stored")) == ("unavailable", True)
    assert (
        answer_text(got) == 'You said: "hello". This is turn 1 of our conversation.'
    )  # it was shown all the same
    completed(again)


async def test_failed_final_save_is_retried(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat_server.turns.saving.SAVE_SECONDS", 0.01)
    async with parts(fake.command, tmp_path) as server:
        await break_database(server, NO_ANSWERS)
        got = await server.turn("hello")
        before = (await stored(server, got[0].conversation_id))[0].status
        await break_database(server, "DROP TRIGGER full")
        async with in_time():
            while (turn := (await stored(server, got[0].conversation_id))[0]).status == before:
                pass

    assert (turn.status, turn.stop_reason, turn.answer) == ("failed", "unavailable", answer_text(got))
    assert turn.usage.output_tokens > 0


async def test_shutdown_ends_save_retries(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path, stop_grace_seconds=0) as server:
        await break_database(server, NO_ANSWERS)
        failed(await server.turn("hello"))


@asynccontextmanager
async def database_locked(server: Parts) -> AsyncIterator[None]:
    """Another process has the database for itself; the server waits no five seconds each time."""
    await server.store._write(lambda db: db.exec_driver_sql("PRAGMA busy_timeout = 10").close())
    other = sqlite3.connect(server.settings.data / "chat.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    other.execute("UPDATE chatgate_schema SET version = version")  # it has the lock once it has written
    try:
        yield
    finally:
        other.close()


async def test_answer_survives_locked_database(
    fake: Fake, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path) as server:
            log = await server.turns.start("ada", "[[fake tokens=4 hold=here@2]]")
            await gate.reached()
            async with database_locked(server):
                gate.open()
                await until(lambda: answer_text(log.read(0)) == "t1 t2 t3 t4 ")
                caplog.clear()
                await until(lambda: caplog.text.count("database is locked") > 1)
                assert not log.ended
            completed(await events(log))
            (turn,) = await stored(server, log.accepted.conversation_id)

    assert (turn.status, turn.answer) == ("complete", "t1 t2 t3 t4 ")


async def test_session_id_survives_locked_database(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    waits = program(tmp_path, "read(); read(); init('its-session'); text('a'); result(); read()")
    async with parts(waits, tmp_path) as server:
        log = await server.turns.start("ada", "hello")
        place = log.accepted.conversation_id
        await until(lambda: place in server.claude._sessions)
        session = server.claude._sessions[place]
        await asyncio.wait([session.started])
        async with database_locked(server):
            session.started.result().stdin.write(b"{}\n")
            await until(lambda: "database is locked" in caplog.text)
        completed(await events(log))
        kept = await server.store.conversation("ada", place)

    assert kept.claude_session == "its-session"


async def test_lasting_lock_fails_turn(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_server.turns.saving.SAVE_SECONDS", 0.01)
    monkeypatch.setattr("chat_server.turns.saving.LOCKED_SECONDS", 0)
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path) as server:
            log = await server.turns.start("ada", "[[fake tokens=4 hold=here@2]]")
            await gate.reached()
            async with database_locked(server):
                gate.open()
                last = failed(await events(log))
            async with in_time():
                while (turn := (await stored(server, log.accepted.conversation_id))[0]).status == "running":
                    pass

    assert (last.code, turn.status, turn.stop_reason) == ("unavailable", "failed", "unavailable")
    assert turn.answer == "t1 t2 t3 t4 "


async def test_shutdown_ends_wait_for_lock(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path, stop_grace_seconds=0) as server:
            log = await server.turns.start("ada", "[[fake tokens=4 hold=here@2]]")
            await gate.reached()
            async with database_locked(server):
                gate.open()
                await until(lambda: answer_text(log.read(0)) == "t1 t2 t3 t4 ")
                async with in_time():
                    await server.turns.stop()
    async with parts(fake.command, tmp_path) as server:
        (turn,) = await stored(server, log.accepted.conversation_id)

    assert log.ended
    assert turn.status == "interrupted"


@pytest.mark.parametrize("what", ["start", "delete", "new", "log-in", "log-out"])
async def test_locked_database_refuses_new_turns(what: str, fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path, requests_per_hour=1) as server:
        place = await server.store.new_conversation("ada")
        ask: dict[str, Callable[[], Awaitable[object]]] = {
            "start": lambda: server.turns.start("ada", "hello", None, place),
            "delete": lambda: server.turns.delete("ada", place),
            "new": lambda: server.store.new_conversation("ada"),
            "log-in": lambda: server.store.open_session("key", "1", "ada", server.clock.now + 60),
            "log-out": lambda: server.store.close_sessions(keys=["key"]),
        }
        async with database_locked(server):
            with pytest.raises(Locked):
                await ask[what]()
        done = await ask[what]()  # nothing of the first attempt is left
        if isinstance(done, TurnLog):
            await events(done)


async def test_unsaved_session_fails_turn(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        await break_database(server, NO_SESSIONS)
        got = await server.turn("hello")
        (turn,) = await stored(server, got[0].conversation_id)

    last = failed(got)
    assert (last.code, turn.status) == ("unavailable", "failed")
