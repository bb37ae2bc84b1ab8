"""Transactions in threads: readers work side by side, and writers share the wait for the disk."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from impl.errors import ChatError

T = TypeVar("T")
Work = Callable[[sa.Connection], T]
"""What is done in a transaction. It raises a ``ChatError`` to refuse, and does so before it has written anything."""


@dataclass(eq=False, slots=True)
class _Job:
    """What somebody wants to write, and what comes of it."""

    work: Work[Any]
    done: Future[Any] = field(default_factory=Future)


class Transactions:
    """Each runs as a whole in a thread: a caller who is cancelled meanwhile leaves nothing half done.

    A commit waits for the disk, however much is in it. So whoever comes while one is under way waits for its end, and
    then shares the next with all who have come by then: ``together`` at most. Where one of them fails, it alone does.
    """

    def __init__(self, engine: sa.Engine, *, readers: Executor, writers: Executor, together: int) -> None:
        self._engine = engine
        self._readers = readers
        self._writers = writers
        self._together = together
        self._waiting: deque[_Job] = deque()

    async def read(self, work: Work[T]) -> T:
        """Do ``work``, which writes nothing.

        Raises:
            SQLAlchemyError: The database cannot be used.
        """

        def transact() -> T:
            with self._engine.connect() as db:
                return work(db)

        return await asyncio.get_running_loop().run_in_executor(self._readers, transact)

    async def write(self, work: Work[T]) -> T:
        """Do ``work``; when this returns, what it wrote is on the disk.

        Raises:
            ChatError: It refused.
            SQLAlchemyError: The database cannot be used; nothing was written.
        """
        job = _Job(work)
        self._waiting.append(job)
        self._writers.submit(self._write_what_waits)
        written: T = await asyncio.wrap_future(job.done)
        return written

    def _write_what_waits(self) -> None:
        """Each job has asked for this once; the first that asked does it for those who came after."""
        jobs: list[_Job] = []
        while len(jobs) < self._together:
            try:
                job = self._waiting.popleft()
            except IndexError:
                break
            if job.done.set_running_or_notify_cancel():
                jobs.append(job)
        while jobs:
            jobs = self._transact(jobs)

    def _transact(self, jobs: list[_Job]) -> list[_Job]:
        """Do all of them in one transaction; those which are to be done again, since another one failed."""
        outcomes: list[Any] = []
        try:
            with self._engine.connect() as db:
                for job in jobs:
                    try:
                        outcomes.append(job.work(db))
                    except ChatError as refusal:
                        outcomes.append(refusal)
                if not all(isinstance(outcome, ChatError) for outcome in outcomes):
                    db.commit()
        except BaseException as error:  # noqa: BLE001 - it is for who wanted this
            at = len(outcomes)
            its_own = at < len(jobs) and not isinstance(error, OperationalError)
            failed = jobs[at : at + 1] if its_own else jobs
            for job in failed:
                job.done.set_exception(error)
            return [job for job in jobs if job not in failed]
        for job, outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, ChatError):
                job.done.set_exception(outcome)
            else:
                job.done.set_result(outcome)
        return []
