"""What is read of a server's bytes."""

from __future__ import annotations

import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_conformance.load.wire import FrameScanner, PhraseFinder, TokenCounter
from chat_conformance.wire.frames import Frame, Opcode, close_frame, encode_frame

FRAMES = [
    Frame(Opcode.TEXT, b"one", fin=False),
    Frame(Opcode.PING, b"are you there"),
    Frame(Opcode.CONTINUATION, b""),
    Frame(Opcode.BINARY, b"x" * 300),
    Frame(Opcode.TEXT, b"y" * 70_000),
    close_frame(1001),
]


def pieces_of(walk: FrameScanner, data: bytes, cuts: list[int]) -> bytes:
    """The payload of data that arrives cut at these places."""
    places = sorted({0, len(data), *(each % len(data) for each in cuts)})
    return b"".join(piece for begin, end in pairwise(places) for piece in walk.feed(data[begin:end]))


@given(st.lists(st.integers(min_value=0), max_size=6))
def test_walk_does_not_mind_how_bytes_are_cut(cuts: list[int]) -> None:
    walk = FrameScanner()
    data = b"".join(map(encode_frame, FRAMES))

    assert pieces_of(walk, data, cuts) == b"one" + b"x" * 300 + b"y" * 70_000
    assert (walk.frames, walk.pings, walk.closed) == (4, [b"are you there"], 1001)


@given(st.lists(st.integers(min_value=0), max_size=4))
def test_walk_inflates_what_was_deflated(cuts: list[int]) -> None:
    deflater = zlib.compressobj(wbits=-15)
    frames = []
    for text in (b"first " * 50, b"second " * 50):
        payload = deflater.compress(text) + deflater.flush(zlib.Z_SYNC_FLUSH)
        frames.append(Frame(Opcode.TEXT, payload[:-4], rsv=4))

    assert (
        pieces_of(FrameScanner(), b"".join(map(encode_frame, frames)), cuts)
        == b"first " * 50 + b"second " * 50
    )


def test_tokens_show_their_latency() -> None:
    tokens, delays = TokenCounter(), list[int]()
    tokens.feed(b'{"token":"@0000000000000001000 "}', 1_500, delays)
    tokens.feed(b'{"token":"@0000000000000002000 @0000000000000002100 "}', 2_600, delays)

    assert delays == [500, 600, 500]
    assert tokens.stamped == 3


def test_tokens_count_repeats_but_no_old_times() -> None:
    tokens, delays = TokenCounter(), list[int]()
    for text in (b"@0000000000000001000 ~xxxx ~xxxx ", b"@0000000000000001000 ~xxxx ~xxxx "):
        tokens.feed(text, 1_500, delays)

    assert (delays, tokens.counted) == ([500], 4)


@pytest.mark.parametrize("cut", range(1, 20))
def test_tokens_may_be_cut(cut: int) -> None:
    tokens, delays = TokenCounter(), list[int]()
    text = b"@0000000000000001000 "
    tokens.feed(text[:cut], 1_400, delays)
    tokens.feed(text[cut:], 1_500, delays)

    assert delays == [500]


@pytest.mark.parametrize("cut", range(20))
def test_words_may_be_cut(cut: int) -> None:
    words = PhraseFinder(b'"type":"complete"')
    text = b'{"type":"complete"} '

    assert [words.feed(text[:cut]), words.feed(text[cut:])].count(True) == 1
