"""Mutants of HTTP, handshakes, frames and messages."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import Any

import aiohttp.http_websocket
import aiohttp.web
import msgspec
from aiohttp import hdrs

import chat_server.app
import chat_server.frames
import chat_server.protocol
import chat_server.turns.event_log
import chat_server.web.connection
import chat_server.web.handlers
import chat_server.web.keys
import chat_server.web.middleware
from chat_conformance.mutants.registry import Patch, always, breaks, patched, put, replace_handler
from chat_conformance.wire.frames import Frame, Opcode, encode_frame
from chat_server.errors import (
    BadRequest,
)
from chat_server.frames import PING
from chat_server.protocol import ChatRequest
from chat_server.web.connection import Connection


@breaks("any-origin")
def any_origin() -> None:
    """Pages of any origin may ask."""
    put(chat_server.web.middleware, "check_origin", always(None))


@breaks("any-frame-size")
def any_frame_size() -> None:
    """Frames may be of any size."""
    put(
        aiohttp.web,
        "WebSocketResponse",
        lambda old: lambda *args, **kw: old(*args, **{**kw, "max_msg_size": 0}),
    )


@breaks("handshake-without-key-is-500")
def handshake_without_key_is_500() -> None:
    """A missing key calls an error helper wrongly."""

    def make(check: Any) -> Any:
        def mutant(request: Any) -> None:
            if hdrs.SEC_WEBSOCKET_KEY not in request.headers:
                raise TypeError("send_error() takes 2 positional arguments but 3 were given")
            check(request)

        return mutant

    # An error that is no answer of the server's: it becomes a status of 50x, and a traceback in the log.
    put(chat_server.web.handlers, "check_handshake", make)


@breaks("one-missed-pong")
def one_missed_pong() -> None:
    """One missed pong is the end."""
    put(chat_server.web.connection, "MISSED_PONGS", lambda _: 1)


@breaks("dead-peers-stay")
def dead_peers_stay() -> None:
    """Missed pongs are not counted."""
    put(chat_server.web.connection, "MISSED_PONGS", lambda _: 1 << 30)


patched(
    "login-never-ends",
    "An open connection outlives its login.",
    Patch(
        "web/connection.py", "self._login_timer = login_timer", "self._login_timer: LoginTimer | None = None"
    ),
)


@breaks("head-from-first-read")
def head_from_first_read() -> None:
    """What the first read returns is taken for the whole head of a request."""

    def make(data_received: Any) -> Any:
        def mutant(self: Any, data: bytes) -> None:
            # Only before the first request: what comes later may be frames, which the fault is not about.
            if not self._request_count and b"\r\n\r\n" not in data:
                self.force_close()
            else:
                data_received(self, data)

        return mutant

    put(aiohttp.web.RequestHandler, "data_received", make)


@breaks("drops-without-close")
def drops_without_close() -> None:
    """A server that stops drops its connections without a close."""

    async def nothing(_app: Any) -> None:
        return

    put(chat_server.app, "close_sockets", lambda _: nothing)


@breaks("departed-reader-blocks")
def departed_reader_blocks() -> None:
    """A reader that cannot take more, and goes, is behind for ever."""

    def make(let_go: Any) -> Any:
        async def mutant(self: Connection) -> None:
            # Without cursors the clean-up unsubscribes from nothing: a reader that lagged lags for ever, and
            # pauses the turn.
            self._cursors.clear()
            await let_go(self)

        return mutant

    put(Connection, "_cleanup", make)


@breaks("stalled-reader-blocks-all")
def stalled_reader_blocks_all() -> None:
    """Everybody's words go out one after the other."""
    # Theory: one queue and one task write for all connections. When one of them is full the task waits, and
    # with it all that stands behind in the queue. Pings pass by: else the connections would end for missing
    # them, which is another fault.
    waiting: deque[tuple[Connection, bytes]] = deque()
    pumps: list[asyncio.Task[None]] = []

    def make(write: Any) -> Any:
        async def pump() -> None:
            while waiting:
                connection, frame = waiting.popleft()
                write(connection, frame)
                while connection._full():  # noqa: ASYNC110, SLF001 - a mutant may be crude
                    await asyncio.sleep(0.01)
            pumps.clear()

        def mutant(self: Connection, frame: bytes) -> None:
            if frame == PING:
                write(self, frame)
                return
            waiting.append((self, frame))
            if not pumps:
                pumps.append(asyncio.ensure_future(pump()))

        return mutant

    put(Connection, "_write", make)


