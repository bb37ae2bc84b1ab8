"""One WebSocket connection: messages in, the logs it follows out, and pings."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import assert_never

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from chat_server.errors import BadRequest, ChatError, Unavailable
from chat_server.frames import PING, text_frame
from chat_server.login.identity import Login
from chat_server.protocol import (
    Cancel,
    ChatRequest,
    ClientMessage,
    ServerMessage,
    Subscribe,
    decode_client,
    encode,
    refusal,
)
from chat_server.turns.event_log import TurnLog
from chat_server.turns.manager import Turns
from chat_server.web.inflow import FRAMES_AT_ONCE, Inflow
from chat_server.web.login_timer import LoginTimer

logger = logging.getLogger(__name__)

MISSED_PONGS = 3
"""Unanswered pings in a row after which a peer is dropped (KEEP-2)."""

CLOSE_SECONDS = 2.0
"""How long the closing handshake may take."""

LAST_CODE = 4999
"""The highest code that a close frame may carry (RFC 6455 §7.4.2)."""

_CLOSED_TYPES = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED)

HIGH_WATER = 65_536
"""A client lags when more bytes than these are unsent; asyncio's own mark, so that ``drain`` waits, too."""

SEND_BUFFER = 131_072
"""What the kernel may buffer for a client, as SO_SNDBUF; by default it takes megabytes before a stalled client is
noticed."""

LARGE = 65_536
"""Messages of at least this many characters are decoded one at a time."""

READ_BATCH = 4
"""Events read from a log in one step; a whole answer may be large."""


