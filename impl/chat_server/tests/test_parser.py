"""The CLI's lines as the recordings have them, and in every other order and shape that one can think of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chat_server.claude.events import Init, ParsedEvent, Result
from chat_server.claude.lines import LineSplitter, LineTooLong
from chat_server.claude.parser import TurnParser
from chat_server.protocol import Rewind, Status, Thinking, Token, Tool, Usage
from chat_server.tests.replies import NOISE, Attempt, Block, Reply, Wire, golden, last_text, replies
from chat_server.text_buffer import TextBuffer

RECORDINGS = Path(__file__).parent / "recordings"
STUB = "Hello from the stub. You said something. Done"


Event = ParsedEvent | Token


class Parser(TurnParser):
    """A parser whose text is events, too, as the log makes them: what was appended before an event comes before it."""

    def __init__(self) -> None:
        self.buffer = TextBuffer()
        self._sent = 0
        super().__init__(self.buffer)

    def read(self, lines: Sequence[bytes]) -> Iterator[Event]:
        for event in self.feed(lines):
            yield from self._tokens()
            yield event
        yield from self._tokens()

    def _tokens(self) -> Iterator[Token]:
        text = self.buffer.slice(self._sent, self.buffer.length)
        self._sent = self.buffer.length
        if text:
            yield Token(token=text)


def parse(parser: Parser, lines: list[str]) -> list[Event]:
    return list(parser.read([line.encode() for line in lines]))


def shown(events: list[Event]) -> str:
    """What a reader has who appends each text and obeys each rewind."""
    text = ""
    for event in events:
        match event:
            case Token():
                assert event.token, "a piece has at least one character"
                text += event.token
            case Rewind():
                assert event.to < len(text), "a rewind takes something back"
                text = text[: event.to]
    return text


@dataclass
class Received:
    """What became of one turn's lines."""

    parser: Parser
    events: list[Event]

    def only(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def end(self) -> Result:
        (end,) = self.only(Result)
        assert isinstance(end, Result)
        return end


def turns(name: str) -> Iterator[Received]:
    """The turns of a recorded process, as a server reads them: one parser until the result, then the next."""
    received = Received(Parser(), [])
    for line in (RECORDINGS / f"{name}.jsonl").read_bytes().splitlines():
        received.events.extend(received.parser.read([line]))
        if received.parser.ended:
            yield received
            received = Received(Parser(), [])
    if received.events:
        yield received


# --- lines


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)), st.lists(st.integers(0, 200)))
@example([b"", b"", b"x"], [0, 0, 1])
def test_lines_survive_any_cuts(wanted: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(line + b"\n" for line in wanted)
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    lines = LineSplitter(limit=1000)

    got = [line for start, end in pairwise(edges) for line in lines.feed(wire[start:end])]

    assert got == wanted


def test_lines_keep_an_unfinished_line_back() -> None:
    lines = LineSplitter(limit=10)

    assert lines.feed(b"one\ntw") == [b"one"]
    assert lines.feed(b"o") == []
    assert lines.feed(b"\n") == [b"two"]


def test_lines_are_split_at_newlines_only() -> None:
    line = "a\u2028b\u0085c\rd\x0be".encode()

    assert LineSplitter(limit=100).feed(line + b"\n") == [line]


@given(st.integers(1, 50), st.integers(1, 7))
def test_lines_beyond_the_limit_are_refused(limit: int, size: int) -> None:
    lines = LineSplitter(limit)
    for start in range(0, limit, size):
        lines.feed(b"x" * min(size, limit - start))

    with pytest.raises(LineTooLong, match=f"more than {limit} bytes"):
        lines.feed(b"x")


def test_whole_line_beyond_limit_fails() -> None:
    with pytest.raises(LineTooLong):
        LineSplitter(limit=10).feed(b"x" * 11 + b"\n")


# --- recordings of the real CLI


ANSWERS = [
    pytest.param("sj_partial", STUB, Usage(12, 9), id="streamed"),
    pytest.param("sj_verbose", STUB, Usage(12, 9), id="whole"),
    pytest.param("thinking", STUB, Usage(12, 9), id="after-thinking"),
    pytest.param("thinking_without_partial", STUB, Usage(12, 9), id="whole-after-thinking"),
    pytest.param("cut_mid_once", STUB, Usage(24, 10), id="repeated-after-a-cut"),
    pytest.param("cut_mid_always", STUB, Usage(144, 20), id="repeated-eleven-times"),
    pytest.param("sse_error_once", STUB, Usage(24, 10), id="repeated-in-one-piece"),
    pytest.param("tool_echo_auto_allowed", f"I will run it.\n\n{STUB}", Usage(6, 18), id="around-a-tool"),
    pytest.param("tool_parallel", f"I will run it.\n\n{STUB}", Usage(24, 18), id="around-two-tools"),
    pytest.param("tool_denied", f"I will run it.\n\n{STUB}", Usage(24, 18), id="around-a-refused-tool"),
    pytest.param("tool_exit_code_3", f"I will run it.\n\n{STUB}", Usage(24, 18), id="around-a-failed-tool"),
    pytest.param("subagent", f"I will run it.\n\n{STUB}", Usage(24, 18), id="around-a-subagent"),
]


@pytest.mark.parametrize(("name", "text", "usage"), ANSWERS)
def test_recorded_answer_is_shown_once(name: str, text: str, usage: Usage) -> None:
    turn = next(turns(name))

    assert shown(turn.events) == turn.parser.text == text
    assert turn.end == Result(usage, "end_turn")
    assert turn.only(Rewind) == []  # every copy was the same (TURN-4)


def test_recorded_session_id_comes_first() -> None:
    first, second = turns("si_two_turns")

    assert first.events[0] == second.events[0] == Init("73695fc6-b16f-461e-8274-6bb38ff01d87")
    assert first.parser.text == 'len=8 repr="ECHO one"'
    assert second.parser.text == 'len=8 repr="ECHO two"'


def test_recorded_answer_comes_in_pieces() -> None:
    (turn,) = turns("sj_partial")

    assert len(turn.only(Token)) == 8


def test_recorded_thinking_is_not_the_answer() -> None:
    (turn,) = turns("thinking")

    thoughts = [event.thinking for event in turn.events if isinstance(event, Thinking)]
    assert len(thoughts) > 1
    assert "".join(thoughts) not in turn.parser.text


def test_recorded_retries_are_reported() -> None:
    (turn,) = turns("cut_mid_always")

    assert turn.only(Status) == [
        Status(status="retrying", detail=f"attempt {n} of 10: unknown") for n in range(1, 11)
    ]


def test_recorded_tool_steps_keep_order() -> None:
    (turn,) = turns("tool_parallel")

    assert turn.only(Tool) == [
        Tool(id="toolu_0000490", name="Bash", state="started", detail="echo one"),
        Tool(id="toolu_0000491", name="Bash", state="started", detail="echo two"),
        Tool(id="toolu_0000491", name="Bash", state="finished", detail="two"),
        Tool(id="toolu_0000490", name="Bash", state="finished", detail="one"),
    ]


def test_recorded_failed_tool_says_why() -> None:
    (turn,) = turns("tool_exit_code_3")

    assert turn.only(Tool)[1:] == [
        Tool(id="toolu_0000010", name="Bash", state="failed", detail="Exit code 3\nout\nerr")
    ]


def test_recorded_refused_tool_says_why() -> None:
    (turn,) = turns("tool_denied")

    _, refused = turn.only(Tool)
    assert isinstance(refused, Tool)
    assert refused.state == "failed"
    assert refused.detail.startswith("touch in '/home/user/dir/newfile' needs approval")


def test_recorded_subagent_text_is_dropped() -> None:
    turn = next(turns("subagent"))

    started, finished = turn.only(Tool)
    assert isinstance(started, Tool)
    assert isinstance(finished, Tool)
    assert (started.name, finished.state) == ("Agent", "finished")
    assert finished.detail  # a list of text blocks on the wire


def test_recorded_api_error_is_no_answer() -> None:
    (turn,) = turns("err_403")

    assert turn.parser.text == ""
    assert turn.end.error == "Failed to authenticate. API Error: 403 error 403"
    assert not turn.end.aborted


def test_recorded_length_limit_keeps_text() -> None:
    (turn,) = turns("max_tokens_always")

    assert turn.parser.text == shown(turn.events) == STUB * 4  # one sentence, continued where it broke off
    assert turn.end.error.startswith("API Error: Claude's response exceeded the 128000 output token maximum")
    assert turn.end.usage == Usage(48, 36)


def test_recorded_interrupt_keeps_text_and_usage() -> None:
    interrupted, after = turns("ctl_interrupt_mid")

    assert interrupted.parser.text == "Hello from the stub. "
    assert interrupted.end.aborted
    assert interrupted.end.error
    assert interrupted.end.usage == Usage(12, 1)  # the result says 0, the stream knows better
    assert after.end.error == ""


def test_recorded_interrupt_ends_running_tool() -> None:
    interrupted, _ = turns("ctl_interrupt_during_tool")

    assert interrupted.end.aborted
    assert interrupted.parser.text == "I will run it."
    states = [event.state for event in interrupted.events if isinstance(event, Tool)]
    assert states == ["started", "failed"]


def test_recorded_unknown_session_is_an_error() -> None:
    (turn,) = turns("resume_unknown_sj")

    assert turn.end.error == "No conversation found with session ID: 99999999-2222-4333-8444-55555555bbbb"


def test_recorded_local_command_is_free() -> None:
    (turn,) = turns("slash_cost")

    assert turn.parser.text.startswith("Estimated cost:        $0.0000\n")
    assert turn.end == Result(Usage(), "end_turn")


def test_recorded_kill_keeps_partial_text() -> None:
    (turn,) = turns("sigkill_mid_stream")

    assert turn.parser.text == "Hello from the stub. "
    assert not turn.parser.ended
    assert turn.parser.usage == Usage(12, 1)


def test_background_result_does_not_end_turn() -> None:
    lines = (RECORDINGS / "bg_shell_print_mode.jsonl").read_bytes().splitlines()
    results = [number for number, line in enumerate(lines) if b'"type":"result"' in line]
    woken = lines[results[0] + 1 :]
    parser = Parser()

    for line in woken:
        list(parser.read([line]))

    assert len(results) == 2
    assert not parser.ended


# --- any shape at all


NOISES = st.lists(st.tuples(st.integers(0, 99), NOISE | st.none()), max_size=6)
"""Lines to put in at some place; ``None`` is the line before it once more."""


def with_noise(lines: list[str], noise: list[tuple[int, str | None]]) -> list[str]:
    noisy = list(lines)
    for place, line in noise:
        at = place % len(noisy)
        noisy.insert(at, noisy[max(0, at - 1)] if line is None else line)
    return noisy


@given(got=replies(), noise=NOISES, repeats=st.booleans())
@example(got=[Reply((Block("text", " "),), "result", 1)], noise=[], repeats=False)
@example(  # two blocks shown, then repeated in the same words
    got=[Reply((Block("text", "a"), Block("text", "b")), "streamed", 1, (Attempt(("a", "b"), 9, 0),))],
    noise=[],
    repeats=True,
)
@example(  # the second attempt breaks off earlier than the first
    got=[Reply((Block("text", "ab"),), "streamed", 1, (Attempt(("ab",), 2, 0), Attempt(("ab",), 1, 0)))],
    noise=[],
    repeats=True,
)
@example(  # what was shown first is no part of the answer in the end, nor is the paragraph break before it
    got=[
        Reply((Block("text", "a"),), "whole", 1),
        Reply((Block("text", ""),), "deltas", 1, (Attempt(("b",), 1, 0),)),
    ],
    noise=[],
    repeats=False,
)
@example(  # only the first paragraph after a length limit goes on in mid-sentence
    got=[
        Reply((Block("text", "a"),), "deltas", 1, goes_on=True),
        Reply((Block("text", "b"), Block("text", "c")), "deltas", 1),
    ],
    noise=[],
    repeats=True,
)
def test_any_shape_shows_text_once(
    got: list[Reply], noise: list[tuple[int, str | None]], *, repeats: bool
) -> None:
    wire = Wire()
    for reply in got:
        wire.emit(reply)
    wire.result(last_text(got) if repeats or got[-1].how == "result" else "")
    lines = with_noise(wire.lines, noise)
    parser = Parser()

    events = parse(parser, lines)

    assert shown(events) == parser.text == golden(got)
    assert events[-1] == Result(Usage(7, 3), "end_turn")


@given(got=replies(), noise=NOISES, cuts=st.lists(st.integers(0, 60), max_size=8))
def test_batches_equal_single_lines(
    got: list[Reply], noise: list[tuple[int, str | None]], cuts: list[int]
) -> None:
    wire = Wire()
    for reply in got:
        wire.emit(reply)
    wire.result(last_text(got))
    lines = [line.encode() for line in with_noise(wire.lines, noise)]
    edges = [0, *sorted(min(cut, len(lines)) for cut in cuts), len(lines)]
    singly, bunched = Parser(), Parser()

    one = [event for line in lines for event in singly.read([line])]
    other = [event for start, end in pairwise(edges) for event in bunched.read(lines[start:end])]

    assert shown(one) == shown(other)
    assert singly.usage == bunched.usage
    assert [event for event in one if not isinstance(event, Token | Rewind)] == [
        event for event in other if not isinstance(event, Token | Rewind)
    ]


@given(replies(alike=True))
def test_equal_repeats_are_never_rewound(got: list[Reply]) -> None:
    wire = Wire()
    for reply in got:
        wire.emit(reply)
    wire.result(last_text(got))

    events = parse(Parser(), wire.lines)

    assert not any(isinstance(event, Rewind) for event in events)


@given(st.lists(st.binary(max_size=60) | NOISE.map(str.encode), max_size=8))
@example([b'{"":"\x80"'])
def test_any_bytes_are_noise_or_events(lines: list[bytes]) -> None:
    parser = Parser()

    events = list(parser.read(lines))

    assert shown(events) == parser.text


WORDS = st.sampled_from(
    [
        "type",
        "event",
        "message",
        "content",
        "delta",
        "index",
        "text",
        "id",
        "usage",
        "result",
        "uuid",
        "is_error",
    ]
) | st.sampled_from(["parent_tool_use_id", "content_block", "abandoned_blocks", "from_block_index", "origin"])
VALUES = st.sampled_from(
    ["stream_event", "assistant", "user", "system", "result", "message_start", "content_block_start", "init"]
) | st.sampled_from(["content_block_delta", "message_delta", "text_delta", "text", "tool_use", "tool_result"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=20,
)


@given(st.lists(JSON, max_size=6))
def test_any_json_is_noise_or_events(documents: list[object]) -> None:
    import json  # noqa: PLC0415

    parser = Parser()

    events = parse(parser, [json.dumps(document) for document in documents])

    assert shown(events) == parser.text


# --- single shapes that the properties do not reach


def test_final_text_alone_is_visible() -> None:
    wire = Wire()
    wire.emit(Reply((Block("text", "I will look."), Block("tool_use")), "streamed", 4))
    wire.result("It is empty.")
    parser = Parser()

    events = parse(parser, wire.lines)

    assert shown(events) == parser.text == "I will look.\n\nIt is empty."


def test_final_text_completes_broken_stream() -> None:
    wire = Wire()
    wire.start()
    wire.pieces(0, Block("text", "Hello wor"), 3)
    wire.result("Hello world")

    assert shown(parse(Parser(), wire.lines)) == "Hello world"


def test_final_text_corrects_broken_stream() -> None:
    wire = Wire()
    wire.start()
    wire.pieces(0, Block("text", "Hello wor"), 3)
    wire.result("Hello there")

    assert shown(parse(Parser(), wire.lines)) == "Hello there"


def test_empty_line_does_not_end_message() -> None:
    wire = Wire()
    wire.start()
    wire.pieces(0, Block("text", "Hello wor"), 3)
    wire.line("assistant", message={"id": "other", "content": []}, parent_tool_use_id=None)
    wire.event("content_block_delta", index=0, delta={"type": "text_delta", "text": "ld"})
    wire.result("Hello world")

    assert shown(parse(Parser(), wire.lines)) == "Hello world"


def test_pieces_without_a_block_are_shown() -> None:
    wire = Wire()
    wire.start()
    wire.event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"})
    wire.result("Hello")

    assert shown(parse(Parser(), wire.lines)) == "Hello"


def test_late_full_blocks_are_duplicates() -> None:
    wire = Wire()
    wire.start()
    for index, text in enumerate("ab"):
        wire.pieces(index, Block("text", text), 1)
    for text in "ab":
        wire.whole(Block("text", text))
    wire.result("b")

    assert shown(parse(Parser(), wire.lines)) == "a\n\nb"


def test_partial_text_survives_an_error() -> None:
    wire = Wire()
    wire.start()
    wire.pieces(0, Block("text", "Hello wor"), 3)
    wire.event("content_block_stop", index=0)
    wire.event("message_stop", abandoned=0)
    wire.line("result", subtype="success", is_error=True, result="API Error: 500")
    parser = Parser()

    events = parse(parser, wire.lines)

    assert shown(events) == parser.text == "Hello wor"
    assert events[-1] == Result(Usage(1, 1), "end_turn", "API Error: 500")


def test_lines_after_the_result_are_nobodys() -> None:
    wire = Wire()
    wire.result("done")
    wire.emit(Reply((Block("text", "ghost"),), "streamed", 2))
    parser = Parser()

    parse(parser, wire.lines)

    assert parser.text == "done"


def test_lone_surrogates_become_replacement_characters() -> None:
    line = rb'{"type":"assistant","message":{"id":"m","content":[{"type":"text","text":"a\ud83d b\ud83d\ude42"}]}}'
    parser = Parser()

    list(parser.read([line]))

    assert parser.text == "a\N{REPLACEMENT CHARACTER} b🙂"


@pytest.mark.parametrize("line", [b"\xff\xfe\x80", b"\xc0\xaf", b"\xed\xa0\x80", b'{"type":"\xe2\x82"}'])
def test_invalid_utf8_is_noise(line: bytes) -> None:
    assert list(Parser().read([line])) == []


def test_bottomless_nesting_is_noise() -> None:
    parser = Parser()

    assert list(parser.read([b"[" * 100_000])) == []
    assert list(parser.read([b'{"a":' * 100_000])) == []


def test_error_without_a_sentence_gets_one() -> None:
    (end,) = Parser().read([b'{"type":"result","is_error":true}'])

    assert isinstance(end, Result)
    assert end.error == "Claude reported an error without a sentence"
