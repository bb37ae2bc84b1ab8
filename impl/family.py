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


def family(mark: str) -> list[int]:
    """The living processes whose mark begins with ``mark`` (Linux; elsewhere none are found)."""
    wanted = f"{VARIABLE}={mark}".encode()
    names = os.listdir("/proc") if os.path.isdir("/proc") else []  # noqa: PTH112, PTH208 - pathlib is half the start
    pids = [name for name in names if name.isdigit()]
    return [int(pid) for pid in pids if any(item.startswith(wanted) for item in _environment(pid))]


def _environment(pid: str) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            return file.read().split(b"\0")
    except OSError:  # gone meanwhile, or not ours to read
        return []


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
