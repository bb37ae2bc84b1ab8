"""What a turn may wait for, and how it is left: it yields a wait, and the loop resumes it or throws an exception."""

from __future__ import annotations


# Theory: a turn is a generator. `yield Delay(2)` hands control to the loop, which goes on reading input and signals;
# after two seconds it resumes the turn, or throws one of the exceptions below into it at that very place. So a turn
# reads like a plain list of steps and can still be left at every wait.
class Wait:
    """The base class: something outside of the turn must happen first."""

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
    """Endless; only an interrupt or a signal ends it."""

    __slots__ = ()


class Yield(Wait):
    """Nothing in particular: let signals and input be handled."""

    __slots__ = ()


# One object for all: a flood of pieces yields for each of them.
YIELD = Yield()


class HostResponse(Wait):
    """The host answers our control request; the turn is resumed with its response, or ``None`` at end of input."""

    __slots__ = ("patience", "request_id")

    def __init__(self, request_id: str, patience: float | None = None) -> None:
        self.request_id = request_id
        self.patience = patience  # seconds; without an answer by then the response is ``None``


class Interrupted(Exception):
    """Thrown into a turn when the host (then ``by_host``), the end of the session or a SIGINT interrupts it."""

    def __init__(self, *, by_host: bool) -> None:
        super().__init__()
        self.by_host = by_host


class Preempted(Exception):
    """Thrown into a turn when a message of priority ``now`` replaces it."""


class Exit(Exception):
    """The process ends with ``code``: a script step, a signal or the CLI itself says so."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class LoggedOut(Exception):
    """There is no login and no API key."""
