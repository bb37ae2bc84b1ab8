from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chat_conformance.tests.strategies import any_frames, split
from chat_conformance.wire.frames import (
    Frame,
    FrameDecoder,
    FrameError,
    Opcode,
    apply_mask,
    check_frame,
    close_frame,
    encode_frame,
    is_wire_code,
)

MASK = b"\x37\xfa\x21\x3d"

WIRE = [
    # RFC 6455 §5.7
    pytest.param(Frame(Opcode.TEXT, b"Hello"), b"\x81\x05Hello", id="text"),
    pytest.param(
        Frame(Opcode.TEXT, b"Hello", mask=MASK), b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", id="masked"
    ),
    pytest.param(Frame(Opcode.TEXT, b"Hel", fin=False), b"\x01\x03Hel", id="first-fragment"),
    pytest.param(Frame(Opcode.CONTINUATION, b"lo"), b"\x80\x02lo", id="last-fragment"),
    pytest.param(Frame(Opcode.PING, b"Hello"), b"\x89\x05Hello", id="ping"),
    pytest.param(Frame(Opcode.BINARY, bytes(126)), b"\x82\x7e\x00\x7e" + bytes(126), id="16-bit-length"),
    pytest.param(
        Frame(Opcode.BINARY, bytes(65536)),
        b"\x82\x7f" + (65536).to_bytes(8, "big") + bytes(65536),
        id="64-bit",
    ),
    # wrong ones
    pytest.param(Frame(Opcode.TEXT, b"a", length_bytes=2), b"\x81\x7e\x00\x01a", id="length-too-long-by-2"),
    pytest.param(
        Frame(Opcode.TEXT, b"a", length_bytes=8),
        b"\x81\x7f" + b"\0" * 7 + b"\x01a",
        id="length-too-long-by-8",
    ),
    pytest.param(Frame(3, b"", fin=False, rsv=7), b"\x73\x00", id="reserved-everything"),
    pytest.param(close_frame(768), b"\x88\x02\x03\x00", id="close-768"),
    pytest.param(close_frame(None), b"\x88\x00", id="close-without-code"),
]


@pytest.mark.parametrize(("frame", "wire"), WIRE)
def test_encode(frame: Frame, wire: bytes) -> None:
    assert encode_frame(frame) == wire


@pytest.mark.parametrize(("frame", "wire"), WIRE)
def test_decode(frame: Frame, wire: bytes) -> None:
    assert FrameDecoder().feed(wire) == [frame]


def test_announced_length_may_lie() -> None:
    assert encode_frame(Frame(Opcode.TEXT, b"ab"), announced=5) == b"\x81\x05ab"


@pytest.mark.parametrize(
    "frame",
    [
        Frame(16),
        Frame(1, rsv=8),
        Frame(1, mask=b"abc"),
        Frame(1, bytes(300), length_bytes=0),
        Frame(1, length_bytes=4),
    ],
    ids=["opcode", "rsv", "mask", "too-short-a-length", "no-such-length"],
)
def test_what_has_no_form_is_our_mistake(frame: Frame) -> None:
    with pytest.raises(ValueError, match=r"fit|mask|length"):
        encode_frame(frame)


@given(any_frames())
def test_every_frame_survives_the_round_trip(frame: Frame) -> None:
    assert FrameDecoder().feed(encode_frame(frame)) == [frame]


@given(st.lists(any_frames(), max_size=4), st.lists(st.integers(min_value=0), max_size=12))
@example(sent=[Frame(Opcode.BINARY, bytes(126))], cuts=[3])  # cut inside the 16-bit length
@example(
    sent=[Frame(Opcode.BINARY, bytes(65536), mask=MASK)], cuts=[5, 11]
)  # inside the 64-bit length and the mask
def test_chunking_is_invisible(sent: list[Frame], cuts: list[int]) -> None:
    decoder = FrameDecoder()
    wire = b"".join(map(encode_frame, sent))

    received = [frame for piece in split(wire, cuts) for frame in decoder.feed(piece)]

    assert received == sent
    assert decoder.pending == 0


