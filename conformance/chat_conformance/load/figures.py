"""What the figures are called, and how they are written."""

from __future__ import annotations

from dataclasses import dataclass

from chat_conformance.load.results import LoadResult

# These are in the JSON and not in a table.
HIDDEN = {"generator", "max_us", "delivered"}


@dataclass(frozen=True)
class Figure:
    """One figure of a measurement, for people.

    Attributes:
        measure: Such as ``streams/200``.
        name: Such as ``p99_us``.
        title: What it is.
        more_is_better: Whether a higher one is better.
    """

    measure: str
    name: str
    title: str
    more_is_better: bool


_TITLES = {
    ("flat", "tokens_per_s"): "flat out, {n}",
    ("flat", "cpu_us"): "processor per token, flat out, {n}",
    ("streams", "p50_us"): "added latency p50, {n} of {rate}/s",
    ("streams", "p99_us"): "added latency p99, {n} of {rate}/s",
    ("streams", "cpu_us"): "processor per token, {n} of {rate}/s",
    ("streams", "stream_bytes"): "memory per live stream, {n}",
    ("streams", "token_bytes"): "memory per token of 18 bytes, {n}",
    ("first", "cold_p50_ms"): "first token of a first turn, p50",
    ("first", "cold_p99_ms"): "first token of a first turn, p99",
    ("first", "warm_p50_ms"): "first token of a second turn, p50",
    ("first", "warm_p99_ms"): "first token of a second turn, p99",
    ("first", "written_to_read_ms"): "of that, after the CLI wrote it, p50",
    ("start-up", "cold_p50_ms"): "first token, CLI starts in {start} ms, p50",
    ("idle", "connection_bytes"): "memory per idle connection, of {count}",
    ("idle-deflate", "connection_bytes"): "the same, offered deflate, of {count}",
    ("stalled", "grown_bytes"): "growth under a reader that stopped",
    ("stalled", "others_p99_us"): "the others' latency p99 during it",
    ("stalled", "resumed"): "whether the answer then arrives whole",
    ("line", "seconds"): "a line of {n_} MiB passes in",
    ("line", "others_max_ms"): "the others wait at most",
    ("arrivals", "p50_ms"): "connect to first token, {arrivals} at once, p50",
    ("arrivals", "p99_ms"): "connect to first token, {arrivals} at once, p99",
    ("arrivals", "cpu_ms"): "processor per arrival",
    ("soak", "grown_bytes_per_1000"): "growth per 1,000 turns",
    ("soak", "turns_per_s"): "turns per second of {users} users",
}
MORE_IS_BETTER = {"tokens_per_s", "turns_per_s", "delivered", "resumed"}


def rows(result: LoadResult) -> list[Figure]:
    """What a table of this run has, in order."""
    return [
        Figure(measure, name, _title(result, measure, name), name in MORE_IS_BETTER)
        for measure, name in result.rows()
        if name not in HIDDEN
    ]


def _title(result: LoadResult, measure: str, name: str) -> str:
    kind, _, number = measure.partition("/")
    plan = result.plan
    count = int(number or 0)
    return _TITLES[kind, name].format(
        n="1 stream" if count == 1 else f"{count:,} streams",
        n_=count,
        count=f"{count:,}",
        rate=plan.rate,
        start=plan.start_ms,
        arrivals=plan.arrivals,
        users=20,
    )


def format_figure(name: str, value: float) -> str:
    """A figure with its unit, which is the end of its name."""
    if name == "resumed":
        return "yes" if value else "no"
    if name.endswith("per_s"):
        return f"{value:,.0f}/s"
    if name.endswith(("bytes", "bytes_per_1000")):
        for unit, size in (("MiB", 2**20), ("KiB", 2**10)):
            if abs(value) >= size:
                return f"{value / size:,.1f} {unit}"
        return f"{value:,.0f} B"
    # The unit is the end of the name, so a new figure needs no entry here.
    for end, unit, small in (("_us", "µs", 10), ("_ms", "ms", 10), ("seconds", "s", 10)):
        if name.endswith(end):
            return f"{value:,.{2 if value < small else 0}f} {unit}"
    return f"{value:,.2f}"


def ratio(result: LoadResult, row: Figure, target: str, against: str) -> float | None:
    """A target's figure divided by another's; None where one is missing or not above zero."""
    # Growth of memory may be zero or negative, when something was freed beside it: a ratio to that says
    # nothing.
    mine = result.figure(target, row.measure, row.name)
    other = result.figure(against, row.measure, row.name)
    return mine / other if mine is not None and other is not None and other > 0 and mine > 0 else None
