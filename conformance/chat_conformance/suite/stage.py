"""The servers on which cases are played, and who is on them at the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from chat_conformance.results import Case
from chat_conformance.target.server import Server
from chat_conformance.target.variants import VariantServers

SUSPECTS = 8
"""How many earlier cases are suspected when a case fails by no fault of its own."""


# Compared by identity: one case may be played twice, and the list of visits must lose the right one.
@dataclass(eq=False)
class Visit:
    """One play of one case.

    Attributes:
        case: The case.
        first: Whether no other case was played on the stage before, since it is new.
        suspects: Cases of which one may have disturbed it, newest first: the last that were over when it began, and
            those that were over before it was.
        beside: The cases that were played at the same time.
        began: When its play began, in seconds, monotonic.
        disturbed: Whether a server was started again while the case was at work on it.
        wrong: What was wrong with a server when the case was over.
    """

    case: Case
    first: bool
    suspects: list[Case]
    beside: set[str] = field(default_factory=set)
    began: float = 0.0
    disturbed: bool = False
    wrong: str = ""

    @property
    def alone(self) -> bool:
        """Whether no other case can have had a part in what came of this one."""
        return self.first and not self.beside


class Stage:
    """A target with its further servers.

    Attributes:
        server: The target.
        variants: The target with other settings.
        last: The cases that were over last, newest first.
        looking: Held while a server is checked, and renewed.
    """

    def __init__(self, server: Server, variants: VariantServers) -> None:
        self.server = server
        self.variants = variants
        self.looking = asyncio.Lock()
        self._there: list[Visit] = []
        self._used = False
        self.last: deque[Case] = deque(maxlen=SUSPECTS)

    def enter(self, case: Case) -> Visit:
        """Begin to play a case."""
        # Suspicion goes by overlap. Cases that are here now are beside the visit, and it is beside them; what
        # was over shortly before is a suspect, as a server may fall some time after the blow.
        visit = Visit(case, first=not self._used, suspects=list(self.last))
        for other in self._there:
            other.beside.add(case.id)
            visit.beside.add(other.case.id)
        self._there.append(visit)
        self._used = True
        return visit

    def leave(self, visit: Visit) -> None:
        """The case is over."""
        self._there.remove(visit)
        self.last.appendleft(visit.case)
        for other in self._there:
            other.suspects.insert(0, visit.case)
