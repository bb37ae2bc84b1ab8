"""The codec beside aiohttp's and websockets': where they agree, and a table of where they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from unittest.mock import Mock

import pytest
from aiohttp import WSMsgType
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp.http import WebSocketError, WebSocketWriter
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame as LibraryFrame
from websockets.frames import Opcode as LibraryOpcode
from websockets.protocol import OPEN, Protocol, Side

from chat_conformance.tests.strategies import any_frames, legal_streams, split
from chat_conformance.wire.frames import (
    Frame,
    FrameDecoder,
    FrameError,
    Opcode,
    check_frame,
    close_frame,
    encode_frame,
)
from chat_conformance.wire.messages import MessageJoiner

MASK = b"\x01\x02\x03\x04"
LIMIT = 1_000_000


@dataclass(frozen=True)
class Judged:
    """What a codec made of bytes: finished messages and control frames, then the close code of an error."""

    seen: tuple[tuple[int, bytes], ...]
    error: int | None = None


def ours(pieces: list[bytes], *, from_client: bool = True) -> Judged:
    decoder, joiner = FrameDecoder(max_payload=LIMIT), MessageJoiner(max_message=LIMIT)
    seen: list[tuple[int, bytes]] = []
    try:
        for piece in pieces:
            for frame in decoder.feed(piece):
                if (error := check_frame(frame, from_client=from_client)) is not None:
                    raise error
                if frame.is_control:
                    seen.append((frame.opcode, frame.payload))
                elif (message := joiner.add(frame)) is not None:
                    seen.append((message.opcode, message.payload))
    except FrameError as error:
        return Judged(tuple(seen), error.code)
    return Judged(tuple(seen))


def aiohttp_reader(pieces: list[bytes]) -> Judged:
    queue = WebSocketDataQueue(Mock(_reading_paused=False), 2**30, loop=Mock())
    reader = WebSocketReader(queue, LIMIT + 1, compress=False, decode_text=True)
    for piece in pieces:
        reader.feed_data(piece)
    return Judged(tuple(_aiohttp_messages(queue)), _aiohttp_error(queue))


def _aiohttp_messages(queue: WebSocketDataQueue) -> Iterator[tuple[int, bytes]]:
    for message, _ in queue._buffer:
        if message.type == WSMsgType.CLOSE:
            code = b"" if not message.data else int(message.data).to_bytes(2, "big")
            yield Opcode.CLOSE, code + str(message.extra or "").encode()
        else:
            data = message.data
            yield int(message.type), data.encode() if isinstance(data, str) else bytes(data)


def _aiohttp_error(queue: WebSocketDataQueue) -> int | None:
    error = queue.exception()
    if error is None:
        return None
    assert isinstance(error, WebSocketError)
    return int(error.code)


def websockets_protocol(pieces: list[bytes], *, from_client: bool = True) -> Judged:
    protocol = Protocol(Side.SERVER if from_client else Side.CLIENT, state=OPEN, max_size=LIMIT)
    for piece in pieces:
        protocol.receive_data(piece)
    seen: list[tuple[int, bytes]] = []
    opcode, payload = 0, b""
    for frame in protocol.events_received():
        assert isinstance(frame, LibraryFrame)
        if frame.opcode >= 8:
            seen.append((int(frame.opcode), bytes(frame.data)))
            continue
        opcode = int(frame.opcode) or opcode
        payload += frame.data
        if frame.fin:
            seen.append((opcode, payload))
            payload = b""
    code = None if protocol.parser_exc is None else protocol.close_sent
    return Judged(tuple(seen), None if code is None else code.code)


def wire_of(frames: list[Frame]) -> bytes:
    return b"".join(map(encode_frame, frames))


@given(legal_streams(masked=True), st.lists(st.integers(min_value=0), max_size=5))
def test_legal_frames_from_a_client_are_the_same_to_all_three(frames: list[Frame], cuts: list[int]) -> None:
    pieces = split(wire_of(frames), cuts)
    judged = ours(pieces)

    assert judged.error is None or judged.error == 1007  # fragments of text may break a character
    assert aiohttp_reader(pieces) == judged
    if judged.error is None:
        assert websockets_protocol(pieces) == judged


@given(legal_streams(masked=False))
def test_legal_frames_from_a_server_are_the_same_to_all_three(frames: list[Frame]) -> None:
    pieces = [wire_of(frames)]
    judged = ours(pieces, from_client=False)

    assert aiohttp_reader(pieces) == judged
    if judged.error is None:
        assert websockets_protocol(pieces, from_client=False) == judged


@given(legal_streams(masked=True))
def test_what_websockets_writes_is_read_as_meant(frames: list[Frame]) -> None:
    wire = b"".join(
        LibraryFrame(LibraryOpcode(frame.opcode), frame.payload, fin=frame.fin).serialize(mask=True)
        for frame in frames
    )

    read = FrameDecoder().feed(wire)

    assert [(frame.opcode, frame.payload, frame.fin) for frame in read] == [
        (frame.opcode, frame.payload, frame.fin) for frame in frames
    ]
    assert all(check_frame(frame, from_client=True) is None for frame in read)


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.wire += data

    def is_closing(self) -> bool:
        return False


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 9, 10]), st.binary(max_size=125)), max_size=4), st.booleans()
)
def test_what_aiohttp_writes_is_read_as_meant(sent: list[tuple[int, bytes]], masked: bool) -> None:  # noqa: FBT001
    async def write() -> bytes:
        transport = Transport()
        writer = WebSocketWriter(Mock(_paused=False), transport, use_mask=masked)
        for opcode, payload in sent:
            await writer.send_frame(payload, WSMsgType(opcode))
        return transport.wire

    read = FrameDecoder().feed(asyncio.run(write()))

    assert [(frame.opcode, frame.payload) for frame in read] == sent
    assert all(check_frame(frame, from_client=masked) is None for frame in read)


@dataclass(frozen=True)
class Difference:
    """A place where a library departs from us: why, an example of it, and which streams it explains."""

    library: Callable[[list[bytes]], Judged]
    section: str
    choice: str
    example: tuple[Frame, ...]
    explains: Callable[[list[Frame]], bool]


def _codes(frames: list[Frame]) -> list[int]:
    return [
        frame.close_code for frame in frames if frame.opcode == Opcode.CLOSE and frame.close_code is not None
    ]


def _new_message_after_empty_fragments(frames: list[Frame]) -> bool:
    """Whether a message was left unfinished while nothing but empty fragments had come."""
    opened = False
    for frame in frames:
        if frame.is_control:
            continue
        if opened and frame.opcode != Opcode.CONTINUATION:
            return True
        opened = not frame.fin
    return False


DIFFERENCES = {
    "aiohttp-takes-unmasked-frames": Difference(
        aiohttp_reader,
        "§5.1",
        "we refuse: a server MUST close when a client does not mask",
        (Frame(Opcode.PING, b"x"),),
        lambda frames: any(frame.mask is None for frame in frames),
    ),
    "aiohttp-takes-long-lengths": Difference(
        aiohttp_reader,
        "§5.2",
        "we refuse: the minimal number of bytes MUST be used",
        (Frame(Opcode.TEXT, b"x", mask=MASK, length_bytes=8),),
        lambda frames: any(frame.length_bytes is not None for frame in frames),
    ),
    "websockets-takes-long-lengths": Difference(
        websockets_protocol,
        "§5.2",
        "we refuse: the minimal number of bytes MUST be used",
        (Frame(Opcode.TEXT, b"x", mask=MASK, length_bytes=2),),
        lambda frames: any(frame.length_bytes is not None for frame in frames),
    ),
    "aiohttp-forgets-an-empty-first-fragment": Difference(
        aiohttp_reader,
        "§5.4",
        "we refuse: fragments of one message MUST NOT be interleaved with another's",
        (Frame(Opcode.TEXT, b"", fin=False, mask=MASK), Frame(Opcode.TEXT, b"x", mask=MASK)),
        _new_message_after_empty_fragments,
    ),
    "aiohttp-takes-codes-beyond-4999": Difference(
        aiohttp_reader,
        "§7.4.2",
        "we refuse: no range beyond 4999 is defined",
        (close_frame(5000, mask=MASK),),
        lambda frames: any(code >= 5000 for code in _codes(frames)),
    ),
    "websockets-leaves-utf8-to-its-caller": Difference(
        websockets_protocol,
        "§8.1",
        "we refuse with 1007 as soon as the message is whole",
        (Frame(Opcode.TEXT, b"\xff", mask=MASK),),
        lambda frames: any(frame.opcode in (Opcode.TEXT, Opcode.CONTINUATION) for frame in frames),
    ),
    "websockets-reads-nothing-after-a-close": Difference(
        websockets_protocol,
        "§5.5.1",
        "we go on reading, since a case wants to see what a server sends after its close",
        (close_frame(1000, mask=MASK), Frame(Opcode.PING, b"x", mask=MASK)),
        lambda frames: any(frame.opcode == Opcode.CLOSE for frame in frames[:-1]),
    ),
}


@pytest.mark.parametrize("difference", DIFFERENCES.values(), ids=DIFFERENCES)
def test_known_difference_is_still_there(difference: Difference) -> None:
    pieces = [wire_of(list(difference.example))]

    assert difference.library(pieces) != ours(pieces)
    assert difference.explains(list(difference.example))


@given(st.lists(any_frames(), max_size=3), st.booleans())
def test_any_other_verdict_is_shared(frames: list[Frame], masked: bool) -> None:  # noqa: FBT001
    if masked:
        frames = [
            Frame(frame.opcode, frame.payload, frame.fin, frame.rsv, frame.mask or MASK, frame.length_bytes)
            for frame in frames
        ]
    pieces = [wire_of(frames)]

    for library in (aiohttp_reader, websockets_protocol):
        known = any(row.library is library and row.explains(frames) for row in DIFFERENCES.values())
        assert known or library(pieces) == ours(pieces), library.__name__
