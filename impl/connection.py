"""One WebSocket connection: messages in, the logs it follows out, pings meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from math import inf
from typing import assert_never

from aiohttp import WSMsgType, web

from impl.auth import Login
from impl.errors import BadRequest, ChatError, Unavailable
from impl.log import TurnLog
from impl.messages import Cancel, ChatRequest, ServerMessage, Subscribe, decode_client, encode, refusal
from impl.turns import Turns

logger = logging.getLogger(__name__)

MISSED_PONGS = 3
"""A peer that answers none of so many pings in a row is dead (KEEP-2)."""

CLOSE_SECONDS = 2.0
"""How long the closing handshake may take."""

LOGIN_EXPIRED = 4401
"""Close code of a connection whose login has ended (CLOSE-2)."""


@dataclass(eq=False)
class _Cursor:
    """How far this connection has read a turn."""

    seq: int
    greeted: bool = False  # accepted was sent


class Connection:
    """A WebSocket of one user.

    The receiving side obeys messages; the writing side sends what the followed logs have beyond this connection's
    cursors, and a ping at every interval. A reader that takes nothing for ``MISSED_PONGS`` intervals is dropped, and
    meanwhile costs nothing but its cursors.
    """

    def __init__(
        self,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport,
        login: Login,
        turns: Turns,
        *,
        keepalive: float,
        lasts: float | None,
    ) -> None:
        """``lasts`` is for how many seconds the login is good; ``None`` is for ever."""
        self._ws = ws
        self._transport = transport
        self.login = login
        self._user = login.user
        self._turns = turns
        self._keepalive = keepalive
        self._lasts = lasts
        self._cursors: dict[TurnLog, _Cursor] = {}
        self._watched: set[str] = set()
        self._wake = asyncio.Event()
        self._unanswered = 0  # pings since the last sign of life
        self._next_ping = 0.0

    async def run(self) -> None:
        """Serve until the connection ends; turns go on (CLOSE-3)."""
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self._write())
                await self._receive()
                writer.cancel()
        except* (ConnectionError, TimeoutError) as errors:
            logger.info("= connection of %s dropped: %s", self._user, errors.exceptions[0])
            self._transport.abort()  # a close frame would wait behind what the peer left unread
        except* Exception:
            logger.exception("the connection of %s failed", self._user)
            self._transport.abort()
        finally:
            for log in self._cursors:
                log.unlisten(self._wake.set)
            for conversation_id in self._watched:
                self._turns.unwatch(conversation_id, self._follow)

    async def close(self, code: int, reason: str) -> None:
        """Close with a code of CLOSE-2; a peer that does not take it in time is dropped."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._ws.close(code=code, message=reason.encode())
        except TimeoutError:
            self._transport.abort()

    async def _receive(self) -> None:
        async for frame in self._ws:
            self._unanswered = 0
            match frame.type:
                case WSMsgType.TEXT:
                    await self._obey(frame.data)
                case WSMsgType.BINARY:
                    await self._send(
                        refusal(BadRequest("binary messages are not understood; send JSON text"))
                    )
                case WSMsgType.PING:
                    await self._ws.pong(frame.data)  # FRAME-4
                case _:
                    pass

    async def _obey(self, text: str) -> None:
        message_id = None
        try:
            message = decode_client(text)
            message_id = message.message_id
            match message:
                case ChatRequest():
                    log = await self._turns.start(
                        self._user, message.message, message_id, message.conversation_id
                    )
                    self._follow(log)
                case Subscribe():
                    await self._subscribe(message)
                case Cancel():
                    await self._cancel(message)
                case _:
                    assert_never(message)
        except ChatError as error:
            await self._send(refusal(error, message_id))
        except (ConnectionError, TimeoutError):
            raise
        except Exception:
            logger.exception("a message of %s failed", self._user)
            failure = Unavailable("the server failed on this message; it is in its log")
            await self._send(refusal(failure, message_id))

    async def _subscribe(self, message: Subscribe) -> None:
        log = await self._turns.follow(self._user, message.conversation_id, message.message_id, message.after)
        if message.message_id is None and message.conversation_id not in self._watched:
            self._watched.add(message.conversation_id)
            self._turns.watch(message.conversation_id, self._follow)
        if log is not None:
            self._cursors.pop(log, None)
            self._follow(log, message.after)

    async def _cancel(self, message: Cancel) -> None:
        log = await self._turns.cancel(self._user, message.message_id, message.conversation_id)
        if log in self._cursors:
            return  # its terminal event comes when its turn comes
        if log.ended:
            await self._send(log.read(log.last - 1)[0])  # CANCEL-2
        else:
            self._follow(log, log.last)

    def _follow(self, log: TurnLog, after: int = 0) -> None:
        """Send ``accepted`` and the events after ``after``, unless this connection follows the turn already."""
        if log not in self._cursors:
            self._cursors[log] = _Cursor(after)
            log.listen(self._wake.set)
            self._wake.set()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        self._next_ping = loop.time() + self._keepalive
        login_ends = inf if self._lasts is None else loop.time() + self._lasts
        while loop.time() < login_ends:
            self._wake.clear()
            for log, cursor in tuple(self._cursors.items()):
                await self._send_news(log, cursor)
            await self._maybe_ping()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(self._next_ping, login_ends)):
                    await self._wake.wait()
        await self.close(LOGIN_EXPIRED, "the login has expired")

    async def _send_news(self, log: TurnLog, cursor: _Cursor) -> None:
        if not cursor.greeted:
            cursor.greeted = True
            await self._send(log.accepted)
        for event in log.read(cursor.seq):
            if self._cursors.get(log) is not cursor:
                return  # a new subscribe has set another
            cursor.seq = event.seq
            await self._send(event)
            await self._maybe_ping()
        if log.ended and cursor.seq == log.last and self._cursors.get(log) is cursor:
            del self._cursors[log]
            log.unlisten(self._wake.set)

    async def _send(self, message: ServerMessage) -> None:
        async with self._patience():
            await self._ws.send_str(encode(message))

    async def _maybe_ping(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._next_ping:
            return
        if self._unanswered >= MISSED_PONGS:
            raise TimeoutError(f"no answer to {self._unanswered} pings")
        self._unanswered += 1
        self._next_ping = now + self._keepalive
        async with self._patience():
            await self._ws.ping()

    def _patience(self) -> asyncio.Timeout:
        return asyncio.timeout(MISSED_PONGS * self._keepalive)
