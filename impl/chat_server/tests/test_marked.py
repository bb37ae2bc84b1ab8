"""Marked processes are found wherever they hide, and ended; others are not touched."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from chat_server.processes.marked import VARIABLE, kill, marked_pids, send
from chat_server.tests.processes import python

STAY = "import signal, sys; print(flush=True)\nwhile True: signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + STAY

Start = Callable[[str, str], Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts a program with a mark; what still lives in the end is killed."""
    started = []

    async def begin(mark: str, code: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *python(code), stdout=asyncio.subprocess.PIPE, env={**os.environ, VARIABLE: mark}
        )
        started.append(process)
        assert process.stdout is not None
        await process.stdout.readline()
        return process

    yield begin
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_mark_is_found_by_prefix(start: Start) -> None:
    mark = uuid.uuid4().hex
    one, two = await start(f"{mark}-1.", STAY), await start(f"{mark}-2.", STAY)
    await start(uuid.uuid4().hex, STAY)

    assert sorted(marked_pids(mark)) == sorted([one.pid, two.pid])
    assert marked_pids(f"{mark}-1.") == [one.pid]


def test_new_mark_finds_nothing() -> None:
    assert marked_pids(uuid.uuid4().hex) == []


async def test_signal_to_exited_process(start: Start) -> None:
    process = await start(uuid.uuid4().hex, "print(flush=True)")
    await process.wait()

    send([process.pid], signal.SIGTERM)


async def test_kill_ends_who_does_not_obey(start: Start) -> None:
    mark = uuid.uuid4().hex
    process = await start(mark, STUBBORN)

    assert await asyncio.to_thread(kill, mark, 10) == []

    assert await process.wait() == -signal.SIGKILL


def test_mark_is_found_during_execve(tmp_path: Path) -> None:
    """Between the two programs it has no environment for a moment."""
    again = tmp_path / "again"
    again.write_text('[ "$1" -gt 0 ] && exec sh "$0" $(($1 - 1))\nexec cat\n')
    mark = uuid.uuid4().hex
    with subprocess.Popen(
        ["sh", again, "1000"], stdin=subprocess.PIPE, env={**os.environ, VARIABLE: mark}
    ) as child:
        looks = [marked_pids(mark)]
        while child.poll() is None and b"cat" not in Path(f"/proc/{child.pid}/cmdline").read_bytes():
            looks.append(marked_pids(mark))
        assert child.stdin is not None
        child.stdin.close()

    assert looks == [[child.pid]] * len(looks)
