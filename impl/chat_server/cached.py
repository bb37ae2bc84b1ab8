"""An answer that is kept for a moment, so that asking often costs no more than asking now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """What ``ask`` gave, for some seconds. Callers in that time get the same, or wait for it."""

    def __init__(self, ask: Callable[[], Awaitable[T]], seconds: float) -> None:
        self._ask = ask
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self._kept: tuple[T, float] | None = None

    async def __call__(self) -> T:
        """The answer, no older than that."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            if self._kept is None or loop.time() - self._kept[1] >= self._seconds:
                self._kept = None
                self._kept = (await self._ask(), loop.time())
            return self._kept[0]
