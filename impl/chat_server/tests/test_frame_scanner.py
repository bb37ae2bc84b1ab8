"""Frames are found however the bytes are cut, and sizes of messages are counted as they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_conformance.wire.frames import Frame, Opcode, encode_frame
from chat_server.web.frame_scanner import FrameScanner

MASK = b"\x01\x02\x03\x04"
MANY = 10**9

CONTROL = st.builds(
    Frame,
    st.sampled_from([Opcode.PING, Opcode.PONG]),
    st.binary(max_size=125),
    mask=st.sampled_from([None, MASK]),
)
SIZES = st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536])


@st.composite
def messages(draw: st.DrawFn) -> list[Frame]:
    """One message in fragments, with control frames between them."""
    sizes = draw(st.lists(SIZES, min_size=1, max_size=4))
    frames: list[Frame] = []
    for number, size in enumerate(sizes):
        opcode = draw(st.sampled_from([Opcode.TEXT, Opcode.BINARY])) if number == 0 else Opcode.CONTINUATION
        fin = number == len(sizes) - 1
        frames.append(Frame(opcode, bytes(size), fin=fin, mask=draw(st.sampled_from([None, MASK]))))
        if draw(st.booleans()):
            frames.append(draw(CONTROL))
    return frames


def size(message: list[Frame]) -> int:
    return sum(len(frame.payload) for frame in message if frame.opcode < 8)


def scan(scanner: FrameScanner, pieces: list[bytes], frames: int = MANY) -> int:
    """Feed pieces whole; the number of frames that began."""
    begun = 0
    for piece in pieces:
        place = 0
        while place < len(piece):
            place, more = scanner.advance(piece, place, frames)
            assert more <= frames
            begun += more
    return begun


@given(
    st.lists(messages(), max_size=4),
    st.lists(st.integers(min_value=1, max_value=200), max_size=8),
    st.integers(1, 4),
)
def test_messages_are_counted_however_they_are_cut(
    sent: list[list[Frame]], cuts: list[int], frames: int
) -> None:
    wire = b"".join(encode_frame(frame) for message in sent for frame in message)
    pieces = []
    for cut in cuts:
        pieces.append(wire[:cut])
        wire = wire[cut:]
    scanner = FrameScanner()
    begun = scan(scanner, [*pieces, wire], frames)

    assert begun == sum(map(len, sent))
    assert scanner.ended == [size(message) for message in sent]
    assert scanner.idle
    assert scanner.unfinished == 0


def test_unfinished_message_is_counted_as_it_comes() -> None:
    scanner = FrameScanner()
    scan(scanner, [encode_frame(Frame(Opcode.TEXT, bytes(300), fin=False, mask=MASK))])
    scan(scanner, [encode_frame(Frame(Opcode.PING, b"x", mask=MASK))])
    scan(scanner, [encode_frame(Frame(Opcode.CONTINUATION, bytes(700), mask=MASK))[:108]])

    assert scanner.unfinished == 400
    assert not scanner.idle
    assert (scanner.ended, scanner.rests) == ([], 0)


@pytest.mark.parametrize("length", range(1, 14))
def test_half_a_header_is_something_under_way(length: int) -> None:
    scanner = FrameScanner()
    scan(scanner, [encode_frame(Frame(Opcode.TEXT, bytes(70_000), mask=MASK))[:length]])

    assert not scanner.idle


def test_empty_fragments_leave_the_message_open() -> None:
    scanner = FrameScanner()
    scan(scanner, [encode_frame(Frame(Opcode.TEXT, b"", fin=False, mask=MASK))])

    assert not scanner.idle


def test_control_frames_come_to_rest() -> None:
    scanner = FrameScanner()
    scan(scanner, [encode_frame(Frame(Opcode.PING, b"x", mask=MASK))] * 3)

    assert (scanner.idle, scanner.rests, scanner.ended) == (True, 3, [])
