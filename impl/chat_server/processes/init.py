"""Process 1 of a container: what init(1) does there, so that the server need not.

All orphans of its container fall to process 1, such as those of ``docker exec``. A server that is process 1 forks
before it does anything else: the parent passes signals on and reaps whatever ends, and the child serves.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

PASSED_ON = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
)


def be_init_if_first() -> None:
    """As process 1, come back in a child, which is another process; the parent ends as the child does."""
    if os.getpid() != 1:
        return
    # Else parent and child would both write what is in the buffers.
    sys.stdout.flush()
    sys.stderr.flush()
    # Before the fork: a signal that comes in between stays pending for `sigwait`, and is not lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON | {signal.SIGCHLD})
    child = os.fork()
    if child:
        _look_after(child)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _look_after(child: int) -> NoReturn:
    """Pass signals on and reap until the child has ended, and end as it has; the kernel then ends all the others."""
    while True:
        number = signal.sigwait(PASSED_ON | {signal.SIGCHLD})
        if number in PASSED_ON:
            # It is not reaped, so the id is still its own.
            os.kill(child, number)
            continue
        # Signals of one kind are merged while they are pending: one SIGCHLD may stand for several ends.
        while pair := _reaped():
            pid, code = pair
            if pid == child:
                os._exit(code if code >= 0 else 128 - code)


def _reaped() -> tuple[int, int] | None:
    """One process that has ended, and its exit code, if there is one."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None
