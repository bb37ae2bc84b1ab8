"""What no other program can read: files and folders, and what this process has in memory."""

from __future__ import annotations

import ctypes
import logging
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

logger = logging.getLogger(__name__)

PR_SET_DUMPABLE = 4
OTHERS = stat.S_IRWXG | stat.S_IRWXO
SIDE_FILES = ("", "-wal", "-shm", "-journal")
"""What SQLite keeps beside a database (https://www.sqlite.org/tempfiles.html)."""


class NotPrivate(Exception):
    """Other local users can read what they must not; the sentence names it and says what to do."""


def hide_memory() -> None:
    """Keep memory and environment of this process from other processes of its user (prctl(2), PR_SET_DUMPABLE).

    Then there are no core dumps, and debuggers and profilers need root. Children that run a program are not hidden.
    """
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "PR_SET_DUMPABLE")


@contextmanager
def private_files() -> Iterator[None]:
    """Whatever is created in the block, by children too, is for this user alone."""
    before = os.umask(OTHERS)
    try:
        yield
    finally:
        os.umask(before)


def private_folder(folder: Path) -> None:
    """Make a folder for this user alone (0700), or take an existing one from the others.

    Raises:
        NotPrivate: It stays open to others.
        OSError: It cannot be made.
    """
    with private_files():
        folder.mkdir(parents=True, exist_ok=True)
    # Before any chmod: a server that runs as root would otherwise take /tmp from everybody.
    if folder.stat().st_mode & stat.S_ISVTX:
        raise NotPrivate(
            f"the data folder {folder} is for everybody, such as /tmp; name a folder in it for this server alone"
        )
    _close(folder, stat.S_IRWXU, f"the data folder {folder}")


def private_database(path: Path) -> None:
    """Make a SQLite database and the files beside it this user's alone (0600).

    The file is made here if it is missing: SQLite gives those beside it the same mode.

    Raises:
        NotPrivate: One of them stays open to others.
    """
    with suppress(OSError):  # SQLite says it better
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    for suffix in SIDE_FILES:
        file = path.with_name(path.name + suffix)
        if file.is_file():
            _close(file, stat.S_IRUSR | stat.S_IWUSR, f"the database file {file}")


def _close(path: Path, mode: int, what: str) -> None:
    had = path.stat().st_mode
    if not had & OTHERS:
        return
    advice = f"{what} can be read or changed by other users of this machine (mode {stat.S_IMODE(had):04o})"
    try:
        path.chmod(mode)
    except OSError as error:
        raise NotPrivate(
            f"{advice}, and this one may not change that ({error.strerror}): "
            f"make it {mode:04o} and this user's, or use another place"
        ) from error
    if path.stat().st_mode & OTHERS:
        raise NotPrivate(f"{advice}, and its file system keeps no modes: use another place")
    logger.warning("%s; it is %04o now", advice, mode)
