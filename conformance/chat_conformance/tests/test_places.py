"""What a target is given: folders, ports and an environment that depend on the seed alone; and what it may leave."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest

from chat_conformance.target.environment import small
from chat_conformance.target.file import Target
from chat_conformance.target.places import letters, temporary_folder
from chat_conformance.target.ports import free_port
from chat_conformance.target.server import Server
from fake_claude.ledger_writer import proc_start

SLEEPS = Target(name="sleeps", url="http://127.0.0.1:{port}", start=["sleep", "600"], env={"OWN": "1"})


def test_names_are_letters_of_the_seed() -> None:
    assert letters("7 a") == letters("7 a") != letters("8 a")
    assert letters("7 a").isalpha()
    with temporary_folder("7", "test") as one:
        with temporary_folder("7", "test") as two:
            assert one != two  # two runs of one seed at a time
    with temporary_folder("7", "test") as again:
        assert again == one
    assert not one.exists()
    assert one.name.removeprefix("chatgate-").isalpha()


def test_ports_come_from_the_key() -> None:
    first = free_port("a key of this test")
    second = free_port("a key of this test")

    assert first != second  # the first is taken as long as this process lives
    shown = subprocess.run(
        [
            "python",
            "-c",
            "from chat_conformance.target.ports import free_port as f; print(f('a key of this test'))",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert int(shown.stdout) not in {first, second}  # another suite at the same time takes neither


def test_target_gets_a_small_environment() -> None:
    ours = {"PATH": "/bin", "LC_ALL": "C", "GITHUB_TOKEN": "s", "CI": "1", "HOME": "/root", "JAVA_OPTS": "-x"}

    assert small(ours) == {"PATH": "/bin", "LC_ALL": "C"}
    assert small(ours, ["JAVA_OPTS"]) == {"PATH": "/bin", "LC_ALL": "C", "JAVA_OPTS": "-x"}


def test_target_has_a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_CI", "1")
    shown = str(tmp_path / "env")
    script = f"import json, os; json.dump(dict(os.environ), open({shown!r}, 'w')); print('up', flush=True)"
    listens = "import sys, http.server as h; h.test(port=int(sys.argv[1]), bind='127.0.0.1')"
    target = Target(
        name="t",
        url="http://127.0.0.1:{port}",
        start=["{python}", "-c", f"{script}\n{listens}", "{port}"],
        env={"OWN": "1"},
        ready_line="up",  # said before the port is bound
    )

    async def play() -> None:
        server = Server(target, tmp_path)
        await server.start()
        await server.end()

    asyncio.run(play())

    env = json.loads((tmp_path / "env").read_text())
    assert env["HOME"] == str(tmp_path / "home")
    assert env["OWN"] == "1"
    assert "SECRET_OF_CI" not in env


def test_process_without_our_mark_is_left_behind(tmp_path: Path) -> None:
    async def play() -> list[str]:
        server = Server(SLEEPS, tmp_path)
        left = await asyncio.create_subprocess_exec("sleep", "600", env={}, start_new_session=True)
        assert server.ledger is not None
        started = {
            "event": "start",
            "time": 1.0,
            "pid": left.pid,
            "pgid": 1,
            "sid": 1,
            "ppid": 1,
            "proc_start": proc_start(left.pid),
            "argv": [],
            "cwd": "/",
        }
        (server.ledger / "1.jsonl").write_text(json.dumps(started) + "\n")
        # Another process has the number of this one now: it is left alone.
        other = {**started, "pid": os.getpid(), "proc_start": 1}
        (server.ledger / "2.jsonl").write_text(json.dumps(other) + "\n")
        found = await server.surviving_processes()
        await left.wait()
        return found

    (found,) = asyncio.run(play())
    assert "sleep 600" in found
