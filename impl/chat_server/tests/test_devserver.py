"""The dev panel is there in dev only, and the server follows its sources."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from chat_server.tests.loop_clock import in_time
from chat_server.tests.sites import make_settings
from chat_server.web import devserver as dev
from fake_claude.script.file import load

ROOT = Path(__file__).resolve().parents[3]
TAKE_WHEN_FREE = """
import fcntl, sys
with open(sys.argv[1]) as file:
    print("waiting", flush=True)
    fcntl.flock(file, fcntl.LOCK_EX)
"""
OTHERS = {
    "proxy": {"CHAT_IDENTITY": "proxy", "CHAT_PROXY_SECRET": "secret"},
    "dev": {"CHAT_IDENTITY": "dev"},
}


@dataclass
class Copy:
    """A server that runs from a copy of the sources, which a test may change."""

    sources: Path
    process: asyncio.subprocess.Process
    http: aiohttp.ClientSession
    url: str = ""

    async def ready(self) -> str:
        """Wait until it says that it serves, and where."""
        line = await self.line("Chat ready at")
        self.url = line.split()[-1]
        return self.url

    async def line(self, words: str) -> str:
        """Wait until it writes a line with these words in it."""
        assert self.process.stdout is not None
        seen = []
        async with in_time():
            async for raw in self.process.stdout:
                seen.append(raw.decode())
                if words in seen[-1]:
                    return seen[-1]
        raise AssertionError("".join(seen))


@asynccontextmanager
async def served(folder: Path, env: dict[str, str]) -> AsyncIterator[Copy]:
    for package in ("impl/chat_server", "fake_claude"):
        skipped = shutil.ignore_patterns("tests", "__pycache__", "fidelity")
        shutil.copytree(ROOT / package, folder / "code" / Path(package).name, ignore=skipped)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chat_server", "--port", "0", "--data", str(folder / "data")),
        cwd=folder / "code",
        env=os.environ | env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with aiohttp.ClientSession() as http:
            copy = Copy(folder / "code/chat_server", process, http)
            await copy.ready()
            yield copy
    finally:
        process.terminate()
        await process.communicate()


@asynccontextmanager
async def source_states(copy: Copy) -> AsyncIterator[asyncio.Queue[str]]:
    """The states of its sources that the server sends."""
    states: asyncio.Queue[str] = asyncio.Queue()

    async def listen() -> None:
        async with copy.http.get(f"{copy.url}dev/changes", timeout=aiohttp.ClientTimeout()) as response:
            async for line in response.content:
                if line.startswith(b"data: "):
                    states.put_nowait(line.decode())

    task = asyncio.create_task(listen())
    try:
        async with in_time():
            yield states
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_edits_of_page_and_server_are_followed(tmp_path: Path) -> None:
    """The page learns of its own; the server's restart it on its port, unless they are faulty."""
    async with served(tmp_path, OTHERS["dev"]) as copy:
        url = copy.url
        async with source_states(copy) as states:
            before = await states.get()
            (copy.sources / "static/chat.css").write_text("body { color: red }")
            assert await states.get() != before
            assert copy.process.returncode is None

        (copy.sources / "limits.py").write_text("def broken(:\n")
        await copy.line("cannot be imported")
        async with copy.http.get(f"{url}dev") as response:
            assert response.status == 200

        waiter = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", TAKE_WHEN_FREE, str(tmp_path / "data" / "lock")),
            stdout=asyncio.subprocess.PIPE,
        )
        assert waiter.stdout is not None
        assert await waiter.stdout.readline() == b"waiting\n"
        shutil.copy(ROOT / "impl/chat_server/limits.py", copy.sources / "limits.py")
        assert await copy.ready() == url
        assert waiter.returncode is None  # the data was never free
        waiter.kill()
        await waiter.wait()
        async with copy.http.get(f"{url}dev/scripts") as response:
            assert len((await response.json())["scripts"]) == len(dev.scripts())


async def test_nobody_else_has_the_panel(tmp_path: Path) -> None:
    headers = {"X-Chat-User": "ada", "X-Chat-Secret": "secret"}
    async with served(tmp_path, OTHERS["proxy"]) as copy:
        for path in ("dev", "dev/scripts", "dev/changes", "devpage/page.js"):
            async with copy.http.get(copy.url + path, headers=headers) as response:
                assert response.status == 404, path
        async with copy.http.get(copy.url, headers=headers) as response:
            assert "devpage" not in await response.text()


def test_another_identity_is_refused(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, identity="proxy", proxy_secret="secret")

    with pytest.raises(ValueError, match="for the dev identity"):
        dev.add_to(web.Application(), settings, restart=None)


def test_scripts_are_valid_and_distinct() -> None:
    load(str(dev.SCRIPTS))
    scripts = dev.scripts()

    assert all(re.fullmatch(r"play [a-z-]+", each["prompt"]) for each in scripts)
    assert len({each["prompt"] for each in scripts}) == len(scripts)
    assert any("silence" in each["prompt"] for each in scripts)
