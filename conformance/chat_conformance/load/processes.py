"""What processes cost, from /proc, and which of them goes first."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time, user and system, that these processes have used, their ended children left out."""
    total = 0.0
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / TICK
    return total


def memory_bytes(pids: Iterable[int]) -> int:
    """Memory of these processes: what is shared with others is counted in part (PSS, proc_pid_smaps(5))."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
                if line.startswith(b"Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


@contextmanager
def going_first(others: Iterable[int] = ()) -> Iterator[bool]:
    """Have this process served before ``others``, and all of these before what else runs, for the length of the block.

    It is SCHED_RR of sched(7). Whether they are: that takes a right, CAP_SYS_NICE; without it nothing changes.
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
        with suppress(FileNotFoundError, ProcessLookupError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setscheduler(int(thread.name), policy, os.sched_param(priority))


def family(pid: int, without: Collection[int] = ()) -> list[int]:
    """A process and its descendants, those of ``without`` and theirs left out."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - pathlib is half of the time
        if entry.isdigit():
            with suppress(OSError):
                fields = Path(f"/proc/{entry}/stat").read_bytes().rpartition(b")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        if one not in without:
            found.append(one)
            waiting += children.get(one, [])
    return found


def resident_bytes(pids: Iterable[int]) -> int:
    """Memory of these processes as the kernel counts it in passing (RSS): coarse, and read in microseconds."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * PAGE
    return total
