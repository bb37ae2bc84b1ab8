"""The line of each case as it ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from chat_conformance.report import console
from chat_conformance.results import Case, CaseResult, Verdict
from fake_claude.terminal import Counter, has_colour, in_ci


def print_text(text: str) -> None:
    """Print to standard output, with colours where it is a terminal."""
    print(console.coloured(text) if has_colour(sys.stdout) else text, flush=True)


class ProgressLines:
    """The line of each case as it ends, with how many there are; in CI what is green comes after what is not.

    Args:
        selected: The cases.
        verbose: Whether what passing cases saw is shown, too.
    """

    def __init__(self, selected: Sequence[Case], *, verbose: bool) -> None:
        self._verbose = verbose
        self._counter = Counter(len(selected))
        self._left = {each.id for each in selected}
        self._kept_back: list[str] = []

    def add(self, result: CaseResult) -> None:
        """Show a result, or keep it back."""
        # Only selected cases are counted: a survival or the traffic is a result more than there are cases.
        counted = f"{self._counter.next()} " if result.case.id in self._left else ""
        self._left.discard(result.case.id)
        text = console.progress(result, saw=self._verbose)
        if not in_ci() or result.verdict not in (Verdict.PASSED, Verdict.NOT_OFFERED):
            print_text(f"{counted}{text}")
            return
        self._kept_back.append(text)
        # A job that says nothing for long is taken for stuck.
        if len(self._kept_back) % 25 == 0:
            print_text(counted.rstrip())

    def end(self) -> None:
        """Show what was kept back."""
        for each in self._kept_back:
            print_text(each)
