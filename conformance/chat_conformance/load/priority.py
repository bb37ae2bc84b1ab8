"""Real-time priority for the load generator, so that the server under load does not slow its clock."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def realtime_priority(others: Iterable[int] = ()) -> Iterator[bool]:
    """Schedule this process before ``others``, and all of these before any other process, for the length of the block.

    It uses SCHED_RR of sched(7) and yields whether it could: that takes CAP_SYS_NICE, and nothing changes without it.
    """
    others = list(others)
    try:
        _schedule([os.getpid()], os.SCHED_RR, 2)
    except PermissionError:
        yield False
        return
    try:
        _schedule(others, os.SCHED_RR, 1)
        yield True
    finally:
        _schedule([os.getpid(), *others], os.SCHED_OTHER, 0)


def _schedule(pids: Iterable[int], policy: int, priority: int) -> None:
    for pid in pids:
        # On Linux the policy belongs to a thread, not to a process; a thread may end between the listing and
        # the call.
        with suppress(FileNotFoundError, ProcessLookupError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setscheduler(int(thread.name), policy, os.sched_param(priority))
