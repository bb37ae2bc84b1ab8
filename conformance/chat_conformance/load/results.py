"""What a run under load found: figures by target, measurement and round."""

from __future__ import annotations

from statistics import median

import msgspec

from chat_conformance.load.plan import Plan

BUSY = 0.9
"""A generator that is busier than this share of a processor may be what was measured."""
NEAR = 0.7
"""So may one that reads more than this share of what it can read from a bare pipe."""


class Measured(msgspec.Struct, frozen=True):
    """One measurement of one target in one round.

    Attributes:
        target: Its name.
        measure: Such as ``streams/200``.
        round: From 1.
        figures: By name; the unit is the end of the name.
        trouble: Why there are none.
    """

    target: str
    measure: str
    round: int
    figures: dict[str, float] = {}
    trouble: str = ""


class LoadResult(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run.

    Attributes:
        targets: Their names, in order; the first is the one in question.
        plan_name: Such as ``quick``.
        plan: Its sizes.
        machine: What it ran on.
        limit: What the generator reads from a bare pipe, in tokens per second.
        measured: All measurements.
        version: Of this package.
        began: UTC, RFC 3339.
        seconds: How long it took.
    """

    targets: list[str]
    plan_name: str
    plan: Plan
    machine: dict[str, str]
    limit: float
    measured: list[Measured]
    version: str = ""
    began: str = ""
    seconds: float = 0.0

    def rows(self) -> list[tuple[str, str]]:
        """The measurements and their figures that some target has, in order."""
        found: dict[tuple[str, str], None] = {}
        # A dictionary as an ordered set: figures keep the order in which a measurement gives them, and
        # sorting is stable.
        for each in self.measured:
            for name in each.figures:
                found[each.measure, name] = None
        order = {
            measure: place for place, measure in enumerate(dict.fromkeys(m.measure for m in self.measured))
        }
        return sorted(found, key=lambda row: order[row[0]])

    def figure(self, target: str, measure: str, name: str) -> float | None:
        """The median over all rounds, None where there is none."""
        values = [
            each.figures[name]
            for each in self.measured
            if each.target == target and each.measure == measure and name in each.figures
        ]
        # Not the mean: one round that the machine disturbed would move it.
        return median(values) if values else None

    def trouble(self, target: str, measure: str) -> str:
        """Why a measurement failed, in the last round in which it did."""
        words = [each.trouble for each in self.measured if (each.target, each.measure) == (target, measure)]
        return next((each for each in reversed(words) if each), "")

    def by_generator(self, target: str, measure: str) -> bool:
        """Whether the generator may be what was measured, rather than the target."""
        # Two signs: it is busy, or it reads nearly as much as with no server between. A client that waits for
        # the bytes of the hub is at its limit without being busy.
        busy = self.figure(target, measure, "generator") or 0.0
        read = (self.figure(target, measure, "tokens_per_s") or 0.0) if measure.startswith("flat/") else 0.0
        return busy > BUSY or read > NEAR * self.limit