@breaks("unbounded-queues")
def unbounded_queues() -> None:
    """Each reader has a queue of its own without a bound."""
    put(Connection, "_full", always(False))
    # A copy for each reader: the log's frame is one object for all of them, and would cost its memory once.
    put(Connection, "_write", lambda write: lambda self, frame: write(self, frame[:1] + frame[1:]))


@breaks("no-subprotocol")
def no_subprotocol() -> None:
    """No subprotocol is selected."""
    put(chat_server.web.handlers, "SUBPROTOCOLS", lambda _: ())


@breaks("short-pongs")
def short_pongs() -> None:
    """A pong has at most half of what a ping may have."""
    put(aiohttp.web.WebSocketResponse, "pong", lambda old: lambda self, data: old(self, data[:62]))


@breaks("masks-its-frames")
def masks_its_frames() -> None:
    """Frames of the server are masked, with a key of zeros."""

    def text_frame(payload: bytes) -> bytes:
        return encode_frame(Frame(Opcode.TEXT, payload, mask=bytes(4)))

    # Events are framed by the log, and all other messages by the connection.
    put(chat_server.web.connection, "text_frame", lambda _: text_frame)
    put(chat_server.turns.event_log, "text_frame", lambda _: text_frame)


@breaks("post-without-ids")
def post_without_ids() -> None:
    """A POST is answered with the answer alone."""

    def make(outcome: Any) -> Any:
        def mutant(log: Any) -> Any:
            status, document = outcome(log)
            return status, {key: value for key, value in document.items() if not key.endswith("_id")}

        return mutant

    put(chat_server.web.handlers, "outcome", make)


@breaks("subprotocol-not-offered")
def subprotocol_not_offered() -> None:
    """The subprotocol is there whatever was offered."""

    def make(add_headers: Any) -> Any:
        async def mutant(request: Any, response: Any) -> None:
            await add_headers(request, response)
            if response.status == 101:
                # Where one was offered aiohttp has chosen already.
                response.headers.setdefault(hdrs.SEC_WEBSOCKET_PROTOCOL, "chat-stream-v1")

        return mutant

    put(chat_server.app, "add_headers", make)


def before_prepare(check: Any) -> None:
    """Look at a request before it becomes a WebSocket."""

    def make(prepare: Any) -> Any:
        async def mutant(self: Any, request: Any) -> Any:
            check(request)
            return await prepare(self, request)

        return mutant

    put(aiohttp.web.WebSocketResponse, "prepare", make)


@breaks("connection-header-exact")
def connection_header_exact() -> None:
    """Connection must be Upgrade and nothing else."""

    def check(request: Any) -> None:
        # One that is missing is left to the real check, and refused there.
        if request.headers.get(hdrs.CONNECTION, "Upgrade") != "Upgrade":
            raise BadRequest("no upgrade is asked for")

    before_prepare(check)


@breaks("wrong-version-is-400")
def wrong_version_is_400() -> None:
    """The response does not say which version is understood."""

    def make(error_answer: Any) -> Any:
        def mutant(error: Any, status: Any = None, headers: Any = None) -> Any:
            return error_answer(error) if status == 426 else error_answer(error, status, headers)

        return mutant

    # `from … import` has bound the name in both.
    for module in (chat_server.web.handlers, chat_server.web.middleware):
        put(module, "error_answer", make)


