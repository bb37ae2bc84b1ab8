"""Signals as bytes in a pipe, and the exit codes that they lead to."""

from __future__ import annotations

import os
import signal

SIGNALS = {signal.SIGINT: 0, signal.SIGTERM: 143, signal.SIGHUP: 129}
"""Signals the CLI answers, and with which exit code (docs/claude-cli.md, signals)."""


class Signals:
    """Signals as bytes in a pipe, so that a poll loop sees them in order."""

    def __init__(self) -> None:
        self.fd, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in SIGNALS:
            # A handler that does nothing, but there must be one: only for handled signals does Python write
            # to the wakeup descriptor, and all else is done when the loop reads the byte.
            signal.signal(number, lambda _number, _frame: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def take(self) -> list[signal.Signals]:
        """Return the signals that came."""
        try:
            return [signal.Signals(byte) for byte in os.read(self.fd, 64)]
        except BlockingIOError:
            return []
