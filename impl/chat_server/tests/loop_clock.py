"""The clock of the event loop, which a test moves, and the patience of tests, which is not moved with it.

No test waits until a timer of the server runs out: on a busy machine whatever should happen before might not. A timer
that is to run out lasts ``LONG``, and the test moves the clock once everything else has happened. One that must not
run out lasts for ``EVER``. A grace that nothing can use is 0.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fake_claude.patience import patience

PATIENCE = patience(60.0)
"""Seconds after which a test that waits for an event has failed."""

LONG = 60.0
"""Seconds of a timer that runs out when the test moves the clock so far."""

EVER = 1e6
"""Seconds of a timer that does not run out in any test."""

_waiting: set[asyncio.Timeout] = set()


@asynccontextmanager
async def in_time(seconds: float = PATIENCE) -> AsyncIterator[None]:
    """What is waited for in the block must come; however far the clock is moved, within this time.

    Raises:
        TimeoutError: It did not come.
    """
    async with asyncio.timeout(seconds) as timeout:
        _waiting.add(timeout)
        try:
            yield
        finally:
            _waiting.discard(timeout)


class LoopClock:
    """The running loop's clock, by which all its timers go. Time passes as always, and ``advance`` adds to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self._now = loop.time
        self._ahead = 0.0
        monkeypatch.setattr(loop, "time", self._time)

    def advance(self, seconds: float = LONG) -> None:
        """Move the clock; timers that are over by then run out in the loop's next round."""
        self._ahead += seconds
        for timeout in _waiting:
            if not timeout.expired() and (when := timeout.when()) is not None:
                timeout.reschedule(when + seconds)

    def advance_soon(self, seconds: float = LONG) -> None:
        """Do so in the loop's next round, when the caller has begun to wait for a timer."""
        asyncio.get_running_loop().call_soon(self.advance, seconds)

    def _time(self) -> float:
        return self._now() + self._ahead
