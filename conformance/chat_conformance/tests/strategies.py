"""What the codec's property tests draw from."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st

from chat_conformance.wire.frames import Frame, Opcode, close_frame, shortest_length_bytes

# Around the borders of the three length forms, and anything short.
PAYLOADS = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([0, 1, 125, 126, 127, 65535, 65536]).map(lambda size: b"\xa5" * size),
)
MASKS = st.one_of(st.none(), st.binary(min_size=4, max_size=4))


@st.composite
def any_frames(draw: st.DrawFn) -> Frame:
    """Frames of every form that fits the bits, most of them illegal."""
    payload = draw(PAYLOADS)
    longer = [size for size in (2, 8) if size > shortest_length_bytes(len(payload))]
    return Frame(
        opcode=draw(st.integers(0, 15)),
        payload=payload,
        fin=draw(st.booleans()),
        rsv=draw(st.integers(0, 7)),
        mask=draw(MASKS),
        length_bytes=draw(st.sampled_from([None, *longer])),
    )


_TEXTS = st.text(max_size=200).map(str.encode)
_CODES = st.one_of(
    st.sampled_from([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]),
    st.integers(3000, 4999),
)
_CONTROLS = st.one_of(
    st.builds(Frame, st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125)),
    st.builds(close_frame, _CODES, st.text(max_size=30)),
    st.just(close_frame(None)),
)


@st.composite
def legal_streams(draw: st.DrawFn, *, masked: bool) -> list[Frame]:
    """Frames that break no rule, fragments with control frames between them included, a close at most last."""
    sent: list[Frame] = []
    for _ in range(draw(st.integers(0, 3))):
        opcode = draw(st.sampled_from([Opcode.TEXT, Opcode.BINARY]))
        parts = draw(st.lists(_TEXTS if opcode == Opcode.TEXT else PAYLOADS, min_size=1, max_size=3))
        for index, part in enumerate(parts):
            kind = opcode if index == 0 else Opcode.CONTINUATION
            sent.append(Frame(kind, part, fin=index == len(parts) - 1))
            sent += draw(st.lists(_CONTROLS.filter(lambda frame: frame.opcode != Opcode.CLOSE), max_size=1))
    sent += draw(st.lists(_CONTROLS, max_size=1))
    key = draw(st.binary(min_size=4, max_size=4)) if masked else None
    return [Frame(frame.opcode, frame.payload, frame.fin, mask=key) for frame in sent]


def split(wire: bytes, cuts: list[int]) -> list[bytes]:
    """The bytes in order, cut at these places (taken modulo the length)."""
    places = sorted({cut % (len(wire) + 1) for cut in cuts} | {0, len(wire)})
    return [wire[start:end] for start, end in pairwise(places)]
