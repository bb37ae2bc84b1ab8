"""Turns: what is admitted runs once, is sent to its end and is stored, whatever happens on the way."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from chat_server.claude.session import Session
from chat_server.errors import (
    BadRequest,
    Busy,
    ChatError,
    NotFound,
    RateLimited,
    Reset,
    TooLarge,
    Unavailable,
)
from chat_server.limits import LimitStatus
from chat_server.protocol import Complete, Status, Token, Usage
from chat_server.store.records import Admitted, StoredTurn
from chat_server.store.store import Store
from chat_server.tests.loop_clock import LONG, LoopClock
from chat_server.tests.sites import Fake, Parts, events, parts, program
from chat_server.tests.turn_helpers import (
    NO_TURNS,
    Reader,
    break_database,
    changed,
    completed,
    failed,
    stored,
)
from chat_server.turns.event_log import TurnLog, answer_text

NOWHERE = "0123456789ab"
S = TypeVar("S", bound=Store)


def like(store: Store, kind: type[S]) -> S:
    """The same database as a store of another kind."""
    return kind(store._transactions, store._now)


# --- a turn from end to end


async def test_turn_streams_in_order(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        log = await server.turns.start("ada", "[[fake tokens=3]]", "m1")
        got = await events(log)
        (turn,) = await stored(server, log.accepted.conversation_id)

    assert re.fullmatch("[0-9a-f]{12}", log.accepted.conversation_id)
    assert log.accepted.message_id == "m1"
    assert [event.seq for event in got] == list(range(1, len(got) + 1))
    assert answer_text(got) == turn.answer == "t1 t2 t3 "
    assert (turn.prompt, turn.status, turn.stop_reason) == ("[[fake tokens=3]]", "complete", "end_turn")
    assert completed(got).usage == turn.usage
    assert turn.usage.output_tokens == 3


async def test_missing_message_id_is_generated(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        got = await server.turn("hello")

    assert re.fullmatch("[A-Za-z0-9_-]{1,64}", got[0].message_id)


async def test_tokens_arrive_during_answer(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path) as server:
            log = await server.turns.start("ada", "[[fake tokens=4 hold=here@2]]")
            await gate.reached()
            while answer_text(log.read(0)) != "t1 t2 ":
                await changed(log)
            assert server.turns.running == 1
            gate.open()

            assert answer_text(await events(log)) == "t1 t2 t3 t4 "
            assert server.turns.running == 0


STORY = """
def event(kind, **members): say("stream_event", event={"type": kind, **members})
def delta(kind, **members): event("content_block_delta", index=0, delta={"type": kind, **members})
read(); init()
event("message_start", message={"id": "m1", "usage": {"input_tokens": 5, "output_tokens": 1}})
delta("thinking_delta", thinking="hm")
event("content_block_start", index=1, content_block={"type": "text", "text": ""})
delta("text_delta", text="Hello wor")
say("stream_event", event={"type": "message_stop"}, abandoned_blocks={"from_block_index": 0})
say("system", subtype="api_retry", attempt=1, max_retries=10, error="overloaded")
event("message_start", message={"id": "m2", "usage": {"input_tokens": 5, "output_tokens": 1}})
event("content_block_start", index=0, content_block={"type": "text", "text": ""})
delta("text_delta", text="Hello there")
tool = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}
say("assistant", message={"id": "m2", "content": [tool]})
say("user", message={"content": [{"type": "tool_result", "tool_use_id": "t1", "content": "a b"}]})
result(usage={"input_tokens": 10, "output_tokens": 7}); read()
"""


async def test_all_events_are_sent(tmp_path: Path) -> None:
    async with parts(program(tmp_path, STORY), tmp_path) as server:
        got = await server.turn("hello")
        (turn,) = await stored(server, got[0].conversation_id)

    kinds = [type(event).__name__ for event in got if not isinstance(event, Token)]
    assert kinds == ["Thinking", "Status", "Rewind", "Tool", "Tool", "Complete"]
    assert answer_text(got) == turn.answer == "Hello there"
    assert completed(got).usage == Usage(10, 7)


async def test_steps_of_turn_are_kept(tmp_path: Path) -> None:
    async with parts(program(tmp_path, STORY), tmp_path) as server:
        got = await server.turn("hello", message_id="m1")
    async with parts(program(tmp_path, STORY), tmp_path) as server:
        (turn,) = await stored(server, got[0].conversation_id)
        again = await server.turn("hello", message_id="m1")

    assert msgspec.json.decode(turn.steps) == [
        {"type": "thinking", "at": 0, "thinking": "hm"},
        {"type": "status", "at": 6, "status": "retrying", "detail": "attempt 1 of 10: overloaded"},
        {
            "type": "tool",
            "at": 11,
            "id": "t1",
            "name": "Bash",
            "state": "finished",
            "input": "ls",
            "result": "a b",
        },
    ]
    kinds = [type(event).__name__ for event in again]
    assert kinds == ["Thinking", "Token", "Status", "Token", "Tool", "Tool", "Complete"]
    assert answer_text(again) == answer_text(got)


async def test_later_turn_knows_the_earlier_ones(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        first = await server.turn("one")
        second = await server.turn("two", conversation_id=first[0].conversation_id)

    assert "turn 2 of our conversation" in answer_text(second)


async def test_session_resumes_after_restart(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        first = await server.turn("one")
    async with parts(fake.command, tmp_path) as server:
        second = await server.turn("two", conversation_id=first[0].conversation_id)

    assert "turn 2 of our conversation" in answer_text(second)


async def test_conversations_run_in_parallel(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path) as server:
            held = await server.turns.start("ada", "[[fake tokens=1 hold=here]]")
            await gate.reached()

            completed(await server.turn("hello"))
            gate.open()
            await events(held)


# --- what is refused


REFUSED = [
    pytest.param(("",), BadRequest("the message is empty"), id="empty"),
    pytest.param((" \n\t\u3000",), BadRequest("the message is empty"), id="white-space"),
    pytest.param(("\ufeff \ufeff",), BadRequest("the message is empty"), id="byte-order-marks"),
    pytest.param(("é" * 51,), TooLarge("the message has 102 bytes; the limit is 100"), id="too-large"),
    pytest.param(("hi", "a b"), BadRequest("message_id is 'a b'"), id="message-id"),
    pytest.param(("hi", None, "XYZ"), BadRequest("conversation_id is 'XYZ'"), id="conversation-id"),
    pytest.param(("hi", None, NOWHERE), NotFound("there is no conversation 0123456789ab"), id="unknown"),
]


@pytest.mark.parametrize(("asked", "error"), REFUSED)
async def test_refused_message_starts_nothing(
    asked: tuple[str, ...], error: ChatError, fake: Fake, tmp_path: Path
) -> None:
    async with parts(fake.command, tmp_path, message_max_bytes=100) as server:
        with pytest.raises(type(error), match=re.escape(error.message)):
            await server.turns.start("ada", *asked)

        assert await server.store.conversations("ada", before=None, limit=10) == ([], None)
    assert fake.runs() == []


async def test_message_at_limit_is_admitted(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path, message_max_bytes=100) as server:
        completed(await server.turn("é" * 50))


async def test_strangers_conversation_is_like_none(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        got = await server.turn("hello", message_id="m1")
        conversation_id = got[0].conversation_id
        for attempt in (
            server.turns.start("eve", "hi", None, conversation_id),
            server.turns.follow("eve", conversation_id, None, 0),
            server.turns.follow("eve", conversation_id, "m1", 0),
            server.turns.delete("eve", conversation_id),
        ):
            with pytest.raises(NotFound, match=f"there is no conversation {conversation_id}"):
                await attempt
        with pytest.raises(NotFound, match="there is no turn m1"):
            await server.turns.cancel("eve", "m1", conversation_id)


async def test_limits_apply_to_start(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path, requests_per_hour=1) as server:
        await server.turn("hello")

        with pytest.raises(RateLimited):
            await server.turns.start("ada", "again")
    assert len(fake.runs()) == 1


# --- the same message again


async def test_repeated_message_returns_same_turn(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        log = await server.turns.start("ada", "hello", "m1")
        again = await server.turns.start("ada", "hello", "m1")
        there = await server.turns.start("ada", "hello", "m1", log.accepted.conversation_id)
        await events(log)
        afterwards = await server.turns.start("ada", "hello", "m1")

        assert log is again is there is afterwards
        assert len(await stored(server, log.accepted.conversation_id)) == 1
    assert sum(len(run.stdin) for run in fake.runs()) == 1


@pytest.mark.parametrize("known", [False, True], ids=["new-conversation", "known-conversation"])
async def test_concurrent_duplicates_run_once(fake: Fake, tmp_path: Path, *, known: bool) -> None:
    async with parts(fake.command, tmp_path) as server:
        conversation_id = await server.store.new_conversation("ada") if known else None
        logs = await asyncio.gather(
            *(server.turns.start("ada", "hello", "m1", conversation_id) for _ in range(10))
        )
        await events(logs[0])

        assert len(set(map(id, logs))) == 1
    assert sum(len(run.stdin) for run in fake.runs()) == 1


async def test_duplicate_after_retention_reads_history(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path, turn_kept_seconds=0) as server:
        first = await server.turn("hello", message_id="m1")
        await asyncio.sleep(0)
        log = await server.turns.start("ada", "hello", "m1")
        again = log.read(0)

        assert log.ended
        assert answer_text(again) == answer_text(first)
        assert completed(again).usage == completed(first).usage
    assert sum(len(run.stdin) for run in fake.runs()) == 1


async def test_duplicate_after_restart_reads_history(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        first = await server.turn("[[fake tokens=2 exit=3]]", message_id="m1")
    async with parts(fake.command, tmp_path) as server:
        again = await server.turn("[[fake tokens=2 exit=3]]", message_id="m1")

    assert answer_text(again) == answer_text(first) == "t1 t2 "
    assert (failed(again).code, failed(again).message) == (failed(first).code, failed(first).message)
    assert len(fake.runs()) == 1


async def test_same_id_elsewhere_is_another_turn(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        one, two = await server.store.new_conversation("ada"), await server.store.new_conversation("ada")
        logs = [
            await server.turns.start("ada", "hello", "m1", one),
            await server.turns.start("ada", "hello", "m1", two),
            await server.turns.start("bob", "hello", "m1"),
        ]
        for log in logs:
            await events(log)

    assert len({log.accepted.conversation_id for log in logs}) == 3


# --- one turn at a time in a conversation


async def test_busy_conversation_refuses_at_no_cost(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path, requests_per_hour=2) as server:
            log = await server.turns.start("ada", "[[fake tokens=1 hold=here]]")
            conversation_id = log.accepted.conversation_id
            await gate.reached()
            for _ in range(3):
                with pytest.raises(Busy):
                    await server.turns.start("ada", "me too", None, conversation_id)
            gate.open()
            await events(log)

            completed(await server.turn("now", conversation_id=conversation_id))
            assert [turn.prompt for turn in await stored(server, conversation_id)][1:] == ["now"]


async def test_second_concurrent_message_is_busy(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        conversation_id = await server.store.new_conversation("ada")
        outcomes = await asyncio.gather(
            *(server.turns.start("ada", f"message {n}", None, conversation_id) for n in range(5)),
            return_exceptions=True,
        )
        (log,) = [each for each in outcomes if isinstance(each, TurnLog)]
        await events(log)

    assert [type(each) for each in outcomes if each is not log] == [Busy] * 4
    assert len(fake.runs()) == 1


# --- turns of a user at the same time


async def test_concurrent_turns_limit_counts_nothing(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path, concurrent_turns=2, requests_per_hour=3) as server:
            running = [await server.turns.start("ada", "[[fake tokens=1 hold=here]]") for _ in range(2)]
            for _ in range(3):
                with pytest.raises(Busy, match="2 of your chats are still answering"):
                    await server.turns.start("ada", "me too")
            completed(await events(await server.turns.start("bob", "hello")))
            gate.open(2)
            for log in running:
                completed(await events(log))

            completed(await server.turn("now"))  # the third of the hour


async def test_duplicate_ignores_concurrent_limit(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path, concurrent_turns=1) as server:
            first = await server.turn("hello", message_id="m1")
            running = await server.turns.start("ada", "[[fake tokens=1 hold=here]]", "m2")
            again = await server.turns.start("ada", "hello", "m1")
            assert await server.turns.start("ada", "hello", "m2") is running
            with pytest.raises(NotFound):
                await server.turns.start("ada", "hello", "m3", NOWHERE)
            gate.open()
            completed(await events(running))

    assert again.accepted.conversation_id == first[0].conversation_id


async def test_concurrent_limit_holds_in_parallel(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path, concurrent_turns=2) as server:
        outcomes = await asyncio.gather(
            *(server.turns.start("ada", f"message {n}") for n in range(5)), return_exceptions=True
        )
        for log in outcomes:
            if isinstance(log, TurnLog):
                completed(await events(log))
        completed(await server.turn("now"))

    assert [type(each) for each in outcomes] == [TurnLog] * 2 + [Busy] * 3


async def test_refused_turns_are_not_running(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path, concurrent_turns=1) as server:
        for _ in range(2):
            with pytest.raises(NotFound):
                await server.turns.start("ada", "hello", None, NOWHERE)
        first = await server.turn("hello", message_id="m1")
        assert answer_text(await server.turn("hello", message_id="m1")) == answer_text(first)
        completed(await server.turn("now"))


async def test_waiting_turn_stops_without_cost(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path, claude_max_processes=1, requests_per_hour=3) as server:
            running = await server.turns.start("ada", "[[fake tokens=1 hold=here]]")
            await gate.reached()
            log = await server.turns.start("bob", "hello", "m1")
            while not any(isinstance(each, Status) for each in log.read(0)):
                await changed(log)
            await server.turns.cancel("bob", "m1", None)
            ended = completed(await events(log))
            assert await server.turns.limit_statuses("bob") == [LimitStatus("requests_per_hour", 0, 3, None)]
            gate.open()
            completed(await events(running))

    assert ended.stop_reason == "cancelled"
    assert len(fake.runs()) == 1


# --- stopping


async def test_cancel_keeps_partial_answer(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path) as server:
            log = await server.turns.start("ada", "[[fake tokens=9 hold=here@3]]", "m1")
            await gate.reached()
            while answer_text(log.read(0)) != "t1 t2 t3 ":
                await changed(log)

            assert await server.turns.cancel("ada", "m1", None) is log
            got = await events(log)
            (turn,) = await stored(server, log.accepted.conversation_id)

    last = completed(got)
    assert last.stop_reason == "cancelled"
    assert last.usage.input_tokens > 0  # what was spent is charged, though the result says 0
    assert (turn.status, turn.answer, turn.usage) == ("cancelled", "t1 t2 t3 ", last.usage)


async def test_cancel_while_starting_ends_the_turn(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        log = await server.turns.start("ada", "[[fake tokens=9 first=60s]]", "m1")
        await server.turns.cancel("ada", "m1", log.accepted.conversation_id)
        got = await events(log)

    assert [type(event) for event in got] == [Complete]
    assert completed(got).stop_reason == "cancelled"


async def test_cancel_of_ended_turn_changes_nothing(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        got = await server.turn("hello", message_id="m1")
        log = await server.turns.cancel("ada", "m1", None)
        (turn,) = await stored(server, got[0].conversation_id)

    assert log.read(0) == got
    assert turn.status == "complete"


@pytest.mark.parametrize("where", [True, False], ids=["in-its-conversation", "anywhere"])
async def test_cancel_after_retention_reads_history(fake: Fake, tmp_path: Path, *, where: bool) -> None:
    async with parts(fake.command, tmp_path, turn_kept_seconds=0) as server:
        conversation_id = await server.store.new_conversation("ada")
        got = await server.turn("hello", message_id="m1", conversation_id=conversation_id)
        await asyncio.sleep(0)
        log = await server.turns.cancel("ada", "m1", conversation_id if where else None)

    assert completed(log.read(0)).usage == completed(got).usage


async def test_cancel_of_unknown_turn_fails(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        with pytest.raises(NotFound) as caught:
            await server.turns.cancel("ada", "m1", None)

    assert caught.value.message_id == "m1"


async def test_cancel_without_conversation_finds_newest(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path) as server:
            one, two = [await server.store.new_conversation("ada") for _ in range(2)]
            await server.turn("hello", message_id="m1", conversation_id=one)
            log = await server.turns.start("ada", "[[fake tokens=1 hold=here]]", "m1", two)
            await gate.reached()

            assert await server.turns.cancel("ada", "m1", None) is log
            assert completed(await events(log)).stop_reason == "cancelled"


async def test_conversation_goes_on_after_a_cancel(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path) as server:
            log = await server.turns.start("ada", "[[fake tokens=1 hold=here]]", "m1")
            await gate.reached()
            await server.turns.cancel("ada", "m1", None)
            await events(log)
            got = await server.turn("go on", conversation_id=log.accepted.conversation_id)

    assert "go on" in answer_text(got)


# --- deleting


async def test_delete_during_a_turn_ends_it(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path) as server:
            log = await server.turns.start("ada", "[[fake tokens=1 hold=here]]", "m1")
            conversation_id = log.accepted.conversation_id
            await gate.reached()
            await server.turns.delete("ada", conversation_id)

            assert completed(log.read(0)).stop_reason == "cancelled"
            assert fake.runs()[0].gone
            assert await stored(server, conversation_id) == []
            for attempt in (
                server.turns.start("ada", "hi", None, conversation_id),
                server.turns.follow("ada", conversation_id, "m1", 0),
                server.turns.delete("ada", conversation_id),
                server.turns.cancel("ada", "m1", None),
            ):
                with pytest.raises(NotFound):
                    await attempt


async def test_delete_ends_an_idle_process(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        got = await server.turn("hello")
        await server.turns.delete("ada", got[0].conversation_id)

        assert fake.runs()[0].gone
        assert server.claude.processes == 0


async def test_conversation_being_deleted_admits_nothing(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path) as server:
            log = await server.turns.start("ada", "[[fake tokens=1 hold=here]]")
            conversation_id = log.accepted.conversation_id
            await gate.reached()
            deleting = asyncio.create_task(server.turns.delete("ada", conversation_id))
            await events(log)

            with pytest.raises(NotFound):
                await server.turns.start("ada", "me too", None, conversation_id)
            await deleting
            with pytest.raises(NotFound):
                await server.turns.start("ada", "me too", None, conversation_id)


async def test_message_after_deletion_is_not_found(fake: Fake, tmp_path: Path) -> None:
    class Slow(Store):
        """Deletes when it is let."""

        deleting, go = asyncio.Event(), asyncio.Event()

        async def delete(self, owner: str, conversation_id: str) -> None:
            self.deleting.set()
            await self.go.wait()
            await super().delete(owner, conversation_id)

    async with parts(fake.command, tmp_path) as server:
        conversation_id = await server.store.new_conversation("ada")
        server.turns._store = slow = like(server.store, Slow)
        deleting = asyncio.create_task(server.turns.delete("ada", conversation_id))
        await slow.deleting.wait()

        with pytest.raises(NotFound):
            await server.turns.start("ada", "hello", None, conversation_id)
        slow.go.set()
        await deleting


async def test_two_deletes_at_once_are_one(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        got = await server.turn("hello")
        outcomes = await asyncio.gather(
            *(server.turns.delete("ada", got[0].conversation_id) for _ in range(2)), return_exceptions=True
        )

    assert sorted(type(each).__name__ for each in outcomes) == ["NoneType", "NotFound"]


# --- Claude


async def test_lost_session_is_reported(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path, claude_idle_seconds=0) as server:
        first = await server.turn("one")
        conversation_id = first[0].conversation_id
        known = (await server.store.conversation("ada", conversation_id)).claude_session
        for transcript in (tmp_path / "data" / "workspaces").rglob("*.jsonl"):
            transcript.unlink()
        second = await server.turn("two", conversation_id=conversation_id)
        third = await server.turn("three", conversation_id=conversation_id)
        fresh = (await server.store.conversation("ada", conversation_id)).claude_session

    assert isinstance(second[0], Status)
    assert second[0].status == "fresh_session"
    assert "turn 1 of our conversation" in answer_text(second)
    assert "turn 2 of our conversation" in answer_text(third)
    assert known != fresh


CHANGES_SESSION = """
read(); init(); result(); read()
init(session="another"); say("system", subtype="compact_boundary"); result(); read()
"""


async def test_changed_session_is_reported(tmp_path: Path) -> None:
    async with parts(program(tmp_path, CHANGES_SESSION), tmp_path) as server:
        first = await server.turn("one")
        second = await server.turn("two", conversation_id=first[0].conversation_id)
        kept = await server.store.conversation("ada", first[0].conversation_id)

    assert not [event for event in first if isinstance(event, Status)]
    assert [event.status for event in second if isinstance(event, Status)] == ["fresh_session", "compacted"]
    assert kept.claude_session == "another"


async def test_missing_claude_is_unavailable(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with parts(["/no/such/claude"], tmp_path) as server:
        got = await server.turn("hello")
        (turn,) = await stored(server, got[0].conversation_id)

    last = failed(got)
    assert last.code == "claude_unavailable"
    assert "/no/such/claude" in caplog.text  # and not in what the user gets
    assert (turn.status, turn.stop_reason, turn.detail) == ("failed", "claude_unavailable", last.message)


async def test_turn_without_claude_is_free(tmp_path: Path) -> None:
    async with parts(["/no/such/claude"], tmp_path, requests_per_hour=1, requests_per_day=1) as server:
        for _ in range(3):
            assert failed(await server.turn("hello")).code == "claude_unavailable"
        used = [each.used for each in await server.turns.limit_statuses("ada")]

    assert used == [0, 0]


FAILURES = [
    pytest.param("read(); init(); text('half'); sys.exit(3)", "claude_failed", r"exit code 3", id="exit"),
    pytest.param(
        "read(); init(); text('half'); os.kill(os.getpid(), 9)", "claude_failed", r"code -9", id="kill"
    ),
    pytest.param(
        "read(); init(); text('half'); result(is_error=True, result='API Error: 500'); read()",
        "claude_failed",
        r"^API Error: 500$",
        id="error-result",
    ),
    pytest.param(
        "read(); init(); text('half'); result(is_error=True, errors=['a', 'b']); read()",
        "claude_failed",
        r"^a; b$",
        id="errors",
    ),
]


@pytest.mark.parametrize(("code", "error", "sentence"), FAILURES)
async def test_failed_turn_keeps_what_had_arrived(
    code: str, error: str, sentence: str, fake: Fake, tmp_path: Path
) -> None:
    del fake  # for its home
    async with parts(program(tmp_path, code), tmp_path) as server:
        got = await server.turn("hello")
        (turn,) = await stored(server, got[0].conversation_id)

    last = failed(got)
    assert last.code == error
    assert re.search(sentence, last.message)
    assert (turn.answer, turn.status) == (answer_text(got), "failed")
    assert turn.answer == "half"


async def test_silent_turn_keeps_what_had_arrived(tmp_path: Path, loop_clock: LoopClock) -> None:
    silent = program(tmp_path, "read(); init(); text('half'); signal.pause()")
    async with parts(silent, tmp_path, claude_silence_seconds=LONG, claude_grace_seconds=0) as server:
        log = await server.turns.start("ada", "hello")
        while answer_text(log.read(0)) != "half":
            await changed(log)
        loop_clock.advance()
        last = failed(await events(log))
        (turn,) = await stored(server, log.accepted.conversation_id)

    assert (last.code, "silent for 60 seconds" in last.message) == ("timeout", True)
    assert (turn.answer, turn.status) == ("half", "failed")


async def test_conversation_goes_on_after_a_failure(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        first = await server.turn("[[fake tokens=2 exit=3]]")
        second = await server.turn("again", conversation_id=first[0].conversation_id)

    completed(second)


# --- admission that fails or takes long


async def test_failed_admission_is_refused(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        await break_database(server, NO_TURNS)
        with pytest.raises(Unavailable, match="disk is full"):
            await server.turns.start("ada", "hello")

        assert await server.store.conversations("ada", before=None, limit=10) == ([], None)
    assert fake.runs() == []


class Slow(Store):
    """Commits, and only then lets its caller know, where ada is concerned."""

    committed: asyncio.Event
    let_go: asyncio.Event

    async def begin_turn(self, owner: str, *args: Any, **options: Any) -> Admitted | StoredTurn:
        begun = await super().begin_turn(owner, *args, **options)
        if owner == "ada":
            self.committed.set()
            await self.let_go.wait()
        return begun


def slow_store(server: Parts) -> Slow:
    slow = like(server.store, Slow)
    slow.committed, slow.let_go = asyncio.Event(), asyncio.Event()
    server.turns._store = slow
    return slow


async def test_admission_outlives_its_sender(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        slow = slow_store(server)
        sending = asyncio.create_task(server.turns.start("ada", "hello", "m1"))
        await slow.committed.wait()
        sending.cancel()
        await asyncio.sleep(0)
        slow.let_go.set()
        await asyncio.wait([sending])
        assert sending.cancelled()

        got = await server.turn("hello", message_id="m1")

    completed(got)
    assert sum(len(run.stdin) for run in fake.runs()) == 1


async def test_locks_are_per_user(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        slow = slow_store(server)
        sending = asyncio.create_task(server.turns.start("ada", "hello"))
        await slow.committed.wait()

        completed(await events(await server.turns.start("eve", "hello")))
        assert not sending.done()
        slow.let_go.set()
        completed(await events(await sending))


async def test_new_conversation_is_busy_at_once(fake: Fake, tmp_path: Path) -> None:
    """Its owner may see it in the list of another tab by then."""
    async with parts(fake.command, tmp_path) as server:
        slow = slow_store(server)
        sending = asyncio.create_task(server.turns.start("ada", "[[fake tokens=1]]"))
        await slow.committed.wait()
        ((listed,), _) = await server.store.conversations("ada", before=None, limit=10)
        asking = asyncio.create_task(server.turns.start("ada", "me too", None, listed.id))
        await asyncio.sleep(0)
        slow.let_go.set()

        with pytest.raises(Busy):
            await asking
        completed(await events(await sending))


async def test_new_conversation_can_be_deleted(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("never"):
        async with parts(fake.command, tmp_path) as server:
            slow = slow_store(server)
            sending = asyncio.create_task(server.turns.start("ada", "[[fake tokens=1 hold=never]]"))
            await slow.committed.wait()
            ((listed,), _) = await server.store.conversations("ada", before=None, limit=10)
            deleting = asyncio.create_task(server.turns.delete("ada", listed.id))
            await asyncio.sleep(0)
            slow.let_go.set()
            await deleting

            assert completed(await events(await sending)).stop_reason == "cancelled"
            assert await server.store.conversations("ada", before=None, limit=10) == ([], None)
            assert server.turns.running == 0


async def test_shutdown_waits_for_admissions(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        slow = slow_store(server)
        sending = asyncio.create_task(server.turns.start("ada", "[[fake tokens=1]]", "m1"))
        await slow.committed.wait()
        stopping = asyncio.create_task(server.turns.stop())
        later = asyncio.create_task(server.turns.start("ada", "again", "m1"))
        await asyncio.sleep(0)
        assert not stopping.done()
        slow.let_go.set()
        await stopping

        got = await events(await sending)
        with pytest.raises(Unavailable, match="stopping"):
            await later

    completed(got)


# --- following


async def test_follow_finds_what_runs(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path) as server:
            log = await server.turns.start("ada", "[[fake tokens=1 hold=here]]", "m1")
            conversation_id = log.accepted.conversation_id
            await gate.reached()

            assert await server.turns.follow("ada", conversation_id, None, 0) is log
            assert await server.turns.follow("ada", conversation_id, "m1", 0) is log
            gate.open()
            await events(log)
            assert await server.turns.follow("ada", conversation_id, None, 0) is None
            assert await server.turns.follow("ada", conversation_id, "m1", log.last) is log


async def test_cursor_beyond_end_is_reset(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        got = await server.turn("hello", message_id="m1")

        with pytest.raises(Reset, match=f"after is {len(got) + 1}, but the turn has had {len(got)} events"):
            await server.turns.follow("ada", got[0].conversation_id, "m1", len(got) + 1)


async def test_turn_after_retention_is_reset(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path, turn_kept_seconds=0) as server:
        got = await server.turn("hello", message_id="m1")
        await asyncio.sleep(0)

        with pytest.raises(Reset) as caught:
            await server.turns.follow("ada", got[0].conversation_id, "m1", 0)
        assert caught.value.message_id == "m1"
        assert server.turns._recent == {}


async def test_follow_of_unknown_turn_fails(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        got = await server.turn("hello")

        with pytest.raises(NotFound, match="there is no turn m9"):
            await server.turns.follow("ada", got[0].conversation_id, "m9", 0)
        with pytest.raises(NotFound):
            await server.turns.follow("ada", NOWHERE, None, 0)


async def test_reader_is_notified_of_each_turn(fake: Fake, tmp_path: Path) -> None:
    reader = Reader()
    async with parts(fake.command, tmp_path) as server:
        conversation_id = await server.store.new_conversation("ada")
        server.turns.subscribe(conversation_id, reader)
        await server.turn("one", conversation_id=conversation_id)
        await server.turn("elsewhere")
        await server.turn("two", conversation_id=conversation_id)
        server.turns.unsubscribe(conversation_id, reader)
        await server.turn("three", conversation_id=conversation_id)

        assert len(reader.started) == 2
        assert server.turns._subscribers == {}


# --- the end of the server


async def test_stopping_server_refuses_new_turns(fake: Fake, tmp_path: Path) -> None:
    async with parts(fake.command, tmp_path) as server:
        server.turns.refuse_new()

        with pytest.raises(Unavailable, match="the server is stopping"):
            await server.turns.start("ada", "hello")


async def test_stopping_server_lets_a_turn_finish(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path) as server:
            log = await server.turns.start("ada", "[[fake tokens=1 hold=here]]")
            await gate.reached()
            gate.open()

    completed(log.read(0))


async def test_shutdown_interrupts_long_turn(fake: Fake, tmp_path: Path) -> None:
    graces = {"stop_grace_seconds": 0, "claude_grace_seconds": 0}
    with fake.gate("here") as gate:
        async with parts(fake.command, tmp_path, **graces) as server:
            log = await server.turns.start("ada", "[[fake tokens=9 hold=here@2]]", "m1")
            await gate.reached()
            while answer_text(log.read(0)) != "t1 t2 ":
                await changed(log)
    async with parts(fake.command, tmp_path) as server:
        (turn,) = await stored(server, log.accepted.conversation_id)

    last = failed(log.read(0))
    assert last.code == "interrupted"
    assert (turn.status, turn.answer) == ("interrupted", "t1 t2 ")


STOP_SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@asynccontextmanager
async def answering(
    command: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, stop_seconds: float
) -> AsyncIterator[tuple[Parts, TurnLog, Session]]:
    """A turn that has written something and says no more; the moment of a stop is not the clock's."""
    monkeypatch.setattr("chat_server.claude.pool.STOP_SECONDS", stop_seconds)
    async with parts(command, folder, claude_grace_seconds=0) as server:
        log = await server.turns.start("ada", "[[fake tokens=9 hold=here@2]]", "m1")
        while answer_text(log.read(0)) != "t1 t2 ":
            await changed(log)
        yield server, log, server.claude._sessions[log.accepted.conversation_id]


