"""What the server counts, in the Prometheus format."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """The counters of one server; each server of a process has its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._turns = Counter("chat_turns", "turns by outcome", ["outcome"], registry=self._registry)
        self._refused = Counter("chat_refused", "refused messages by code", ["code"], registry=self._registry)
        self._first_token = Histogram(
            "chat_first_token_seconds",
            "from admission to the first piece of the answer",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
            registry=self._registry,
        )

    def ended(self, outcome: str) -> None:
        """Count a turn: complete, cancelled, failed or interrupted."""
        self._turns.labels(outcome).inc()

    def refused(self, code: str) -> None:
        """Count a message that started nothing, by its error code."""
        self._refused.labels(code).inc()

    def first_token(self, seconds: float) -> None:
        """Record how long a user waited for the first token."""
        self._first_token.observe(seconds)

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge whose value is computed whenever the metrics are read."""
        Gauge(name, text, registry=self._registry).set_function(value)

    def render(self) -> bytes:
        """All of it as Prometheus reads it."""
        return generate_latest(self._registry)
