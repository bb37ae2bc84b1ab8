"""Small servers for the suite to judge: two good ones, and the same with one thing broken in each."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import WSMsgType, web
from aiohttp.compression_utils import ZLibDecompressor

from chat_conformance.wire.frames import (
    Frame,
    FrameDecoder,
    FrameError,
    Opcode,
    apply_mask,
    check_frame,
    close_frame,
    encode_frame,
)
from chat_conformance.wire.handshake import accept_key
from chat_conformance.wire.listening import listening
from chat_conformance.wire.messages import MessageJoiner

KEEPALIVE = 0.1
SUBPROTOCOL = "chat-stream-v1"
USAGE = {"input_tokens": 1, "output_tokens": 1}
WHEN = "2026-01-31T12:00:00Z"


# Theory: each step of a server is a method, and each mutant overrides one. So its fault is in one place, and
# all else is the twin's, which passes: what fails then, fails for the fault.
class RawChat:
    """WebSocket on a bare socket: ping, close and refusals, and no turns."""

    most = 4 << 20

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection from its first byte to its last."""
        try:
            await self.shake_hands(await reader.readuntil(b"\r\n\r\n"), reader, writer)
            async with asyncio.TaskGroup() as group:
                pings = group.create_task(self.keep_alive(writer))
                await self.receive(reader, writer)
                # A task group waits for all its tasks, and this one never ends by itself.
                pings.cancel()
        except* (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def shake_hands(
        self, head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer the handshake."""
        found = re.search(rb"Sec-WebSocket-Key: (\S+)", head)
        if found is None:  # a request that is no handshake, such as whether anybody is there
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            raise ConnectionAbortedError
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [
            f"Sec-WebSocket-Accept: {accept_key(found[1].decode())}",
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        await writer.drain()

    async def keep_alive(self, writer: asyncio.StreamWriter) -> None:
        """Send pings."""
        while True:
            await asyncio.sleep(KEEPALIVE)
            writer.write(encode_frame(Frame(Opcode.PING)))
            await writer.drain()

    async def receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read frames and answer them until a close."""
        feed, join = self.feeding(), self.joining()
        try:
            while data := await reader.read(1 << 16):
                for frame in feed(data):
                    # Before the fragments are joined: what is illegal must not become part of a message.
                    self.check(frame)
                    if frame.is_control:
                        await self.control(frame, writer)
                        if frame.opcode == Opcode.CLOSE:
                            return
                    elif (payload := join(frame)) is not None:
                        await self.refuse(payload, writer)
        except FrameError as error:
            await self.close(error, reader, writer)

    def feeding(self) -> Callable[[bytes], list[Frame]]:
        """What makes frames of the bytes of one read."""
        # One decoder for all of a connection: it keeps what a read has left unfinished.
        return FrameDecoder().feed

    def joining(self) -> Callable[[Frame], bytes | None]:
        """What makes messages of frames; None as long as one is not whole."""
        joiner = MessageJoiner(max_message=self.most)

        def join(frame: Frame) -> bytes | None:
            message = joiner.add(frame)
            return None if message is None else message.payload

        return join

    def check(self, frame: Frame) -> None:
        """Refuse what RFC 6455 forbids."""
        if (error := check_frame(frame, from_client=True)) is not None:
            raise error

    async def close(
        self, error: FrameError, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Say why the connection ends, which it does when this returns."""
        writer.write(encode_frame(close_frame(error.code)))
        await writer.drain()

    async def control(self, frame: Frame, writer: asyncio.StreamWriter) -> None:
        """Answer a control frame."""
        if frame.opcode == Opcode.PING:
            writer.write(encode_frame(Frame(Opcode.PONG, frame.payload)))
        elif frame.opcode == Opcode.CLOSE:
            writer.write(encode_frame(close_frame(self.close_code(frame))))
        await writer.drain()

    def close_code(self, frame: Frame) -> int | None:
        """The code that answers a close."""
        return frame.close_code

    async def refuse(self, payload: bytes, writer: asyncio.StreamWriter) -> None:
        """Answer any message with bad_request."""
        message = None
        # What is no JSON has no message_id, and is refused all the same.
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            message = msgspec.json.decode(payload)
        named = message.get("message_id") if isinstance(message, dict) else None
        error = {"type": "error", "code": "bad_request", "message": "no turns here", "message_id": named}
        writer.write(encode_frame(Frame(Opcode.TEXT, msgspec.json.encode(error))))
        await writer.drain()


class ServesOneAtATime(RawChat):
    """An open connection keeps everybody else waiting."""

    def __init__(self) -> None:
        self.busy = asyncio.Lock()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection when nobody else has one."""
        async with self.busy:
            await super().serve(reader, writer)


class ReadsTheHeadTwice(RawChat):
    """R1-2: the head was read already; reading it again waits for ever."""

    async def shake_hands(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Wait for a head that came before."""
        await super().shake_hands(await reader.readuntil(b"\r\n\r\n") + head, reader, writer)


class DropsWhatIsGlued(RawChat):
    """What came in one piece with the head is thrown away with it."""

    async def shake_hands(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Forget what was read too much."""
        reader._buffer.clear()  # type: ignore[attr-defined]  # noqa: SLF001 - a mutant may be crude
        await super().shake_hands(head, reader, writer)


class DiesAtThePing(RawChat):
    """R1-3: the first ping crashes the connection."""

    async def keep_alive(self, writer: asyncio.StreamWriter) -> None:
        """Use a transport as if it were a writer."""
        await asyncio.sleep(KEEPALIVE)
        writer.transport.abort()


class ReadsWhatComes(RawChat):
    """R1-4: what one read returns is taken for whole frames."""

    def feeding(self) -> Callable[[bytes], list[Frame]]:
        """Forget what a read left unfinished."""
        return lambda data: FrameDecoder().feed(data)


# One frame for each read is the fault of servers that read a frame where they should read until there is
# none.
class ReadsOneFrame(RawChat):
    """Of the frames that arrive in one piece the first is read."""

    def feeding(self) -> Callable[[bytes], list[Frame]]:
        """Forget those behind it."""
        decoder = FrameDecoder()
        return lambda data: decoder.feed(data)[:1]


class HangsUpOnPongs(RawChat):
    """A pong is taken for what no client sends."""

    async def control(self, frame: Frame, writer: asyncio.StreamWriter) -> None:
        """Refuse it."""
        if frame.opcode == Opcode.PONG:
            raise FrameError(1002, "§5.5.3", "a pong")
        await super().control(frame, writer)


class WaitsForNegativeBytes(RawChat):
    """A length whose highest bit is set is waited for."""

    async def close(
        self, error: FrameError, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Wait until the other side has gone."""
        if "highest bit" in error.reason:
            await reader.read()
        else:
            await super().close(error, reader, writer)


class ClosesWith768(RawChat):
    """R1-6: 1000 with its bytes the wrong way, or near it."""

    def close_code(self, frame: Frame) -> int | None:  # noqa: ARG002
        """A forbidden code."""
        return 768


class ForgetsToSend(RawChat):
    """R1-7: pong and close are written, and the socket dropped before they leave."""

    async def control(self, frame: Frame, writer: asyncio.StreamWriter) -> None:
        """Drop the connection in place of a drain."""
        if frame.opcode == Opcode.CLOSE:
            writer.transport.abort()
        else:
            await super().control(frame, writer)


class KeepsTheFirstMask(RawChat):
    """The first key of a connection is taken for all its frames."""

    def __init__(self) -> None:
        self.mask: bytes | None = None

    async def control(self, frame: Frame, writer: asyncio.StreamWriter) -> None:
        """Undo another key than the frame's own."""
        self.mask = self.mask or frame.mask
        if frame.mask and self.mask and frame.opcode == Opcode.PING:
            # The decoder has undone the right key. Put back, and undone with the first key, the payload is
            # what a server would read that remembers keys.
            masked = apply_mask(frame.payload, frame.mask)
            frame = Frame(Opcode.PING, apply_mask(masked, self.mask), mask=frame.mask)
        await super().control(frame, writer)


class ReadsLengthsOf15Bits(RawChat):
    """A length of two bytes is taken for a signed one; what is longer is never whole."""

    async def refuse(self, payload: bytes, writer: asyncio.StreamWriter) -> None:
        """Wait for more of what is whole already."""
        # From 32,768 on the two bytes are a negative number, if they are read as signed.
        if not 1 << 15 <= len(payload) < 1 << 16:
            await super().refuse(payload, writer)


class TakesAnyFrame(RawChat):
    """Bits, opcodes and control frames that RFC 6455 forbids mean nothing to it."""

    # By the words of the decoder's reason, so that each mutant takes one kind of wrong frame, and refuses the
    # others.
    takes = "reserved|control frame|of 1 byte"

    def check(self, frame: Frame) -> None:
        """Take what is wrong in this way only."""
        try:
            super().check(frame)
        except FrameError as error:
            if re.search(self.takes, error.reason) is None:
                raise


class TakesBareFrames(TakesAnyFrame):
    """Nobody needs to mask."""

    takes = "not masked"


class TakesLongLengths(TakesAnyFrame):
    """A length may be written as one likes."""

    takes = "longer than needed"


class PassesCodesOn(TakesAnyFrame):
    """Whatever code a close has is answered with the same."""

    takes = "close code"


class PassesReasonsOn(TakesAnyFrame):
    """A close may have any bytes for a reason."""

    takes = "close reason"


class TakesAnyText(RawChat):
    """Text is not looked at: it is answered whatever its bytes are."""

    async def close(
        self, error: FrameError, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer what is only no UTF-8."""
        if error.code == 1007:
            await self.refuse(b"{}", writer)
        else:
            await super().close(error, reader, writer)


class StaysAfterItsClose(RawChat):
    """What was closed here stays open until the other side has gone, even when the close was answered."""

    async def close(
        self, error: FrameError, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Wait until the other side has gone."""
        await super().close(error, reader, writer)
        await reader.read()


class WaitsForTheClose(RawChat):
    """A close that was begun here, for an opcode nobody knows, waits for its answer, however long."""

    async def close(
        self, error: FrameError, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Read on until the close is answered."""
        await super().close(error, reader, writer)
        if "opcode" not in error.reason:
            return
        # Another decoder than that of `receive`: it has failed, and what follows begins with a new frame.
        decoder = FrameDecoder()
        with suppress(FrameError):
            while data := await reader.read(1 << 16):
                if any(frame.opcode == Opcode.CLOSE for frame in decoder.feed(data)):
                    return


class WantsTheLatestPong(RawChat):
    """Only the pong of the latest ping counts, and three that are missing in a row are the end."""

    def __init__(self) -> None:
        self.latest = 0
        self.missed = 0

    async def keep_alive(self, writer: asyncio.StreamWriter) -> None:
        """Send numbered pings while they are answered."""
        while self.missed < 3:
            await asyncio.sleep(KEEPALIVE)
            self.latest += 1
            self.missed += 1
            writer.write(encode_frame(Frame(Opcode.PING, str(self.latest).encode())))
            await writer.drain()
        writer.transport.abort()

    async def control(self, frame: Frame, writer: asyncio.StreamWriter) -> None:
        """Look at what a pong carries."""
        # On a link that takes longer than an interval every pong is for an earlier ping, and none would
        # count.
        if frame.opcode == Opcode.PONG and frame.payload == str(self.latest).encode():
            self.missed = 0
        await super().control(frame, writer)


class SumsNothing(RawChat):
    """Each fragment is small enough, and so their sum may be anything."""

    most = 1 << 40


class TakesFragmentsForMessages(RawChat):
    """M-12: the first fragment is taken for the whole message."""

    def joining(self) -> Callable[[Frame], bytes | None]:
        """Join nothing."""
        return lambda frame: frame.payload

    async def refuse(self, payload: bytes, writer: asyncio.StreamWriter) -> None:
        """Hang up on half a message."""
        try:
            msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ConnectionError from None
        await super().refuse(payload, writer)


class BreaksAtAClose(RawChat):
    """A close inside a fragmented message drops the connection."""

    def feeding(self) -> Callable[[bytes], list[Frame]]:
        """Look for a close between fragments."""
        feed, inside = super().feeding(), False

        def fed(data: bytes) -> list[Frame]:
            nonlocal inside
            frames = feed(data)
            for frame in frames:
                if frame.opcode == Opcode.CLOSE and inside:
                    raise ConnectionAbortedError
                # A control frame changes nothing about the message around it; of others the last one, by
                # `fin`, says whether a message is open.
                inside = inside if frame.is_control else not frame.fin
            return frames

        return fed


class TinyChat:
    """A chat on aiohttp in its smallest form: turns on both routes, history, keepalive."""

    most = 4 << 20

    def __init__(self, claude: Path) -> None:
        self.claude = claude
        self.history: dict[str, list[dict[str, str]]] = defaultdict(list)
        self.over: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.turns = asyncio.TaskGroup()

    def app(self) -> web.Application:
        """The application."""
        app = web.Application()
        app.router.add_get("/health", self.health)
        app.router.add_get("/chat/ws", self.socket)
        app.router.add_post("/chat", self.post)
        app.router.add_get("/chat/history/{id}", self.show)
        return app

    async def health(self, _request: web.Request) -> web.Response:
        """Say that it lives."""
        return web.Response(text="ok")

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """One WebSocket."""
        socket = web.WebSocketResponse(protocols=[SUBPROTOCOL], max_msg_size=self.most)
        await socket.prepare(request)
        pings = asyncio.create_task(self.keep_alive(socket))
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    self.received(socket, msgspec.json.decode(message.data))
        finally:
            pings.cancel()
            self.left(socket)
        return socket

    def left(self, socket: web.WebSocketResponse) -> None:
        """A connection has ended."""

    async def keep_alive(self, socket: web.WebSocketResponse) -> None:
        """Send pings."""
        with suppress(ConnectionError):
            while True:
                await asyncio.sleep(KEEPALIVE)
                await socket.ping()

    def received(self, socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
        """Start what a message asks for."""
        # Tasks of the server, and not of the connection: a turn outlives its reader (CLOSE-3).
        if message["type"] == "chat_request":
            self.turns.create_task(self.turn(message, lambda event: self.send(socket, event)))
        elif message["type"] == "subscribe":
            self.turns.create_task(self.replay(message, socket))

    async def send(self, socket: web.WebSocketResponse, event: dict[str, Any]) -> None:
        """Send an event."""
        with suppress(ConnectionError):
            await socket.send_json(event)

    async def turn(self, message: dict[str, Any], send: Callable[[dict[str, Any]], Awaitable[None]]) -> str:
        """Run one turn and send its events."""
        conversation = message.get("conversation_id") or secrets.token_hex(6)
        ids = {"message_id": message["message_id"], "conversation_id": conversation}
        await send({"type": "accepted", **ids})
        text, seq = "", 0
        async with aclosing(self.ask(message["message"])) as pieces:
            async for piece in pieces:
                text, seq = text + piece, seq + 1
                await send({"type": "token", "token": piece, "seq": seq, **ids})
        # In this order: the answer is in history before `complete` is sent (HIST-1).
        self.keep(conversation, message, text)
        self.over[conversation].set()
        await send({"type": "complete", "usage": USAGE, "stop_reason": "end_turn", "seq": seq + 1, **ids})
        return text

    def keep(self, conversation: str, message: dict[str, Any], text: str) -> None:
        """Write a turn to history."""
        for role, content in (("user", message["message"]), ("assistant", text)):
            kept = {
                "role": role,
                "content": content,
                "message_id": message["message_id"],
                "status": "complete",
                "created_at": WHEN,
            }
            self.history[conversation].append(kept)

    async def replay(self, message: dict[str, Any], socket: web.WebSocketResponse) -> None:
        """Follow a turn by waiting for its end; enough for a twin."""
        ids = {"message_id": message["message_id"], "conversation_id": message["conversation_id"]}
        await self.send(socket, {"type": "accepted", **ids})
        await self.over[message["conversation_id"]].wait()
        await self.send(
            socket, {"type": "complete", "usage": USAGE, "stop_reason": "end_turn", "seq": 1, **ids}
        )

    async def ask(self, prompt: str) -> AsyncGenerator[str, None]:
        """The answer of Claude, piece by piece."""
        words = ["-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages"]
        process = await asyncio.create_subprocess_exec(
            self.claude, *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            # The prompt goes in by stdin, which has no limit and takes no dash for an option; the CLI answers
            # when it ends.
            process.stdin.write(prompt.encode())
            process.stdin.close()
            async for line in process.stdout:
                # Deltas only: full messages and the result repeat the same text.
                event = msgspec.json.decode(line).get("event", {})
                if event.get("type") == "content_block_delta":
                    yield event["delta"]["text"]
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def post(self, request: web.Request) -> web.Response:
        """A turn by HTTP."""
        form = await request.post()
        events: list[dict[str, Any]] = []

        async def note(event: dict[str, Any]) -> None:
            events.append(event)
            await self.overhear(event)

        message_id = secrets.token_hex(4)
        text = await self.turn({"message": str(form["message"]), "message_id": message_id}, note)
        conversation_id = events[0]["conversation_id"]
        return web.json_response(
            {"response": text, "conversation_id": conversation_id, "message_id": message_id}
        )

    async def overhear(self, event: dict[str, Any]) -> None:
        """Where the events of a POST go besides."""

    async def show(self, request: web.Request) -> web.Response:
        """One conversation."""
        conversation_id = request.match_info["id"]
        times = {"created_at": WHEN, "updated_at": WHEN}
        messages = self.history[conversation_id]
        return web.json_response({"id": conversation_id, "title": "", **times, "messages": messages})


class InflatesWithoutEnd(TinyChat):
    """What is small on the wire may be of any size; of what is too large for aiohttp something small is left."""

    def app(self) -> web.Application:
        """The application, in a process whose WebSockets inflate all that comes."""
        # aiohttp inflates up to the limit of a message. Here it inflates all, which costs the time and the
        # memory that the case looks at, and then gives out something small, so that no later check refuses
        # it.
        bounded = ZLibDecompressor.decompress_sync

        def inflate(self: ZLibDecompressor, data: bytes, max_length: int = 0) -> bytes:
            found = bounded(self, data)
            return found if len(found) < max_length or not max_length else b'{"type":"large"}'

        ZLibDecompressor.decompress_sync = inflate  # type: ignore[method-assign,assignment]
        return super().app()


class Deaf(TinyChat):
    """R1-1: every text frame is taken for a heartbeat."""

    def received(self, socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
        """Drop the message."""


class OneQueuePerUser(TinyChat):
    """R1-5: one queue per user, made on connecting and never taken away; a POST's tokens go there too."""

    def __init__(self, claude: Path) -> None:
        super().__init__(claude)
        self.latest: web.WebSocketResponse | None = None

    async def keep_alive(self, socket: web.WebSocketResponse) -> None:
        """Remember the connection, too."""
        # This runs once for each new connection: the latest one has the queue.
        self.latest = socket
        await super().keep_alive(socket)

    async def send(self, socket: web.WebSocketResponse, event: dict[str, Any]) -> None:  # noqa: ARG002
        """Send to the newest connection."""
        await self.overhear(event)

    async def overhear(self, event: dict[str, Any]) -> None:
        """Send to the newest connection."""
        if self.latest is not None:
            await super().send(self.latest, event)


class SilentWithClaude(TinyChat):
    """R2-1: while Claude is waited for there are no pings."""

    def __init__(self, claude: Path) -> None:
        super().__init__(claude)
        self.waiting = 0

    async def ask(self, prompt: str) -> AsyncGenerator[str, None]:
        """Count those who wait."""
        self.waiting += 1
        async with aclosing(super().ask(prompt)) as pieces:
            async for piece in pieces:
                yield piece
        self.waiting -= 1

    async def keep_alive(self, socket: web.WebSocketResponse) -> None:
        """Send pings unless a turn waits for Claude."""
        while True:
            await asyncio.sleep(KEEPALIVE)
            if not self.waiting:
                await socket.ping()


class UpgradesByAnyMethod(TinyChat):
    """The method of a request is not looked at where a WebSocket is."""

    def app(self) -> web.Application:
        """The application, without that check."""
        app = super().app()
        for method in ("POST", "PUT", "OPTIONS"):
            app.router.add_route(method, "/chat/ws", self.socket)
        return app


class KeepsNothing(TinyChat):
    """R2-2: only the connection is counted; turns over it are in no history."""

    def keep(self, conversation: str, message: dict[str, Any], text: str) -> None:
        """Keep nothing."""


class CompressesUnasked(TinyChat):
    """The extension is chosen though none was offered."""

    offered = False

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """Ask for the extension in the client's place."""
        # aiohttp chooses the extension by the header of the request, so that gets what the client did not
        # write.
        headers = request.headers.copy()
        if not self.offered or "Sec-WebSocket-Extensions" in headers:
            headers["Sec-WebSocket-Extensions"] = "permessage-deflate"
        return await super().socket(request.clone(headers=headers))


class CompressesWhateverIsOffered(CompressesUnasked):
    """The extension is chosen whenever one is offered, whichever it is."""

    offered = True


class BareText(TinyChat):
    """M-1: each token is a bare text frame."""

    async def send(self, socket: web.WebSocketResponse, event: dict[str, Any]) -> None:
        """Send the token without its envelope."""
        if event["type"] == "token":
            with suppress(ConnectionError):
                await socket.send_str(event["token"])
        else:
            await super().send(socket, event)


class AllAtTheEnd(TinyChat):
    """TURN-5: the answer is sent when it is complete."""

    async def ask(self, prompt: str) -> AsyncGenerator[str, None]:
        """Collect everything first."""
        # `aclosing`, since a generator that is left in the middle would end its Claude only when it is
        # collected.
        async with aclosing(super().ask(prompt)) as pieces:
            yield "".join([piece async for piece in pieces])


class OneForAll(TinyChat):
    """M-2: an open socket holds everybody else up."""

    def __init__(self, claude: Path) -> None:
        super().__init__(claude)
        self.busy = asyncio.Lock()

    async def turn(self, message: dict[str, Any], send: Callable[[dict[str, Any]], Awaitable[None]]) -> str:
        """Hold everybody up for the length of a turn."""
        async with self.busy:
            return await super().turn(message, send)

    async def health(self, request: web.Request) -> web.Response:
        """Wait for one's turn."""
        async with self.busy:
            return await super().health(request)


@asynccontextmanager
async def serving(chat: RawChat | TinyChat, *, port: int = 0) -> AsyncIterator[str]:
    """A server on a free port of loopback for the length of the block; gives its URL."""
    if isinstance(chat, RawChat):
        async with listening(chat.serve, port) as taken:
            yield f"http://127.0.0.1:{taken}"
        return
    runner = web.AppRunner(chat.app(), shutdown_timeout=0.1)
    await runner.setup()
    try:
        # Before the first connection: `received` puts its tasks into this group.
        async with chat.turns:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
