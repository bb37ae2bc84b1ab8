"""The page on coverage says what is so. After a change that is meant: ``CHATGATE_GOLDEN=write pytest`` this file."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from chat_conformance.mutants.coverage_page import FINDINGS, PAINS, mutants, of_the_page, page
from chat_conformance.mutants.expectations import REFERENCE, SMALL
from chat_conformance.suite.case import all_cases
from e2e.mutants import MUTANTS as PAGE

PLACE = Path(__file__).resolve().parents[3] / "docs" / "coverage.md"
CASES = {each.id: each for each in all_cases()}


def test_the_page_is_up_to_date() -> None:
    if os.environ.get("CHATGATE_GOLDEN") == "write":
        PLACE.write_text(page(), encoding="utf-8")

    assert PLACE.read_text(encoding="utf-8") == page()


def named() -> set[str]:
    """Whatever the page names in backticks."""
    return set(re.findall(r"`([^`]+)`", PLACE.read_text(encoding="utf-8")))


def test_every_mutant_is_on_the_page() -> None:
    assert {*SMALL, *REFERENCE, *PAGE} - named() == set()


def test_every_case_is_on_the_page() -> None:
    assert CASES.keys() - named() == set()


def test_cases_of_every_pain_are_cases() -> None:
    assert {name for names in PAINS.values() for name in names} - CASES.keys() == set()


@pytest.mark.parametrize("pain", PAINS)
def test_every_pain_has_a_mutant(pain: str) -> None:
    assert [name for name in PAINS[pain] if name in mutants()]


@pytest.mark.parametrize("finding", FINDINGS)
def test_every_finding_has_a_mutant(finding: str) -> None:
    cases = [each.id for each in CASES.values() if each.finding == finding]

    assert [name for name in cases if name in mutants()] or of_the_page(finding)


def test_findings_are_those_that_cases_and_the_page_cite() -> None:
    cited = {each.finding for each in CASES.values()} | {each.finding for each in PAGE.values()}

    assert cited - {None, ""} == set(FINDINGS)


def test_every_case_has_a_mutant() -> None:
    assert CASES.keys() - mutants().keys() == set()
