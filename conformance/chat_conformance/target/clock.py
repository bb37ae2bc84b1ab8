"""A clock that a case moves while a server runs by it: libfaketime, where it is installed."""

from __future__ import annotations

import os
from pathlib import Path

from chat_conformance.errors import CouldNotTest

# The library's path, where it is in no usual place.
VARIABLE = "CHATGATE_FAKETIME"
_USUAL = ("usr/lib/*/faketime/libfaketimeMT.so.1", "usr/l*/faketime/libfaketimeMT.so.1")


class Clock:
    """The wall clock of one server, ahead of ours by as much as a case wants; its monotonic clock is left alone.

    Args:
        folder: Holds the file from which the library reads the time.

    Raises:
        CouldNotTest: The library is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self._library = find()
        self._write(0)

    @property
    def env(self) -> dict[str, str]:
        """What makes a process and its children live by this clock."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # A move is seen at once, by every process.
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Else waits of threads last up to seconds too long.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }

    def ahead(self, seconds: float) -> None:
        """Put the clock so far ahead of the real one."""
        self._write(seconds)

    def _write(self, seconds: float) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"+{seconds:.3f}\n", encoding="ascii")
        fresh.replace(self._file)


def find() -> Path:
    """The library for programs with threads.

    Raises:
        CouldNotTest: It is not installed.
    """
    named = os.environ.get(VARIABLE)
    places = [Path(named)] if named else [each for usual in _USUAL for each in sorted(Path("/").glob(usual))]
    for place in places:
        if place.is_file():
            return place
    where = f"{VARIABLE} is {named}, where nothing is" if named else "libfaketime is not installed"
    raise CouldNotTest(f"{where}; `apt-get install libfaketime` gives the clock that this case moves")
