from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from fake_claude.commands.tee import read_recording
from fake_claude.tests.conftest import PATIENCE, PERSISTENT, Fake, user


async def run(fake: Fake, *argv: str | Path, stdin: str = "") -> tuple[int | None, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fake_claude", *argv, cwd=fake.cwd,
        env=fake.env(PYTHONPATH=str(Path(__file__).parents[2])),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate(stdin.encode())
    return process.returncode, out, err


async def test_everything_passes_unchanged_and_is_recorded(fake: Fake, tmp_path: Path) -> None:
    recording = tmp_path / "r.jsonl"
    prompt = user("my key is sk-abcdefghijklmnop [[fake stderr=10 tokens=2]]")

    code, out, err = await run(
        fake, "tee", "--claude", fake.launcher, "--recording", recording, "--", *PERSISTENT, stdin=prompt
    )

    lines = read_recording(recording)
    assert code == 0
    assert json.loads(out.splitlines()[-1])["result"] == "t1 t2 "
    assert err == b"eeeeeeeee\n"
    assert lines[0]["run"]["argv"] == PERSISTENT
    assert lines[-1]["exit"] == 0
    recorded = "".join(line["data"] for line in lines[1:] if line.get("from") == "stdout" and line["data"])
    assert recorded == out.decode().replace(str(fake.cwd), "/work/dir").replace(str(fake.home), "/home/user")
    assert "sk-abcdef" not in recording.read_text()
    assert fake.runs[0].stdin == [prompt.strip()]


async def test_replay_says_the_same(fake: Fake, tmp_path: Path) -> None:
    recording = tmp_path / "r.jsonl"
    argv: list[str | Path] = [
        "tee",
        "--claude",
        fake.launcher,
        "--recording",
        recording,
        "--",
        "-p",
        "[[fake tokens=2 exit=3]]",
    ]
    first = await run(fake, *argv)
    second = await run(fake, "replay", recording, "--speed", "0")

    assert first == second == (3, b"", b"")


async def test_replay_waits_for_the_input_that_came_first(fake: Fake, tmp_path: Path) -> None:
    recording = tmp_path / "r.jsonl"
    await run(
        fake, "tee", "--claude", fake.launcher, "--recording", recording, "--", *PERSISTENT, stdin=user("one")
    )

    code, out, _ = await run(fake, "replay", recording, "--speed", "0", stdin=user("anything"))

    assert code == 0
    assert json.loads(out.splitlines()[-1])["result"].startswith('You said: "one"')


async def test_a_file_that_is_no_recording_is_refused(fake: Fake, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("hello\n")

    code, _, err = await run(fake, "replay", path)

    assert code == 2
    assert err == f"{path}:1: not JSON\n".encode()
