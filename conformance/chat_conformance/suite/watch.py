"""Stop a case from outside that is busy and lets the event loop run no more."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from chat_conformance.errors import BusyError

# Seconds between two signs of life.
BEAT = 0.2


class Watch:
    """Sees whether the event loop of the main thread turns.

    The loop winds up a timer of the kernel again and again. Where it stands still for too long in one step of a task,
    the timer's signal ends that step: its handler raises `BusyError` there. Loops, waits and regular expressions are
    left by that, and the run continues. A thread could not do it: a regular expression lets no other thread run.

    Args:
        limit: How long one step may take, in seconds.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._beating: asyncio.Task[None] | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look for the length of the block; only the main thread can be stopped, so in another nothing is done."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # Theory: the loop sets the timer again each BEAT, like a dead man's switch. As long as it turns, the
        # timer never ends. A step that blocks keeps the loop from setting it, and after the limit the kernel's
        # signal interrupts that very step. What was set before, such as by pytest-timeout, is put back.
        before = signal.signal(signal.SIGALRM, self._stop)
        left, interval = signal.setitimer(signal.ITIMER_REAL, self._limit)
        try:
            yield
        finally:
            # Else it would set a timer that has no handler.
            self.end()
            signal.setitimer(signal.ITIMER_REAL, left, interval)
            signal.signal(signal.SIGALRM, before)

    def begin(self) -> None:
        """Give signs of life from the running loop until `end`."""
        if self._beating is None and signal.getsignal(signal.SIGALRM) == self._stop:
            self._beating = asyncio.create_task(self._beat())

    def end(self) -> None:
        """Give no more."""
        if self._beating is not None:
            self._beating.cancel()

    async def _beat(self) -> None:
        while True:
            signal.setitimer(signal.ITIMER_REAL, self._limit)
            await asyncio.sleep(BEAT)

    # Set again first: what handles the error may block, too.
    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._limit)
        try:
            task = asyncio.current_task()
        except RuntimeError:
            # No loop runs: the reader of our output is gone, perhaps.
            return
        if task is not None and task is not self._beating:
            raise BusyError(
                f"it was busy for {self._limit:g} s with what the server had sent, and was stopped"
            )
