"""How much is measured: sizes for a look, for a check in CI, and for a page of figures."""

from __future__ import annotations

import msgspec


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of all measurements; 0 or empty leaves one out.

    Attributes:
        rounds: How often all is measured; figures are the medians.
        flat_tokens: Tokens of an answer that is written as fast as it is read, by how many streams there are.
        streams: How many streams of ``rate`` tokens per second there are at once, in turn.
        rate: Tokens per second of a stream.
        seconds: How long streams are watched.
        firsts: In how many conversations the first two turns are measured.
        start_ms: The start-up time of a CLI, for the first token of a first turn in spite of it.
        idle: How many connections that say nothing there are, in turn.
        stalled_bytes: The answer whose reader stops.
        stalled_seconds: For how long.
        line_bytes: Lengths of long lines.
        others: How many streams there are beside a stalled reader or a long line.
        arrivals: How many users arrive at once.
        soak_turns: Turns of a soak.
        within: Seconds after which one measurement is given up.
    """

    rounds: int = 1
    flat_tokens: dict[int, int] = {}
    streams: list[int] = []
    rate: int = 50
    seconds: float = 5.0
    firsts: int = 0
    start_ms: int = 0
    idle: list[int] = []
    stalled_bytes: int = 0
    stalled_seconds: float = 4.0
    line_bytes: list[int] = []
    others: int = 20
    arrivals: int = 0
    soak_turns: int = 0
    within: float = 120.0


MIB = 1 << 20
PLANS = {
    # "smoke" shows that each measurement works at all, for tests; its figures mean nothing.
    "smoke": Plan(
        flat_tokens={1: 5_000},
        streams=[2],
        seconds=0.5,
        firsts=2,
        idle=[20],
        stalled_bytes=MIB,
        stalled_seconds=0.3,
        line_bytes=[MIB],
        others=2,
        arrivals=5,
        soak_turns=40,
        within=30.0,
    ),
    "quick": Plan(
        flat_tokens={1: 200_000, 50: 4_000},
        streams=[50, 200],
        seconds=3.0,
        firsts=10,
        idle=[1_000],
        within=60.0,
    ),
    "full": Plan(
        rounds=3,
        flat_tokens={1: 1_000_000, 50: 20_000},
        streams=[1, 50, 200, 1_000],
        seconds=10.0,
        firsts=100,
        start_ms=400,
        idle=[2_000, 10_000],
        stalled_bytes=50_000_000,
        stalled_seconds=10.0,
        line_bytes=[MIB, 16 * MIB],
        arrivals=500,
        soak_turns=36_000,
    ),
}
