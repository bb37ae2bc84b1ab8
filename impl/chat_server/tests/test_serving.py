"""Connections that do not send their request in time, or do not read the answer, end; and they make room for others."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chat_server.tests.loop_clock import LoopClock, in_time
from chat_server.tests.sites import Fake, Site, site, until
from chat_server.web.serving import (
    HEADER_BYTES,
    KEEPALIVE_SECONDS,
    WRITE_SECONDS,
    Arrivals,
    Bounds,
    ClientProtocol,
    address_of,
    raise_file_limit,
    room,
)

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def clock(loop_clock: LoopClock) -> LoopClock:
    return loop_clock


@pytest.fixture
async def chat(fake: Fake, tmp_path: Path, clock: LoopClock) -> AsyncIterator[Site]:  # noqa: ARG001 - it goes by it
    async with site(fake.command, tmp_path, header_seconds=100) as running:
        yield running


class Line:
    """A TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> bytes:
        """The head of the next answer with its body, which is short."""
        async with asyncio.timeout(None):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
            return head + await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """All that still comes, once the server has closed."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""


@asynccontextmanager
async def line(chat: Site, *, buffer: int = 65_536) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection(*chat.place, limit=buffer)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


async def rounds(count: int = 20) -> None:
    """Let the server have what was sent."""
    for _ in range(count):
        await asyncio.sleep(0.001)


def connections(chat: Site) -> list[ClientProtocol]:
    assert chat.runner.server is not None
    return [each for each in chat.runner.server.connections if isinstance(each, ClientProtocol)]


async def received(chat: Site, count: int) -> None:
    """Wait until the server has `count` bytes of the one header in progress, or no connection any more."""
    await until(lambda: [each._header_bytes for each in connections(chat)] in ([count], []))


async def test_silent_connection_is_closed(chat: Site, clock: LoopClock) -> None:
    async with line(chat) as silent:
        await until(lambda: connections(chat))
        clock.advance(60)
        await rounds()
        assert not silent.reader.at_eof()
        clock.advance(60)

        assert await silent.rest() == b""


async def test_half_a_header_is_answered_408(chat: Site, clock: LoopClock) -> None:
    async with line(chat) as slow:
        slow.writer.write(HEALTH[:-2])
        await received(chat, len(HEALTH) - 2)
        clock.advance(120)

        assert (await slow.rest()).startswith(b"HTTP/1.1 408 ")


async def test_byte_by_byte_gains_no_time(chat: Site, clock: LoopClock) -> None:
    async with line(chat) as slow:
        for number, byte in enumerate(HEALTH[:11], 1):
            slow.writer.write(bytes([byte]))
            await received(chat, number)
            clock.advance(10)

        assert (await slow.rest()).startswith(b"HTTP/1.1 408 ")


async def test_empty_lines_are_no_header(chat: Site, clock: LoopClock) -> None:
    async with line(chat) as slow:
        slow.writer.write(b"\r\n\r\nGET / HT")
        await received(chat, len(b"GET / HT"))
        clock.advance(120)

        assert (await slow.rest()).startswith(b"HTTP/1.1 408 ")


async def test_later_request_has_its_own_time(chat: Site, clock: LoopClock) -> None:
    async with line(chat) as kept:
        for _ in range(2):
            kept.writer.write(HEALTH)
            assert (await kept.answer()).startswith(b"HTTP/1.1 200 ")
            clock.advance(20)  # idle
        kept.writer.write(HEALTH[:9])
        await received(chat, 9)
        clock.advance(60)
        await rounds()
        assert not kept.reader.at_eof()
        clock.advance(60)

        assert (await kept.rest()).startswith(b"HTTP/1.1 408 ")


async def test_header_that_comes_in_pieces_is_served(fake: Fake, tmp_path: Path, clock: LoopClock) -> None:
    async with site(fake.command, tmp_path, header_seconds=100) as chat, line(chat) as slow:
        for _ in range(2):
            for byte in HEALTH:
                slow.writer.write(bytes([byte]))
                await rounds(1)
            assert (await slow.answer()).startswith(b"HTTP/1.1 200 ")
        clock.advance(110)  # the header's time is over with the header
        slow.writer.write(HEALTH)

        assert (await slow.answer()).startswith(b"HTTP/1.1 200 ")


async def test_idle_connection_is_closed_after_the_keepalive(chat: Site, clock: LoopClock) -> None:
    async with line(chat) as kept:
        kept.writer.write(HEALTH)
        await kept.answer()
        clock.advance(KEEPALIVE_SECONDS + 1)

        assert await kept.rest() == b""


@pytest.mark.parametrize("cut", [HEADER_BYTES, 1000])
async def test_header_of_many_lines_is_answered_431(cut: int, chat: Site) -> None:
    header = HEALTH[:-2] + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 8000) for n in range(9))
    header = header[: HEADER_BYTES + 1]
    async with line(chat) as long:
        for start in range(0, len(header), cut):
            long.writer.write(header[start : start + cut])
            await rounds(1)

        assert (await long.rest()).startswith(b"HTTP/1.1 431 ")


async def test_body_is_no_part_of_the_header(chat: Site) -> None:
    body = b"message=%5B%5Bfake+tokens%3D1%5D%5D&x=" + b"x" * 2 * HEADER_BYTES
    head = (
        b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    async with line(chat) as long:
        long.writer.write(head + body)

        assert (await long.answer()).startswith(b"HTTP/1.1 200 ")


async def test_silent_socket_is_not_timed(chat: Site, clock: LoopClock) -> None:
    async with chat.socket() as peer:
        clock.advance(120)
        await peer.chat("[[fake tokens=1]]")

        assert (await peer.turn())[-1]["type"] == "complete"


async def test_answer_that_nobody_reads_ends_the_connection(
    chat: Site, clock: LoopClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with line(chat, buffer=1) as deaf:
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
        deaf.writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3000)
        async with in_time():
            while not serving_paused(chat):  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.005)
        clock.advance(WRITE_SECONDS + 1)
        async with asyncio.timeout(None):
            while chat.runner.server is not None and chat.runner.server.connections:  # noqa: ASYNC110 - same
                await asyncio.sleep(0.005)
    assert "Traceback" not in caplog.text


# --- how many


async def test_oldest_that_waits_makes_room(
    fake: Fake, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with site(fake.command, tmp_path, connections=3) as chat, line(chat) as oldest, line(chat) as kept:
        kept.writer.write(HEALTH)
        await kept.answer()
        async with chat.socket() as peer, line(chat) as newest:
            newest.writer.write(HEALTH)
            assert (await newest.answer()).startswith(b"HTTP/1.1 200 ")
            assert await oldest.rest() == b""
            await peer.chat("[[fake tokens=1]]")
            await peer.turn()

    assert caplog.text.count("connections are turned away") == 1


async def test_new_connection_is_refused_where_none_waits(fake: Fake, tmp_path: Path) -> None:
    async with site(fake.command, tmp_path, connections=1) as chat:
        async with chat.socket(), line(chat) as refused:
            assert (await refused.rest()).startswith(b"HTTP/1.1 503 ")
        await rounds()
        async with line(chat) as next_one:
            next_one.writer.write(HEALTH)
            assert (await next_one.answer()).startswith(b"HTTP/1.1 200 ")


class Connection:
    """One that is only counted."""

    def __init__(self) -> None:
        self.dropped = False

    def drop(self) -> None:
        self.dropped = True


async def test_connections_of_an_address_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    arrivals = Arrivals(Bounds(100, 2, 10.0))
    one, two, three = Connection(), Connection(), Connection()
    assert arrivals.admit(one, "192.0.2.1")  # type: ignore[arg-type]
    assert arrivals.admit(two, "192.0.2.1")  # type: ignore[arg-type]
    assert not arrivals.admit(three, "192.0.2.1")  # type: ignore[arg-type]
    assert arrivals.admit(three, "192.0.2.2")  # type: ignore[arg-type]
    arrivals.left(one)  # type: ignore[arg-type]
    arrivals.left(one)  # type: ignore[arg-type]
    assert arrivals.admit(Connection(), "192.0.2.1")  # type: ignore[arg-type]

    assert "CHAT_CONNECTIONS_PER_ADDRESS" in caplog.text
    assert len(arrivals) == 3


async def test_loopback_is_not_counted_by_address() -> None:
    arrivals = Arrivals(Bounds(100, 1, 10.0))
    assert all(arrivals.admit(Connection(), "") for _ in range(9))  # type: ignore[arg-type]


PEERS = [
    pytest.param(("127.0.0.1", 1), "", id="loopback"),
    pytest.param(("::1", 1, 0, 0), "", id="loopback-6"),
    pytest.param(("::ffff:127.0.0.9", 1, 0, 0), "", id="mapped-loopback"),
    pytest.param(("::ffff:192.0.2.7", 1, 0, 0), "192.0.2.7", id="mapped"),
    pytest.param(("192.0.2.7", 1), "192.0.2.7", id="4"),
    pytest.param(("2001:db8:1:2:3::4", 1, 0, 0), "2001:db8:1:2::/64", id="6"),
    pytest.param(("fe80::1%eth0", 1, 0, 2), "fe80::/64", id="link-local"),
    pytest.param("", "", id="no-tcp"),
]


@pytest.mark.parametrize(("peer", "address"), PEERS)
def test_address_of_a_peer(peer: object, address: str) -> None:
    assert address_of(peer) == address


def test_open_files_are_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    assert room(32) == 128
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4096, 4096))
    assert room(32) == 4096 - 64 - 8 * 32


def test_soft_limit_of_open_files_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: given.append(limits))
    for limits in ((1024, 4096), (4096, 4096), (1024, resource.RLIM_INFINITY), (10**6, 10**6)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limits=limits: limits)
        raise_file_limit()

    assert given == [(4096, 4096), (65_536, resource.RLIM_INFINITY)]


def serving_paused(chat: Site) -> bool:
    assert chat.runner.server is not None
    return any(each.writing_paused for each in chat.runner.server.connections)
