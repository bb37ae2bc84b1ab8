"""Generated cases that differed once: they stay as rows."""

from __future__ import annotations

import json
from pathlib import Path

from fake_claude.fidelity.case import Case
from fake_claude.fidelity.invocation import Invocation

KEPT = Path(__file__).with_name("generated.json")


def rows() -> list[Invocation]:
    """Return the rows of the cases that are kept."""
    return [Case.from_json(data).row() for data in json.loads(KEPT.read_text(encoding="utf-8"))]
