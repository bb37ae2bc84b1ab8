"""The table of invocations, played by the fake and held against recordings of the real CLI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fake_claude.fidelity import recordings, suite
from fake_claude.fidelity.allowed import ALLOWED
from fake_claude.fidelity.compare import Difference, Normal
from fake_claude.fidelity.invocation import Invocation
from fake_claude.fidelity.rows import ROWS
from fake_claude.fidelity.run import Sandbox

RECORDED = recordings.load()
EVERY = int(os.environ.get("CHATGATE_ROWS_EVERY", "1"))


@pytest.mark.parametrize("row", ROWS[::EVERY], ids=lambda row: f"{row.group}-{row.name}")
async def test_the_fake_does_what_the_real_one_did(row: Invocation, tmp_path: Path) -> None:
    played = await suite.play_rows([row], Sandbox(tmp_path, claude=None, retry_scale=0.01))

    (verdict,) = suite.compare_rows([row], dict(RECORDED), played)
    assert not verdict.stuck
    assert verdict.different == []


def test_every_row_is_recorded_and_every_recording_has_a_row() -> None:
    assert {row.name for row in ROWS} == set(RECORDED)


def test_row_names_are_unique() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_every_allowed_difference_has_rows_and_a_reason() -> None:
    names = {row.name for row in ROWS}

    assert all(entry.reason and entry.rows and set(entry.rows) <= names for entry in ALLOWED)


def test_a_changed_exit_code_is_a_difference() -> None:
    row = ROWS[0]
    changed = Normal(**{**vars(RECORDED[row.name]), "exit_code": 99})

    (verdict,) = suite.compare_rows([row], dict(RECORDED), {row.name: changed})
    assert verdict.word == "different"
    assert verdict.different == [Difference("exit", "0", "99")]
    assert suite.severity(verdict.different[0]) == "blocker"
