"""The codec on a socket: the channel of a WebSocket, whose client may do everything wrong on purpose."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import msgspec

from chat_conformance.errors import ClosedEarly, Failure, SuiteError
from chat_conformance.target.file import Target
from chat_conformance.target.speech import Speech
from chat_conformance.wire.audit import Audit
from chat_conformance.wire.channel import Channel, Garbled, TooMuchError, read_events, unread
from chat_conformance.wire.contract import check_request
from chat_conformance.wire.deflate import NAME, Inflater
from chat_conformance.wire.evidence import saw
from chat_conformance.wire.frames import (
    MAX_PAYLOAD,
    Frame,
    FrameDecoder,
    FrameError,
    Opcode,
    check_frame,
    close_frame,
    encode_frame,
    is_wire_code,
)
from chat_conformance.wire.handshake import HandshakeError, Response, ResponseDecoder
from chat_conformance.wire.messages import Message, MessageJoiner
from chat_conformance.wire.trace import Trace, describe, shorten

_ANY = Target(name="any", url="")
STALLED_BYTES = 65_536
"""What the kernel takes for a peer that has stopped reading."""
FRAME_COST = 300
"""Frames are kept, and so each counts for some more than its payload, in bytes."""
# Any key will do; a fixed one keeps traces comparable.
MASK = b"\x5a\x0f\xc3\x96"


class Peer(Channel):
    """One TCP connection that speaks WebSocket once its handshake is answered.

    Attributes:
        frames: Received frames with their time (seconds, monotonic), in order.
        illegal: What RFC 6455 has against received frames that could still be read.
        answers_pings: Whether pings are answered as they come.
        answers_close: Whether a close is answered as it comes.
    """

    def __init__(
        self,
        name: str,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        trace: Trace,
        within: float,
        speech: Speech,
    ) -> None:
        super().__init__(name, speech, trace, within)
        self.frames: list[tuple[float, Frame]] = []
        self.illegal: list[FrameError] = []
        self.answers_pings = True
        self.answers_close = True
        self._reader, self._writer = streams
        self._handshake = ResponseDecoder()
        self._response: Response | None = None
        self._decoder = FrameDecoder()
        self._joiner = MessageJoiner()
        self._inflater: Inflater | None = None
        self._sent_close = False
        self._answered_close = False
        self._dropped = False
        self._audit: Audit | None = Audit()
        self._pongs_taken = 0
        self._held: list[Frame] | None = None
        self._body = bytearray()

    @property
    def body(self) -> bytes:
        """What came after an answer other than 101, so far."""
        return bytes(self._body)

    # Sending

    def break_rules(self) -> None:
        """From here on the case breaks RFC 6455 or the schema on purpose; else the suite would blame itself."""
        self._audit = None

    @property
    def own_fault(self) -> str | None:
        """What the suite sent on this connection that no client may send, unless a case meant it."""
        return self._audit.fault if self._audit else None

    async def send_bytes(self, data: bytes, what: str | None = None) -> None:
        """Send bytes as they are; a connection that is gone already shows when something is awaited.

        Nothing is sent behind our answer to the server's close, unless a case breaks the rules.
        """
        if self._answered_close and self._audit:
            self._trace.add(self.name, "=", f"not sent, since the server has closed: {what or shorten(data)}")
            return
        self._trace.add(self.name, ">", what or f"bytes {shorten(data)}")
        if self._audit:
            self._audit.feed(data)
        # The end of a connection is noted by the pump, with all that came before it; here it would hide that.
        with suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def send(self, frame: Frame) -> None:
        """Send a frame, legal or not."""
        if not self._answered_close:
            self._sent_close |= frame.opcode == Opcode.CLOSE
        await self.send_bytes(encode_frame(frame), describe(frame))

    async def send_text(self, text: str | bytes) -> None:
        """Send one text message in one frame."""
        await self.send(Frame(Opcode.TEXT, text.encode() if isinstance(text, str) else text, mask=MASK))

    async def send_json(self, **members: Any) -> None:
        """Send a client message; members that are None are left out."""
        given = {name: value for name, value in members.items() if value is not None}
        if self._audit:
            check_request(given, self.speech.target)
        await self.send_text(self.encode(**members))

    async def send_message(self, message: Any) -> None:
        """Send a message of the server's own protocol, JSON or a text: a step of its opening."""
        await self.send_text(message if isinstance(message, str) else msgspec.json.encode(message))

    def encode(self, **members: Any) -> bytes:
        """A client message as this server has it; members that are None are left out."""
        return self.speech.encode(members)

    @contextmanager
    def unbroken(self) -> Iterator[None]:
        """While a frame is sent in pieces nothing comes between them: pongs wait for the end of the block."""
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            for frame in held:
                self._write_own(frame)

    def abort(self) -> None:
        """Drop the TCP connection with a reset, as a dying network does."""
        self._trace.add(self.name, "=", "we drop the connection")
        self.hang_up()

    def hang_up(self) -> None:
        """Drop it without a word: the case is over."""
        self._dropped = True
        self._writer.transport.abort()

    def stall(self) -> None:
        """Read nothing any more: the server's bytes pile up on its side."""
        self._trace.add(self.name, "=", "we stop reading")
        # The kernel would grow its buffer to tens of megabytes, and take a whole answer for us.
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STALLED_BYTES)
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport reads, too

    def _unread(self) -> int:
        return unread(self._writer.get_extra_info("socket"))

    def read_on(self) -> None:
        """Read again."""
        self._trace.add(self.name, "=", "we read again")
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]  # a socket's transport reads, too

    # Waiting

    def _ended_before(self, expected: str) -> Failure:
        # A server may end a connection at any time (CLOSE-2). That is kept apart from a fault, so that a case
        # may be repeated on another connection.
        kind = ClosedEarly if self._closed_early else Failure
        said = "" if self.close is None else f", after the server's {describe(self.close)}"
        return kind(expected, f"the connection ended: {self.ended}{said}{self.ignored_in_words()}")

    @property
    def _closed_early(self) -> bool:
        """Whether the server has begun a close for no reason of ours; its close may cross one of ours."""
        # A 1000 that we have not answered is the answer to a close of ours, and so no close of the server's
        # own.
        code = None if self.close is None else self.close.close_code
        return code == 1001 or (code == 1000 and self._answered_close)

    async def expect_response(self, *, within: float | None = None) -> Response:
        """Wait for the answer to a handshake."""
        response = await self.until(lambda: self._response, "an HTTP answer to the handshake", within=within)
        saw(f"a handshake was answered with {response.status}")
        return response

    async def expect_pong(self, payload: bytes, *, within: float | None = None) -> None:
        """Wait for a pong with this payload after those already waited for.

        Pongs that answer nothing are skipped: a server may send them as a heartbeat (RFC 6455 §5.5.3).
        """
        # Pongs are consumed by count, events are not: a payload may be sent twice, and an old pong must not
        # answer a new ping. Of pongs a, b, c, to wait for b takes a and b; the next wait begins at c.
        others: list[bytes] = []

        def pong() -> bool | None:
            found = [frame.payload for _, frame in self.frames if frame.opcode == Opcode.PONG]
            others[:] = found[self._pongs_taken :]
            if payload not in others:
                return None
            self._pongs_taken += others.index(payload) + 1
            return True

        expected = f"a pong with the payload {shorten(payload)}"
        try:
            await self.until(pong, expected, within=within)
        except Failure as failure:
            if not others:
                raise
            instead = f"its payload is {shorten(others[-1])}; {failure.happened}"
            raise type(failure)(expected, instead) from None
        saw("a ping was answered by a pong with its payload")

    def answer_last_ping(self) -> None:
        """Send the pong of the latest ping now; one pong answers all before it (RFC 6455 §5.5.3)."""
        pings = [frame for _, frame in self.frames if frame.opcode == Opcode.PING]
        self._write_own(Frame(Opcode.PONG, pings[-1].payload, mask=MASK))

    async def expect_alive(self, *, within: float | None = None) -> None:
        """Ping and wait for the pong: the oracle that the connection lives and what was sent before was read."""
        payload = f"alive {self._pongs_taken}".encode()
        await self.send(Frame(Opcode.PING, payload, mask=MASK))
        await self.expect_pong(payload, within=within)

    async def expect_close(self, *codes: int | None, within: float | None = None) -> Frame:
        """Wait for a close frame with one of the codes (None: no code), and for the end of TCP after it.

        Without codes any that the wire allows will do.
        """
        wanted = " or ".join("no code" if code is None else str(code) for code in codes)
        expected = f"a close frame with {wanted or 'an allowed code'}, then the end of the connection"
        frame = await self.until(lambda: self.close, expected, within=within)
        code = frame.close_code
        if (codes and code not in codes) or (code is not None and not is_wire_code(code)):
            kind = ClosedEarly if self._closed_early else Failure
            raise kind(expected, f"the close frame is {describe(frame)}")
        if (error := check_frame(frame, from_client=False)) is not None:
            raise Failure(expected, f"the close frame is illegal: {error}")
        await self.until(lambda: self.ended, expected, within=within)
        saw(f"the connection ended by a close with {'no code' if code is None else code}")
        return frame

    async def expect_closed(self, code: int, *, within: float | None = None) -> None:
        """Wait until the server has closed with this code; 1012 is a 1001 of a server with a protocol of its own."""
        # 1012 is "service restart" of the registry; chat-stream-v1 itself has only the codes of CLOSE-2.
        restart = (1012,) if code == 1001 and self.speech.target.described else ()
        await self.expect_close(code, *restart, within=within)

    @property
    def closed_with(self) -> int | None:
        """With which code the server has closed, 1005 for none (RFC 6455 §7.4.1); None if it has not."""
        return None if self.close is None else self.close.close_code or 1005

    async def expect_refusal(self, *codes: int) -> None:
        """Wait until the server ends the connection: by a close with one of these codes or none, or without one.

        To leave it out is a server's right where it has to fail a connection (RFC 6455 §7.1.7), and a reset may
        overtake it on its way.
        """
        wanted = " or ".join(map(str, codes))
        await self.until(
            lambda: self.close or self.ended, f"the end of the connection, by a close with {wanted}"
        )
        if self.close is not None:
            await self.expect_close(*codes, None)
        else:
            saw("the connection ended without a close frame")

    async def expect_refused(self, code: int, *sent: Frame, answered: bool = False) -> None:
        """Send frames that break the rules and wait for `expect_refusal`; an answer to them fails at once.

        ``answered`` says that a legal message among them may be answered first.
        """
        # The frames are forbidden on purpose. With the audit left on, the suite would report itself.
        self.break_rules()
        place, begin = len(self.frames), len(self.events)
        for frame in sent:
            await self.send(frame)
        payloads = {frame.payload for frame in sent}

        def refused() -> bool | None:
            # A pong or an event shows at once that the server took the frames for legal: the case need not
            # wait for its timeout.
            for _, frame in self.frames[place:]:
                if frame.opcode == Opcode.PONG and frame.payload in payloads:
                    raise Failure(expected, f"the bytes were taken for legal: {describe(frame)}")
            if self.events[begin:] and not answered:
                raise Failure(expected, f"the bytes were taken for legal: {self.events[begin]}")
            return True if self.close or self.ended else None

        expected = f"the end of the connection, by a close with {code}"
        await self.until(refused, expected)
        await self.expect_refusal(code)

    @property
    def close(self) -> Frame | None:
        """The close frame that came, None before."""
        return next((frame for _, frame in self.frames if frame.opcode == Opcode.CLOSE), None)

    # Receiving

    async def pump(self) -> None:
        """Read until the connection ends."""
        try:
            while data := await self._reader.read(1 << 16):
                self._take(data)
                self._news.set()
                self._count(len(data))
            self._end("we dropped it" if self._dropped else "end of stream")
        except TooMuchError as error:
            self._writer.transport.abort()
            self._end(str(error))
        except ConnectionError as error:
            self._end(f"reset ({type(error).__name__})")
        except FrameError as error:
            self._end(f"unreadable bytes: {error}")
        except HandshakeError as error:
            self._end(f"no HTTP answer: {error}")

    def _take(self, data: bytes) -> None:
        if self._response is None:
            self._response = self._handshake.feed(data)
            if self._response is None:
                return
            self._trace.add(self.name, "<", f"HTTP {self._response.status} {self._response.reason}")
            data = self._handshake.rest
            if NAME in (extensions := self._response.header("sec-websocket-extensions") or ""):
                self._inflater = Inflater(extensions)
        if self._response.status != 101:
            self._body += data
            if len(self._body) > MAX_PAYLOAD:
                raise TooMuchError(MAX_PAYLOAD)
            return
        try:
            frames = self._decoder.feed(data)
        except FrameError as error:
            # Frames before the unreadable one count: one of them may be the close that explains it.
            self._take_frames(list(error.frames))
            raise
        self._take_frames(frames)

    def _take_frames(self, frames: list[Frame]) -> None:
        for frame in frames:
            self.frames.append((time.monotonic(), frame))
            self._count(FRAME_COST)
            self._trace.add(self.name, "<", describe(frame))
            plain = self._inflater.take(frame) if self._inflater else frame
            if plain is None:
                continue
            frame = plain  # noqa: PLW2901 - the same without its compression
            if (error := check_frame(frame, from_client=False)) is not None:
                self.illegal.append(error)
            if frame.opcode < 8:
                if (message := self._joiner.add(frame)) is not None:
                    self._read(message)
            else:
                self._answer(frame)

    def _read(self, message: Message) -> None:
        """Note what a data message means."""
        if message.opcode != Opcode.TEXT and not self.speech.reads_binary:
            self._note(Garbled(shorten(message.payload), "a binary message"))
            return
        for event in read_events(message.payload, self.speech):
            self._note(event)

    def _answer(self, frame: Frame) -> None:
        if frame.opcode == Opcode.PING:
            self.pings.append(self.frames[-1][0])
        if frame.opcode == Opcode.PING and self.answers_pings and not self._sent_close:
            self._write_own(Frame(Opcode.PONG, frame.payload[:125], mask=MASK))
        if frame.opcode == Opcode.CLOSE and self.answers_close and not self._sent_close:
            self._sent_close = self._answered_close = True
            # A code that must not be on the wire is not echoed: then the suite itself would break RFC 6455
            # §7.4.
            code = frame.close_code
            self._write_own(close_frame(code if code and is_wire_code(code) else None, mask=MASK))

    def _answer_ping_message(self) -> None:
        if "pong" in self.speech.target.messages and self.answers_pings and not self._sent_close:
            self._write_own(Frame(Opcode.TEXT, self.speech.encode({"type": "pong"}), mask=MASK))

    def _write_own(self, frame: Frame) -> None:
        """Send what no case has asked for, at once or when a frame that is sent in pieces is whole."""
        # A pong inside a frame that is half sent would be read as its payload.
        if self._held is not None:
            self._held.append(frame)
            return
        self._trace.add(self.name, ">", describe(frame))
        if not self._writer.transport.is_closing():
            if self._audit:
                self._audit.feed(encode_frame(frame))
            self._writer.write(encode_frame(frame))


