"""Times in the forms the CLI writes."""

from __future__ import annotations

import time


def timestamp(now: float | None = None) -> str:
    """Return a unix time, or else now, as ``2026-11-22T18:42:03.984Z``."""
    now = time.time() if now is None else now
    # Put together by hand: ``datetime`` would be one more import at every start.
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"


def now_ms() -> int:
    """Return the time in milliseconds of the unix epoch."""
    return int(time.time() * 1000)


def milliseconds_since(start: float) -> int:
    """Return whole milliseconds since ``start``, a value of ``time.monotonic()``."""
    return int((time.monotonic() - start) * 1000)
