"""What Linux does for a process and its descendants when asked by prctl(2), which Python's library does not offer."""

from __future__ import annotations

import signal

try:
    from ctypes import CDLL
except ImportError:  # a Python without it still serves; a process is then known by its mark alone
    _prctl = None
else:
    _prctl = getattr(CDLL(None), "prctl", None)

# From linux/prctl.h: PR_SET_PDEATHSIG and PR_SET_CHILD_SUBREAPER.
SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36


def adopt_orphans(*, adopt: bool = True) -> bool:
    """Become the parent of every descendant whose own parent ends, or be so no longer; whether the kernel can.

    This survives execve and is not handed on by fork (PR_SET_CHILD_SUBREAPER, since Linux 3.4).
    """
    return _prctl is not None and _prctl(SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0) == 0


def die_with_parent() -> bool:
    """Get KILL when the parent ends, also after an execve that gives no more rights; whether the kernel can."""
    return _prctl is not None and _prctl(SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) == 0
