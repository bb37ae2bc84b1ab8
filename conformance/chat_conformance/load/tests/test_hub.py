"""The hub as a server's child and as the measuring process see it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chat_conformance.load.answer import AnswerSpec
from chat_conformance.load.measure import Control
from chat_conformance.load.run import HERE, hub, launcher

CLAUDE = ["-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages"]
WARM = [*CLAUDE, "--input-format", "stream-json"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a running hub."""
    folder = tmp_path_factory.mktemp("hub")
    with hub(folder, folder / "hub"):
        yield folder / "hub"


@pytest.fixture(scope="module", params=["C", "Python"])
def claude(place: Path, request: pytest.FixtureRequest) -> list[str]:
    """Each of the two launchers."""
    if request.param == "Python":
        return [sys.executable, "-I", "-S", str(HERE / "launcher.py"), str(place)]
    path, made_by = launcher(place.parent / "bin", place)
    if made_by != "C":
        pytest.skip("there is no C compiler here")
    return [str(path)]


def kinds(printed: bytes) -> list[str]:
    return [json.loads(line)["type"] for line in printed.splitlines()]


def test_prompt_on_stdin_is_answered(claude: list[str]) -> None:
    done = subprocess.run(
        [*claude, *CLAUDE], input=AnswerSpec(tokens=4).prompt().encode(), capture_output=True, check=False
    )

    assert (done.returncode, kinds(done.stdout)[-1]) == (0, "result")
    assert json.loads(done.stdout.splitlines()[-1])["result"].count("~") == 4


def test_process_answers_until_its_input_ends(claude: list[str]) -> None:
    line = json.dumps({"type": "user", "message": {"role": "user", "content": AnswerSpec().prompt()}}) + "\n"
    done = subprocess.run([*claude, *WARM], input=2 * line.encode(), capture_output=True, check=False)

    assert (done.returncode, kinds(done.stdout).count("result")) == (0, 2)


def test_interrupt_ends_the_answer(claude: list[str]) -> None:
    ask = {
        "type": "user",
        "message": {"role": "user", "content": AnswerSpec(tokens=10**6, rate=100).prompt()},
    }
    interrupt = {"type": "control_request", "request_id": "one", "request": {"subtype": "interrupt"}}
    with subprocess.Popen([*claude, *WARM], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(ask).encode() + b"\n")
        process.stdin.flush()
        process.stdout.readline()
        process.stdin.write(json.dumps(interrupt).encode() + b"\n")
        process.stdin.close()
        shown = kinds(process.stdout.read())

    assert (process.returncode, shown.count("control_response"), shown[-1]) == (0, 1, "result")


def test_killed_process_closes_its_pipe(claude: list[str]) -> None:
    with subprocess.Popen([*claude, *WARM], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.kill()
        assert process.stdout is not None

        assert process.stdout.read() == b""


def test_gate_holds_until_it_is_opened(claude: list[str], place: Path) -> None:
    words = [*claude, *CLAUDE, AnswerSpec(gate=1).prompt()]
    with (
        closing(Control(str(place))) as control,
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout is not None
        before = [process.stdout.readline() for _ in range(4)]
        pids = control("pids")
        control("go")
        after = process.stdout.read()

    assert b"@" in before[-1]
    assert process.pid in pids
    assert kinds(after)[-1] == "result"
