"""A connection is closed when its login ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from chat_server.errors import ChatError

CHECK_SECONDS = 60.0
"""How often a login is checked, and so how late its end by another server is noticed."""

LOGIN_EXPIRED = 4401
"""Close code of a connection whose login has ended (CLOSE-2)."""


class Closable(Protocol):
    """A connection (web/connection.py)."""

    async def close(self, code: int, reason: str) -> None:
        """Close it."""


class LoginTimer:
    """Closes a connection when its login has expired, or was ended elsewhere.

    A timer, not a task: thousands of connections wait like this. Connections whose login never expires have none.
    """

    __slots__ = ("_check_task", "_seconds", "_seconds_left", "_timer")

    def __init__(self, seconds: float, seconds_left: Callable[[], Awaitable[float]]) -> None:
        """``seconds`` is for how long the login is good; ``seconds_left`` asks the store for the same, later."""
        self._seconds = seconds
        self._seconds_left = seconds_left
        self._timer: asyncio.TimerHandle | None = None
        self._check_task: asyncio.Task[None] | None = None

    def start(self, connection: Closable) -> None:
        """Check the login from now on."""
        self._check_in(self._seconds, connection)

    async def stop(self) -> None:
        """Check no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._check_task is not None:
            self._check_task.cancel()
            await asyncio.wait([self._check_task])

    def _check_in(self, seconds: float, connection: Closable) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(min(seconds, CHECK_SECONDS), self._start_check, connection)

    def _start_check(self, connection: Closable) -> None:
        self._check_task = asyncio.create_task(self._check(connection))

    async def _check(self, connection: Closable) -> None:
        try:
            # Its use since then may have extended the login.
            left = await self._seconds_left()
        except ChatError:
            # The store is unavailable: ask again later.
            left = CHECK_SECONDS
        if left > 0:
            self._check_in(left, connection)
        else:
            await connection.close(LOGIN_EXPIRED, "the login has expired")
