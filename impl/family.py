"""Find and end every process that carries a mark; run as a program, do so once the server is gone.

A process started with ``CHATGATE_PROCESS=<mark>`` in its environment hands that on to its children, whatever sessions
or groups they move to. Run as ``python family.py MARK``, with the read end of a pipe as standard input, this file waits
until the other end is closed, which the kernel does however the server ends, and then ends the marked processes
(PROC-5). Only the standard library is used: it starts in milliseconds and stays small.
"""

from __future__ import annotations

import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

VARIABLE = "CHATGATE_PROCESS"
TERM_SECONDS = 1.0
"""How long marked processes have between TERM and KILL once the server is gone."""


EXEC_SECONDS = 0.1
"""How long at most a process is waited for that has no environment since it becomes another program just now."""


def marked(mark: str) -> dict[str, list[int]]:
    """The living processes whose mark begins with ``mark``, by their whole mark (Linux; elsewhere none are found)."""
    wanted = f"{VARIABLE}={mark}".encode()
    found: dict[str, list[int]] = {}
    for pid in os.listdir("/proc") if os.path.isdir("/proc") else []:  # noqa: PTH112, PTH208 - pathlib is half the start
        if pid.isdigit():
            for item in _environment(pid):
                if item.startswith(wanted):
                    found.setdefault(os.fsdecode(item.partition(b"=")[2]), []).append(int(pid))
                    break
    return found


def family(mark: str) -> list[int]:
    """The same in one list."""
    return [pid for pids in marked(mark).values() for pid in pids]


def _environment(pid: str) -> list[bytes]:
    """In an execve a process has a program, but for a moment neither arguments nor environment: then look again."""
    deadline, whole = 0.0, False
    while True:
        environment = _read(pid, "environ")
        if environment or whole or not _has_program(pid):
            return environment.split(b"\0")
        whole = bool(_read(pid, "cmdline"))
        if not whole:
            deadline = deadline or time.monotonic() + EXEC_SECONDS
            if time.monotonic() > deadline:
                return []
            time.sleep(0.001)  # the kernel tells nobody when it is done


def _has_program(pid: str) -> bool:
    """Not so what the kernel runs, and what has ended."""
    try:
        return bool(os.readlink(f"/proc/{pid}/exe"))  # noqa: PTH115
    except OSError:
        return False


def _read(pid: str, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError:  # gone meanwhile, or not ours to read
        return b""


def send(pids: Iterable[int], number: int) -> None:
    """Signal processes; those gone meanwhile are passed over."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def end(mark: str) -> None:
    """TERM to the family, and KILL to what is left of it after a grace."""
    send(family(mark), signal.SIGTERM)
    deadline = time.monotonic() + TERM_SECONDS
    while (left := family(mark)) and time.monotonic() < deadline:
        time.sleep(0.02)  # strangers' ends are told to nobody
    while left:
        send(left, signal.SIGKILL)
        time.sleep(0.02)
        left = family(mark)


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # the watch ends when the server has ended, not before
    sys.stdin.buffer.read()
    end(sys.argv[1])