@breaks("ambiguous-handshake-accepted")
def ambiguous_handshake_accepted() -> None:
    """Of two keys the first counts, and HTTP/1.0 is as good as HTTP/1.1."""
    put(chat_server.web.handlers, "check_handshake", always(None))


@breaks("any-close-code-accepted")
def any_close_code_accepted() -> None:
    """Close codes beyond those that may be used are answered like any other."""
    put(chat_server.web.connection, "LAST_CODE", lambda _: 65_535)


@breaks("one-mib-frame-limit")
def one_mib_frame_limit() -> None:
    """A frame may have a MiB and no more."""
    put(
        aiohttp.web,
        "WebSocketResponse",
        lambda old: lambda *args, **kw: old(*args, **{**kw, "max_msg_size": 1 << 20}),
    )


@breaks("frame-after-close")
def frame_after_close() -> None:
    """A ping follows the close frame."""

    def make(close: Any) -> Any:
        async def mutant(self: Any, *args: Any, **kw: Any) -> None:
            await close(self, *args, **kw)
            # Past aiohttp's writer, which sends nothing more once it is closing.
            self.transport.write(chat_server.frames.PING)

        return mutant

    put(aiohttp.http_websocket.WebSocketWriter, "close", make)


@breaks("message-after-close-obeyed")
def message_after_close_obeyed() -> None:
    """What came in one piece with a close is obeyed."""

    def make(receive: Any) -> Any:
        async def mutant(self: Any) -> Any:
            message = await receive(self)
            # Frames that came in one read are decoded together, so what followed the close waits in the
            # buffer.
            behind = self._reader._buffer if message.type is aiohttp.WSMsgType.CLOSE else ()  # noqa: SLF001
            return behind.popleft()[0] if behind else message

        return mutant

    put(aiohttp.web.WebSocketResponse, "receive", make)


def first_read(look: Any) -> None:
    """Look at a message of a client before it is obeyed."""

    # Messages of all sizes are decoded by this name, so here is one place for all of them.
    def make(decode: Any) -> Any:
        def mutant(text: str, *most: int) -> Any:
            message = decode(text, *most)
            look(message, text)
            return message

        return mutant

    put(chat_server.web.connection, "decode_client", make)


@breaks("unknown-member-refused")
def unknown_member_refused() -> None:
    """A member that is not known is refused."""

    def look(message: Any, text: str) -> None:
        if unknown := json.loads(text).keys() - {"type", *message.__struct_fields__}:
            raise BadRequest(f"unknown members: {unknown}")

    first_read(look)


@breaks("message-id-required")
def message_id_required() -> None:
    """A chat_request must name its message."""

    def look(message: Any, _text: str) -> None:
        if isinstance(message, ChatRequest) and message.message_id is None:
            raise BadRequest("message_id is missing")

    first_read(look)


@breaks("wrong-error-code")
def wrong_error_code() -> None:
    """The code of a refusal is not that of the protocol."""

    def make(refusal: Any) -> Any:
        def mutant(error: Any, message_id: Any) -> Any:
            message = refusal(error, message_id)
            code = "invalid" if message.code == "bad_request" else message.code
            return msgspec.structs.replace(message, code=code)

        return mutant

    put(chat_server.web.connection, "refusal", make)


@breaks("binary-message-closes")
def binary_message_closes() -> None:
    """Who sends bytes is thrown out."""

    def make(refusal: Any) -> Any:
        def mutant(error: Any, *args: Any) -> Any:
            if "binary" in error.message:
                raise ConnectionError
            return refusal(error, *args)

        return mutant

    put(chat_server.web.connection, "refusal", make)


@breaks("new-answers-200")
def new_answers_200() -> None:
    """A new conversation is answered with 200."""

    def make(new: Any) -> Any:
        async def mutant(request: Any) -> Any:
            answer = await new(request)
            answer.set_status(200)
            return answer

        return mutant

    replace_handler("POST", "/chat/new", make)


