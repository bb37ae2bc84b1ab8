"""What a run found; every report is a function of these values."""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec


class Severity(StrEnum):
    """How much a failure harms the people using the server."""

    BLOCKER = "blocker"
    MEDIUM = "medium"
    LOW = "low"


class Decision(StrEnum):
    """What a gate says of a change, in the words of code review."""

    APPROVE = "APPROVE"
    REQUEST_CHANGES = "REQUEST_CHANGES"
    DISCUSS = "DISCUSS"


LEVELS: dict[str, tuple[str, ...]] = {
    "core": ("core",),
    "resumable": ("core", "resumable"),
    "limits": ("core", "limits"),
    "identity": ("core", "identity"),
    "full": ("core", "resumable", "limits", "identity", "full"),
}
"""How far a server goes, each level with those whose cases it asks for (suite/levels.py)."""


class LevelResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a run says of one level.

    Attributes:
        level: Its name.
        verdict: ``passed``, ``failed``, ``not offered`` where nothing of its own could be played, or ``not tested``.
        passed: How many of its cases passed.
        failed: How many failed in a way that the gate does not let through, or are blocked by such.
        others: How many were not offered, could not be tested, or are known failures.
    """

    level: str
    verdict: str
    passed: int
    failed: int
    others: int


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
        evidence: A regular expression for what is expected and happens, by which that finding is known again: the case
            fails for other causes, too.
        needs: Ids of cases without which this one says nothing new.
        waits: Whether it mostly waits, for time or for a server to start; such cases are played side by side.
        slow: Whether ``--quick`` leaves it out.
        level: The lowest of `LEVELS` that asks for it.
    """

    id: str
    title: str
    clause: str
    severity: Severity
    means: str
    finding: str | None = None
    evidence: str = ""
    needs: tuple[str, ...] = ()
    waits: bool = False
    slow: bool = False
    level: str = "full"


def matches(each: Case, selection: str) -> bool:
    """Whether a selection means this case."""
    return each.id.startswith(selection) or selection in (each.clause, each.finding)


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
        location: Where in the target's sources to look, ``path`` or ``path:line``, as its target file says.
        reason: Why a known failure counts as one.
        link: Where it is followed up.
        broken: Whether the harness itself failed; then ``happened`` has its traceback.
        saw: What a case that passed has seen to be right; without anything it has not passed.
        step: At which line of its own the case stopped, counted from its first; 0 where that is not known.
        kinds: Of what was sent to other cases, the kinds of messages that are not valid, however many; older reports
            have none.
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
    location: str = ""
    reason: str = ""
    link: str = ""
    broken: bool = False
    saw: tuple[str, ...] = ()
    step: int = 0
    kinds: tuple[str, ...] = ()

    @property
    def finding(self) -> str:
        """The review finding that has come back; empty if the case failed for another cause."""
        words = f"{self.expected}; {self.happened}"
        failed = self.verdict in (Verdict.FAILED, Verdict.KNOWN_FAILURE)
        # The finding is known by its words (`evidence`), since a case may fail for causes that are no relapse.
        return (self.case.finding or "") if failed and re.search(self.case.evidence, words) else ""

    @property
    def why(self) -> str:
        """Why the case is not green, for a list: the reason of a known failure, else what happened."""
        return self.reason or self.happened

    @property
    def root(self) -> str:
        """The id of the case that shows the cause: this one's, or the one that it is blocked by."""
        return self.happened if self.verdict is Verdict.BLOCKED_BY else self.case.id


