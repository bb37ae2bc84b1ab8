"""What the consumers of reports take at most, and how a report stays within it: worst first, the rest counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

COMMENT = 60_000
"""Characters of Markdown: a comment on GitHub has at most 65,536, some of them added by the tool that
posts it. A step summary has a mebibyte, a note on GitLab a million characters."""
SARIF_RESULTS = 5_000
"""GitHub takes 25,000 results of a run and shows 5,000 of them."""
DIAGNOSTICS = 1_000
"""Annotations and entries of a widget; more are not read."""
TEXT = 1_000
"""Characters of one message: an annotation has at most 64 KiB, a rule's description of SARIF 1,024."""
JUNIT = 8_000_000
"""Characters of evidence: GitLab reads files of up to 30 MB."""
LINES = 40
"""Lines of one trace or log in a text that people scroll through."""


def left_out(count: int, what: str) -> str:
    """A sentence about what did not fit."""
    return f"… and {count:,} more {what}, left out for length; the json report has all"


def fitting(blocks: Sequence[str], room: int, glue: str = "\n") -> tuple[list[str], int]:
    """The first blocks that fit together, and how many do not."""
    taken: list[str] = []
    for each in blocks:
        room -= len(each) + len(glue)
        if room < 0:
            break
        taken.append(each)
    return taken, len(blocks) - len(taken)


def ends(items: Sequence[T]) -> tuple[Sequence[T], int, Sequence[T]]:
    """Of a long list the beginning, how much is left out, and the end."""
    if len(items) <= LINES:
        return items, 0, ()
    head = LINES // 4
    return items[:head], len(items) - LINES, items[head - LINES :]
