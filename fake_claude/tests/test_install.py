"""The launcher, the ledger and the gates: what the harness around a server relies on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_claude.gates import Gate
from fake_claude.install import install
from fake_claude.ledger import read
from fake_claude.script.file import FileError
from fake_claude.tests.conftest import ONE_SHOT, PATIENCE, PERSISTENT, Fake, user
from fake_claude.tests.talk import talking


async def tool(*words: str | Path, cwd: Path) -> tuple[int, str, str]:
    """Run ``fake-claude`` as a shell would."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fake_claude", *words,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd,
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def hello(launcher: Path, env: dict[str, str], cwd: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        launcher, "-p", "hi", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=env, cwd=cwd
    )
    out, _ = await process.communicate()
    return out.decode()


# The launcher.


async def test_install_prints_the_launcher_and_makes_its_folders(tmp_path: Path) -> None:
    places = {name: tmp_path / name for name in ("ledger", "gates")}
    words = [word for name, path in places.items() for word in (f"--{name}", path)]

    code, out, err = await tool("install", tmp_path / "bin", *words, cwd=tmp_path)

    launcher = tmp_path / "bin" / "claude"
    assert (code, out, err) == (0, f"{launcher}\n", "")
    assert os.access(launcher, os.X_OK)
    assert all(path.is_dir() for path in places.values())


HOSTILE = [
    pytest.param({}, id="empty"),
    pytest.param({"PATH": "/nowhere", "PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere"}, id="misleading"),
    pytest.param({"HOME": "/nonexistent", "LANG": "C", "PYTHONSTARTUP": "/x"}, id="no-home"),
]


@pytest.mark.parametrize("env", HOSTILE)
async def test_launcher_works_in_any_environment(tmp_path: Path, env: dict[str, str]) -> None:
    launcher = install(tmp_path / "with 'odd' $name", ledger=tmp_path / "ledger")

    assert await hello(launcher, env, tmp_path) == 'You said: "hi". This is turn 1 of our conversation.\n'
    assert [run.argv for run in read(tmp_path / "ledger")] == [["-p", "hi"]]


async def test_relative_folders_stay_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    launcher = install(Path("bin"))
    (tmp_path / "elsewhere").mkdir()

    await hello(launcher, {}, tmp_path / "elsewhere")

    assert len(read(tmp_path / "bin" / "ledger")) == 1


async def test_launcher_is_replaced_while_it_runs(fake: Fake) -> None:
    with fake.gate("g") as gate:
        async with talking(fake) as talk:
            await talk.say("[[fake tokens=2 hold=g@1]]")
            await gate.reached()
            fake.script("[[turn]]\nsteps = [{ text = 'new' }]\n")
            fresh = await fake.run("-p", "hi")
            gate.open()
            result = await talk.result()

    assert (fresh.out, result["result"]) == ("new\n", "t1 t2 ")
    assert [path.name for path in (fake.folder / "bin").glob(".*")] == []


def test_wrong_script_is_refused_at_install(tmp_path: Path) -> None:
    script = tmp_path / "s.toml"
    script.write_text("version = 1\n[[turn]]\nsteps = [{ txet = 'a' }]\n")

    with pytest.raises(FileError, match=r"s\.toml:3: .*txet"):
        install(tmp_path / "bin", script=script)
    assert not (tmp_path / "bin" / "claude").exists()


async def test_version_is_the_launchers(tmp_path: Path) -> None:
    launcher = install(tmp_path / "bin", version="2.1.324")
    process = await asyncio.create_subprocess_exec(launcher, "--version", stdout=subprocess.PIPE)

    assert (await process.communicate())[0] == b"2.1.324 (Claude Code)\n"


