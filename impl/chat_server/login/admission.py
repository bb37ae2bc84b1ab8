"""How many logins may be under way at the forge: few from one address, so that those of others get through."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from chat_server.errors import RateLimited

AT_ONCE = 16
"""Logins that wait for the forge's answer, which comes within seconds; further ones wait in turn."""

FROM_ONE_ADDRESS = 4
"""Logins in progress from one address, the waiting ones included; one more is refused."""

RETRY_SECONDS = 5.0


class LoginGate:
    """Counts the logins under way."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)
        self._of_address: Counter[str] = Counter()

    @asynccontextmanager
    async def passed(self, address: str) -> AsyncIterator[None]:
        """Have a login under way for the length of the block, once there is a place.

        Raises:
            RateLimited: There are too many from this address.
        """
        # Those that wait count, too: else one address could fill the queue, and all others would stand behind it.
        if self._of_address[address] >= FROM_ONE_ADDRESS:
            sentence = "too many logins from your address are under way; try again in a moment"
            raise RateLimited(sentence, retry_after=RETRY_SECONDS)
        self._of_address[address] += 1
        try:
            async with self._places:
                yield
        finally:
            self._of_address[address] -= 1
            if not self._of_address[address]:
                del self._of_address[address]


def client_address(request: web.BaseRequest) -> str:
    """Where a request comes from: by the last entry of X-Forwarded-For where a proxy on this machine passed it on."""
    remote = request.remote or ""
    try:
        local = ipaddress.ip_address(remote).is_loopback
    except ValueError:
        local = True
    # Only the last entry was written by the proxy; those before it are what the client said of itself.
    passed_on = request.headers.getall("X-Forwarded-For", []) if local else []
    return passed_on[-1].rpartition(",")[2].strip()[:64] if passed_on else remote
