"""What one user may have of the server at the same time: sockets, and bytes that wait to be read."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from chat_server.errors import RateLimited

REQUESTS_AT_ONCE = 4
BODIES_AT_ONCE = 2
"""Of one user. A body may be as long as the longest message."""

RETRY_SECONDS = 5.0
"""When a refused connection may try again: nobody knows when the user closes another one."""


class Shares:
    """The sockets and the waiting bytes of all users.

    Args:
        sockets: How many WebSockets a user may have; 0 is any number.
        bytes_of_user: How many bytes of a user's messages may have come that were not read yet, unfinished ones
            included.
        bytes_in_all: How many those of all users may be together. Where they are more, each user has an equal part.

    Attributes:
        large: Held while a large message is decoded, so that the loop decodes one of them in each round.
    """

    def __init__(self, *, sockets: int, bytes_of_user: int, bytes_in_all: int) -> None:
        self._most_sockets = sockets
        self._bytes_of_user = bytes_of_user
        self._bytes_in_all = bytes_in_all
        self._sockets: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._sum = 0
        self.large = asyncio.Lock()
        self._requests: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._bodies: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @property
    def waiting(self) -> int:
        """The bytes that wait, of all users."""
        return self._sum

    def request(self, user: str) -> asyncio.Semaphore:
        """For who serves a request of a user: a few at once; the others wait, and other users do not."""
        # Held by weak references: it lives while requests of the user use it, so that users who left cost nothing.
        return self._requests.setdefault(user, asyncio.Semaphore(REQUESTS_AT_ONCE))

    def body(self, user: str) -> asyncio.Semaphore:
        """For who reads the body of a user's request."""
        return self._bodies.setdefault(user, asyncio.Semaphore(BODIES_AT_ONCE))

    @contextmanager
    def socket(self, user: str) -> Iterator[None]:
        """Count a WebSocket for the length of the block.

        Raises:
            RateLimited: The user has as many as is allowed.
        """
        if self._most_sockets and self._sockets[user] >= self._most_sockets:
            raise RateLimited(
                f"{self._most_sockets} connections of yours are open; close one", retry_after=RETRY_SECONDS
            )
        self._sockets[user] += 1
        try:
            yield
        finally:
            self._sockets[user] -= 1
            if not self._sockets[user]:
                del self._sockets[user]

    def wait(self, user: str, more: int) -> bool:
        """Count bytes that have come, or, with a minus, were read; whether the user has no more than is allowed."""
        self._sum += more
        self._bytes[user] += more
        own = self._bytes[user]
        if not own:
            del self._bytes[user]
            return True
        # Only users with waiting bytes are in `_bytes`. Of 100 MB each of four may have 25 once it is full.
        if self._sum > self._bytes_in_all and own > self._bytes_in_all // len(self._bytes):
            return False
        return own <= self._bytes_of_user
