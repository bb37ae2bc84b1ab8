from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from chat_conformance.errors import ClosedEarly, Failure
from chat_conformance.wire.channel import Garbled
from chat_conformance.wire.frames import Frame, FrameDecoder, Opcode, close_frame, encode_frame
from chat_conformance.wire.handshake import accept_key, encode_request, upgrade_headers
from chat_conformance.wire.listening import listening
from chat_conformance.wire.peer import MASK, Peer, connected
from chat_conformance.wire.trace import Trace
from fake_claude.patience import patience

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HEAD = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {accept_key(KEY)}\r\n\r\n"
).encode()


class Script:
    """A server that says fixed bytes after the handshake and keeps what it is sent."""

    def __init__(self, says: bytes) -> None:
        self.says = says
        self.received = FrameDecoder()
        self.frames: list[Frame] = []
        self.arrived = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + self.says)
        try:
            while data := await reader.read(4096):
                self.frames += self.received.feed(data)
                self.arrived.set()
        except ConnectionError:
            return
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def peer_of(script: Script) -> AsyncIterator[Peer]:
    async with (
        listening(script.serve) as port,
        connected("127.0.0.1", port, name="ws1", trace=Trace(), within=patience(30)) as peer,
    ):
        await peer.send_bytes(encode_request("/", dict(upgrade_headers("h", KEY))))
        await peer.expect_response()
        yield peer


class Answering(Script):
    """A server that says its bytes once it is sent a frame."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        await reader.read(1)
        writer.write(self.says)
        await reader.read()
        writer.close()


class Dropping(Script):
    """A server that drops who sends it anything."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        await reader.read(1)
        writer.transport.abort()


def frames(*sent: Frame) -> bytes:
    return b"".join(map(encode_frame, sent))


def text(kind: str) -> Frame:
    """A server's message of this type."""
    return Frame(Opcode.TEXT, f'{{"type":"{kind}"}}'.encode())


async def test_pings_are_answered_as_they_come() -> None:
    script = Script(frames(Frame(Opcode.PING, b"a")))
    async with peer_of(script) as peer:
        await peer.expect_ping()
        await script.arrived.wait()

    assert script.frames == [Frame(Opcode.PONG, b"a", mask=MASK)]


async def test_deep_event_is_garbled() -> None:
    deep = b"[" * 100_000
    script = Script(frames(Frame(Opcode.TEXT, deep), Frame(Opcode.TEXT, b"[" * 300 + b"]" * 300)))
    async with peer_of(script) as peer:
        await peer.until(lambda: len(peer.events) == 2 or None, "two events")

    assert [each.why for each in peer.events if isinstance(each, Garbled)] == [
        "nested deeper than 200 levels"
    ] * 2


async def test_flood_of_frames_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_conformance.wire.channel.MAX_RECEIVED", 1 << 20)
    script = Script(frames(Frame(Opcode.PONG)) * 10_000)
    async with peer_of(script) as peer:
        await peer.until(lambda: peer.ended, "the end")

    assert peer.ended == "the server sent more than 1 MiB, and the case does not read on"
    assert len(peer.frames) < 10_000


async def test_endless_body_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_conformance.wire.peer.MAX_PAYLOAD", 1 << 20)
    script = Script(b"")
    monkeypatch.setattr(f"{__name__}.HEAD", b"HTTP/1.1 404 Not Found\r\n\r\n" + bytes(4 << 20))
    async with peer_of(script) as peer:
        await peer.until(lambda: peer.ended, "the end")

    assert peer.ended == "the server sent more than 1 MiB, and the case does not read on"


async def test_pings_stay_unanswered_on_request() -> None:
    script = Script(b"")
    async with peer_of(script) as peer:
        peer.answers_pings = False
        peer._take(frames(Frame(Opcode.PING, b"a"), Frame(Opcode.PING, b"b")))
        peer.answer_last_ping()
        await script.arrived.wait()

    assert script.frames == [Frame(Opcode.PONG, b"b", mask=MASK)]


