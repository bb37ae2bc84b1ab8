"""The README's first command, as a newcomer runs it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import aiohttp

ROOT = Path(__file__).resolve().parent.parent.parent
SETUP_SECONDS = 300


async def test_the_dev_server_comes_up_and_answers(tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("CHAT_", "TOX_"))}
    process = await asyncio.create_subprocess_exec(
        *(".ci/tox", "-e", "dev", "--workdir", str(tmp_path / "tox"), "--", "--port", "0"),
        cwd=ROOT,
        env=own | {"CHAT_DATA": str(tmp_path / "data")},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SETUP_SECONDS):
            lines = []
            async for line in process.stdout:
                lines.append(line.decode())
                if "Chat ready at " in lines[-1]:
                    break
        assert "Chat ready at " in lines[-1], "".join(lines)
        address = lines[-1].split()[-1]
        async with aiohttp.ClientSession() as session:
            async with session.get(address) as page:
                assert page.status == 200
                assert "<title>" in await page.text()
            async with session.post(address.removesuffix("/"), data={"message": "hello"}) as response:
                answer = await response.json()
        assert "hello" in answer.get("response", ""), answer
    finally:
        os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does
        async with asyncio.timeout(30):
            await asyncio.gather(process.wait(), process.stdout.read())
