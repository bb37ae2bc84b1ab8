"""Standard output as a buffer that never blocks the process."""

from __future__ import annotations

import fcntl
import os
import stat

HIGH_WATER = 16 * 1024 * 1024
"""Bytes a slow reader may leave unread before a turn pauses."""


class Output:
    """Collects lines and writes as much as the reader takes.

    The CLI does not notice a reader that went away (docs/claude-cli.md, pipes): nor do we; what cannot be
    delivered is dropped.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.bytes_out = 0
        self._pending: list[bytes] = []
        self._size = 0
        self._gone = False
        mode = os.fstat(fd).st_mode
        self._flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            fcntl.fcntl(fd, fcntl.F_SETFL, self._flags | os.O_NONBLOCK)

    def line(self, text: str) -> None:
        """Add one line."""
        data = text.encode("utf-8", "surrogatepass") + b"\n"
        self._pending.append(data)
        self._size += len(data)

    def raw(self, data: bytes) -> None:
        """Add bytes as they are."""
        self._pending.append(data)
        self._size += len(data)

    @property
    def size(self) -> int:
        """Bytes not yet taken by the reader."""
        return self._size

    def flush(self) -> bool:
        """Write what the reader takes now; tell whether everything is out."""
        while self._pending:
            data = b"".join(self._pending) if len(self._pending) > 1 else self._pending[0]
            try:
                written = 0 if self._gone else os.write(self.fd, data)
            except BlockingIOError:
                self._pending = [data]
                return False
            except OSError:  # nobody reads any more
                self._gone = True
                written = 0
            if self._gone:
                self._pending.clear()
                self._size = 0
                return True
            self.bytes_out += written
            self._size -= written
            self._pending = [data[written:]] if written < len(data) else []
        return True

    def restore(self) -> None:
        """Leave the descriptor as it was found."""
        fcntl.fcntl(self.fd, fcntl.F_SETFL, self._flags)