def test_one_byte_at_a_time_gives_the_same_frames() -> None:
    sent = [Frame(Opcode.PING, b"x", mask=MASK), Frame(Opcode.BINARY, bytes(200)), close_frame(1001, "gone")]
    decoder = FrameDecoder()

    received = [frame for byte in b"".join(map(encode_frame, sent)) for frame in decoder.feed(bytes([byte]))]

    assert received == sent


def decode(pieces: list[bytes], max_payload: int) -> tuple[list[Frame], str]:
    """All frames of the pieces, those before an error too, with the error's sentence."""
    decoder = FrameDecoder(max_payload=max_payload)
    frames: list[Frame] = []
    for piece in pieces:
        try:
            frames += decoder.feed(piece)
        except FrameError as error:
            return [*frames, *error.frames], str(error)
    return frames, ""


@given(st.binary(max_size=400), st.lists(st.integers(min_value=0), max_size=8))
@example(wire=b"\x81\x01a\x81\x7f" + b"\xff" * 8, cuts=[4])
def test_arbitrary_bytes_end_in_frames_or_a_frame_error(wire: bytes, cuts: list[int]) -> None:
    assert decode([wire], 100) == decode(split(wire, cuts), 100)


def test_a_frame_too_long_is_refused_by_its_header_alone() -> None:
    with pytest.raises(FrameError, match="1000000 bytes; at most 100 are taken") as caught:
        FrameDecoder(max_payload=100).feed(
            b"\x81\x00" + encode_frame(Frame(Opcode.TEXT), announced=1_000_000)
        )

    assert (caught.value.code, caught.value.frames) == (1009, (Frame(Opcode.TEXT),))


def test_a_length_with_the_highest_bit_set_is_refused() -> None:
    with pytest.raises(FrameError, match="highest bit") as caught:
        FrameDecoder().feed(b"\x82\x7f\x80" + bytes(7))

    assert caught.value.code == 1002


def test_nothing_is_read_after_an_error() -> None:
    decoder = FrameDecoder(max_payload=1)
    for data in (b"\x81\x05", b"\x81\x00"):
        with pytest.raises(FrameError, match="at most 1"):
            decoder.feed(data)


ILLEGAL = [
    pytest.param(Frame(1, rsv=4), False, 1002, "§5.2", id="rsv1"),
    pytest.param(Frame(1, rsv=1), False, 1002, "§5.2", id="rsv3"),
    pytest.param(Frame(3), False, 1002, "§5.2", id="reserved-data-opcode"),
    pytest.param(Frame(11), False, 1002, "§5.2", id="reserved-control-opcode"),
    pytest.param(Frame(1, b"a", length_bytes=2), False, 1002, "§5.2", id="long-length"),
    pytest.param(Frame(1), True, 1002, "§5.1", id="client-unmasked"),
    pytest.param(Frame(1, mask=MASK), False, 1002, "§5.1", id="server-masked"),
    pytest.param(Frame(9, fin=False), False, 1002, "§5.5", id="fragmented-ping"),
    pytest.param(Frame(9, bytes(126)), False, 1002, "§5.5", id="long-ping"),
    pytest.param(Frame(8, b"\x03"), False, 1002, "§5.5.1", id="close-of-one-byte"),
    pytest.param(close_frame(768), False, 1002, "§7.4", id="close-768"),
    pytest.param(Frame(8, b"\x03\xe8\xff"), False, 1007, "§5.5.1", id="close-reason-not-utf8"),
]


@pytest.mark.parametrize(("frame", "from_client", "code", "section"), ILLEGAL)
def test_check_names_what_is_illegal(frame: Frame, *, from_client: bool, code: int, section: str) -> None:
    error = check_frame(frame, from_client=from_client)

    assert error is not None
    assert (error.code, error.section) == (code, section)


@pytest.mark.parametrize("code", [0, 768, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_code_is_forbidden_on_the_wire(code: int) -> None:
    assert not is_wire_code(code)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4401, 4999])
def test_code_is_allowed_on_the_wire(code: int) -> None:
    assert is_wire_code(code)


@given(st.binary(max_size=99), st.binary(min_size=4, max_size=4))
def test_masking_twice_changes_nothing(payload: bytes, mask: bytes) -> None:
    assert apply_mask(apply_mask(payload, mask), mask) == payload
