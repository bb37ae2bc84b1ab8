"""The log of a turn: every reader gets the same events, whenever and from wherever it reads."""

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

from chat_server.protocol import (
    Accepted,
    Complete,
    Event,
    Failed,
    Rewind,
    Status,
    Thinking,
    Token,
    Tool,
    Usage,
)
from chat_server.turns.event_log import BATCH_CHARS, TurnLog, answer_text


def make_log() -> TurnLog:
    return TurnLog("m1", "0123456789ab")


def token(seq: int, text: str) -> Token:
    return Token(token=text, message_id="m1", conversation_id="0123456789ab", seq=seq)


def write(log: TurnLog, text: str) -> None:
    """Append text as the parser and a session do."""
    log.text.append(text)
    log.extend_text()


def test_accepted_names_the_turn() -> None:
    assert make_log().accepted == Accepted("m1", "0123456789ab")


def test_first_event_has_seq_one() -> None:
    log = make_log()

    write(log, "a")

    assert log.read(0) == [token(1, "a")]


def test_unread_text_grows_in_one_event() -> None:
    log = make_log()

    for text in ("a", "b", "c"):
        write(log, text)

    assert log.read(0) == [token(1, "abc")]


def test_read_text_never_changes() -> None:
    log = make_log()
    write(log, "a")
    log.read(0)

    write(log, "b")
    write(log, "c")

    assert log.read(0) == [token(1, "a"), token(2, "bc")]


def test_event_ends_growing_text() -> None:
    log = make_log()
    write(log, "a")
    log.append(Status(status="retrying", detail="1 of 2"))

    write(log, "b")

    assert [event.seq for event in log.read(0)] == [1, 2, 3]
    assert log.read(0)[2] == token(3, "b")


