"""What went over the wire, in order, with times."""

from __future__ import annotations

import time
from collections.abc import Callable

from chat_conformance.errors import clip
from chat_conformance.results import TraceLine
from chat_conformance.wire.frames import OPCODES, Frame, Opcode

MAX_LINES = 400
MAX_TEXT = 200
MAX_LINE = 1_000


class Trace:
    """Lines in order of time, those in the middle dropped beyond a bound.

    Args:
        clock: Seconds, monotonic.

    Attributes:
        began: When it began, in Unix seconds, to place what others have noted.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()
        # By the calendar, in Unix seconds.
        self.began = time.time()
        self._lines: list[TraceLine] = []
        self._dropped = 0

    def add(self, who: str, direction: str, text: str) -> None:
        """Note one line."""
        self._lines.append(
            TraceLine((self._clock() - self._start) * 1000, who, direction, clip(text, MAX_LINE))
        )
        if len(self._lines) > MAX_LINES:
            # The beginning shows the cause, the end what happened; the middle may go.
            del self._lines[MAX_LINES // 2]
            self._dropped += 1

    @property
    def lines(self) -> tuple[TraceLine, ...]:
        """What was noted, oldest first; a line says where some were left out."""
        if not self._dropped:
            return tuple(self._lines)
        at = MAX_LINES // 2
        gap = TraceLine(self._lines[at].ms, "", "=", f"{self._dropped} lines left out")
        return (*self._lines[:at], gap, *self._lines[at:])


def shorten(value: str | bytes) -> str:
    """Text or bytes as one printable line of bounded length; the end is kept, too."""
    if len(value) > MAX_TEXT:
        half = MAX_TEXT // 2
        return f"{value[:half]!r} … {value[-20:]!r}"
    return repr(value)


def describe(frame: Frame) -> str:
    """A frame in words: opcode, what is unusual about its header, payload, length."""
    name = Opcode(frame.opcode).name if frame.opcode in OPCODES else f"opcode {frame.opcode}"
    odd = [] if frame.fin else ["more follows"]
    odd += [f"rsv {frame.rsv:03b}"] if frame.rsv else []
    odd += [f"length in {frame.length_bytes} bytes"] if frame.length_bytes else []
    if frame.opcode == Opcode.CLOSE and frame.close_code is not None:
        body = f"{frame.close_code} {frame.close_reason!r}"
    elif frame.opcode in (Opcode.TEXT, Opcode.CONTINUATION):
        body = shorten(frame.payload.decode(errors="backslashreplace"))
    else:
        body = shorten(frame.payload)
    return " ".join([name, body, f"[{', '.join([*odd, f'{len(frame.payload)} bytes'])}]"])