async def test_nothing_comes_between_the_pieces_of_a_frame() -> None:
    script = Script(b"")
    async with peer_of(script) as peer:
        wire = encode_frame(Frame(Opcode.TEXT, b"whole", mask=MASK))
        with peer.unbroken():
            await peer.send_bytes(wire[:3])
            peer._take(frames(Frame(Opcode.PING, b"now?")))
            await peer.send_bytes(wire[3:])
        while len(script.frames) < 2:
            script.arrived.clear()
            await script.arrived.wait()

    assert [frame.payload for frame in script.frames] == [b"whole", b"now?"]


async def test_events_are_read_by_place_and_not_consumed() -> None:
    script = Script(frames(text("token"), text("complete")))
    async with peer_of(script) as peer:
        place, first = await peer.expect_event()
        _, second = await peer.expect_event(place)
        _, again = await peer.expect_event()

    assert [first, second, again] == [{"type": "token"}, {"type": "complete"}, {"type": "token"}]


async def test_types_that_clients_do_not_know_are_skipped() -> None:
    async with peer_of(Script(frames(text("hello"), text("accepted"), text("hello")))) as peer:
        place, event = await peer.expect_event()
        assert event == {"type": "accepted"}
        with pytest.raises(Failure, match=r"ignored: 'hello' \(2\)"):
            await peer.expect_event(place, within=0.2)


async def test_pongs_that_answer_nothing_are_skipped() -> None:
    beats = frames(Frame(Opcode.PONG, b"beat"), Frame(Opcode.PONG, b"a"), Frame(Opcode.PONG, b"b"))
    async with peer_of(Script(beats)) as peer:
        await peer.expect_pong(b"a")
        await peer.expect_pong(b"b")


async def test_close_that_crosses_ours_is_early() -> None:
    script = Script(frames(Frame(Opcode.PONG, b"beat")) + frames(close_frame(1001)))
    async with peer_of(script) as peer:
        await peer.send(close_frame(1000, mask=MASK))
        await peer.until(lambda: peer.close, "a close")
        peer.abort()
        with pytest.raises(ClosedEarly, match="its payload is b'beat'"):
            await peer.expect_pong(b"a")
        with pytest.raises(ClosedEarly, match="the close frame is"):
            await peer.expect_close(1002)


async def test_nothing_is_sent_behind_the_answer_to_a_close() -> None:
    script = Script(frames(close_frame(1001)))
    async with peer_of(script) as peer:
        await peer.until(lambda: peer.close, "a close")
        await script.arrived.wait()
        await peer.send_text("too late")
        assert peer.own_fault is None
        peer.abort()
        with pytest.raises(ClosedEarly, match="after the server's CLOSE 1001"):
            await peer.expect_event()

    assert script.frames == [close_frame(1001, mask=MASK)]


async def test_a_refusal_may_leave_out_the_close_frame() -> None:
    async with peer_of(Dropping(b"")) as peer:
        await peer.expect_refused(1002, Frame(3, b"", mask=MASK))


async def test_a_refusal_with_another_code_fails() -> None:
    async with peer_of(Script(frames(text("hello"), close_frame(1011)))) as peer:
        peer.answers_close = False
        with pytest.raises(Failure, match="CLOSE 1011"):
            await peer.expect_refused(1002, Frame(3, b"", mask=MASK))


async def test_an_answer_to_illegal_bytes_fails_at_once() -> None:
    for answer in (Frame(Opcode.PONG, b"bare"), text("error")):
        script = Answering(frames(answer))
        async with peer_of(script) as peer:
            with pytest.raises(Failure, match="taken for legal"):
                await peer.expect_refused(1002, Frame(Opcode.PING, b"bare"))


@pytest.mark.parametrize("text", [b"bare", b"[]", b'{"kind":1}', b'{"type":1}'])
async def test_text_that_is_no_message_fails_where_one_is_awaited(text: bytes) -> None:
    async with peer_of(Script(frames(Frame(Opcode.TEXT, text)))) as peer:
        with pytest.raises(Failure, match="one JSON object with a type"):
            await peer.expect_event()

        assert isinstance(peer.events[0], Garbled)