def test_unread_text_grows_to_a_limit() -> None:
    log = make_log()

    for _ in range(3):
        write(log, "x" * (BATCH_CHARS // 2))

    assert [len(event.token) for event in log.read(0) if isinstance(event, Token)] == [
        BATCH_CHARS,
        BATCH_CHARS // 2,
    ]


def test_text_beyond_the_limit_is_split() -> None:
    log = make_log()
    text = "".join(chr(0x4E00 + number % 5000) for number in range(3 * BATCH_CHARS + 1))

    write(log, "short")
    write(log, text)
    log.append(Thinking(thinking=text))

    sizes = [len(event.token) for event in log.read(0) if isinstance(event, Token)]
    assert sizes == [*[BATCH_CHARS] * 3, 6]
    assert answer_text(log.read(0)) == "short" + text
    thought = [event.thinking for event in log.read(0) if isinstance(event, Thinking)]
    assert (len(thought), "".join(thought)) == (4, text)


def test_nothing_follows_the_terminal_event() -> None:
    log = make_log()
    log.append(Complete(usage=Usage(1, 2), stop_reason="end_turn"))

    with pytest.raises(AssertionError, match="a token after the terminal event"):
        write(log, "late")


def test_events_keep_their_members() -> None:
    log = make_log()
    log.append(Thinking(thinking="hm"))
    log.append(Tool(id="t1", name="Bash", state="started", detail="ls"))
    log.append(Failed(code="claude_failed", message="it broke"))

    thinking, tool, failed = log.read(0)

    assert isinstance(thinking, Thinking)
    assert thinking.thinking == "hm"
    assert isinstance(tool, Tool)
    assert (tool.id, tool.name, tool.state, tool.detail) == ("t1", "Bash", "started", "ls")
    assert isinstance(failed, Failed)
    assert (failed.code, failed.message, failed.seq) == ("claude_failed", "it broke", 3)


class Recorder:
    """A reader that notes the ``seq`` of each update."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_log_update(self, log: TurnLog) -> None:
        self.seen.append(log.last)


class Pipe:
    """A source, and whether it is paused."""

    def __init__(self) -> None:
        self.paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


def test_reader_is_notified_until_it_unsubscribes() -> None:
    log, reader = make_log(), Recorder()
    log.subscribe(reader)
    write(log, "a")
    write(log, "b")
    log.append(Complete(usage=Usage(), stop_reason="end_turn"))

    log.unsubscribe(reader)

    assert reader.seen == [1, 1, 2]


def test_reader_may_unsubscribe_while_notified() -> None:
    class Once(Recorder):
        def on_log_update(self, log: TurnLog) -> None:
            super().on_log_update(log)
            log.unsubscribe(self)

    log, first, second = make_log(), Once(), Once()
    log.subscribe(first)
    log.subscribe(second)
    write(log, "a")
    write(log, "b")

    assert (first.seen, second.seen) == ([1], [1])


def test_nothing_new_notifies_nobody() -> None:
    log, reader = make_log(), Recorder()
    log.subscribe(reader)

    log.extend_text()

    assert reader.seen == []


def test_text_before_an_event_precedes_it() -> None:
    log = make_log()
    log.text.append("before")

    log.append(Status(status="retrying"))

    assert [type(event) for event in log.read(0)] == [Token, Status]


def test_source_pauses_when_all_readers_lag() -> None:
    log, pipe, one, other = make_log(), Pipe(), Recorder(), Recorder()
    log.set_source(pipe)
    log.subscribe(one)
    log.subscribe(other)

    states = []
    for reader, lagging in ((one, True), (other, True), (one, False)):
        log.set_lagging(reader, lagging=lagging)
        states.append(pipe.paused)

    assert states == [False, True, False]


def test_reader_that_leaves_pauses_nothing() -> None:
    log, pipe, reader = make_log(), Pipe(), Recorder()
    log.set_source(pipe)
    log.subscribe(reader)
    log.set_lagging(reader, lagging=True)

    log.unsubscribe(reader)

    assert not pipe.paused


def test_source_is_paused_from_the_start() -> None:
    log, pipe, reader = make_log(), Pipe(), Recorder()
    log.subscribe(reader)
    log.set_lagging(reader, lagging=True)

    log.set_source(pipe)
    paused = pipe.paused
    log.set_source(None)

    assert (paused, pipe.paused) == (True, False)


async def test_wait_ends_with_turn() -> None:
    log = make_log()
    waiting = asyncio.create_task(log.wait_ended(60.0))
    await asyncio.sleep(0)
    write(log, "a")
    await asyncio.sleep(0)
    assert not waiting.done()

    log.append(Complete(usage=Usage(), stop_reason="end_turn"))

    assert await waiting is True


async def test_wait_ends_without_the_turn() -> None:
    log = make_log()

    assert await log.wait_ended(0.01) is False
    assert len(log._readers) == 0


async def test_wait_for_ended_turn_returns() -> None:
    log = make_log()
    log.append(Failed(code="timeout", message="silent"))

    assert await log.wait_ended(0.0) is True


def test_answer_text_applies_rewinds() -> None:
    log = make_log()
    write(log, "🙂 Hello wor")
    log.append(Rewind(to=2))
    log.append(Thinking(thinking="no"))
    write(log, "Bye")
    log.append(Complete(usage=Usage(), stop_reason="end_turn"))

    assert answer_text(log.read(0)) == "🙂 Bye"


# --- any readers at any time


@dataclass
class Reader:
    """A connection as the log sees it: a cursor, and the events that it has read."""

    cursor: int = 0
    events: list[Event] = field(default_factory=list)


class Readers(RuleBasedStateMachine):
    """One writer, any readers: the same events for all, without gaps, and never changed afterwards."""

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
        write(self.log, text)

    @running
    @rule()
    def think(self) -> None:
        self.log.append(Thinking(thinking="hm"))

    @running
    @rule(data=st.data())
    def rewind(self, data: st.DataObject) -> None:
        to = data.draw(st.integers(0, len(self.golden)))
        self.golden = self.golden[:to]
        self.log.append(Rewind(to=to))

    @running
    @rule(well=st.booleans())
    def end(self, *, well: bool) -> None:
        if well:
            self.log.append(Complete(usage=Usage(1, 1), stop_reason="end_turn"))
        else:
            self.log.append(Failed(code="claude_failed", message="it broke"))

    @rule(data=st.data())
    def join(self, data: st.DataObject) -> None:
        """A connection comes, or comes back: it has read a part of the events before."""
        before = data.draw(st.sampled_from([[], *(reader.events for reader in self.readers)]))
        seen = before[: data.draw(st.integers(0, len(before)))]
        self.readers.append(Reader(len(seen), list(seen)))

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        """A connection takes what is new, or only the beginning of it before it is cut off."""
        reader = data.draw(st.sampled_from(self.readers))
        new = self.log.read(reader.cursor)
        taken = new[: data.draw(st.integers(0, len(new)))]
        reader.events += taken
        reader.cursor += len(taken)
        for event in new:
            assert self.seen.setdefault(event.seq, event) == event, "an event that was read has changed"

    @invariant()
    def cursors_agree(self) -> None:
        for reader in self.readers:
            assert [event.seq for event in reader.events] == list(range(1, reader.cursor + 1))

    @invariant()
    def at_most_one_end(self) -> None:
        ends = [seq for seq, event in self.log._events.items() if isinstance(event, Complete | Failed)]
        assert ends == ([self.log.last] if self.log.ended else [])

    def teardown(self) -> None:
        for reader in [*self.readers, Reader()]:
            read = reader.events + self.log.read(reader.cursor)
            assert [event.seq for event in read] == list(range(1, self.log.last + 1))
            assert answer_text(read) == self.golden


def test_all_readers_get_the_same_events() -> None:
    run_state_machine_as_test(Readers)


def test_rewind_to_nothing_forgets_all() -> None:
    log = make_log()
    write(log, "ab")
    log.append(Rewind(to=0))

    assert answer_text(log.read(0)) == ""
    assert isinstance(log.read(0)[1], Rewind)
