from __future__ import annotations

import pytest

from chat_conformance.wire.frames import Frame, Opcode, close_frame
from chat_conformance.wire.trace import MAX_LINES, Trace, describe, shorten


def test_times_are_milliseconds_since_the_beginning() -> None:
    clock = iter([10.0, 10.5, 11.25])
    trace = Trace(clock=lambda: next(clock))
    trace.add("ws1", ">", "a")
    trace.add("ws1", "<", "b")

    assert [(line.ms, line.text) for line in trace.lines] == [(500.0, "a"), (1250.0, "b")]


def test_a_long_trace_keeps_its_ends_and_says_what_is_left_out() -> None:
    trace = Trace()
    for number in range(MAX_LINES + 10):
        trace.add("ws1", "<", str(number))
    texts = [line.text for line in trace.lines]

    assert (texts[0], texts[-1], len(texts)) == ("0", str(MAX_LINES + 9), MAX_LINES + 1)
    assert texts[MAX_LINES // 2] == "10 lines left out"


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (Frame(Opcode.TEXT, "ä\n".encode()), "TEXT 'ä\\n' [3 bytes]"),
        (Frame(Opcode.TEXT, b"\xff", fin=False), "TEXT '\\\\xff' [more follows, 1 bytes]"),
        (close_frame(1002, "bad"), "CLOSE 1002 'bad' [5 bytes]"),
        (close_frame(None), "CLOSE b'' [0 bytes]"),
        (Frame(11, b"\x00", rsv=4), "opcode 11 b'\\x00' [rsv 100, 1 bytes]"),
        (Frame(Opcode.PING, b"a", length_bytes=8), "PING b'a' [length in 8 bytes, 1 bytes]"),
    ],
)
def test_a_frame_in_words(frame: Frame, words: str) -> None:
    assert describe(frame) == words


def test_long_values_are_shortened_and_stay_on_one_line() -> None:
    short = shorten("a\n" * 500)

    assert len(short) < 400
    assert "\n" not in short
