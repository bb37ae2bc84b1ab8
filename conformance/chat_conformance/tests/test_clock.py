from __future__ import annotations

from pathlib import Path

import pytest

from chat_conformance.errors import CouldNotTest
from chat_conformance.target import clock


def test_without_the_library_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(clock.VARIABLE, "/nowhere/libfaketime.so")

    with pytest.raises(CouldNotTest, match="apt-get install libfaketime"):
        clock.find()


def test_moving_the_clock_tells_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "lib.so"
    library.touch()
    monkeypatch.setenv(clock.VARIABLE, str(library))
    moved = clock.Clock(tmp_path)
    moved.ahead(90)

    assert moved.env["LD_PRELOAD"] == str(library)
    with open(moved.env["FAKETIME_TIMESTAMP_FILE"], encoding="ascii") as told:  # noqa: PTH123 - the environment has text
        assert told.read() == "+90.000\n"