async def test_lint_names_file_line_and_nearest_word(tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text("version = 1\n[[turn]]\nsteps = [{ text = 'a' }]\n")
    (tmp_path / "bad.toml").write_text("version = 1\n\n[[turn]]\nsteps = [\n  { tex = 'a' },\n]\n")

    code, out, err = await tool("lint", "good.toml", "bad.toml", cwd=tmp_path)

    assert (code, out) == (1, "good.toml: 1 turns, 1 steps\n")
    assert err.startswith("bad.toml:5: unknown word 'tex'")
    assert "Did you mean text?" in err


async def test_lint_of_a_missing_file_says_so(tmp_path: Path) -> None:
    code, _, err = await tool("lint", "nowhere.toml", cwd=tmp_path)

    assert code == 1
    assert err.startswith("nowhere.toml: cannot be read")
    assert "Traceback" not in err


# The ledger.


async def test_run_is_noted_whole(fake: Fake) -> None:
    lines = [user("hi"), '{"type":"keep_alive"}\n', "\n", user("ünï")]

    done = await fake.run(*PERSISTENT, stdin="".join(lines))

    (run,) = fake.runs
    assert run.argv == PERSISTENT
    assert run.cwd == str(fake.cwd)
    assert run.stdin == [line.rstrip("\n") for line in lines if line.strip()]
    assert (run.exit_code, run.signals, run.bytes_out) == (0, [], len(done.out.encode()))
    assert run.ended is not None
    assert run.started <= run.ended
    assert run.ppid == os.getpid()
    assert (run.alive, run.gone) == (False, True)


async def test_refused_run_is_noted_too(fake: Fake) -> None:
    await fake.run("-p", "--no-such-flag")

    (run,) = fake.runs
    assert (run.argv, run.exit_code, run.bytes_out) == (["-p", "--no-such-flag"], 1, 0)


async def test_piped_prompt_is_noted(fake: Fake) -> None:
    await fake.run("-p", stdin="one\ntwo\n")

    assert fake.runs[0].stdin == ["one", "two"]


async def test_own_session_and_group_are_noted(fake: Fake) -> None:
    process = await asyncio.create_subprocess_exec(
        fake.launcher, "-p", "hi", cwd=fake.cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    await process.wait()

    (run,) = fake.runs
    assert run.pid == run.pgid == run.sid == process.pid


async def test_runs_at_once_do_not_mix(fake: Fake) -> None:
    prompts = [f"[[fake tokens=2 hold=g@1]] number {n}" for n in range(6)]
    with fake.gate("g") as gate:
        tasks = [asyncio.create_task(fake.run("-p", prompt)) for prompt in prompts]
        async with asyncio.timeout(PATIENCE):
            for _ in prompts:
                await gate.reached()
        alive = [run.alive for run in fake.runs]
        gate.open(len(prompts))
        done = await asyncio.gather(*tasks)

    assert alive == [True] * len(prompts)
    assert sorted(run.argv[1] for run in fake.runs) == prompts
    assert len({run.pid for run in fake.runs}) == len(prompts)
    assert [run.exit_code for run in fake.runs] == [one.code for one in done] == [0] * len(prompts)
    starts = [run.started for run in fake.runs]
    assert starts == sorted(starts)


async def test_killed_run_has_no_exit_and_is_gone(fake: Fake) -> None:
    with fake.gate("g") as gate:
        async with talking(fake, "[[fake tokens=2 hold=g@1]]", mode=ONE_SHOT) as talk:
            talk.stdin.close()
            await gate.reached()
            (before,) = fake.runs
            was_alive = before.alive
            talk.process.kill()
            await talk.end()

    (run,) = fake.runs
    assert (was_alive, run.alive, run.gone) == (True, False, True)
    assert (run.exit_code, run.ended, run.bytes_out) == (None, None, None)
    assert (await tool("ledger", fake.folder / "bin" / "ledger", cwd=fake.folder))[1].count("killed") == 1


# Gates.


async def test_gate_is_passed_once_for_each_opening(fake: Fake) -> None:
    prompt = user("[[fake tokens=3 hold=g@1 hold=g@2]]")
    with fake.gate("g") as gate:
        async with talking(fake) as talk:
            await talk.send(prompt)
            await gate.reached()
            gate.open()
            await gate.reached()
            seen = await talk.until(lambda m: m.get("event", {}).get("delta", {}).get("text") == "t2 ")
            await talk.ask("mcp_status")
            assert "t3 " not in str(talk.messages)
            gate.open()
            result = await talk.result()

    assert seen
    assert result["result"] == "t1 t2 t3 "


async def test_gate_opened_before_anybody_comes_lets_the_first_pass(fake: Fake) -> None:
    with fake.gate("g") as gate:
        gate.open(2)
        done = await fake.run("-p", "[[fake tokens=2 hold=g@0 hold=g@2]]")

    assert done.out == "t1 t2 \n"


async def test_tester_may_come_after_the_fake(fake: Fake) -> None:
    process = await fake.start("-p", "[[fake tokens=1 hold=late@0]]")
    assert process.stdin is not None
    process.stdin.close()
    with fake.gate("first") as first:
        other = asyncio.create_task(fake.run("-p", "[[fake hold=first@0]]"))
        async with asyncio.timeout(PATIENCE):
            await first.reached()
            first.open()
            await other
    with fake.gate("late") as late:
        async with asyncio.timeout(PATIENCE):
            await late.reached()
            late.open()
            assert await process.wait() == 0


async def test_one_opening_lets_one_of_two_pass(fake: Fake) -> None:
    with fake.gate("g") as gate:
        runs = {asyncio.create_task(fake.run("-p", "[[fake tokens=1 hold=g@0]]")) for _ in range(2)}
        async with asyncio.timeout(PATIENCE):
            await gate.reached()
            await gate.reached()
            gate.open()
            done, held = await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
            alive = [run.alive for run in fake.runs]
            gate.open()
            await asyncio.wait(held)

    assert (len(done), len(held)) == (1, 1)
    assert sorted(alive) == [False, True]


async def test_gates_of_two_names_are_two_gates(fake: Fake) -> None:
    with fake.gate("a") as a, fake.gate("b") as b:
        b.open()
        run = asyncio.create_task(fake.run("-p", "[[fake tokens=1 hold=a@0 hold=b@1]]"))
        async with asyncio.timeout(PATIENCE):
            await a.reached()
            held = not run.done()
            a.open()
            done = await run

    assert held
    assert done.out == "t1 \n"


def test_gate_leaves_no_descriptors(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with Gate(tmp_path, "g"):
            pass

    assert len(os.listdir("/proc/self/fd")) == before


def test_script_that_is_not_valid_is_not_installed(
    tmp_path: Path, tool: Callable[..., tuple[int, str, str]]
) -> None:
    script = tmp_path / "script.toml"
    script.write_text('version = 1\n[[turn]]\nmacth = "x"\nsteps = []\n')

    code, _, err = tool("install", tmp_path / "bin", "--script", script)

    assert code == 2
    assert err == f"fake-claude install: {script}:3: unknown word 'macth' in turn 1\n(Did you mean match?)\n"


@pytest.mark.parametrize("name", ["fidelity", "record", "drift"])
def test_cli_that_is_not_there_is_not_compared(
    tmp_path: Path, tool: Callable[..., tuple[int, str, str]], name: str
) -> None:
    code, _, err = tool(name, "--claude", tmp_path / "claude")

    assert code == 2
    assert err.endswith(f"{tmp_path / 'claude'} is not a program\n")


async def test_fake_that_needs_a_key_is_not_logged_in_without(fake: Fake) -> None:
    fake.launcher = install(fake.folder / "bin", needs_key=True)

    without = await fake.run("-p", "hello", ANTHROPIC_API_KEY="")
    with_key = await fake.run("-p", "hello")

    assert (without.code, without.out) == (1, "Not logged in · Please run /login\n")
    assert with_key.code == 0
