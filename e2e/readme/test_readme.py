"""The README's first command, as a newcomer runs it, and ends it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from chat_conformance.target.processes import with_variable

ROOT = Path(__file__).resolve().parent.parent.parent
SETUP_SECONDS = 300
MARK = "CHATGATE_README_TEST"  # in the environment of all that a test starts


@pytest.fixture(scope="session")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tox puts what it sets up; the first test waits for that."""
    return tmp_path_factory.mktemp("tox")


async def started(workdir: Path, data: Path) -> tuple[asyncio.subprocess.Process, str]:
    """The command, and the address that it prints."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("CHAT_", "TOX_"))}
    process = await asyncio.create_subprocess_exec(
        *(".ci/tox", "-e", "dev", "--workdir", str(workdir), "--", "--port", "0"),
        cwd=ROOT,
        env={
            **own,
            "CHAT_DATA": str(data),
            "CHAT_CLAUDE_ENV": MARK,
            MARK: str(data),
            "TOX_OVERRIDE": f"testenv:dev.pass_env+={MARK}",
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    async with asyncio.timeout(SETUP_SECONDS):
        lines = []
        async for line in process.stdout:
            lines.append(line.decode())
            if "Chat ready at " in lines[-1]:
                break
    assert "Chat ready at " in lines[-1], "".join(lines)
    return process, lines[-1].split()[-1]


async def ended(process: asyncio.subprocess.Process, data: Path) -> list[int]:
    """Wait for the end of the command; the processes of its that live on."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        await asyncio.gather(process.wait(), process.stdout.read())
    return with_variable(f"{MARK}={data}")


async def test_the_dev_server_comes_up_and_answers(workdir: Path, tmp_path: Path) -> None:
    process, address = await started(workdir, tmp_path / "data")
    try:
        async with aiohttp.ClientSession() as session:
            async with session.get(address) as page:
                assert page.status == 200
                assert "<title>" in await page.text()
            async with session.post(address.removesuffix("/"), data={"message": "hello"}) as response:
                answer = await response.json()
        assert "hello" in answer.get("response", ""), answer
    finally:
        os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does
        left = await ended(process, tmp_path / "data")
    assert left == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_signal_to_the_command_ends_all_of_it(
    number: signal.Signals, workdir: Path, tmp_path: Path
) -> None:
    process, address = await started(workdir, tmp_path / "data")
    async with aiohttp.ClientSession() as session:
        async with session.post(address.removesuffix("/"), data={"message": "hello"}) as response:
            assert response.status == 200  # and a claude waits for the next message
    assert len(with_variable(f"{MARK}={tmp_path / 'data'}")) >= 4  # tox, the server, its guardian, its claude

    process.send_signal(number)

    assert await ended(process, tmp_path / "data") == []
