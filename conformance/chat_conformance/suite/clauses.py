"""The clauses of the protocol page, by id."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent
# An installed package carries the page beside this file; a checkout has it under docs/.
_PLACES = (_HERE.parent / "protocol.md", _HERE.parents[2] / "docs" / "protocol.md")
_CLAUSE = re.compile(r"^- \*\*([A-Z]+-\d+)\*\* (.*(?:\n  .*)*)", re.MULTILINE)


def parse(page: str) -> dict[str, str]:
    """Clause ids with their text, each on one line, in order of the page."""
    return {found[1]: " ".join(found[2].split()) for found in _CLAUSE.finditer(page)}


@cache
def clauses() -> dict[str, str]:
    """The clauses of the protocol page that belongs to this version.

    Raises:
        FileNotFoundError: The installation lacks the page.
    """
    for place in _PLACES:
        if place.exists():
            return parse(place.read_text(encoding="utf-8"))
    raise FileNotFoundError(f"the protocol page is missing; looked at {', '.join(map(str, _PLACES))}")