class ChangeKind(StrEnum):
    """What became of a finding since an earlier run, or what a new one is.

    Attributes:
        REGRESSION: It was not so before: its case passed, or failed for another cause.
        NEW: The earlier run did not judge its case.
        NEWLY_VISIBLE: In the earlier run its case was blocked by a root cause, which is mended.
        NOT_TESTED: What failed before was not judged this time.
        PARTIAL: The fault does less harm, or the case comes further and fails there for another cause.
        NOT_FIXED: It fails as before.
        FIXED: Its case passes.
    """

    REGRESSION = "REGRESSION"
    NEW = "NEW"
    NEWLY_VISIBLE = "NEWLY VISIBLE"
    NOT_TESTED = "NOT TESTED"
    PARTIAL = "PARTIAL"
    NOT_FIXED = "NOT FIXED"
    FIXED = "FIXED"

    @property
    def slug(self) -> str:
        """The kind as one lower-case word."""
        return self.lower().replace(" ", "-")


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a second look found about one finding.

    Attributes:
        kind: What became of it.
        case: The case.
        before: What happened in the earlier run; empty if the case was not judged.
        after: What happened in this one; empty if the case passed or was not judged.
    """

    kind: ChangeKind
    case: Case
    before: str = ""
    after: str = ""


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a whole run found.

    Attributes:
        target: The target's name.
        url: Where it listened.
        seed: What all randomness of the run came from.
        seconds: How long it took.
        results: One per selected case, in order of play.
        trouble: What went wrong outside any case, such as processes left behind.
        version: Of the suite.
        began: When it began, RFC 3339 in UTC.
        fail_on: The least severity of a failure that the gate does not let through.
        changes: What is different from an earlier run, if this one was compared with it.
        broke_off: Whether the run ended before every selected case had a result.
        levels: What it says of each level.
    """

    target: str
    url: str
    seed: int
    seconds: float
    results: tuple[CaseResult, ...]
    trouble: tuple[str, ...] = ()
    version: str = ""
    began: str = ""
    fail_on: Severity = Severity.MEDIUM
    changes: tuple[Change, ...] = ()
    broke_off: bool = False
    levels: tuple[LevelResult, ...] = ()

    @property
    def judged_levels(self) -> tuple[LevelResult, ...]:
        """What the results say of each level."""
        # By root: a case that is blocked by a failure counts as failed in its own level, too.
        bad = {each.case.id for each in self.blocking}
        failed = {each.case.id for each in self.results if each.root in bad}
        return tuple(self._judged(level, included, failed) for level, included in LEVELS.items())

    def _judged(self, level: str, included: tuple[str, ...], failed: set[str]) -> LevelResult:
        # Of what a level includes, `own` is what it adds to the levels below.
        mine = [each for each in self.results if each.case.level in included]
        own = [each for each in mine if each.case.level == level]
        passed = [each for each in mine if each.verdict is Verdict.PASSED]
        wrong = [each for each in mine if each.case.id in failed]
        # Order: a level of which nothing is offered is not failed by the levels below it; after that one
        # failure is enough; and a pass needs a case of its own, so that core alone never passes a higher level.
        if own and all(each.verdict is Verdict.NOT_OFFERED for each in own):
            verdict = "not offered"
        elif wrong:
            verdict = "failed"
        elif any(each.verdict is Verdict.PASSED for each in own):
            verdict = "passed"
        else:
            verdict = "not tested"
        others = len(mine) - len(passed) - len(wrong)
        return LevelResult(level=level, verdict=verdict, passed=len(passed), failed=len(wrong), others=others)

    def of(self, verdict: Verdict) -> tuple[CaseResult, ...]:
        """The results with that verdict."""
        return tuple(result for result in self.results if result.verdict is verdict)

    @property
    def findings(self) -> tuple[CaseResult, ...]:
        """The failures: the root causes, as what hangs on one is blocked by it.

        The most harmful come first; of two alike, the one that more hangs on; else in order of play.
        """
        order = list(Severity)
        return tuple(
            sorted(
                self.of(Verdict.FAILED),
                # sorted is stable, so what is alike stays in order of play.
                key=lambda each: (order.index(self.harm(each)), -len(self.hanging(each))),
            )
        )

    def harm(self, root: CaseResult) -> Severity:
        """How much a root cause harms: its own severity, or the worst of what hangs on it, as that was not judged."""
        # Severities are listed from the worst down, so the smallest index is the worst.
        return min(
            [root, *self.hanging(root)], key=lambda each: list(Severity).index(each.case.severity)
        ).case.severity

    def hanging(self, root: CaseResult) -> tuple[CaseResult, ...]:
        """The cases that are blocked by this one, in order of play."""
        return tuple(each for each in self.of(Verdict.BLOCKED_BY) if each.root == root.case.id)

    @property
    def blocked_elsewhere(self) -> tuple[CaseResult, ...]:
        """The blocked cases that hang on no finding, but on a known failure."""
        found = {each.case.id for each in self.of(Verdict.FAILED)}
        return tuple(each for each in self.of(Verdict.BLOCKED_BY) if each.root not in found)

    @property
    def blocking(self) -> tuple[CaseResult, ...]:
        """The findings that the gate does not let through."""
        order = list(Severity)
        worst = order.index(self.fail_on)
        return tuple(each for each in self.findings if order.index(self.harm(each)) <= worst)

    @property
    def is_broken(self) -> bool:
        """Whether the target or the harness broke, or nothing was tested: then there is no verdict."""
        # A run in which nothing was tested must not be green: an empty list of failures is no proof.
        broken = self.trouble or self.broke_off or any(result.broken for result in self.results)
        return bool(broken) or not (self.of(Verdict.PASSED) or self.of(Verdict.FAILED))

    @property
    def exit_status(self) -> int:
        """0 nothing stops, 1 something does, 2 nothing selected, 3 the target or the harness broke."""
        # Before all else: with nothing selected there is no run to judge, and that is an error of usage.
        if not self.results and not self.broke_off:
            return 2
        if self.blocking:
            return 1
        # A failure that was seen counts even where something broke besides: it is real in any case.
        return 3 if self.is_broken else 0

    @property
    def decision(self) -> Decision:
        """What a review says.

        A failure below the gate, one that a mended root cause hid, or a run without a verdict is for people to discuss.
        """
        if self.blocking:
            return Decision.REQUEST_CHANGES
        # A failure that only came to light does not stop the change, but a person should see it.
        uncovered = any(each.kind is ChangeKind.NEWLY_VISIBLE for each in self.changes)
        return Decision.DISCUSS if self.exit_status or self.findings or uncovered else Decision.APPROVE

    @property
    def worst_change(self) -> Change | None:
        """The worst of what is new and stops; None if nothing is, or the run was compared with no other."""
        stopping = {each.case.id for each in self.blocking}
        urgent = (ChangeKind.REGRESSION, ChangeKind.NEW)
        return next((each for each in self.changes if each.kind in urgent and each.case.id in stopping), None)
