"""What many want done in a thread is done for several at once: who comes meanwhile waits, and shares the next round."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")


@dataclass(eq=False, slots=True)
class Asked(Generic[A, R]):
    """What somebody wants, and where the outcome goes."""

    what: A
    outcome: Future[R] = field(default_factory=Future)


class Together(Generic[A, R]):
    """Rounds in which ``do`` gets what was asked before the round began, ``most`` at a time, and sets the outcomes.

    Who is cancelled while waiting is left out; a round that has begun is not broken off.
    """

    def __init__(self, threads: Executor, do: Callable[[list[Asked[A, R]]], None], most: int) -> None:
        self._threads = threads
        self._do = do
        self._most = most
        self._waiting: deque[Asked[A, R]] = deque()

    async def ask(self, what: A) -> R:
        """What comes of it; what is raised for it, or for its round, is raised here."""
        asked: Asked[A, R] = Asked(what)
        self._waiting.append(asked)
        self._threads.submit(self._round)
        return await asyncio.wrap_future(asked.outcome)

    def _round(self) -> None:
        """Each who asks has one; the first that comes to it takes along who is there."""
        taken: list[Asked[A, R]] = []
        while len(taken) < self._most:
            try:
                asked = self._waiting.popleft()
            except IndexError:
                break
            if asked.outcome.set_running_or_notify_cancel():
                taken.append(asked)
        try:
            if taken:
                self._do(taken)
        except BaseException as error:  # noqa: BLE001 - it is for who asked
            for asked in taken:
                if not asked.outcome.done():
                    asked.outcome.set_exception(error)
