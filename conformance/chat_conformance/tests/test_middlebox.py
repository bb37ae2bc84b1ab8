from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from chat_conformance.wire.frames import Frame, Opcode, encode_frame
from chat_conformance.wire.listening import listening
from chat_conformance.wire.middlebox import (
    Forwarder,
    LinkCut,
    MiddleBox,
    Streams,
    _reset,
    buffer_for,
    bytewise,
    cut_in_frame,
    idle_limit,
    middle_box,
    pass_through,
)
from chat_conformance.wire.trace import Trace
from fake_claude.patience import patience

HEAD = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
FRAMES = [Frame(Opcode.TEXT, b"first"), Frame(Opcode.PING), Frame(Opcode.TEXT, bytes(200))]
WIRE = [encode_frame(frame) for frame in FRAMES]


def stream(*pieces: bytes, eof: bool = True) -> asyncio.StreamReader:
    """A reader to which these bytes have come."""
    reader = asyncio.StreamReader()
    for piece in pieces:
        reader.feed_data(piece)
    if eof:
        reader.feed_eof()
    return reader


async def passed(carry: Forwarder, reader: asyncio.StreamReader) -> tuple[list[bytes], str]:
    """The pieces that a carry lets pass, and why it cut the link, if it did."""
    pieces: list[bytes] = []
    try:
        async for piece in carry(reader):
            pieces.append(piece)  # noqa: PERF401 - those before the cut count
    except LinkCut as cut:
        return pieces, str(cut)
    return pieces, ""


async def test_a_good_network_passes_what_comes() -> None:
    assert await passed(pass_through, stream(b"ab", b"c")) == ([b"abc"], "")


async def test_a_dribble_passes_byte_by_byte() -> None:
    assert await passed(bytewise(0), stream(b"abc")) == ([b"a", b"b", b"c"], "")


async def test_a_lump_waits_for_more() -> None:
    reader = stream(b"a", eof=False)
    pieces = buffer_for(30)(reader)
    lump = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0)
    reader.feed_data(b"b")
    reader.feed_eof()

    assert await lump == b"ab"
    assert [piece async for piece in pieces] == []


async def test_a_lump_does_not_wait_for_ever() -> None:
    pieces = buffer_for(0.001)(stream(b"a", eof=False))

    assert await anext(pieces) == b"a"
    await pieces.aclose()


async def test_an_idle_link_is_cut() -> None:
    assert await passed(idle_limit(0.01), stream(b"a", eof=False)) == ([b"a"], "not one byte for 0.01 s")


async def test_an_idle_link_is_spared_if_something_comes_at_last() -> None:
    reader, looks = stream(b"a", eof=False), 0

    async def late() -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            reader.feed_data(b"b")
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    pieces, cut = await passed(idle_limit(0.01, late), reader)

    assert (pieces, cut, looks) == ([b"a", b"b"], "not one byte for 0.01 s", 2)


async def test_a_link_that_ends_is_not_idle() -> None:
    assert await passed(idle_limit(30), stream(b"a")) == ([b"a"], "")


TEARS = [
    pytest.param(1, 0, b"", "byte 0 of the 7 of frame 1", id="before-the-first-frame"),
    pytest.param(1, 3, WIRE[0][:3], "byte 3 of the 7 of frame 1", id="inside-the-first-frame"),
    pytest.param(3, 2, b"".join(WIRE[:2]) + WIRE[2][:2], "byte 2 of the 204 of frame 3", id="inside-a-head"),
    pytest.param(2, 99, b"".join(WIRE[:2]), "byte 2 of the 2 of frame 2", id="behind-a-short-frame"),
    pytest.param(4, 0, b"".join(WIRE), "", id="a-frame-that-never-comes"),
]


@pytest.mark.parametrize(("frame", "byte", "through", "why"), TEARS)
@pytest.mark.parametrize("size", [1, 5, 10_000], ids=lambda size: f"by-{size}")
async def test_torn_link_passes_bytes_before(
    frame: int, byte: int, through: bytes, why: str, size: int
) -> None:
    sent = HEAD + b"".join(WIRE)
    cuts = [sent[place : place + size] for place in range(0, len(sent), size)]
    pieces, cut = await passed(cut_in_frame(frame, byte), stream(*cuts))

    assert b"".join(pieces) == HEAD + through
    assert cut == why


class Witness:
    """A server that answers each piece with the same in capitals, and notes how its connections end."""

    def __init__(self) -> None:
        self.received = b""
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        self.leave = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        leaving = asyncio.create_task(self.leave.wait())
        leaving.add_done_callback(lambda _: writer.close())
        try:
            while data := await reader.read(1000):
                self.received += data
                writer.write(data.upper())
            self.ended.put_nowait("end")
        except ConnectionError:
            self.ended.put_nowait("reset")
        finally:
            leaving.cancel()
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def through(
    witness: Witness, *, down: Forwarder = pass_through, up: Forwarder = pass_through
) -> AsyncIterator[tuple[MiddleBox, Streams, Trace]]:
    """A client's connection to the witness through a box."""
    trace = Trace()
    async with (
        asyncio.timeout(patience(60)),
        listening(witness.serve) as port,
        middle_box("127.0.0.1", port, trace, down=down, up=up) as box,
    ):
        reader, writer = await asyncio.open_connection(box.host, box.port)
        try:
            yield box, (reader, writer), trace
        finally:
            writer.transport.abort()


async def test_both_directions_pass_and_the_client_ends() -> None:
    witness = Witness()
    async with through(witness) as (_, (reader, writer), _):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"HELLO"
        writer.close()

        assert await witness.ended.get() == "end"


async def test_both_directions_pass_and_the_server_ends() -> None:
    witness = Witness()
    async with through(witness) as (box, (reader, writer), _):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"HELLO"
        witness.leave.set()

        assert await reader.read() == b""
        assert await box.links[0].server_closed(60)


async def test_cut_resets_both_sides() -> None:
    witness = Witness()
    async with through(witness, down=idle_limit(0.01)) as (box, (reader, _), trace):
        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert await witness.ended.get() == "reset"

    assert box.links[0].cut == "not one byte for 0.01 s"
    assert [line.text for line in trace.lines] == ["the box resets the link: not one byte for 0.01 s"]


async def test_blackholed_link_discards_silently() -> None:
    witness = Witness()
    async with through(witness) as (box, (reader, writer), _):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"HELLO"
        box.blackhole()
        assert not await box.links[0].server_closed(0)
        writer.write(b"lost")
        fresh, its_writer = await asyncio.open_connection(box.host, box.port)
        for _ in range(3):  # round trips, in which what was lost would have come
            its_writer.write(b"b")
            assert await fresh.readexactly(1) == b"B"
        its_writer.transport.abort()
        witness.leave.set()
        assert await box.links[0].server_closed(60)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.read()

    assert witness.received == b"hellobbb"


async def test_a_reset_of_one_side_is_one_of_the_other() -> None:
    witness = Witness()
    async with through(witness) as (_, (reader, writer), _):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"HELLO"
        _reset(writer)

        assert await witness.ended.get() == "reset"


async def test_links_end_with_the_box() -> None:
    witness = Witness()
    async with through(witness) as (_, (reader, writer), _):
        writer.write(b"hello")
        await reader.readexactly(5)

    assert await witness.ended.get() == "reset"


async def test_a_server_that_is_not_there_is_a_reset() -> None:
    trace = Trace()
    async with middle_box("127.0.0.1", 1, trace) as box:
        reader, writer = await asyncio.open_connection(box.host, box.port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.transport.abort()

    assert "the server is not reached" in trace.lines[0].text
