"""A hostile middle box: a TCP proxy in this process that treats links as bad networks and impatient proxies do.

What it does to one direction of a link is a *carry*: it takes the bytes that arrive and yields those that pass, piece
by piece. A carry that has had enough raises `LinkCut`, and both sides are reset.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial

from chat_conformance.wire.frames import FrameDecoder, FrameError, encode_frame
from chat_conformance.wire.listening import listening
from chat_conformance.wire.trace import Trace

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Forwarder = Callable[[asyncio.StreamReader], AsyncGenerator[bytes, None]]
CHUNK = 1 << 16
HEAD_END = b"\r\n\r\n"
# SO_LINGER on, for no time: close() sends a reset and no end of stream.
_RESET = struct.pack("ii", 1, 0)


class LinkCut(Exception):
    """The box has had enough of a link; the words say why."""


async def pass_through(reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    """What a good network does."""
    while data := await reader.read(CHUNK):
        yield data


async def _nothing() -> None:
    """What has to happen before a link counts as idle: no more than that the time is over."""


def idle_limit(seconds: float, before: Callable[[], Awaitable[None]] = _nothing) -> Forwarder:
    """Cut a link over which nothing came for so long, as proxies do.

    ``before`` is awaited first, and the link is spared if something comes in that time. Where it waits until the server
    has answered another client, a machine that stalled is no reason for a cut.
    """

    async def carry(reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
        while True:
            reading = asyncio.create_task(reader.read(CHUNK))
            try:
                # `wait` leaves the read under way, while `wait_for` would cancel it: what comes during
                # `before` still spares the link.
                await asyncio.wait([reading], timeout=seconds)
                if not reading.done():
                    await before()
                if not reading.done():
                    raise LinkCut(f"not one byte for {seconds:g} s")
                data = reading.result()
            finally:
                reading.cancel()
                await asyncio.wait([reading])
            if not data:
                return
            yield data

    return carry


def cut_in_frame(frame: int, byte: int) -> Forwarder:
    """Cut a WebSocket in the middle of a frame: it is reset when ``byte`` bytes of the frame have passed.

    Frames are counted from 1, whatever they are; what comes before them, the answer to the handshake, passes. A frame
    with fewer bytes passes whole before the reset.
    """

    async def carry(reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
        yield await reader.readuntil(HEAD_END)
        # A frame passes when it is complete, so that the cut can be counted from its first byte. To encode it
        # again gives the same bytes, as a `Frame` keeps its mask and the form of its length.
        decoder, seen = FrameDecoder(), 0
        while data := await reader.read(CHUNK):
            for each in decoder.feed(data):
                seen += 1
                wire = encode_frame(each)
                if seen == frame:
                    yield wire[:byte]
                    raise LinkCut(f"byte {min(byte, len(wire))} of the {len(wire)} of frame {frame}")
                yield wire

    return carry


def bytewise(pause: float) -> Forwarder:
    """Pass one byte, wait ``pause`` seconds, pass the next."""

    async def carry(reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
        while data := await reader.read(CHUNK):
            for place in range(len(data)):
                yield data[place : place + 1]
                await asyncio.sleep(pause)

    return carry


def buffer_for(seconds: float) -> Forwarder:
    """Keep what comes until its first byte is so old, then pass all of it at once."""

    async def carry(reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
        while data := await reader.read(CHUNK):
            lump = [data]
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while more := await reader.read(CHUNK):
                        lump.append(more)
            yield b"".join(lump)

    return carry


class Link:
    """One connection through a box.

    Attributes:
        cut: Why the box reset it, None while it has not.
        is_blackholed: Whether the box swallows everything, the ends of both sides included.
    """

    def __init__(self, client: Streams, server: Streams) -> None:
        self.cut: str | None = None
        self.is_blackholed = False
        self._let_go = asyncio.Event()
        self._client, self._server = client, server

    async def carried(self, down: Forwarder, up: Forwarder) -> None:
        """Pass on what comes until both sides have ended, or a carry has had enough."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._down(down))
                group.create_task(self._pass(up, self._client[0], self._server[1]))
        except* (LinkCut, FrameError) as cuts:
            self.cut = str(cuts.exceptions[0])
        finally:
            self.reset()

    async def server_closed(self, within: float) -> bool:
        """Wait for the server to end its side; False if it did not in time."""
        try:
            async with asyncio.timeout(within):
                await self._let_go.wait()
        except TimeoutError:
            return False
        return True

    async def _down(self, carry: Forwarder) -> None:
        await self._pass(carry, self._server[0], self._client[1])
        self._let_go.set()

    async def _pass(
        self, carry: Forwarder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async with aclosing(carry(reader)) as pieces:
                async for piece in pieces:
                    # Reading goes on in the dark. A box that read nothing would close its TCP window, and the
                    # sender would notice.
                    if not self.is_blackholed:
                        writer.write(piece)
                        await writer.drain()
            end: Callable[[], None] = writer.close
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            end = partial(_reset, writer)
        if not self.is_blackholed:
            # The other side learns how this one ended.
            end()

    def reset(self) -> None:
        """Reset both sides."""
        for _, writer in (self._client, self._server):
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    if not writer.transport.is_closing():
        # It is gone already.
        with suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


class MiddleBox:
    """A box before a server; made by `middle_box`.

    Attributes:
        port: Where it listens, on loopback.
        links: The connections through it, oldest first.
    """

    host = "127.0.0.1"

    def __init__(self, server: tuple[str, int], trace: Trace, down: Forwarder, up: Forwarder) -> None:
        self.port = 0
        self.links: list[Link] = []
        self._closed = False
        self._server = server
        self._trace = trace
        self._down, self._up = down, up

    @property
    def url(self) -> str:
        """The origin of the server through the box."""
        return f"http://{self.host}:{self.port}"

    def blackhole(self) -> None:
        """From now on discard all that comes over the present links, without a sign to either side."""
        self._trace.add("box", "=", "the box swallows everything")
        for link in self.links:
            link.is_blackholed = True

    def close(self) -> None:
        """Reset all links, and those that are just beginning."""
        self._closed = True
        for link in self.links:
            link.reset()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to the server until it ends."""
        try:
            server = await asyncio.open_connection(*self._server)
        except OSError as error:
            self._trace.add("box", "=", f"the server is not reached: {error}")
            _reset(writer)
            return
        for _, each in ((reader, writer), server):
            # Nagle's algorithm would join the small pieces again that a carry has cut.
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = Link((reader, writer), server)
        self.links.append(link)
        if self._closed:
            link.reset()
        await link.carried(self._down, self._up)
        if link.cut:
            self._trace.add("box", "=", f"the box resets the link: {link.cut}")


@asynccontextmanager
async def middle_box(
    host: str, port: int, trace: Trace, *, down: Forwarder = pass_through, up: Forwarder = pass_through
) -> AsyncIterator[MiddleBox]:
    """A box before a server for the length of the block; its links end with it.

    Args:
        host: Where the server listens.
        port: Where the server listens.
        trace: Gets a line for all that the box does.
        down: How bytes of the server are carried.
        up: How bytes for the server are carried.
    """
    box = MiddleBox((host, port), trace, down, up)
    async with listening(box.serve) as listens:
        box.port = listens
        try:
            yield box
        finally:
            box.close()
