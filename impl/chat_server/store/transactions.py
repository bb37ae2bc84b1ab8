"""Transactions in threads: readers work side by side, and writers share the wait for the disk."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from chat_server.batching import BatchExecutor
from chat_server.errors import ChatError

T = TypeVar("T")
Work = Callable[[sa.Connection], T]
"""What is done in a transaction. It raises a ``ChatError`` to refuse, and does so before it has written anything.

It returns values, never a cursor. CPython's ``sqlite3`` reads the error of a statement from the connection after the
statement has ended. A cursor that another thread frees at this moment resets that error: the statement failed, and
no exception is raised.
"""


class Transactions:
    """Each runs as a whole in a thread: a caller that is cancelled during it leaves nothing half done.

    A commit waits for the disk, however much is in it. So callers that come during one wait for its end, and
    then shares the next with all who have come by then: ``together`` at most. Where one of them fails, it alone does.
    As many as ``side_by_side`` are written at the same time.
    """

    def __init__(
        self,
        engine: sa.Engine,
        *,
        readers: Executor,
        writers: Executor,
        together: int = 1,
        side_by_side: int = 1,
    ) -> None:
        self._engine = engine
        self._readers = readers
        self._writing: BatchExecutor[Work[Any], Any] = BatchExecutor(
            writers, self._write, most=together, side_by_side=side_by_side
        )

    def read(self, work: Work[T]) -> asyncio.Future[T]:
        """What will come of ``work``, which writes nothing.

        Raises:
            ChatError: When awaited: it refused.
            SQLAlchemyError: When awaited: the database cannot be used.
        """

        def transact() -> T:
            try:
                with self._engine.connect() as db:
                    return _values(work(db))
            except Exception as error:
                _free_cursors(error)
                raise

        return asyncio.get_running_loop().run_in_executor(self._readers, transact)

    def write(self, work: Work[T]) -> asyncio.Future[T]:
        """What will come of ``work``; when it is there, what was written is on the disk.

        Raises:
            ChatError: When awaited: it refused.
            SQLAlchemyError: When awaited: the database cannot be used; nothing was written.
        """
        return self._writing.submit(work)

    def _write(self, works: Sequence[Work[Any]]) -> list[Any]:
        """What comes of each, in one transaction; when one fails, the others are done again without it."""
        # A refusal has written nothing, so the others go on. An OperationalError is the database's, and all get it.
        # Any other error is of one work, but spoils the transaction of all; how many outcomes there are says which
        # work it was. Example: of a, b, c the second fails; a and c are done again, and it gives [A, error, C].
        outcomes: list[Any] = []
        try:
            with self._engine.connect() as db, db.begin() as transaction:
                for work in works:
                    try:
                        outcomes.append(_values(work(db)))
                    except ChatError as refusal:
                        _free_cursors(refusal)
                        outcomes.append(refusal)
                if all(isinstance(outcome, ChatError) for outcome in outcomes):
                    # Nothing was written, and nobody need wait for the disk.
                    transaction.rollback()
        except OperationalError as error:
            _free_cursors(error)
            # The database is unavailable, for every caller.
            raise
        except Exception as error:
            _free_cursors(error)
            at = len(outcomes)
            if at == len(works):
                raise  # it was the commit
            others = self._write([*works[:at], *works[at + 1 :]]) if len(works) > 1 else []
            return [*others[:at], error, *others[at:]]
        return outcomes


def _values(result: T) -> T:
    if isinstance(result, sa.CursorResult):
        raise TypeError("a transaction returns values, not a cursor: another thread would free it")
    return result


def _free_cursors(error: BaseException) -> None:
    """Drop what the frames of an error hold, so that no other thread frees a cursor with it."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