@breaks("never-healthy")
def never_healthy() -> None:
    """The health check fails."""

    async def health(_request: Any) -> Any:
        return aiohttp.web.Response(status=500)

    replace_handler("GET", "/health", lambda _: health)


@breaks("failed-post-is-200")
def failed_post_is_200() -> None:
    """A POST whose turn fails is answered with what there is."""

    def make(outcome: Any) -> Any:
        def mutant(log: Any) -> Any:
            status, document = outcome(log)
            # As a server that looks for text only: a turn that failed has an answer, which is empty.
            return (status, document) if status == 200 else (200, {"response": ""})

        return mutant

    put(chat_server.web.handlers, "outcome", make)


@breaks("broken-form-is-500")
def broken_form_is_500() -> None:
    """A form is taken for one that can be read."""
    put(chat_server.web.handlers, "read_form", lambda _: lambda request, _seconds: request.post())


@breaks("script-from-elsewhere")
def script_from_elsewhere() -> None:
    """The page loads a script of another site."""

    async def page(_request: Any) -> Any:
        script = '<script src="https://cdn.example/chat.js"></script>'
        return aiohttp.web.Response(text=script, content_type="text/html")

    replace_handler("GET", "/chat/", lambda _: page)


@breaks("post-waits-for-others")
def post_waits_for_others() -> None:
    """A POST is answered when no other turn runs."""

    def make(post: Any) -> Any:
        async def mutant(request: Any) -> Any:
            while request.app[chat_server.web.keys.TURNS].running:  # noqa: ASYNC110 - a mutant may be crude
                await asyncio.sleep(0.01)
            return await post(request)

        return mutant

    replace_handler("POST", "/chat", make)


# Where two mutants step in: at a refusal, where the connection and the turns that it follows are at hand.
REFUSED = (
    "        except ChatError as error:\n"
    "            self._send(refusal(error, message_id))\n"
    "        except Exception:\n"
)

patched(
    "lone-surrogate-fails-message",
    "A lone surrogate in a message of a client cannot be encoded.",
    Patch(
        "web/connection.py",
        "        message_id = None\n        try:\n",
        "        import json\n\n"
        "        message_id = None\n        try:\n"
        '            if "\\\\ud8" in text:\n'
        "                json.dumps(json.loads(text), ensure_ascii=False).encode()\n",
    ),
)

patched(
    "complete-sent-twice",
    "The end of a turn is sent twice.",
    Patch(
        "web/connection.py",
        "            self._transport.write(frame)\n",
        "            self._transport.write(frame)\n"
        '            if b\'"type":"complete"\' in frame:\n'
        "                self._transport.write(frame)\n",
    ),
)

patched(
    "non-ascii-key-is-503",
    "A key that is not ASCII is taken for one in base64.",
    Patch("web/handlers.py", "    _check_key(request)\n    ws = ", "    ws = "),
)

patched(
    "non-object-ignored",
    "JSON that is no object is passed over in silence.",
    Patch(
        "web/connection.py",
        "        message_id = None\n        try:\n",
        '        if text.startswith(("[", "7", "null")):\n            return\n'
        "        message_id = None\n        try:\n",
    ),
)

patched(
    "bad-message-closes",
    "A client whose message is not understood is disconnected.",
    Patch(
        "web/connection.py",
        REFUSED,
        "        except ChatError as error:\n"
        "            if isinstance(error, BadRequest):\n"
        "                self._transport.abort()\n" + REFUSED.partition("\n")[2],
    ),
)

patched(
    "bad-message-cancels-turn",
    "A message that is not understood cancels the turns that its connection follows.",
    Patch(
        "web/connection.py",
        REFUSED,
        "        except ChatError as error:\n"
        "            if isinstance(error, BadRequest):\n"
        "                for turn in self._turns._recent.values():\n"
        "                    if turn.log in self._cursors:\n"
        "                        turn.stop()\n" + REFUSED.partition("\n")[2],
    ),
)
