"""What a turn may wait for: it yields one of these and the engine resumes it."""

from __future__ import annotations


class Wait:
    """The base: something other than this process's own work must happen first."""

    __slots__ = ()


class Delay(Wait):
    """Time passes, ``seconds`` of it."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Hold(Wait):
    """The gate ``name`` lets us pass."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Stall(Wait):
    """Nothing will ever come; only an interrupt or a signal ends it."""

    __slots__ = ()


class Breathe(Wait):
    """Nothing in particular: let signals and input have their turn."""

    __slots__ = ()


BREATHE = Breathe()


class Interrupted(Exception):
    """Thrown into a turn when the host or a SIGINT interrupts it."""


class Answer(Wait):
    """The host answers our control request; the turn is resumed with its response, or ``None`` at end of input."""

    __slots__ = ("request_id",)

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id


class Pushed(Exception):
    """Thrown into a turn when a message of priority ``now`` pushes it aside."""
