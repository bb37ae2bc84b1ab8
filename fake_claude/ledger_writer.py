"""Write the ledger: one file per run, flushed line by line."""

from __future__ import annotations

import os
import time

from fake_claude.json_lines import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class LedgerWriter:
    """Writes what one run was given and did; without a folder it writes nothing."""

    def __init__(self, folder: str | None, argv: Sequence[str]) -> None:
        self._fd = -1
        if folder is None:
            return
        os.makedirs(folder, exist_ok=True)
        pid = os.getpid()
        started = time.time()
        # The time makes names sort as runs started; the pid keeps two of the same microsecond apart.
        path = os.path.join(folder, f"{int(started * 1000000):016d}-{pid}.jsonl")
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._add(
            "start",
            pid=pid,
            pgid=os.getpgrp(),
            sid=os.getsid(0),
            ppid=os.getppid(),
            proc_start=proc_start(pid),
            argv=list(argv),
            cwd=os.getcwd(),
            environment=sorted(os.environ),
        )

    def _add(self, event: str, **facts: object) -> None:
        if self._fd >= 0:
            # One write for each line, unbuffered: a run that is killed at any point has noted all that it did,
            # and a reader at the same time sees at most one line that is not whole.
            line = dumps({"event": event, "time": time.time(), **facts}) + "\n"
            os.write(self._fd, line.encode("utf-8", "surrogatepass"))

    def stdin(self, line: str) -> None:
        """Note one line of standard input, without its end."""
        self._add("stdin", line=line)

    def signal(self, name: str) -> None:
        """Note a signal."""
        self._add("signal", name=name)

    def note(self, event: str, **facts: object) -> None:
        """Note something else a tester may ask about."""
        self._add(event, **facts)

    def exit(self, code: int, bytes_out: int) -> None:
        """Note the end; nothing is written after it."""
        self._add("exit", code=code, bytes_out=bytes_out)


def proc_start(pid: int) -> int | None:
    """Return the start time of a process in clock ticks since boot, which with the pid names it for ever."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # Field 22 of proc(5); the fields after the name begin with the third.
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
