"""Play connections against a server, and say what was wrong."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from chat_conformance.errors import Failure
from chat_conformance.fuzz import requests
from chat_conformance.fuzz.judge import answers, wrong_in_answers, wrong_in_frames, wrong_in_log
from chat_conformance.fuzz.sent import Kind, Sent
from chat_conformance.suite.context import CaseContext
from chat_conformance.target.processes import open_descriptors, own_memory
from chat_conformance.target.server import Server
from chat_conformance.wire.frames import MAX_PAYLOAD, Frame, Opcode, encode_frame
from chat_conformance.wire.handshake import (
    HandshakeError,
    ResponseDecoder,
    encode_key,
    encode_request,
    upgrade_headers,
)

WITHIN = 30.0
"""How long anything may take, in seconds."""

QUIET, SLOW = 0.1, 0.5
"""So long after an answer, or without one, a client closes its side: a server may wait for the rest of a request."""

GONE = (OSError, RuntimeError)
"""How the transport says that the server has closed; uvloop's raises a bare RuntimeError."""

LAST = b"the last ping"
KEY = encode_key(bytes(16))


@dataclass(frozen=True, slots=True)
class Kept:
    """What a server has at a moment.

    Attributes:
        memory: Anonymous memory of its process, in bytes.
        descriptors: Those of its process, but for three for each that it has started: pipes; None if it hides them.
        processes: How many it has started that live.
    """

    memory: int
    descriptors: int | None
    processes: int


class Player:
    """A running server, and what its log says while it is played with.

    Attributes:
        faults: What was wrong with lines of the log, with those lines.
        lines: How many lines it has written.
        answered: How many answers to requests were read.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.faults: list[str] = []
        self.lines = 0
        self.answered = 0
        server.on_line = self._line

    def _line(self, line: bytes) -> None:
        self.lines += 1
        # Only so many are kept: a server that writes a traceback for each request would fill our memory.
        if (wrong := wrong_in_log(line.rstrip(b"\n"))) is not None and len(self.faults) < 20:
            self.faults.append(f"{wrong}\n{line[-1_500:].decode(errors='backslashreplace')}")

    async def play(self, sent: Sent) -> str | None:
        """Play one connection; what was wrong, None if nothing."""
        try:
            async with asyncio.timeout(WITHIN):
                if sent.kind is Kind.FRAMES:
                    return await self._frames(sent)
                return await self._requests(sent)
        except TimeoutError:
            return f"the connection is still open after {WITHIN:g} s"
        except ConnectionRefusedError:
            return "the server takes no connections"

    async def settled(self) -> str | None:
        """What is wrong with the server as a whole: its health, its log; None if nothing."""
        if not self.server.alive or not await self._healthy():
            return "the server does not answer to a health check any more"
        # Its last lines are on their way through a pipe.
        await asyncio.sleep(0.05)
        return self.faults[0] if self.faults else None

    async def behaves(self) -> str | None:
        """What is wrong with an ordinary turn, None if nothing."""
        try:
            async with CaseContext(self.server, case_id="fuzz", seed=0) as chat, chat.peer() as peer:
                turn = await chat.run_turn(peer, chat.fake.prompt(tokens=3))
        except Failure as failure:
            return f"an ordinary turn fails after all: {failure}"
        return None if turn.text == "t1 t2 t3 " else f"an ordinary answer is {turn.text!r}"

    def kept(self) -> Kept:
        """What the server has now."""
        own = self.server.pid
        # It is started by the run.
        assert own is not None
        processes = len(set(self.server.marked_processes()) - {own})
        descriptors = open_descriptors(own)
        return Kept(own_memory(own), None if descriptors is None else descriptors - 3 * processes, processes)

    async def _healthy(self) -> bool:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(WITHIN):
                reader, writer = await asyncio.open_connection(self.server.host, self.server.port)
                writer.write(requests.PROBE)
                answer = await reader.read(1 << 16)
                writer.close()
                return answer.startswith(b"HTTP/1.1 200 ")
        return False

    async def _frames(self, sent: Sent) -> str | None:
        reader, writer = await asyncio.open_connection(self.server.host, self.server.port)
        received = bytearray()
        try:
            host = f"{self.server.host}:{self.server.port}"
            target = self.server.target
            headers = upgrade_headers(host, KEY, subprotocols=(target.dialect.subprotocol,))
            writer.write(encode_request(target.paths.socket, headers | self._user))
            decoder = ResponseDecoder()
            while (response := decoder.feed(data := await reader.read(65_536))) is None and data:
                pass
            if response is None or response.status != 101:
                return f"a valid handshake is answered {response and response.status}"
            received += decoder.rest
            # Read while sending: a server that waits until its answers are read would stop reading, and both
            # would wait.
            reading = asyncio.create_task(_read(reader, received, until=LAST))
            await _send(writer, sent)
            if sent.leaves:
                reading.cancel()
                _abort(writer)
                return None
            with suppress(*GONE):
                writer.write(encode_frame(Frame(Opcode.PING, LAST, mask=bytes(4))))
                # Among the forbidden frames are ones whose payload never comes: without the end of our side
                # the server would wait for it. After legal ones it has to answer the last ping, and at the
                # end of the stream it could drop its answer.
                if not sent.legal:
                    writer.write_eof()
                await writer.drain()
            await reading
        except HandshakeError as error:
            return f"the answer to a valid handshake is none: {error}"
        except GONE:
            pass
        finally:
            _abort(writer)
        return wrong_in_frames(bytes(received), sent, LAST)

    async def _requests(self, sent: Sent) -> str | None:
        reader, writer = await asyncio.open_connection(self.server.host, self.server.port)
        received = bytearray()
        try:
            reading = asyncio.create_task(_read(reader, received))
            await _send(writer, sent, self._user)
            if sent.leaves:
                reading.cancel()
                _abort(writer)
                return None
            # The end of our side is the end of a request that lacks some of its body: without it a server
            # waits for the rest, as it may, and every such connection would last until a timeout. Too soon,
            # and a server that takes the end for a client that is gone would drop answers.
            await asyncio.wait([reading], timeout=QUIET if received else SLOW)
            with suppress(*GONE):
                writer.write_eof()
            await reading
        finally:
            _abort(writer)
        self.answered += answers(bytes(received))
        return wrong_in_answers(bytes(received))

    @property
    def _user(self) -> dict[str, str | None]:
        users = self.server.target.users
        return dict(users[0].headers) if users else {}


async def _send(writer: asyncio.StreamWriter, sent: Sent, user: dict[str, str | None] | None = None) -> None:
    pieces = sent.pieces
    if user:
        named = b"".join(b"\r\n%s: %s" % (name.encode(), str(value).encode()) for name, value in user.items())
        # Put in here, not when the pieces are made: a seed then gives the same bytes for every target.
        pieces = tuple(piece.replace(requests.HOST, requests.HOST + named, 1) for piece in pieces)
    data = b"".join(pieces)
    with suppress(*GONE):
        # uvloop joins what is written in one round of its loop: the sleep ends the round, so that each part
        # leaves by itself.
        for length in sent.cuts:
            writer.write(data[:length])
            data = data[length:]
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(data)
        await writer.drain()


async def _read(reader: asyncio.StreamReader, received: bytearray, until: bytes | None = None) -> None:
    """Read to the end of the connection, or until something has come."""
    with suppress(*GONE):
        while data := await reader.read(1 << 18):
            received += data
            # Only the new bytes, and as many before them as the words may have begun in: to search all of it
            # each time would take the square of its length.
            if until is not None and until in received[-len(data) - len(until) :]:
                return
            if len(received) > MAX_PAYLOAD:
                return


def _abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
