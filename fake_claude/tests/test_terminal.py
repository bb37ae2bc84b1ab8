from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from fake_claude.terminal import Counter, Unread, has_colour, in_ci

PRINTS = """
import sys
from fake_claude.terminal import print_leniently
print_leniently()
{body}
print("still here", file=sys.stderr)
sys.exit(7)
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(body: str, **env: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", PRINTS.format(body=body)]
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **env}
    )


def test_reader_that_goes_away_ends_nothing() -> None:
    with run("for _ in range(100_000): print('x' * 80)") as playing:
        assert playing.stdout is not None
        assert playing.stderr is not None
        playing.stdout.readline()
        playing.stdout.close()
        printed = playing.stderr.read()

    assert (printed, playing.returncode) == ("still here\n", 7)


def test_character_that_a_stream_lacks_is_an_escape() -> None:
    with run("print('a … b')", PYTHONIOENCODING="ascii", PYTHONUTF8="0") as playing:
        printed, error = playing.communicate()

    assert (printed, error) == ("a \\u2026 b\n", "still here\n")


def test_other_errors_are_raised() -> None:
    stream = io.StringIO()
    stream.close()

    with pytest.raises(ValueError, match="closed file"):
        Unread(stream).write("x")


@pytest.mark.parametrize(
    ("env", "stream", "shown"),
    [
        ({}, Terminal(), "colour"),
        ({}, io.StringIO(), "plain"),
        ({"TERM": "dumb"}, Terminal(), "plain"),
        ({"NO_COLOR": "1"}, Terminal(), "plain"),
        ({"NO_COLOR": ""}, Terminal(), "colour"),
        ({"FORCE_COLOR": "1"}, io.StringIO(), "colour"),
        ({"FORCE_COLOR": "0"}, Terminal(), "plain"),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, Terminal(), "plain"),
    ],
)
def test_colour_is_for_terminals(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], stream: io.StringIO, shown: str
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    assert has_colour(stream) is (shown == "colour")


def test_ci_is_known_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for value in ("true", "1", "", "false"):
        monkeypatch.setenv("CI", value)
        found.append(in_ci())

    assert found == [True, True, False, False]


def test_counter_shows_what_is_left() -> None:
    now = 0.0
    counter = Counter(12, clock=lambda: now)
    printed = []
    for _ in range(12):
        now += 10
        printed.append(counter.next())

    assert printed[0] == "[ 1/12]"
    assert printed[2] == "[ 3/12, 1:30 left]"
    assert printed[-1] == "[12/12]"
