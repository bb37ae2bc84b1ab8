"""One WebSocket connection: messages in, the logs it follows out, pings meanwhile."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
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

logger = logging.getLogger(__name__)

MISSED_PONGS = 3
"""A peer that answers none of so many pings in a row is dead (KEEP-2)."""

CLOSE_SECONDS = 2.0
"""How long the closing handshake may take."""

LOGIN_LOOK_SECONDS = 60.0
"""How often it is looked whether a login still is good, and so how late its end by another server is noticed."""

LOGIN_EXPIRED = 4401
"""Close code of a connection whose login has ended (CLOSE-2)."""

LAST_CODE = 4999
"""The highest code that a close frame may carry (RFC 6455 §7.4.2)."""

_CLOSED_TYPES = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED)

HIGH_WATER = 65_536
"""With more bytes than these waiting to be sent a reader is behind; asyncio's own mark, so that ``drain`` waits too."""

SEND_BUFFER = 131_072
"""What the kernel may hold for a reader, as SO_SNDBUF; left alone, it takes megabytes before anybody notices that
nothing is read."""

LARGE = 65_536
"""From so many characters on a message is a large one."""

READ_BATCH = 4
"""So many events are taken from a log at once; a whole answer may be large."""


class Connection:
    """A WebSocket of one user.

    What a log gets is written in the very call that appends it. A reader who does not take it falls behind: then only
    pings are written, and the rest waits in the logs until the transport has room again. A peer that neither answers
    any of ``MISSED_PONGS`` pings nor takes anything meanwhile is dropped.
    """

    __slots__ = (
        "_catching_up",
        "_cursors",
        "_ending",
        "_expiring",
        "_expiry",
        "_inflow",
        "_keepalive",
        "_large",
        "_lasts",
        "_loop",
        "_most_marks",
        "_next_ping",
        "_obeying",
        "_request",
        "_seconds_left",
        "_transport",
        "_turns",
        "_unanswered",
        "_watched",
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
        lasts: float | None,
        seconds_left: Callable[[], Awaitable[float]],
    ) -> None:
        """``lasts`` is for how many seconds the login is good; ``None`` is for ever.

        ``seconds_left`` asks that once more: it may have been used since, or ended elsewhere. ``large`` is the lock
        for who decodes a large message, and ``most_marks`` what such a one may have (``decode_client``).
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
        self._lasts = lasts
        self._seconds_left = seconds_left
        self._loop = asyncio.get_running_loop()
        self._cursors: dict[TurnLog, int] = {}  # by log, the last seq that was written
        self._watched: tuple[str, ...] = ()  # conversations; an empty set is 200 bytes for each who is idle
        self._unanswered = 0  # pings since the last sign of life
        self._obeying = False  # a message; the pongs behind it are not read meanwhile
        self._next_ping: asyncio.TimerHandle | None = None
        self._catching_up: asyncio.Task[None] | None = None  # while the reader is behind
        self._expiry: asyncio.TimerHandle | None = None
        self._expiring: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None  # closes it, because too much comes

    async def run(self) -> None:
        """Serve until the connection ends; turns go on (CLOSE-3)."""
        self._next_ping = self._loop.call_later(self._keepalive, self._ping)
        received = 0
        if self._lasts is not None:
            self._expire_in(self._lasts)
        try:
            while (frame := await self._ws.receive()).type not in _CLOSED_TYPES:
                self._unanswered = 0
                received += 1
                if not received % FRAMES_AT_ONCE:
                    await asyncio.sleep(0)  # whatever waits here is taken without a round of the loop
                match frame.type:
                    case WSMsgType.TEXT:
                        self._inflow.taken()
                        self._obeying = True
                        await self._handle(frame.data)
                        self._obeying = False
                        await self._drain_if_full()  # who only asks, and reads nothing, waits
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
            if self._expiry is not None:
                self._expiry.cancel()
            await self._cleanup()

    async def _answer_close(self, frame: WSMessage) -> None:
        if frame.type is WSMsgType.CLOSE:
            # aiohttp lets these through, which no close frame may carry (RFC 6455 §7.4).
            forbidden = frame.data == WSCloseCode.ABNORMAL_CLOSURE or frame.data > LAST_CODE
            code = WSCloseCode.PROTOCOL_ERROR if forbidden else WSCloseCode.OK
            await self._ws.close(code=code, drain=False)

    async def _cleanup(self) -> None:
        """Leave the logs and the turns, and end what helped."""
        for log in tuple(self._cursors):
            self._unfollow(log)
        for conversation_id in self._watched:
            self._turns.unsubscribe(conversation_id, self)
        helpers = [task for task in (self._catching_up, self._expiring, self._ending) if task is not None]
        for task in helpers:
            task.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)

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
        """Decode what takes milliseconds: one such message in a round of the loop, whoever sends them."""
        async with self._large:
            await asyncio.sleep(0)
            return decode_client(text, self._most_marks)

    async def _subscribe(self, message: Subscribe) -> None:
        log = await self._turns.follow(
            self.login.user, message.conversation_id, message.message_id, message.after
        )
        if message.message_id is None and message.conversation_id not in self._watched:
            self._watched = (*self._watched, message.conversation_id)
            self._turns.subscribe(message.conversation_id, self)
        if log is not None:
            self._unfollow(log)
            self._follow(log, message.after)

    async def _cancel(self, message: Cancel) -> None:
        log = await self._turns.cancel(self.login.user, message.message_id, message.conversation_id)
        if log in self._cursors:
            return  # its terminal event comes when its turn comes
        if log.ended:
            self._send(log.read(log.last - 1)[0])  # CANCEL-2
        else:
            self._follow(log, log.last)

    def _follow(self, log: TurnLog, after: int = 0) -> None:
        """Send ``accepted`` and the events after ``after``, unless this connection follows the turn already."""
        if log in self._cursors:
            return
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
        """Write what is beyond the cursors, whenever the transport has room, until nothing is."""
        try:
            while self._full() or any(cursor < log.last for log, cursor in self._cursors.items()):
                await self._request.writer.drain()
                self._unanswered = 0  # it takes what it is sent
                for log in tuple(self._cursors):
                    self._send_pending(log)
        except ConnectionError:
            return  # the receiving side sees it too
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
            self._transport.abort()  # a close frame would wait behind what the peer left unread
            return
        if not self._obeying:
            self._unanswered += 1
        self._write(PING)
        self._next_ping = self._loop.call_later(self._keepalive, self._ping)

    def _exceed(self, code: int, reason: str) -> None:
        logger.info("= connection of %s closed: %s", self.login.user, reason)
        self._ending = asyncio.create_task(self.close(code, reason))

    def _expire_in(self, seconds: float) -> None:
        self._expiry = self._loop.call_later(min(seconds, LOGIN_LOOK_SECONDS), self._expire)

    def _expire(self) -> None:
        self._expiring = asyncio.create_task(self._close_when_expired())

    async def _close_when_expired(self) -> None:
        try:
            left = await self._seconds_left()
        except ChatError:
            left = LOGIN_LOOK_SECONDS  # the store cannot say it now
        if left > 0:
            self._expire_in(left)
        else:
            await self.close(LOGIN_EXPIRED, "the login has expired")