EXPECTATIONS: list[tuple[str, bytes, Callable[[Peer], object], str]] = [
    (
        "wrong-pong",
        frames(Frame(Opcode.PONG, b"b")),
        lambda peer: peer.expect_pong(b"a", within=0.05),
        "payload is b'b'",
    ),
    ("forbidden-code", frames(close_frame(768)), lambda peer: peer.expect_close(), "CLOSE 768"),
    ("other-code", frames(close_frame(1001)), lambda peer: peer.expect_close(1000), "CLOSE 1001"),
    ("tcp-stays", frames(close_frame(1000)), lambda peer: peer.expect_close(1000, within=0.05), "not within"),
    ("no-ping", b"", lambda peer: peer.expect_ping(within=0.05), "not within"),
]


@pytest.mark.parametrize(
    ("says", "expectation", "words"), [row[1:] for row in EXPECTATIONS], ids=[row[0] for row in EXPECTATIONS]
)
async def test_an_expectation_that_is_not_met_says_what_came(
    says: bytes, expectation: Callable[[Peer], object], words: str
) -> None:
    async with peer_of(Script(says)) as peer:
        if "not within" in words:
            peer.within = 0.2
        peer.answers_close = False
        with pytest.raises(Failure, match=words):
            await expectation(peer)  # type: ignore[misc]  # a table of coroutines of several types


async def test_what_is_late_with_all_else_is_awaited() -> None:
    async with peer_of(Script(b"")) as peer:

        async def served() -> None:
            peer._take(frames(Frame(Opcode.PING, b"")))

        assert len(await peer.expect_ping(within=0.01, before_failing=served)) == 1
        with pytest.raises(Failure, match="not within"):
            await peer.expect_ping(3, within=0.01, before_failing=served)


async def test_frames_that_could_be_read_but_are_illegal_are_noted() -> None:
    async with peer_of(Script(frames(replace(text("token"), mask=MASK)))) as peer:
        _, event = await peer.expect_event()

    assert event == {"type": "token"}
    assert [error.section for error in peer.illegal] == ["§5.1"]


class Flood(Script):
    """A server that, once it has received something, writes without end, as far as it is read."""

    MOST = 1 << 28

    def __init__(self) -> None:
        super().__init__(b"")
        self.sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        await reader.read(1)
        with suppress(ConnectionError):
            while self.sent < self.MOST:
                writer.write(frames(Frame(Opcode.BINARY, bytes(65_536))))
                await writer.drain()
                self.sent += 65_536
        writer.close()


async def test_server_that_cannot_send_on_is_noticed() -> None:
    flood = Flood()
    async with peer_of(flood) as peer:
        peer.stall()
        await peer.send_text("go")
        await peer.clogged()
        stands = flood.sent
        await peer.clogged()

        assert 0 < stands == flood.sent < Flood.MOST
        peer.abort()


async def test_server_that_sends_nothing_is_not_taken_for_one_that_cannot() -> None:
    async with peer_of(Script(b"")) as peer:
        peer.within = 0.5
        peer.stall()
        with pytest.raises(Failure, match="they were 0"):
            await peer.clogged()


async def test_unreadable_bytes_end_the_connection() -> None:
    async with peer_of(Script(frames(Frame(Opcode.CONTINUATION, b"x")))) as peer:
        with pytest.raises(Failure, match="unreadable bytes: a continuation frame"):
            await peer.expect_event()


async def test_a_refused_connection_is_a_failure() -> None:
    with pytest.raises(Failure, match="ConnectionRefusedError"):
        async with connected("127.0.0.1", 1, name="ws1", trace=Trace(), within=1):
            pass


async def test_trace_says_who_hung_up() -> None:
    async with peer_of(Script(b"")) as ours:
        pass
    async with peer_of(Dropping(b"")) as theirs:
        await theirs.send_bytes(b"x")
        await theirs.until(lambda: theirs.ended, "the end")

    assert (ours.ended, theirs.ended == "we dropped it") == ("we dropped it", False)