@pytest.mark.parametrize("number", STOP_SIGNALS)
async def test_signal_to_group_interrupts_turn(
    number: signal.Signals, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake.gate("here"):
        async with answering(fake.command, tmp_path, monkeypatch, 3600) as (server, log, session):
            os.kill(session.started.result().pid, number)
            await session.closing  # its end is known; that the server is to end is not
            server.turns.refuse_new()
            last = failed(await events(log))
            (turn,) = await stored(server, log.accepted.conversation_id)

    assert last.code == "interrupted"
    assert (turn.status, turn.answer) == ("interrupted", "t1 t2 ")


@pytest.mark.parametrize("number", STOP_SIGNALS)
async def test_signal_to_claude_alone_fails(
    number: signal.Signals, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake.gate("here"):
        async with answering(fake.command, tmp_path, monkeypatch, 0) as (_, log, session):
            os.kill(session.started.result().pid, number)
            last = failed(await events(log))

    assert last.code == "claude_failed"


WRITES = 'init(); read(); text("t1 t2 ")'


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGTERM)", "sys.exit(3)"])
async def test_exit_during_shutdown_interrupts_turn(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its exit code: a wrapper has its own."""
    command = program(tmp_path, f"signal.signal(signal.SIGUSR1, lambda *_: {end})\n{WRITES}; signal.pause()")
    async with answering(command, tmp_path, monkeypatch, 0) as (server, log, session):
        server.turns.refuse_new()
        os.kill(session.started.result().pid, signal.SIGUSR1)

        assert failed(await events(log)).code == "interrupted"


async def test_cancelled_turn_ignores_shutdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claude that does not obey gets TERM from the server itself."""
    command = program(tmp_path, f"{WRITES}; signal.pause()")
    async with answering(command, tmp_path, monkeypatch, 3600) as (server, log, _):
        await server.turns.cancel("ada", "m1", None)

        assert completed(await events(log)).stop_reason == "cancelled"


async def test_unexpected_start_error_fails_turn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with parts(["/bin/true\0"], tmp_path) as server:
        last = failed(await server.turn("hello"))

    assert (last.code, "it is in the log" in last.message) == ("claude_failed", True)
    assert "null byte" in caplog.text


async def test_one_turns_failure_is_no_others(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_args: object, **_named: object) -> None:
        raise ZeroDivisionError

    async with parts(fake.command, tmp_path) as server:
        with monkeypatch.context() as patch:
            patch.setattr(server.store, "end_turn", fail)
            got = await server.turn("hello")
        other = await server.turn("hello")

    last = failed(got)
    assert (last.code, last.message) == (
        "unavailable",
        "the answer could not be stored: internal error; see the server's log",
    )
    assert "ZeroDivisionError" in caplog.text
    completed(other)
