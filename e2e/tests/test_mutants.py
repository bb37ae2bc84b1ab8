"""The faults of the page still fit the page."""

from __future__ import annotations

import re

import pytest

from e2e.mutants import MUTANTS, ROOT, TESTS, Mutant, verdict


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_mutant_can_still_be_made(mutant: Mutant) -> None:
    file, _, test = mutant.test.partition("::")

    assert mutant.page_file() != (ROOT / "impl/chat_server/static" / mutant.file).read_text()
    assert re.search(rf"^async def {test}\(", (ROOT / TESTS / file).read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("page/tokens-not-understood", 1, ""),
        ("page/tokens-not-understood", 0, "not caught"),
        ("page/tokens-not-understood", 4, "could not be run"),
        ("", 0, ""),
        ("", 1, "fail without a fault"),
    ],
)
def test_verdict_needs_a_failure_of_the_test_itself(name: str, code: int, said: str) -> None:
    wrong = verdict(name, code, "the output")

    assert wrong.startswith(said) if said == "not caught" else said in wrong
    assert bool(wrong) == bool(said)
