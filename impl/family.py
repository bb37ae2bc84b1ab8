"""Find and end every process that carries a mark; run as a program, do so once the server is gone.

A process started with ``CHATGATE_PROCESS=<mark>`` in its environment hands that on to its children, whatever sessions
or groups they move to. Run as ``python family.py MARK``, with the read end of a pipe as standard input, this file waits
until the other end is closed, which the kernel does however the server ends, and then ends the marked processes
(PROC-5). Only the standard library is used: it starts in milliseconds and stays small.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

VARIABLE = "CHATGATE_PROCESS"
TERM_SECONDS = 1.0
"""How long marked processes have between TERM and KILL once the server is gone."""


def family(mark: str) -> list[int]:
    """The living processes whose mark begins with ``mark`` (Linux; elsewhere none are found)."""
    wanted = f"{VARIABLE}={mark}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # gone meanwhile, or not ours to read
            if any(item.startswith(wanted) for item in entry.read_bytes().split(b"\0")):
                found.append(int(entry.parent.name))
    return found


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal processes; those gone meanwhile are passed over."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


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
