"""What is printed, for any reader: a terminal, a CI log, a pipe that closes early, or one that knows ASCII only."""

from __future__ import annotations

import io
import os
import sys
import time
from typing import IO, TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable


def print_leniently() -> None:
    """Let nothing that is printed end the program: what a stream has no character for is written as an escape.

    What nobody reads any more is dropped; the reports and the exit status are still wanted.
    """
    # A CI may set an ASCII locale: then one `→` in a report would end the run with an error of encoding.
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, Unread(stream))


class Unread:
    """A stream whose reader may go away.

    Args:
        stream: It is written to while it has a reader.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text, to nowhere if nobody reads it."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._to_nowhere()
            return len(text)

    def flush(self) -> None:
        """Write what was kept back."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._to_nowhere()

    def _to_nowhere(self) -> None:
        # The stream keeps what it could not write and tries again when the program ends: then it can.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def has_colour(stream: TextIO) -> bool:
    """Whether a stream is shown in colour: a terminal is, unless ``NO_COLOR``, ``FORCE_COLOR`` or ``TERM`` object."""
    # Empty counts as unset (no-color.org); and it wins over ``FORCE_COLOR``, as a person set it.
    if os.environ.get("NO_COLOR"):
        return False
    if forced := os.environ.get("FORCE_COLOR"):
        return forced != "0"
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def in_ci() -> bool:
    """Whether a CI runs this: then what is printed is read afterwards, from the top."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


class Counter:
    """Counts what is done of a total, and how long the rest may take.

    Args:
        total: How much there is.
        clock: Seconds, monotonic.
    """

    def __init__(self, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._began = clock()
        self._done = 0

    def __str__(self) -> str:
        return self._text()

    def next(self) -> str:
        """One more is done: ``[ 3/12, 1:20 left]``, the time as soon as it is known."""
        self._done += 1
        return self._text()

    def _text(self) -> str:
        done, total = self._done, self._total
        digits = len(str(total))
        left = ""
        # The first few are no measure: with one done, the estimate jumps about.
        if 3 <= done < total:
            seconds = (self._clock() - self._began) / done * (total - done)
            left = f", {int(seconds) // 60}:{int(seconds) % 60:02} left"
        return f"[{done:>{digits}}/{total}{left}]"
