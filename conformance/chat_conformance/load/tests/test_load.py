"""The command as a user runs it, in the smallest sizes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from chat_conformance.__main__ import main
from chat_conformance.load.background import Job, stream
from chat_conformance.target.file import Load
from chat_conformance.target.processes import with_argument

EXAMPLES = Path(__file__).resolve().parents[4] / "examples" / "load"


def test_two_servers_are_measured_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "load.json"
    words = ["load", "--plan", "smoke", "--target", "targets/reference.toml"]
    words += ["--target", str(EXAMPLES / "aiohttp.toml"), "--json", str(report)]
    for only in ("flat", "streams"):
        words += ["--only", only]

    assert main(words) == 0

    measured = json.loads(report.read_text())["measured"]
    assert [(each["measure"], each["target"]) for each in measured] == [
        (measure, target) for measure in ("flat/1", "streams/2") for target in ("reference", "aiohttp")
    ]
    assert not any(each["trouble"] for each in measured)
    assert "flat out, 1 stream" in capsys.readouterr().out


WRONG = [
    pytest.param(["--plan", "huge"], "there are smoke, quick, full", id="plan"),
    pytest.param(["--only", "flut"], "there are flat/1", id="measurement"),
    pytest.param(["--target", "targets/reference.toml"], "two targets are called reference", id="twice"),
]


@pytest.mark.parametrize(("more", "sentence"), WRONG)
def test_usage_error_is_named(more: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "--plan", "smoke", "--target", "targets/reference.toml", *more]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "start", "sentence"),
    [
        ("http://192.0.2.1:{port}", '["true"]', "loads stay on loopback"),
        ("http://127.0.0.1:8000", "[]", "has no start command"),
    ],
)
def test_target_that_must_not_be_loaded_is_refused(
    url: str, start: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "other.toml"
    place.write_text(f'name = "other"\nurl = "{url}"\nstart = {start}\n')

    assert main(["load", "--target", str(place)]) == 2
    assert sentence in capsys.readouterr().err


def test_suite_is_played_beside_streams(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--target", "targets/reference.toml", "--select", "turns/answered", "--load", "2"]

    assert main(words) == 0, capsys.readouterr().out


def test_broken_streams_are_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    shown = stream(Job(2, f"http://127.0.0.1:{port}", "/chat/ws", {}, Load()))

    assert (shown.turns, shown.trouble) == (0, "Connection refused")


def test_load_that_is_ended_leaves_nothing_behind(tmp_path: Path) -> None:
    words = [
        "load",
        "--plan",
        "smoke",
        "--rounds",
        "99",
        "--only",
        "first",
        "--target",
        str(EXAMPLES / "aiohttp.toml"),
    ]
    load = subprocess.Popen(
        [sys.executable, "-m", "chat_conformance", *words],
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    with load:
        assert load.stderr is not None
        load.stderr.readline()  # the first measurement is made, the next one under way
        load.terminate()
        load.stderr.read()

    assert load.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
    assert with_argument(str(tmp_path)) == []
