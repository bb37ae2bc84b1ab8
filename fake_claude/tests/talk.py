"""A persistent fake, spoken to line by line."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fake_claude.tests.conftest import PATIENCE, PERSISTENT, Done, Fake, Message, control, kind, user

Wanted = str | Callable[[Message], bool]


class Talk:
    """One running fake: what was sent to it, and every message it has printed so far."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr
        self.messages: list[Message] = []

    async def send(self, *lines: str) -> None:
        """Write raw text, lines with their ends."""
        self.stdin.write("".join(lines).encode())
        await self.stdin.drain()

    async def say(self, content: Any, **members: Any) -> None:
        """Send a user message."""
        await self.send(user(content, **members))

    async def ask(self, subtype: str, request_id: str = "r", **members: Any) -> Message:
        """Send a control request and return the answer to it."""
        await self.send(control(subtype, request_id, **members))
        seen = await self.until(lambda m: m.get("response", {}).get("request_id") == request_id)
        return dict(seen[-1]["response"])

    async def until(self, wanted: Wanted) -> list[Message]:
        """Read messages up to the first of this kind; return them, that one last."""
        seen: list[Message] = []
        while True:
            line = await self.stdout.readline()
            assert line, f"the output ended before {wanted!r}: {[kind(m) for m in seen]}"
            seen.append(json.loads(line))
            self.messages.append(seen[-1])
            if wanted == kind(seen[-1]) if isinstance(wanted, str) else wanted(seen[-1]):
                return seen

    async def result(self) -> Message:
        """Read to the end of the turn and return its result line."""
        return (await self.until(lambda m: m["type"] == "result"))[-1]

    async def end(self) -> Done:
        """Close the input if it is open, read what is left, and return that with the exit code."""
        async with asyncio.timeout(PATIENCE):
            self.stdin.close()
            out, err, code = await asyncio.gather(self.stdout.read(), self.stderr.read(), self.process.wait())
        return Done(code, out.decode(), err.decode())


@asynccontextmanager
async def talking(fake: Fake, *argv: str, mode: list[str] = PERSISTENT, **env: str) -> AsyncIterator[Talk]:
    """Run a fake for the length of the block, which must not be long; it does not outlive it."""
    process = await fake.start(*mode, *argv, **env)
    talk = Talk(process)
    try:
        async with asyncio.timeout(PATIENCE):
            yield talk
    finally:
        if process.returncode is None:
            process.kill()
        await talk.end()


async def gone(pid: int) -> None:
    """Wait until a process that is not our child has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(fd, ended.set)
    try:
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
    finally:
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)
