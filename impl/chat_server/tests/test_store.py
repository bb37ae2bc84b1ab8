"""Conversations and turns are kept, in order, for their owner alone, and a bad database has a clear error."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chat_server.store.store as store_module
from chat_server.errors import BadRequest, NotFound, RateLimited, Unavailable
from chat_server.limits import Limits, Used
from chat_server.protocol import Usage
from chat_server.store.database import opened
from chat_server.store.records import Admitted, Progress, StoredTurn
from chat_server.store.schema import metadata
from chat_server.store.store import PREVIEW_CHARS, TITLE_CHARS, Store, rfc3339
from chat_server.tests.sites import Clock

NO_LIMITS = Limits(0, 0, 0)
NOWHERE = "0123456789ab"


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'chat.sqlite3'}"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    """An empty store, of each kind: the same statements run on both."""
    kind: str = request.param
    address = url(tmp_path) if kind == "sqlite" else request.getfixturevalue("postgres")
    async with opened(address, clock) as store:
        yield store
        if kind == "postgresql":
            await store._write(metadata.drop_all)


async def begin(
    store: Store, conversation_id: str | None = None, message_id: str = "m1", prompt: str = "hi"
) -> str:
    begun = await store.begin_turn("ada", conversation_id, message_id, prompt, NO_LIMITS)
    return begun.conversation_id


async def finish(store: Store, conversation_id: str, message_id: str = "m1", **changes: str) -> None:
    stored = {"answer": "hello", "status": "complete", "stop_reason": "end_turn", "detail": "", **changes}
    await store.end_turn(
        conversation_id,
        message_id,
        answer=stored["answer"],
        status=stored["status"],
        stop_reason=stored["stop_reason"],
        detail=stored["detail"],
        spent=Usage(3, 4),
    )


async def page(store: Store, owner: str = "ada", before: str | None = None, limit: int = 50) -> list[str]:
    return [each.id for each in (await store.conversations(owner, before=before, limit=limit))[0]]


async def test_nothing_takes_longer_the_more_there_is(tmp_path: Path, clock: Clock) -> None:
    """No statement reads a whole table, or all that an owner has; what is listed is of one conversation or one page."""
    statements: dict[str, Any] = {}
    async with opened(url(tmp_path), clock) as store:

        @sa.event.listens_for(store._transactions._engine, "before_cursor_execute")
        def note(
            _db: object, _cursor: object, text: str, values: Any, _context: object, many: object
        ) -> None:
            statements[text] = values[0] if many else values

        limits = Limits(5, 5, 5)
        await store.prepare()
        begun = await store.begin_turn("ada", None, "m1", "hi", limits)
        place = begun.conversation_id
        await store.begin_turn("ada", place, "m2", "hi", limits)
        await store.save_progress([Progress(place, "m1", "x", Usage(1, 1))])
        await finish(store, place)
        await store.find_turn("ada", None, "m1")
        await store.find_turn("ada", place, "m1")
        await store.conversation("ada", place)
        await store.turns(place)
        await store.new_conversation("ada")
        _, cursor = await store.conversations("ada", before=None, limit=1)
        await store.conversations("ada", before=cursor, limit=1)
        await store.set_claude_session(place, "s")
        await store.open_session("key", "forge:1", "ada", clock() + 9, ends=["older"])
        await store.sessions(["key", "other"])
        await store.use_session("key")
        await store.close_sessions(keys=["key"])
        await store.close_sessions(owners=["forge:1"])
        await store.claim_name("ada", "forge:1")
        await store.names_of("forge:1")
        await store.delete("ada", place)
        plans = await store._read(
            lambda db: {
                text: [row.detail for row in db.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)]
                for text, values in list(statements.items())
                if not text.startswith("PRAGMA")
            }
        )

    # one row; a row per table; logins that have not expired
    small = {"chatgate_schema", "sqlite_master", "sessions"}
    assert len(plans) > 20
    assert {step for plan in plans.values() for step in plan if step.startswith("SCAN")} == {
        f"SCAN {table}" for table in small
    }
    few = ("sessions_by_owner", "listed_names_by_owner")  # a user's logins and names
    of_one_owner = [
        text
        for text, plan in plans.items()
        if any("(owner=?)" in step and not any(each in step for each in few) for step in plan)
    ]
    assert all(text.startswith("SELECT conversations.id") and "LIMIT" in text for text in of_one_owner)


# --- turns


async def test_turn_is_kept_as_it_was(store: Store, clock: Clock) -> None:
    prompt, answer = (
        'é 🙂 "\n\x00 \u2028 \ufdd0\x00\ufdd0\ufdd1',
        "x" * 100_000 + "\n'); DROP TABLE turns; --",
    )
    began = clock.now
    conversation_id = await begin(store, prompt=prompt)
    clock.now += 7
    await finish(store, conversation_id, answer=answer)

    (turn,) = await store.turns(conversation_id)
    assert (turn.prompt, turn.answer, turn.status) == (prompt, answer, "complete")
    assert (turn.started_at, turn.ended_at, turn.usage) == (began, began + 7, Usage(3, 4))


async def test_running_turn_is_kept_before_it_ends(store: Store) -> None:
    conversation_id = await begin(store, prompt="a question")

    (turn,) = await store.turns(conversation_id)
    assert (turn.prompt, turn.answer, turn.status, turn.ended_at) == ("a question", "", "running", None)


async def test_progress_changes_running_turns_only(store: Store) -> None:
    conversation_id = await begin(store, message_id="ended")
    await finish(store, conversation_id, "ended")
    await begin(store, conversation_id, "running")
    await store.save_progress(
        [Progress(conversation_id, name, "so far", Usage(1, 1)) for name in ("ended", "running")]
    )

    ended, running = await store.turns(conversation_id)
    assert (ended.answer, ended.status, ended.usage) == ("hello", "complete", Usage(3, 4))
    assert (running.answer, running.status) == ("so far", "running")
    assert (await store.used("ada", Limits(0, 0, 9)))[0].tokens == 7 + 2


async def test_turns_come_oldest_first(store: Store, clock: Clock) -> None:
    conversation_id = await begin(store, message_id="z")
    clock.now -= 5  # clocks are set back sometimes
    for message_id in ("y", "a", "m"):
        await begin(store, conversation_id, message_id)

    assert [turn.message_id for turn in await store.turns(conversation_id)] == ["z", "y", "a", "m"]


async def test_turns_are_read_in_batches(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "BATCH", 100)
    monkeypatch.setattr(store_module, "BATCH_TURNS", 2)
    conversation_id = await begin(store, message_id="m0", prompt="x" * 60)
    lengths = [60, 200, 1, 1, 1, 1, 1]
    for number, length in enumerate(lengths, 1):
        await begin(store, conversation_id, f"m{number}", "x" * length)

    read = [[each.message_id for each in batch] async for batch in store.turn_batches(conversation_id)]

    assert read == [["m0", "m1"], ["m2"], ["m3"], ["m4", "m5", "m6", "m7"]]
    assert [each.message_id for each in await store.turns(conversation_id)] == [f"m{n}" for n in range(8)]


async def test_running_turn_is_interrupted_after_restart(tmp_path: Path, clock: Clock) -> None:
    async with opened(url(tmp_path), clock) as store:
        conversation_id = await begin(store, message_id="done")
        await finish(store, conversation_id, "done")
        await begin(store, conversation_id, "broken")
    clock.now += 60
    async with opened(url(tmp_path), clock) as store:
        done, broken = await store.turns(conversation_id)

    assert done.status == "complete"
    assert (broken.status, broken.stop_reason, broken.ended_at) == ("interrupted", "interrupted", clock.now)
    assert broken.detail == "the server was stopped during this turn"


async def test_turn_is_found_where_it_is(store: Store) -> None:
    one = await begin(store, message_id="m1", prompt="opens one")
    two = await store.new_conversation("ada")
    await begin(store, two, "m1", "in two")

    found = [await store.find_turn("ada", place, "m1") for place in (None, one, two)]
    assert [turn.prompt for turn in found if turn] == ["in two", "opens one", "in two"]


async def test_repeated_begin_returns_the_turn(store: Store) -> None:
    one = await begin(store, message_id="m1", prompt="opens one")
    two = await store.new_conversation("ada")
    await begin(store, two, "m1", "in two")

    limits = Limits(1, 1, 1)  # which are spent: it is free
    again = [await store.begin_turn("ada", place, "m1", "again", limits) for place in (None, one, two)]
    assert [turn.prompt for turn in again if isinstance(turn, StoredTurn)] == [
        "opens one",
        "opens one",
        "in two",
    ]
    assert len((await store.used("ada", Limits(9, 0, 0)))[0].hour) == 2


async def test_turn_needs_own_conversation(store: Store) -> None:
    conversation_id = await begin(store)
    await store.set_claude_session(conversation_id, "s1")

    assert await store.begin_turn("ada", conversation_id, "m2", "hi", NO_LIMITS) == Admitted(
        conversation_id, "s1"
    )
    for owner, place in (("eve", conversation_id), ("ada", NOWHERE)):
        with pytest.raises(NotFound):
            await store.begin_turn(owner, place, "m3", "hi", NO_LIMITS)
    assert len(await store.turns(conversation_id)) == 2


async def test_turn_is_not_found_elsewhere(store: Store) -> None:
    conversation_id = await begin(store, message_id="m1")

    assert await store.find_turn("eve", conversation_id, "m1") is None
    assert await store.find_turn("eve", None, "m1") is None
    assert await store.find_turn("ada", conversation_id, "m2") is None
    assert await store.find_turn("ada", NOWHERE, "m1") is None


# --- conversations


async def test_conversation_is_its_owners_alone(store: Store) -> None:
    conversation_id = await begin(store)

    for attempt in (store.conversation("eve", conversation_id), store.delete("eve", conversation_id)):
        with pytest.raises(NotFound, match=f"there is no conversation {conversation_id}"):
            await attempt
    assert await page(store, "eve") == []
    assert await page(store, "ada") == [conversation_id]


async def test_foreign_and_unknown_look_alike(store: Store) -> None:
    with pytest.raises(NotFound, match=f"there is no conversation {NOWHERE}"):
        await store.conversation("ada", NOWHERE)


async def test_first_prompt_is_the_title(store: Store) -> None:
    conversation_id = await store.new_conversation("ada")
    assert (await store.conversation("ada", conversation_id)).title == ""

    await begin(store, conversation_id, "m1", "  What\n is\tthis? ")
    await begin(store, conversation_id, "m2", "And that?")

    assert (await store.conversation("ada", conversation_id)).title == "What is this?"


async def test_long_title_is_cut(store: Store) -> None:
    conversation_id = await begin(store, prompt="word " * 1000)

    assert (await store.conversation("ada", conversation_id)).title == ("word " * 1000)[:TITLE_CHARS]


async def preview(store: Store) -> str | None:
    ((newest, *_), _) = await store.conversations("ada", before=None, limit=1)
    return newest.preview


async def test_preview_is_of_the_find_turn(store: Store, clock: Clock) -> None:
    conversation_id = await store.new_conversation("ada")
    assert await preview(store) == ""

    await begin(store, conversation_id, "z")
    await finish(store, conversation_id, "z", answer="the first")
    clock.now -= 5  # clocks are set back sometimes
    await begin(store, conversation_id, "a")
    assert await preview(store) == ""
    await finish(store, conversation_id, "a", answer="the second")
    assert await preview(store) == "the second"

    clock.now += 10
    other = await begin(store)
    await finish(store, other, answer="of another")
    shown, _ = await store.conversations("ada", before=None, limit=9)
    assert {each.id: each.preview for each in shown} == {conversation_id: "the second", other: "of another"}


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("\n# One\r\n\n \ttwo\u2028three ", "# One two three"),
        ("🙂" * 1000, "🙂" * PREVIEW_CHARS),
        ("before\0after", "before"),
        ("x" * (PREVIEW_CHARS - 1) + "\0", "x" * (PREVIEW_CHARS - 1)),
        ("\ufdd0\ufdd1!", "\ufdd0\ufdd1!"),
    ],
    ids=["lines", "long", "nul", "cut-in-nul", "noncharacters"],
)
async def test_preview_is_one_short_line(store: Store, answer: str, shown: str) -> None:
    await finish(store, await begin(store), answer=answer)

    assert await preview(store) == shown


async def test_session_is_remembered(store: Store) -> None:
    conversation_id = await begin(store)
    assert (await store.conversation("ada", conversation_id)).claude_session is None

    await store.set_claude_session(conversation_id, "s1")

    assert (await store.conversation("ada", conversation_id)).claude_session == "s1"


async def test_deleted_conversation_is_gone_with_its_turns(store: Store) -> None:
    kept, gone = await begin(store, message_id="m1"), await begin(store, message_id="m2")

    await store.delete("ada", gone)

    assert await store.turns(gone) == []
    assert await page(store) == [kept]
    with pytest.raises(NotFound):
        await store.delete("ada", gone)


async def test_talk_moves_a_conversation_up(store: Store, clock: Clock) -> None:
    ids = []
    for _ in range(3):
        ids.append(await store.new_conversation("ada"))
        clock.now += 1
    await begin(store, ids[0])

    assert await page(store) == [ids[0], ids[2], ids[1]]


@given(times=st.lists(st.integers(0, 3), max_size=12), limit=st.integers(1, 5))
@settings(
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # each runs a database
def test_pages_hold_every_conversation_once(times: list[int], limit: int) -> None:
    async def pages() -> tuple[list[str], list[str]]:
        clock = Clock()
        async with opened("sqlite://", clock) as store:
            made = []
            for time in times:  # many at the same moment: the id decides
                clock.now = 1_800_000_000.0 + time / 10
                made.append((clock.now, await store.new_conversation("ada")))
                await store.new_conversation("eve")
            shown, cursor = [], None
            while True:
                part, cursor = await store.conversations("ada", before=cursor, limit=limit)
                assert len(part) <= limit
                shown += [each.id for each in part]
                if cursor is None:
                    return [name for _, name in sorted(made, reverse=True)], shown

    expected, shown = asyncio.run(pages())
    assert shown == expected


async def test_last_page_has_no_next(store: Store) -> None:
    for _ in range(4):
        await store.new_conversation("ada")

    _, cursor = await store.conversations("ada", before=None, limit=2)
    _, end = await store.conversations("ada", before=cursor, limit=2)

    assert cursor is not None
    assert end is None


@pytest.mark.parametrize(
    "before", ["", "x", "_", "yesterday_0123456789ab", "1e", "nan_a", "inf_a", "0x1p4_a"]
)
async def test_made_up_cursor_is_refused(store: Store, before: str) -> None:
    with pytest.raises(BadRequest, match=re.escape(f"before is {before!r}; use the value of next")):
        await store.conversations("ada", before=before, limit=2)


# --- the database


@pytest.mark.parametrize(
    "text", ["not a database at all, but a text of some length" * 100, "SQLite format 3\0" * 9]
)
async def test_corrupt_database_is_reported(text: str, tmp_path: Path) -> None:
    (tmp_path / "chat.sqlite3").write_text(text)

    with pytest.raises(Unavailable, match="database unavailable: "):
        async with opened(url(tmp_path), Clock()):
            pytest.fail("it opens")


async def test_unreachable_server_is_reported(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"unable to open database file: .*missing"):
        async with opened(url(tmp_path / "missing"), Clock()):
            pytest.fail("it opens")


async def test_parallel_admissions_respect_the_limit(store: Store) -> None:
    asks = (store.begin_turn("ada", None, f"m{i}", "hi", Limits(5, 0, 0)) for i in range(50))
    outcomes = await asyncio.gather(*asks, return_exceptions=True)

    assert sum(isinstance(outcome, Admitted) for outcome in outcomes) == 5
    assert sum(isinstance(outcome, RateLimited) for outcome in outcomes) == 45


async def test_ledger_adds_up(store: Store, clock: Clock) -> None:
    for message_id in ("m1", "m2"):
        await finish(store, await begin(store, message_id=message_id), message_id)

    used, now = await store.used("ada", Limits(9, 9, 9))
    assert (used, now) == (Used([clock.now] * 2, 2, 14), clock.now)
    assert isinstance(used.tokens, int)


async def test_unlimited_usage_is_not_read(store: Store, clock: Clock) -> None:
    for message_id in ("m1", "m2", "m3"):
        await finish(store, await begin(store, message_id=message_id), message_id)
        clock.now += 1

    assert (await store.used("ada", NO_LIMITS))[0] == Used([], 0, 0)
    assert (await store.used("ada", Limits(2, 0, 0)))[0] == Used([clock.now - 2, clock.now - 1], 0, 0)


async def test_unreachable_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file or directory"):
        async with opened(f"postgresql://chat@/chat?host={tmp_path}", Clock()):
            pytest.fail("it opens")


WRONG_URLS = [
    pytest.param("nonsense", id="no-url"),
    pytest.param("", id="empty"),
    pytest.param("oracle8://x", id="unknown-kind"),
    pytest.param("sqlite+aiosqlite:///x", id="for-asyncio"),
    pytest.param("postgresql+no_such_driver://localhost/chat", id="no-driver"),
]


@pytest.mark.parametrize("address", WRONG_URLS)
async def test_wrong_database_url_is_reported(address: str) -> None:
    with pytest.raises(Unavailable, match="CHAT_DATABASE cannot be used"):
        async with opened(address, Clock()):
            pytest.fail("it opens")


async def test_locked_database_works_again(tmp_path: Path, clock: Clock) -> None:
    async with opened(url(tmp_path), clock) as store:
        conversation_id = await begin(store)
        other = sqlite3.connect(tmp_path / "chat.sqlite3", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        other.execute("UPDATE chatgate_schema SET version = version")  # it has the lock once it has written
        # It waits for five seconds in earnest.
        await store._write(lambda db: db.exec_driver_sql("PRAGMA busy_timeout = 10").close())
        with pytest.raises(Unavailable, match="database is locked"):
            await finish(store, conversation_id)
        other.close()

        await finish(store, conversation_id)
        (turn,) = await store.turns(conversation_id)
    assert turn.answer == "hello"


async def test_reads_continue_during_writes(tmp_path: Path, clock: Clock) -> None:
    async with opened(url(tmp_path), clock) as store:
        conversation_id = await begin(store)
        other = sqlite3.connect(tmp_path / "chat.sqlite3", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        other.execute("UPDATE chatgate_schema SET version = version")  # it has the lock once it has written

        assert await page(store) == [conversation_id]
        other.close()


async def test_check_is_silent_when_all_is_well(store: Store) -> None:
    await store.check()


TIMES = [
    (0.0, "1970-01-01T00:00:00.000Z"),
    (1_800_000_000.5, "2027-01-15T08:00:00.500Z"),
    (1_800_000_000.9999, "2027-01-15T08:00:00.999Z"),
]


@pytest.mark.parametrize(("seconds", "text"), TIMES)
def test_times_are_utc_in_rfc_3339(seconds: float, text: str) -> None:
    assert rfc3339(seconds) == text
