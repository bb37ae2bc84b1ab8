"""A program in its own process group: wait until it is ready, keep what it says, end it."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

READY_SECONDS = 30.0
STOP_SECONDS = 15.0


class ProgramError(Exception):
    """The program did not start or did not end as it should; the sentence ends with its output."""


@dataclass
class Program:
    """A program that runs."""

    name: str
    ready_line: str = ""  # the line that said so
    lines: list[str] = field(default_factory=list)  # all it has written, oldest first

    def __str__(self) -> str:
        return "\n".join([f"--- {self.name}", *self.lines])


@asynccontextmanager
async def running(
    name: str, argv: Sequence[str], *, env: Mapping[str, str], ready: str, log: list[str] | None = None
) -> AsyncIterator[Program]:
    """Run ``argv`` for the length of the block, which begins when a line with ``ready`` in it was written.

    Args:
        name: What to call it in sentences.
        argv: The command.
        env: Its whole environment.
        ready: A part of the line by which it says that it serves.
        log: Where to put its lines; a list of its own if not given.

    Raises:
        ProgramError: It ended, or said nothing for ``READY_SECONDS``, before it was ready; or it did not end within
            ``STOP_SECONDS`` of TERM, or left a child that holds its output.
    """
    program = Program(name, lines=[] if log is None else log)
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=STDOUT, env=env, start_new_session=True
    )
    is_ready = asyncio.Event()
    reading = asyncio.create_task(_read(process, program, ready, is_ready))
    try:
        await _until_ready(program, reading, is_ready)
        yield program
    finally:
        await _end(process, program, reading)


async def _read(process: Process, program: Program, ready: str, is_ready: asyncio.Event) -> None:
    assert process.stdout is not None
    async for raw in process.stdout:
        line = raw.decode(errors="replace").rstrip()
        program.lines.append(line)
        if ready in line and not is_ready.is_set():
            program.ready_line = line
            is_ready.set()


async def _until_ready(program: Program, reading: asyncio.Task[None], is_ready: asyncio.Event) -> None:
    waiting = asyncio.create_task(is_ready.wait())
    try:
        await asyncio.wait({waiting, reading}, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if not is_ready.is_set():
        how = "ended before it was ready" if reading.done() else f"was not ready after {READY_SECONDS} s"
        raise ProgramError(f"{program.name} {how}\n{program}")


async def _end(process: Process, program: Program, reading: asyncio.Task[None]) -> None:
    """TERM, a grace, KILL for the whole group; end of file means that no process holds the output."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await asyncio.gather(reading, process.wait())
    except TimeoutError:
        raise ProgramError(
            f"{program.name}, or a child of it, did not end within {STOP_SECONDS} s\n{program}"
        ) from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