class Connection:
    """A WebSocket of one user.

    New events are written in the call that appends them to the log. A client that does not read lags: then only pings
    are written, and the rest stays in the logs until the transport has room again. A peer that neither answers any of
    ``MISSED_PONGS`` pings nor reads anything is dropped.
    """

    __slots__ = (
        "_catching_up",
        "_cursors",
        "_ending",
        "_handling",
        "_inflow",
        "_keepalive",
        "_large",
        "_login_timer",
        "_loop",
        "_most_marks",
        "_next_ping",
        "_request",
        "_subscribed",
        "_transport",
        "_turns",
        "_unanswered",
        "_ws",
        "login",
    )

    def __init__(
        self,
        ws: web.WebSocketResponse,
        request: web.Request,
        login: Login,
        turns: Turns,
        *,
        inflow: Inflow,
        large: asyncio.Lock,
        most_marks: int,
        keepalive: float,
        login_timer: LoginTimer | None,
    ) -> None:
        """``large`` is the lock for decoding a large message, and ``most_marks`` what one may have (``decode_client``).

        ``login_timer`` closes the connection when the login ends; ``None`` where it never does.
        """
        assert request.transport is not None
        self._ws = ws
        self._request = request
        self._transport = request.transport
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.login = login
        self._inflow = inflow
        inflow.on_excess = self._exceed
        self._large = large
        self._most_marks = most_marks
        self._turns = turns
        self._keepalive = keepalive
        self._login_timer = login_timer
        self._loop = asyncio.get_running_loop()
        self._cursors: dict[TurnLog, int] = {}  # by log, the last seq that was written
        # Conversations whose turns it follows. A tuple, since an empty set costs each idle connection 200 bytes.
        self._subscribed: tuple[str, ...] = ()
        self._unanswered = 0  # pings since the last sign of life
        # While a message is handled the pongs behind it are not read, so no ping counts as unanswered.
        self._handling = False
        self._next_ping: asyncio.TimerHandle | None = None
        self._catching_up: asyncio.Task[None] | None = None  # while the client lags
        # Closes it, because the client sends too much.
        self._ending: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve until the connection ends; turns continue (CLOSE-3)."""
        self._next_ping = self._loop.call_later(self._keepalive, self._ping)
        received = 0
        if self._login_timer is not None:
            self._login_timer.start(self)
        try:
            while (frame := await self._ws.receive()).type not in _CLOSED_TYPES:
                self._unanswered = 0
                received += 1
                if not received % FRAMES_AT_ONCE:
                    # Messages that are here already are received without a round of the loop; others need one.
                    await asyncio.sleep(0)
                match frame.type:
                    case WSMsgType.TEXT:
                        self._inflow.taken()
                        self._handling = True
                        await self._handle(frame.data)
                        self._handling = False
                        # A client that sends and does not read is read no further.
                        await self._drain_if_full()
                    case WSMsgType.BINARY:
                        self._inflow.taken()
                        self._send(refusal(BadRequest("binary messages are not understood; send JSON text")))
                        await self._drain_if_full()
                    case WSMsgType.PING:
                        await self._ws.pong(frame.data)  # FRAME-4
                    case _:
                        pass
            await self._answer_close(frame)
        except ConnectionError as error:
            logger.info("= connection of %s dropped: %s", self.login.user, error)
        except Exception as error:  # noqa: BLE001 - it is logged
            self._fail(error)
        finally:
            self._next_ping.cancel()
            await self._cleanup()

    async def _answer_close(self, frame: WSMessage) -> None:
        if frame.type is WSMsgType.CLOSE:
            # Codes that no close frame may carry (RFC 6455 §7.4), though aiohttp accepts them.
            forbidden = frame.data == WSCloseCode.ABNORMAL_CLOSURE or frame.data > LAST_CODE
            code = WSCloseCode.PROTOCOL_ERROR if forbidden else WSCloseCode.OK
            await self._ws.close(code=code, drain=False)

    async def _cleanup(self) -> None:
        """Unsubscribe from logs and turns, and end the helper tasks."""
        for log in tuple(self._cursors):
            self._unfollow(log)
        for conversation_id in self._subscribed:
            self._turns.unsubscribe(conversation_id, self)
        helpers = [task for task in (self._catching_up, self._ending) if task is not None]
        for task in helpers:
            task.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        if self._login_timer is not None:
            await self._login_timer.stop()

    async def close(self, code: int, reason: str) -> None:
        """Close with a code of CLOSE-2; a peer that does not take it in time is dropped."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._ws.close(code=code, message=reason.encode())
        except TimeoutError:
            self._transport.abort()

    async def _handle(self, text: str) -> None:
        message_id = None
        try:
            message = decode_client(text) if len(text) < LARGE else await self._decode_large(text)
            message_id = message.message_id
            match message:
                case ChatRequest():
                    log = await self._turns.start(
                        self.login.user, message.message, message_id, message.conversation_id
                    )
                    self._follow(log)
                case Subscribe():
                    await self._subscribe(message)
                case Cancel():
                    await self._cancel(message)
                case _:
                    assert_never(message)
        except ChatError as error:
            self._send(refusal(error, message_id))
        except Exception:
            logger.exception("a message of %s failed", self.login.user)
            failure = Unavailable("the server failed on this message; it is in its log")
            self._send(refusal(failure, message_id))

    async def _decode_large(self, text: str) -> ClientMessage:
        """Decode what takes milliseconds: one such message in a round of the loop, for all connections."""
        async with self._large:
            await asyncio.sleep(0)
            return decode_client(text, self._most_marks)

    async def _subscribe(self, message: Subscribe) -> None:
        log = await self._turns.follow(
            self.login.user, message.conversation_id, message.message_id, message.after
        )
        if message.message_id is None and message.conversation_id not in self._subscribed:
            self._subscribed = (*self._subscribed, message.conversation_id)
            self._turns.subscribe(message.conversation_id, self)
        if log is not None:
            self._unfollow(log)
            # `_follow` ignores a log that is followed already, but a second subscribe counts from its own `after`.
            self._follow(log, message.after)

    async def _cancel(self, message: Cancel) -> None:
        log = await self._turns.cancel(self.login.user, message.message_id, message.conversation_id)
        if log in self._cursors:
            # The terminal event comes after the events before it.
            return
        if log.ended:
            self._send(log.read(log.last - 1)[0])  # CANCEL-2
        else:
            self._follow(log, log.last)

    def _follow(self, log: TurnLog, after: int = 0) -> None:
        """Send ``accepted`` and the events after ``after``, unless this connection follows the turn already."""
        if log in self._cursors:
            return
        # No await from here to the end: an event that came in between could be missed, or sent twice.
        self._cursors[log] = after
        log.subscribe(self)
        self._send(log.accepted)
        if self._catching_up:
            log.set_lagging(self, lagging=True)
        else:
            self._send_pending(log)

    def _unfollow(self, log: TurnLog) -> None:
        self._cursors.pop(log, None)
        log.unsubscribe(self)

    def on_turn_started(self, log: TurnLog) -> None:
        """Follow a turn of a conversation that this client has subscribed to."""
        self._follow(log)

    def on_log_update(self, log: TurnLog) -> None:
        """Send new events; an error here must not reach the writer of the log."""
        if self._catching_up:
            return
        try:
            self._send_pending(log)
        except Exception as error:  # noqa: BLE001 - it is logged
            self._fail(error)

    def _send_pending(self, log: TurnLog) -> None:
        """Write what is beyond the cursor, as far as the transport has room."""
        cursor = self._cursors[log]
        # Nearly always the reader is one event behind: that frame is encoded once for all readers.
        while cursor < (last := log.last):
            if self._full():
                self._start_catch_up()
                return
            if cursor == last - 1:
                self._write(log.newest())
                cursor += 1
            else:
                for event in log.read(cursor, READ_BATCH):
                    self._write(text_frame(encode(event)))
                    cursor = event.seq
            self._cursors[log] = cursor
        if log.ended:
            self._unfollow(log)

    def _fail(self, error: Exception) -> None:
        logger.error("the connection of %s failed", self.login.user, exc_info=error)
        self._transport.abort()

    def _send(self, message: ServerMessage) -> None:
        self._write(text_frame(encode(message)))

    def _write(self, frame: bytes) -> None:
        # Nothing comes after a close frame (RFC 6455 §5.5.1), and a client may have left while its answer was due.
        if not self._ws.closed and not self._transport.is_closing():
            self._transport.write(frame)

    def _full(self) -> bool:
        return self._transport.get_write_buffer_size() > HIGH_WATER

    def _start_catch_up(self) -> None:
        for log in self._cursors:
            log.set_lagging(self, lagging=True)
        if self._catching_up is None:
            self._catching_up = asyncio.create_task(self._catch_up())

    async def _catch_up(self) -> None:
        """Write what is beyond the cursors, as the transport gets room, until the client lags no more."""
        try:
            # While this task lives it alone writes the events of followed logs (`on_log_update` returns at once), so
            # their order is kept. Between the last look at the cursors and `set_lagging` below there is no await:
            # no event comes that neither of the two would write.
            while self._full() or any(cursor < log.last for log, cursor in self._cursors.items()):
                await self._request.writer.drain()
                # The client reads: its pongs may be behind much that it still has to read.
                self._unanswered = 0
                for log in tuple(self._cursors):
                    self._send_pending(log)
        except ConnectionError:
            return  # `run` gets the same error
        except Exception as error:  # noqa: BLE001 - it is logged
            self._fail(error)
            return
        finally:
            self._catching_up = None
        for log in self._cursors:
            log.set_lagging(self, lagging=False)

    async def _drain_if_full(self) -> None:
        if self._full():
            await self._request.writer.drain()

    def _ping(self) -> None:
        if self._unanswered >= MISSED_PONGS:
            logger.info(
                "= connection of %s dropped: no answer to %d pings", self.login.user, self._unanswered
            )
            # No close frame: it would wait behind all that the peer has not read.
            self._transport.abort()
            return
        if not self._handling:
            self._unanswered += 1
        self._write(PING)
        self._next_ping = self._loop.call_later(self._keepalive, self._ping)

    def _exceed(self, code: int, reason: str) -> None:
        logger.info("= connection of %s closed: %s", self.login.user, reason)
        self._ending = asyncio.create_task(self.close(code, reason))
