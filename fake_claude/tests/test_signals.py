"""Signals, pipes and exit codes (docs/claude-cli.md, signals)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from fake_claude.tests.conftest import ONE_SHOT, PATIENCE, PERSISTENT, Done, Fake, kind
from fake_claude.tests.talk import Talk, gone, talking

INT, TERM, HUP, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL
CODES = [
    pytest.param(INT, 0, id="SIGINT"),
    pytest.param(TERM, 143, id="SIGTERM"),
    pytest.param(HUP, 129, id="SIGHUP"),
    pytest.param(KILL, -9, id="SIGKILL"),
]


async def stopped(fake: Fake, number: signal.Signals, *argv: str, mode: list[str] = ONE_SHOT) -> Done:
    """Send a signal in the middle of an answer; return what came after the second piece."""
    with fake.gate("middle") as gate:
        async with talking(fake, *argv, mode=mode) as talk:
            if mode == PERSISTENT:
                await talk.say("[[fake tokens=5 hold=middle@2]]")
            else:
                talk.stdin.close()
            await gate.reached()
            if mode != ["-p"]:
                await talk.until(lambda m: m.get("event", {}).get("delta", {}).get("text") == "t2 ")
            talk.process.send_signal(number)
            rest = await talk.stdout.read()  # with its input still open
            done = await talk.end()
            return Done(done.code, rest.decode(), done.err)


@pytest.mark.parametrize("mode", [ONE_SHOT, PERSISTENT], ids=["one-shot", "persistent"])
@pytest.mark.parametrize(("number", "code"), CODES)
async def test_signal_while_answering(fake: Fake, number: signal.Signals, code: int, mode: list[str]) -> None:
    argv = ["[[fake tokens=5 hold=middle@2]]"] if mode == ONE_SHOT else []

    done = await stopped(fake, number, *argv, mode=mode)

    assert (done.code, done.err) == (code, "")
    if number == INT:
        assert [kind(message) for message in done.messages[:2]] == ["assistant", "user"]
        assert done.result["terminal_reason"] == "aborted_streaming"
    else:
        assert done.out == ""


async def test_int_in_text_mode_is_an_execution_error(fake: Fake) -> None:
    done = await stopped(fake, INT, "[[fake tokens=5 hold=middle@2]]", mode=["-p"])

    assert (done.out, done.err, done.code) == ("Execution error\n", "", 0)


@pytest.mark.parametrize(("number", "code"), CODES)
@pytest.mark.parametrize("turns", [0, 1], ids=["before-a-turn", "after-a-turn"])
async def test_signal_while_idle(fake: Fake, number: signal.Signals, code: int, turns: int) -> None:
    async with talking(fake) as talk:
        await talk.ask("initialize")  # answered, so it is past its start
        for _ in range(turns):
            await talk.say("hi")
            await talk.result()
        talk.process.send_signal(number)
        await talk.process.wait()  # with its input still open
        done = await talk.end()

    assert (done.out, done.err, done.code) == ("", "", code)


@pytest.mark.parametrize(("number", "code"), CODES[:3])
async def test_signal_while_starting(fake: Fake, number: signal.Signals, code: int) -> None:
    fake.script("[start]\nsteps = [{ hold = 'start' }]\n")
    with fake.gate("start") as gate:
        async with talking(fake) as talk:
            await gate.reached()
            talk.process.send_signal(number)
            await talk.process.wait()
            done = await talk.end()

    assert (done.out, done.err, done.code) == ("", "", code)


# Children.

SLEEPER = "[[turn]]\nsteps = [{ tool = 'Bash', input = { command = '''%s''' } }]\n"


async def began(fake: Fake, talk: Talk) -> int:
    """Have the tool begun; return its process id."""
    await talk.say("go")
    fd = await asyncio.to_thread(os.open, fake.cwd / "fifo", os.O_RDONLY)
    data = await asyncio.to_thread(os.read, fd, 32)
    os.close(fd)
    return int(data)


@pytest.mark.parametrize("command", ["", "trap '' TERM; "], ids=["ordinary", "ignores-TERM"])
@pytest.mark.parametrize(("number", "code"), CODES[:2])
async def test_tool_dies_with_the_signal(fake: Fake, number: signal.Signals, code: int, command: str) -> None:
    fake.script(SLEEPER % (command + "echo $$ > fifo; exec sleep infinity"))
    os.mkfifo(fake.cwd / "fifo")
    async with talking(fake, "--allowedTools", "Bash") as talk:
        pid = await began(fake, talk)
        talk.process.send_signal(number)
        done = await talk.end()
        await gone(pid)

    assert done.code == code


async def test_terminated_tool_has_a_result(fake: Fake) -> None:
    fake.script(SLEEPER % "echo $$ > fifo; exec sleep infinity")
    os.mkfifo(fake.cwd / "fifo")
    hooks = {"PostToolUse": [{"hooks": [{"type": "command", "command": "true"}]}]}
    async with talking(fake, "--allowedTools", "Bash", "--settings", json.dumps({"hooks": hooks})) as talk:
        await began(fake, talk)
        talk.process.send_signal(TERM)
        done = await talk.end()

    assert done.messages[-1]["message"]["content"][0]["content"] == "Exit code 137"


async def test_tool_outlives_a_kill_of_the_cli_and_of_its_group(fake: Fake) -> None:
    fake.script(SLEEPER % "echo $$ > fifo; exec sleep infinity")
    os.mkfifo(fake.cwd / "fifo")
    async with talking(fake, "--allowedTools", "Bash") as talk:
        pid = await began(fake, talk)
        session, group = os.getsid(pid), os.getpgid(pid)
        talk.process.kill()
        await talk.process.wait()
        alive = state(pid)
        os.kill(pid, signal.SIGKILL)
        await gone(pid)
        await talk.end()

    assert session == group == pid
    assert alive in "RSD"


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


# Readers.


async def test_reader_that_goes_away_is_not_noticed(fake: Fake) -> None:
    with fake.gate("middle") as gate:
        read, write = os.pipe()
        process = await asyncio.create_subprocess_exec(
            fake.launcher, *ONE_SHOT, "[[fake tokens=5000 hold=middle@2]]",
            stdin=asyncio.subprocess.DEVNULL, stdout=write, stderr=asyncio.subprocess.PIPE,
            cwd=fake.cwd, env=fake.env(),
        )  # fmt: skip
        os.close(write)
        async with asyncio.timeout(PATIENCE):
            await gate.reached()
            os.close(read)
            gate.open()
            _, err = await process.communicate()

    assert (process.returncode, err) == (0, b"")


async def test_reader_that_stops_loses_what_does_not_fit_the_pipe(fake: Fake) -> None:
    fake.script("[[turn]]\nsteps = [{ blob = 400000 }]\n")
    read, write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        fake.launcher, *ONE_SHOT, "go",
        stdin=asyncio.subprocess.DEVNULL, stdout=write, cwd=fake.cwd, env=fake.env(),
    )  # fmt: skip
    os.close(write)
    async with asyncio.timeout(PATIENCE):
        code = await process.wait()  # some 3 seconds after it wants to end
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()

    assert code == 0
    assert 0 < len(data) <= 65536
    assert not data.endswith(b"\n")


async def test_exit_code_follows_the_result_in_every_format(fake: Fake) -> None:
    fake.script(
        "[[turn]]\nmatch = 'bad'\nsteps = [{ error = 403 }]\n[[turn]]\nsteps = [{ text = 'Fine.' }]\n"
    )

    for words in (["text"], ["json"], ["stream-json", "--verbose"]):
        codes = [
            (await fake.run("-p", "--output-format", *words, "--", word)).code for word in ("bad", "good")
        ]
        assert codes == [1, 0]