@asynccontextmanager
async def connected(
    host: str,
    port: int,
    *,
    name: str,
    trace: Trace,
    within: float,
    speech: Speech | None = None,
    kind: type[Peer] | None = None,
) -> AsyncIterator[Peer]:
    """A TCP connection for the length of the block, read by a pump; no handshake is sent.

    ``kind`` is the class of the peer, for what is built upon WebSocket.

    Raises:
        Failure: The connection is refused or not taken in time.
        SuiteError: What was sent is what no client may send, and ``break_rules`` was not called.
    """
    speech = speech or Speech(_ANY)
    tls = speech.target.tls()
    try:
        async with asyncio.timeout(within):
            streams = await asyncio.open_connection(
                host, port, ssl=tls, server_hostname=host if tls else None
            )
    except (OSError, TimeoutError) as error:
        raise Failure("the connection to be taken", f"{type(error).__name__}: {error}") from None
    trace.add(name, "=", f"connected to {host}:{port}")
    peer = (kind or Peer)(name, streams, trace, within, speech)
    pump = asyncio.create_task(peer.pump())
    try:
        yield peer
    finally:
        peer.hang_up()
        # The end of the transport ends it.
        await pump
        # Raised last, it takes the place of the case's own failure: that one may follow from what the suite
        # did wrong.
        if peer.own_fault is not None:
            raise SuiteError(f"on {name} the suite sent {peer.own_fault}")
