"""Transactions in threads: readers work side by side, and writers share the wait for the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from impl.errors import ChatError
from impl.together import Asked, Together

T = TypeVar("T")
Work = Callable[[sa.Connection], T]
"""What is done in a transaction. It raises a ``ChatError`` to refuse, and does so before it has written anything."""


class Transactions:
    """Each runs as a whole in a thread: a caller who is cancelled meanwhile leaves nothing half done.

    A commit waits for the disk, however much is in it. So whoever comes while one is under way waits for its end, and
    then shares the next with all who have come by then: ``together`` at most. Where one of them fails, it alone does.
    """

    def __init__(self, engine: sa.Engine, *, readers: Executor, writers: Executor, together: int) -> None:
        self._engine = engine
        self._readers = readers
        self._writing: Together[Work[Any], Any] = Together(writers, self._write, together)

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
        written: T = await self._writing.ask(work)
        return written

    def _write(self, asked: list[Asked[Work[Any], Any]]) -> None:
        """Do all in one transaction; when one fails, it is told so, and the others are done again without it."""
        outcomes: list[Any] = []
        try:
            with self._engine.connect() as db, db.begin() as transaction:
                for each in asked:
                    try:
                        outcomes.append(each.what(db))
                    except ChatError as refusal:
                        outcomes.append(refusal)
                if all(isinstance(outcome, ChatError) for outcome in outcomes):
                    transaction.rollback()  # nothing was written, and nobody need wait for the disk
        except OperationalError:
            raise  # the database cannot be used, whoever asks
        except BaseException as error:
            if len(outcomes) == len(asked):
                raise  # it was the commit
            failed = asked.pop(len(outcomes))
            failed.outcome.set_exception(error)
            if asked:
                self._write(asked)
            return
        for each, outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, ChatError):
                each.outcome.set_exception(outcome)
            else:
                each.outcome.set_result(outcome)
