"""Run queued calls in a thread, in batches; calls that arrive during a batch join the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")


class BatchExecutor(Generic[A, R]):
    """Rounds in a thread: ``do`` gets what was asked before the round began, and gives what came of each.

    Who is cancelled while waiting is left out; a round that has begun is not broken off.
    """

    def __init__(
        self,
        threads: Executor,
        do: Callable[[Sequence[A]], Sequence[R | BaseException]],
        *,
        most: int,
        side_by_side: int = 1,
    ) -> None:
        self._threads = threads
        self._do = do
        self._most = most
        self._free = side_by_side
        self._waiting: deque[tuple[A, asyncio.Future[R]]] = deque()
        self._loop = asyncio.get_running_loop()

    def submit(self, what: A) -> asyncio.Future[R]:
        """What will come of it, or is raised for it or for its round. No coroutine: hundreds may wait at once."""
        outcome: asyncio.Future[R] = self._loop.create_future()
        self._waiting.append((what, outcome))
        self._start_batch()
        return outcome

    def _start_batch(self) -> None:
        """Start a batch if calls wait and a thread is free."""
        if not self._free:
            return
        taken: list[tuple[A, asyncio.Future[R]]] = []
        while self._waiting and len(taken) < self._most:
            what, outcome = self._waiting.popleft()
            if not outcome.done():  # who left is done
                taken.append((what, outcome))
        if taken:
            self._free -= 1
            done = self._loop.run_in_executor(self._threads, self._do, [what for what, _ in taken])
            done.add_done_callback(partial(self._finish_batch, [outcome for _, outcome in taken]))

    def _finish_batch(
        self, outcomes: list[asyncio.Future[R]], done: asyncio.Future[Sequence[R | BaseException]]
    ) -> None:
        self._free += 1
        failed = done.exception()
        for outcome, came in zip(
            outcomes, [failed] * len(outcomes) if failed else done.result(), strict=True
        ):
            if outcome.done():
                # The caller was cancelled during the round; to set a result then would raise.
                continue
            if isinstance(came, BaseException):
                outcome.set_exception(came)
            else:
                outcome.set_result(came)
        # For those that came during this round: no further call need come to start theirs.
        self._start_batch()
