"""What /proc says of processes, and how to wait for the end of one that may not be ours.

A process may end at any moment, so its files vanish between two reads: each function says what it answers then.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def with_variable(variable: str) -> list[int]:
    """The processes that were started with ``NAME=VALUE`` in their environment.

    A zombie has none, and a process that hides its environment (PR_SET_DUMPABLE of prctl(2)) cannot be read.
    """
    # The word as it stands, not its beginning: the mark of server 1 must not find the processes of server 12.
    wanted = variable.encode()
    return [pid for pid in _all() if wanted in _words(pid, "environ")]


def with_argument(text: str) -> list[int]:
    """The processes in whose command line this text stands."""
    wanted = os.fsencode(text)
    return [pid for pid in _all() if any(wanted in word for word in _words(pid, "cmdline"))]


def arguments(pid: int) -> list[str]:
    """The words of a process's command; none if it is gone."""
    return [word.decode(errors="replace") for word in _words(pid, "cmdline")[:-1]]


def command_line(pid: int) -> str:
    """The words of a process's command as one line, shortened; empty if it is gone."""
    return " ".join(arguments(pid))[:120].strip()


def children(pid: int) -> list[int]:
    """The children of a process, zombies too.

    Raises:
        OSError: It is gone.
    """
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def process_tree(pid: int, without: Collection[int] = ()) -> list[int]:
    """A process and its descendants, those of ``without`` and theirs left out."""
    # One pass over /proc, and the tree from that: fields[1] is the parent (field 4 of proc_pid_stat(5);
    # `_stat` begins at field 3). Several passes would see a tree that changes between them.
    children_of: dict[int, list[int]] = {}
    for each in _all():
        if fields := _stat(each):
            children_of.setdefault(int(fields[1]), []).append(each)
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        if one not in without:
            found.append(one)
            waiting += children_of.get(one, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time, user and system, that these processes have used, their ended children left out."""
    # Fields 14 and 15, utime and stime; 16 and 17 would add children that were waited for.
    return sum((int(each[11]) + int(each[12])) / TICKS_PER_SECOND for each in map(_stat, pids) if each)


def shared_memory(pids: Iterable[int]) -> int:
    """Memory of these processes in bytes; what others use, too, counts in part (PSS of proc_pid_smaps(5))."""
    return sum(_kibibytes(pid, "smaps_rollup", "Pss:") for pid in pids)


def own_memory(pid: int) -> int:
    """Memory of a process that is not of files, in bytes; 0 if it is gone."""
    return _kibibytes(pid, "status", "RssAnon:")


def resident_memory(pids: Iterable[int]) -> int:
    """Memory of these processes in bytes as the kernel counts it in passing (RSS): coarse, read in microseconds."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * PAGE_BYTES
    return total


def open_descriptors(pid: int) -> int | None:
    """How many file descriptors a process has open; None if only root may see them."""
    with suppress(PermissionError):
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - only their number is wanted
    return None


def is_zombie(pid: int) -> bool:
    """Whether a process has ended: it is gone, or waits for its parent to notice."""
    fields = _stat(pid)
    return not fields or fields[0] in (b"Z", b"X")


def is_unreaped(pid: int) -> bool:
    """Whether a process has ended, and its parent has not noticed yet."""
    return Path(f"/proc/{pid}").exists() and is_zombie(pid)


async def wait_for_exit(pid: int, within: float) -> bool:
    """Wait for the end of any process, ours or not; False if it did not end within ``within`` seconds."""
    try:
        # It becomes readable when the process ends, reaped or not, and wherever it came from. Its number may
        # be given to another process; the descriptor stays with this one.
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(fd, ended.set)
    try:
        async with asyncio.timeout(within):
            await ended.wait()
        return True
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def _all() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208 - half of the time


def _words(pid: int, name: str) -> list[bytes]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes().split(b"\0")
    return []


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the state on, without pid and name; none if the process is gone.

    The name may hold spaces and parentheses, so the fields are those behind the last one.
    """
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return []


def _kibibytes(pid: int, name: str, field: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/{name}").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0
