from __future__ import annotations

from pathlib import Path

import pytest

from chat_conformance.errors import CouldNotTest
from chat_conformance.target import clock


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(clock.VARIABLE, "/nowhere/libfaketime.so")

    with pytest.raises(CouldNotTest, match="apt-get install libfaketime"):
        clock.find()


def test_moved_clock_reaches_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "lib.so"
    library.touch()
    monkeypatch.setenv(clock.VARIABLE, str(library))
    moved = clock.Clock(tmp_path)
    moved.ahead(90)

    assert moved.env["LD_PRELOAD"] == str(library)
    with open(moved.env["FAKETIME_TIMESTAMP_FILE"], encoding="ascii") as file:  # noqa: PTH123 - the environment has text
        assert file.read() == "+90.000\n"
