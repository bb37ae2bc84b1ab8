"""The log of a turn: whoever reads it, whenever, from wherever, gets the same story."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chat_server.protocol import Accepted, Complete, Event, Failed, Rewind, Thinking, Token, Tool, Usage
from chat_server.turns.event_log import BATCH_CHARS, TurnLog, answer


def make_log() -> TurnLog:
    return TurnLog("m1", "0123456789ab")


def token(seq: int, text: str) -> Token:
    return Token(token=text, message_id="m1", conversation_id="0123456789ab", seq=seq)


def test_accepted_names_the_turn() -> None:
    assert make_log().accepted == Accepted("m1", "0123456789ab")


def test_first_event_has_seq_one() -> None:
    log = make_log()

    log.token("a")

    assert log.read(0) == [token(1, "a")]


def test_unread_text_grows_in_one_event() -> None:
    log = make_log()

    for text in ("a", "b", "c"):
        log.token(text)

    assert log.read(0) == [token(1, "abc")]


def test_read_text_stays_as_it_was_read() -> None:
    log = make_log()
    log.token("a")
    log.read(0)

    log.token("b")
    log.token("c")

    assert log.read(0) == [token(1, "a"), token(2, "bc")]


def test_text_does_not_grow_over_another_event() -> None:
    log = make_log()
    log.token("a")
    log.status("retrying", "1 of 2")

    log.token("b")

    assert [event.seq for event in log.read(0)] == [1, 2, 3]
    assert log.read(0)[2] == token(3, "b")


def test_unread_text_grows_to_a_limit() -> None:
    log = make_log()

    for _ in range(3):
        log.token("x" * (BATCH_CHARS // 2))

    assert [len(event.token) for event in log.read(0) if isinstance(event, Token)] == [
        BATCH_CHARS,
        BATCH_CHARS // 2,
    ]


def test_piece_beyond_the_limit_is_cut() -> None:
    log = make_log()
    text = "".join(chr(0x4E00 + number % 5000) for number in range(3 * BATCH_CHARS + 1))

    log.token("short")
    log.token(text)
    log.thinking(text)

    sizes = [len(event.token) for event in log.read(0) if isinstance(event, Token)]
    assert sizes == [*[BATCH_CHARS] * 3, 6]
    assert answer(log.read(0)) == "short" + text
    thought = [event.thinking for event in log.read(0) if isinstance(event, Thinking)]
    assert (len(thought), "".join(thought)) == (4, text)


def test_nothing_follows_the_terminal_event() -> None:
    log = make_log()
    log.complete(Usage(1, 2), "end_turn")

    with pytest.raises(AssertionError, match="a token after the terminal event"):
        log.token("late")


def test_events_carry_what_they_were_told() -> None:
    log = make_log()
    log.thinking("hm")
    log.tool("t1", "Bash", "started", "ls")
    log.fail("claude_failed", "it broke")

    thinking, tool, failed = log.read(0)

    assert isinstance(thinking, Thinking)
    assert thinking.thinking == "hm"
    assert isinstance(tool, Tool)
    assert (tool.id, tool.name, tool.state, tool.detail) == ("t1", "Bash", "started", "ls")
    assert isinstance(failed, Failed)
    assert (failed.code, failed.message, failed.seq) == ("claude_failed", "it broke", 3)


def test_listener_hears_every_change_until_it_leaves() -> None:
    log, received = make_log(), []
    listener = lambda log: received.append(log.last)  # noqa: E731 - one and the same object to leave with
    log.subscribe(listener)
    log.token("a")
    log.token("b")
    log.complete(Usage(), "end_turn")

    log.unsubscribe(listener)

    assert received == [1, 1, 2]


def test_listener_may_leave_while_it_is_called() -> None:
    log = make_log()

    def once(log: TurnLog) -> None:
        log.unsubscribe(once)

    log.subscribe(once)
    log.token("a")
    log.token("b")

    assert log.last == 1


async def test_wait_is_over_when_the_turn_ends() -> None:
    log = make_log()
    waiting = asyncio.create_task(log.wait_ended(60.0))
    await asyncio.sleep(0)
    log.token("a")
    await asyncio.sleep(0)
    assert not waiting.done()

    log.complete(Usage(), "end_turn")

    assert await waiting is True


async def test_wait_ends_without_the_turn() -> None:
    log = make_log()

    assert await log.wait_ended(0.01) is False
    assert log._listeners == ()


async def test_wait_for_a_turn_that_is_over_is_short() -> None:
    log = make_log()
    log.fail("timeout", "silent")

    assert await log.wait_ended(0.0) is True


def test_answer_is_the_tokens_with_rewinds_applied() -> None:
    log = make_log()
    log.token("🙂 Hello wor")
    log.rewind(2)
    log.thinking("no")
    log.token("Bye")
    log.complete(Usage(), "end_turn")

    assert answer(log.read(0)) == "🙂 Bye"


# --- any readers at any time


@dataclass
class Reader:
    """A connection as the log sees it: a cursor, and what it has been given."""

    cursor: int = 0
    received: list[Event] = field(default_factory=list)


class Readers(RuleBasedStateMachine):
    """One writer, any readers: the same story for all, without gaps, and never changed afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.log = make_log()
        self.readers: list[Reader] = []
        self.golden = ""
        self.seen: dict[int, Event] = {}

    running = precondition(lambda self: not self.log.ended)

    @running
    @rule(text=st.text(min_size=1, max_size=5) | st.just("x" * (BATCH_CHARS // 2 + 1)))
    def write(self, text: str) -> None:
        self.golden += text
        self.log.token(text)

    @running
    @rule()
    def think(self) -> None:
        self.log.thinking("hm")

    @running
    @rule(data=st.data())
    def rewind(self, data: st.DataObject) -> None:
        to = data.draw(st.integers(0, len(self.golden)))
        self.golden = self.golden[:to]
        self.log.rewind(to)

    @running
    @rule(well=st.booleans())
    def end(self, *, well: bool) -> None:
        if well:
            self.log.complete(Usage(1, 1), "end_turn")
        else:
            self.log.fail("claude_failed", "it broke")

    @rule(data=st.data())
    def join(self, data: st.DataObject) -> None:
        """A connection comes, or comes back: it has heard a part of the story before."""
        before = data.draw(st.sampled_from([[], *(reader.received for reader in self.readers)]))
        received = before[: data.draw(st.integers(0, len(before)))]
        self.readers.append(Reader(len(received), list(received)))

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        """A connection takes what is new, or only the beginning of it before it is cut off."""
        reader = data.draw(st.sampled_from(self.readers))
        new = self.log.read(reader.cursor)
        taken = new[: data.draw(st.integers(0, len(new)))]
        reader.received += taken
        reader.cursor += len(taken)
        for event in new:
            assert self.seen.setdefault(event.seq, event) == event, "an event that was read has changed"

    @invariant()
    def stories_agree(self) -> None:
        for reader in self.readers:
            assert [event.seq for event in reader.received] == list(range(1, reader.cursor + 1))

    @invariant()
    def at_most_one_end(self) -> None:
        ends = [seq for seq, event in self.log._events.items() if isinstance(event, Complete | Failed)]
        assert ends == ([self.log.last] if self.log.ended else [])

    def teardown(self) -> None:
        for reader in [*self.readers, Reader()]:
            received = reader.received + self.log.read(reader.cursor)
            assert [event.seq for event in received] == list(range(1, self.log.last + 1))
            assert answer(received) == self.golden


def test_any_readers_hear_the_same_story() -> None:
    run_state_machine_as_test(Readers)


def test_rewind_to_nothing_forgets_all() -> None:
    log = make_log()
    log.token("ab")
    log.rewind(0)

    assert answer(log.read(0)) == ""
    assert isinstance(log.read(0)[1], Rewind)
