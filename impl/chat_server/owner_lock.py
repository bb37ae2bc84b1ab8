"""One owner of the data: a lock that ends with its holder (PROC-7).

It is flock(2) on a file of its own: the kernel takes it back however the holder ends, so a file that is left over locks
nobody out. The descriptor is not inherited by children. It is kept over the restart of the dev server, which is an exec
and would close it: then it is handed on by its number, and there is no moment at which another process could take it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

HANDED_ON = "CHATGATE_LOCKS"
"""Descriptors of locks that an exec has kept, separated by commas."""

NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF}
"""How file systems say that they cannot lock, NFS without its lock service among them."""


class Held(Exception):
    """Another server has the data; the sentence names it and says what to do."""


class CannotLock(Exception):
    """Nothing can be locked there; the sentence says why and what to do."""


class Holder(msgspec.Struct, frozen=True):
    """Who has a lock, according to its file.

    Attributes:
        pid: Its process id, on its own machine or in its own container.
        host: The name of that.
        since: When it took the lock (RFC 3339, UTC).
        server: An id that the holders of this file share: a server that is started again has its old one.
    """

    pid: int
    host: str
    since: str
    server: str = ""


@dataclass(frozen=True, slots=True)
class Locks:
    """Locks that are held.

    Attributes:
        descriptors: Of their files.
        server: The id that the file of the first one has for its holders.
    """

    descriptors: tuple[int, ...]
    server: str

    def hand_on(self) -> None:
        """Keep them over an exec that follows now."""
        for descriptor in self.descriptors:
            os.set_inheritable(descriptor, True)
        os.environ[HANDED_ON] = ",".join(map(str, self.descriptors))


@contextmanager
def locked(places: Sequence[tuple[Path, str]]) -> Iterator[Locks]:
    """Hold a lock on each file for the length of the block; the text beside it says what it locks.

    Raises:
        Held: Another server holds one.
        CannotLock: A file cannot be made or locked.
    """
    kept = [int(each) for each in os.environ.pop(HANDED_ON, "").split(",") if each.isdigit()]
    with ExitStack() as stack:
        descriptors = []
        for path, what in places:
            descriptor = _lock(path, what, kept)
            stack.callback(os.close, descriptor)
            descriptors.append(descriptor)
        first = _read(descriptors[0])
        assert first is not None
        yield Locks(tuple(descriptors), first.server)


def _lock(path: Path, what: str, kept: Sequence[int]) -> int:
    """A descriptor that holds the lock of the file which is at ``path`` now."""
    while True:
        descriptor = _handed_on(path, kept)
        if descriptor is None:
            descriptor = _open(path, what)
        try:
            _take(descriptor, path, what)
            if _is_of(descriptor, path):
                _write(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # The file was removed in between; others would lock a new one.
        os.close(descriptor)


def _open(path: Path, what: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise CannotLock(
            f"{what} cannot be used: {error.strerror}: {path}; the server must be able to write there"
        ) from error


def _handed_on(path: Path, kept: Sequence[int]) -> int | None:
    """The descriptor of this file that the process had before its exec, closed in children from now on."""
    for descriptor in kept:
        try:
            if _is_of(descriptor, path):
                os.set_inheritable(descriptor, False)
                return descriptor
        except OSError:  # there is no such descriptor: the variable was not set by this server
            continue
    return None


def _take(descriptor: int, path: Path, what: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Held(f"{what} is in use by {_holder(descriptor)}. {ADVICE}") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise CannotLock(
            f"{what} cannot be locked: {error.strerror}: {path}; its file system has no locks: use a local disk"
        ) from error


ADVICE = (
    "Stop that one, or give this one a data folder (CHAT_DATA or --data) and a database of its own. "
    "The lock ends with its holder: there is no file to remove"
)


def _holder(descriptor: int) -> str:
    holder = _read(descriptor)
    if holder is None:
        return "another chat-server"
    if holder.host == socket.gethostname():
        return f"the chat-server with pid {holder.pid}, since {holder.since}"
    return f"the chat-server with pid {holder.pid} on {holder.host}, since {holder.since}"


def _read(descriptor: int) -> Holder | None:
    """What the file says; ``None`` if it is new, or its holder is about to write it."""
    try:
        return msgspec.json.decode(os.pread(descriptor, 4096, 0), type=Holder)
    except msgspec.DecodeError:
        return None


def _is_of(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _write(descriptor: int) -> None:
    host, last = socket.gethostname(), _read(descriptor)
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    # A folder that was copied to another machine is another server's.
    server = last.server if last is not None and last.host == host and last.server else uuid.uuid4().hex
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, msgspec.json.encode(Holder(os.getpid(), host, now, server)) + b"\n", 0)
