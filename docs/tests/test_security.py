"""Each promise of the security page names tests and cases that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chat_conformance.suite.case import all_cases

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ")]
AREAS = {each.id.split("/")[0] for each in all_cases()}
CASES = sorted(
    {
        name
        for row in ROWS
        for name in re.findall(r"`([a-z]+/[a-z0-9-]+)`", row)
        if name.split("/")[0] in AREAS
    }
)
TESTS = sorted({name for row in ROWS for name in re.findall(r"`([\w/]+\.py::\w+)`", row)})


@pytest.mark.parametrize("name", CASES)
def test_named_case_exists(name: str) -> None:
    assert name in {each.id for each in all_cases()}


@pytest.mark.parametrize("name", TESTS)
def test_named_test_exists(name: str) -> None:
    path, _, function = name.partition("::")

    assert re.search(rf"^(async )?def {function}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_promise_names_a_proof() -> None:
    promises = PAGE[PAGE.index("## Promises") :].splitlines()
    rows = [row for row in promises if row.startswith("| ") and not row.startswith("| promise")]

    assert len(rows) > 30
    assert [row for row in rows if not re.search(r"`[a-z]+/[a-z0-9-]+`|`[\w/]+\.py::\w+`", row)] == []
