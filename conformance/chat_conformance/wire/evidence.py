"""What a case has seen to be right, in sentences: by them a green case can be audited."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from chat_conformance.errors import clip

MOST = 40
"""How many sentences of one case are kept; further ones are counted."""

LONGEST = 300


class Evidence:
    """The sentences of one case, in order, each with how often it was true."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._more = 0

    def note(self, sentence: str) -> None:
        """Add a sentence."""
        # Bounded, since a case may see thousands of tokens, and all of this is written into its report.
        if sentence in self._seen or len(self._seen) < MOST:
            self._seen[sentence] = self._seen.get(sentence, 0) + 1
        else:
            self._more += 1

    @property
    def lines(self) -> tuple[str, ...]:
        """One line for each sentence."""
        lines = [each if count == 1 else f"{each} ({count} times)" for each, count in self._seen.items()]
        return (*lines, *([f"and {self._more} times more"] if self._more else []))


_current: ContextVar[Evidence | None] = ContextVar("evidence", default=None)


def saw(sentence: str) -> None:
    """Note what the case that runs now has seen to be right; outside of cases it does nothing."""
    if (evidence := _current.get()) is not None:
        evidence.note(clip(sentence, LONGEST))


@contextmanager
def gathered() -> Iterator[Evidence]:
    """What is seen inside the block, by the tasks begun there, too."""
    evidence = Evidence()
    # A context variable, not a global: cases run in parallel, and a task that one starts takes its context
    # along.
    token = _current.set(evidence)
    try:
        yield evidence
    finally:
        _current.reset(token)
