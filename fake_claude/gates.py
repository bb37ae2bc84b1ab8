"""Named gates that hold a fake until a test lets it pass: two FIFOs, no polling."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


def _fifo(path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        # Both sides make the FIFOs, and either may come first.
        os.mkfifo(path, 0o600)
    except FileExistsError:
        return


class Arrival:
    """The fake's side: it stands at the gate and reads one byte to pass.

    Both FIFOs are opened for reading and writing: so no end of file comes when a tester goes away, and the
    announcement waits for a tester who comes late.
    """

    def __init__(self, folder: str, name: str) -> None:
        path = os.path.join(folder, name)
        # A FIFO opened for writing alone fails where no reader is, and one for reading alone sees an end of
        # file as soon as the last writer closes. With both, neither depends on the other side (Linux allows it;
        # POSIX leaves it open).
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
        _fifo(path)
        _fifo(path + ".at")
        self.fd = os.open(path, flags)
        self._at = os.open(path + ".at", flags)
        try:
            os.write(self._at, b"@")
        except BlockingIOError:  # 64 KiB of arrivals that were never read
            return

    def passed(self) -> bool:
        """Take one passage if there is one."""
        try:
            # One byte is one passage: of two fakes at the gate, only one gets it.
            return os.read(self.fd, 1) != b""
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Leave the gate."""
        os.close(self.fd)
        os.close(self._at)


class Gate:
    """The test's side, a context manager: make it before the fake may arrive.

    ``async with``-free on purpose: making and closing need no loop, only ``reached`` waits.
    """

    def __init__(self, directory: Path | str, name: str) -> None:
        self._paths = [os.path.join(directory, name), os.path.join(directory, name + ".at")]
        self.name = name
        self._fds: list[int] = []

    def __enter__(self) -> Gate:
        for path in self._paths:
            _fifo(path)
            self._fds.append(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()

    async def reached(self) -> None:
        """Wait until a fake has arrived; each arrival ends one wait."""
        import asyncio  # the fake's side must not pay for it

        loop = asyncio.get_running_loop()
        fd = self._fds[1]
        while True:
            # Read first, wait then: the fake may have arrived before this was called. After the wait another
            # reader may have taken the byte, so it is tried once more.
            try:
                os.read(fd, 1)
            except BlockingIOError:
                ready = asyncio.Event()
                loop.add_reader(fd, ready.set)
                try:
                    await ready.wait()
                finally:
                    loop.remove_reader(fd)
            else:
                return

    def open(self, passages: int = 1) -> None:
        """Let that many fakes pass, now or later."""
        # The bytes stay in the FIFO until fakes take them, so it does not matter who comes first.
        os.write(self._fds[0], b"." * passages)


def open_from_shell(directory: str, name: str) -> None:
    """Wait until a fake stands at the gate, and let it pass."""
    path = os.path.join(directory, name)
    _fifo(path)
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # blocks until a fake has it open
    try:
        os.write(fd, b".")
    finally:
        os.close(fd)
