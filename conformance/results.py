"""What a run found; every report is a function of these values."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Severity(StrEnum):
    """How much a failure harms the people using the server."""

    BLOCKER = "blocker"
    MEDIUM = "medium"
    LOW = "low"


class Verdict(StrEnum):
    """How a case ended; only ``PASSED`` is green."""

    PASSED = "passed"
    FAILED = "failed"
    COULD_NOT_TEST = "could not test"
    NOT_OFFERED = "not offered"
    KNOWN_FAILURE = "known failure"
    BLOCKED_BY = "blocked by"


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What a case is about.

    Attributes:
        id: ``area/name``, for ever.
        title: What the server has to do, as a sentence.
        clause: The clause of the protocol page that asks for it.
        severity: From the clause's verb and the harm.
        means: What a failure means for the people using the server, in one sentence.
        finding: The id of the review finding that this case keeps from coming back.
        needs: Ids of cases without which this one says nothing new.
        waits: Whether it mostly waits, for time or for a server to start; such cases are played side by side.
        slow: Whether ``--quick`` leaves it out.
    """

    id: str
    title: str
    clause: str
    severity: Severity
    means: str
    finding: str | None = None
    needs: tuple[str, ...] = ()
    waits: bool = False
    slow: bool = False


class TraceLine(msgspec.Struct, frozen=True):
    """One thing that went over the wire, or a change of state.

    Attributes:
        ms: Milliseconds since the case began.
        who: The connection, such as ``ws1`` or ``http``.
        direction: ``<`` from the server, ``>`` to the server, ``=`` a state.
        text: The decoded frame or request, escaped, shortened.
    """

    ms: float
    who: str
    direction: str
    text: str


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """How one case ended, with the evidence.

    Attributes:
        case: The case.
        verdict: How it ended.
        seconds: How long it took.
        expected: What the clause asks for here; empty unless failed.
        happened: What came instead, or why the case could not be tested.
        trace: What went over the wire, oldest first.
        ledger: What Claude was started with and given during the case.
        log: The last lines the target wrote during the case.
        replay: The command that plays only this case again.
        link: Where a known failure is followed up.
        broken: Whether the harness itself failed; then ``happened`` has its traceback.
    """

    case: Case
    verdict: Verdict
    seconds: float = 0.0
    expected: str = ""
    happened: str = ""
    trace: tuple[TraceLine, ...] = ()
    ledger: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    replay: str = ""
    link: str = ""
    broken: bool = False


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a whole run found.

    Attributes:
        target: The target's name.
        url: Where it listened.
        seed: What all randomness of the run came from.
        seconds: How long it took.
        results: One per selected case, in order of play.
        trouble: What went wrong outside any case, such as processes left behind.
    """

    target: str
    url: str
    seed: int
    seconds: float
    results: tuple[CaseResult, ...]
    trouble: tuple[str, ...] = ()

    def of(self, verdict: Verdict) -> tuple[CaseResult, ...]:
        """The results with that verdict."""
        return tuple(result for result in self.results if result.verdict is verdict)

    @property
    def exit_status(self) -> int:
        """0 conformant, 1 not, 2 nothing selected, 3 the target or the harness broke, or nothing was tested."""
        if not self.results:
            return 2
        if self.of(Verdict.FAILED):
            return 1
        broken = self.trouble or any(result.broken for result in self.results)
        return 3 if broken or not self.of(Verdict.PASSED) else 0
