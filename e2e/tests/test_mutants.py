"""The faults of the page still fit the page."""

from __future__ import annotations

import re

import pytest

from e2e.mutants import MUTANTS, ROOT, TESTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_mutant_can_still_be_made(mutant: Mutant) -> None:
    file, _, test = mutant.test.partition("::")

    assert mutant.page_file() != (ROOT / "impl/static" / mutant.file).read_text()
    assert re.search(rf"^async def {test}\(", (ROOT / TESTS / file).read_text(), re.MULTILINE)
