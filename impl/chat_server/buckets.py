"""A token bucket: how much may come at once, and how much in a second; time is an argument."""

from __future__ import annotations


class TokenBucket:
    """Holds ``burst`` tokens at most and gains ``rate`` of them a second; it may be overdrawn."""

    __slots__ = ("_at", "_burst", "_level", "_rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at = now

    def take(self, cost: float, now: float) -> None:
        """Take tokens, there or not."""
        self._fill(now)
        self._level -= cost

    def wait(self, now: float) -> float:
        """Seconds until it is no longer overdrawn."""
        self._fill(now)
        return max(0.0, -self._level / self._rate)

    def full(self, now: float) -> bool:
        """Whether nothing was taken lately."""
        self._fill(now)
        return self._level >= self._burst

    def _fill(self, now: float) -> None:
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
