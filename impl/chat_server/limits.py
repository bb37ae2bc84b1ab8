"""How much a user may ask in an hour and a day: pure rules over the usage ledger's numbers.

Hits are the times (Unix seconds) at which turns were admitted, over all routes. The hour slides: a hit counts until
it is 3,600 seconds old. The day is the UTC day in which a turn was admitted, and its tokens count to that day when
they are known; a turn that crosses the quota is finished, the next is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from operator import itemgetter

from chat_server.errors import ChatError, QuotaExceeded, RateLimited

HOUR = 3600.0
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Per user; 0 is no limit."""

    requests_per_hour: int
    requests_per_day: int
    tokens_per_day: int


@dataclass(frozen=True, slots=True)
class Used:
    """What a user has used by the ledger, as far as it is limited."""

    # The hits of the sliding hour, oldest first; of more than the limit the newest.
    hour: Sequence[float]
    day: int  # hits of the UTC day
    tokens: int  # input and output tokens of the UTC day


def day_start(now: float) -> float:
    """The beginning of the UTC day (Unix time has no leap seconds)."""
    return now - now % DAY


def admit(limits: Limits, used: Used, now: float) -> None:
    """Refuse one more turn where a limit is reached.

    Raises:
        RateLimited: A request limit is reached.
        QuotaExceeded: The day's tokens are spent.
            Of several reasons the one that lasts longest is reported: after its ``retry_after`` none is left (LIMIT-3).
    """
    tomorrow = day_start(now) + DAY - now
    refusals: list[tuple[float, type[ChatError], str]] = []
    if limits.tokens_per_day and used.tokens >= limits.tokens_per_day:
        spent = f"daily quota of {limits.tokens_per_day:,} tokens used up; it resets at midnight UTC"
        refusals.append((tomorrow, QuotaExceeded, spent))
    if limits.requests_per_day and used.day >= limits.requests_per_day:
        reached = f"rate limit reached: {limits.requests_per_day} messages per day"
        refusals.append((tomorrow, RateLimited, reached))
    if limits.requests_per_hour and len(used.hour) >= limits.requests_per_hour:
        leaves = used.hour[-limits.requests_per_hour] + HOUR
        reached = f"rate limit reached: {limits.requests_per_hour} messages per hour"
        refusals.append((leaves - now, RateLimited, reached))
    if refusals:
        wait, error, sentence = max(refusals, key=itemgetter(0))
        raise error(sentence, retry_after=_up(wait))


def admit_new(limit: int, hour: Sequence[float], now: float) -> None:
    """Refuse an empty conversation if as many were made in the sliding hour as turns are allowed in one.

    Raises:
        RateLimited: The limit is reached.
    """
    if limit and len(hour) >= limit:
        sentence = f"the limit of new conversations is reached ({limit} an hour)"
        raise RateLimited(sentence, retry_after=_up(hour[-limit] + HOUR - now))


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """How a user stands with one limit (LIMIT-7)."""

    limit: str  # the field of Limits
    used: int
    of: int
    # Seconds until some of it comes back; None while nothing of it is used.
    resets_in: float | None


def limit_statuses(limits: Limits, used: Used, now: float) -> list[LimitStatus]:
    """How a user stands with each limit there is."""
    tomorrow = _up(day_start(now) + DAY - now)
    leaves = _up(used.hour[0] + HOUR - now) if used.hour else None
    every = [
        LimitStatus("requests_per_hour", len(used.hour), limits.requests_per_hour, leaves),
        LimitStatus("requests_per_day", used.day, limits.requests_per_day, tomorrow if used.day else None),
        LimitStatus("tokens_per_day", used.tokens, limits.tokens_per_day, tomorrow if used.tokens else None),
    ]
    return [each for each in every if each.of]


def _up(seconds: float) -> float:
    """Whole milliseconds, rounded up, so that waiting exactly that long is long enough."""
    return ceil(seconds * 1000) / 1000
