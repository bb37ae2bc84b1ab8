from __future__ import annotations

from pathlib import Path

import pytest

from chat_conformance.__main__ import main
from chat_conformance.target.file import load
from chat_conformance.tests.test_main import target


def test_doctor_shows_what_works_and_hints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--target", target(tmp_path, "good")]) == 3

    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in shown[:4]] == [
        ["ok", "start"],
        ["ok", "health"],
        ["ok", "login"],
        ["FAIL", "socket"],
    ]
    assert "paths.socket" in shown[4]


def test_doctor_of_a_server_that_dies_shows_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--target", target(tmp_path, "dies")]) == 3

    shown = capsys.readouterr().out
    assert "FAIL  start    the target ended with exit status 7" in shown
    assert "server   | cannot read the settings" in shown


def test_init_writes_a_target_file_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(tmp_path / "mine.toml")

    assert main(["init", place]) == 0
    assert load(place).name == "my chat"
    assert main(["init", place]) == 2
    assert "is there already" in capsys.readouterr().err


def test_every_example_in_the_template_is_valid(tmp_path: Path) -> None:
    template = (Path(main.__code__.co_filename).parent / "template.toml").read_text(encoding="utf-8")
    lines = template.splitlines()
    begin = lines.index("# [paths]")
    shown = [line.removeprefix("# ") for line in lines[begin:] if line.startswith("# ")]
    examples = [line for line in shown if line.startswith("[") or " = " in line]
    place = tmp_path / "all.toml"
    place.write_text("\n".join(lines[:begin] + examples), encoding="utf-8")

    assert load(str(place)).variants.login is not None


def test_explain_shows_all_of_a_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "limits/hour"]) == 0

    shown = capsys.readouterr().out
    assert "clause    LIMIT-2: A turn beyond a limit" in shown
    assert "finding   R2-2" in shown


def test_quick_leaves_out_what_is_slow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--target", target(tmp_path, "good"), "--select", "following/every-cut", "--quick"]

    assert main(words) == 2
    assert "nothing is selected" in capsys.readouterr().err
