"""Which processes live, according to the kernel."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from pathlib import Path


def python(code: str) -> list[str]:
    """The command line of a small program; it starts fast."""
    return [sys.executable, "-I", "-S", "-c", code]


def alive(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in {b"Z", b"X"}


def pids() -> set[int]:
    """All processes there are."""
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 - it is done for every test


def living(variable: str, *, but: Collection[int] = ()) -> list[int]:
    """The living processes that were started with ``NAME=VALUE`` in their environment; none of ``but`` is looked at."""
    found = []
    for pid in pids().difference(but):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # it has ended, or may not be read
            continue
        if variable.encode() in environment.split(b"\0") and alive(pid):
            found.append(pid)
    return found
