"""Streams on a server while the suite judges it: what conforms when idle is to conform when busy.

The streams are turns of the suite's own fake, like those of the cases; each connection asks again when its answer is
complete. They come from a process of their own, so that the cases are not slowed down by counting tokens:
``python -m chat_conformance.load.background``, a job on the first line of standard input; its end ends
the process.
"""

from __future__ import annotations

import asyncio
import select
import sys

import msgspec

from chat_conformance.errors import TargetError
from chat_conformance.load.client import Client, Connection
from chat_conformance.target.file import Load, Target
from chat_conformance.target.server import Server

PROMPT = "[[fake tokens=100 gap=20ms]]"
# Seconds for a connection to open and for the last answers to end.
WITHIN = 30.0
FOR_EVER = 86_400.0


class Job(msgspec.Struct, frozen=True):
    """How many streams, and on which server."""

    streams: int
    url: str
    path: str
    headers: dict[str, str]
    load: Load


class StreamReport(msgspec.Struct, frozen=True):
    """How many turns were completed, and what went wrong."""

    turns: int
    trouble: str = ""


def stream(job: Job) -> StreamReport:
    """Keep ``job.streams`` turns running until standard input ends, and let the last ones end."""
    turns = 0
    connections: list[Connection] = []

    def restart_finished() -> bool:
        nonlocal turns
        for each in connections:
            if each.ended:
                turns += 1
                client.send_prompt(each, PROMPT)
        # Its end is the order to stop, and it also comes when the suite dies: no stream goes on without it.
        return bool(select.select([sys.stdin], [], [], 0)[0])

    with Client(job.url, job.path, job.load, job.headers) as client:
        try:
            connections = client.open(job.streams, within=WITHIN)
            for each in connections:
                client.send_prompt(each, PROMPT)
            client.run(restart_finished, FOR_EVER)
            # The last answers are waited for: to cut them off would look like lost users to the server, and
            # hide their failures.
            client.run(lambda: all(each.ended for each in connections), WITHIN)
        except TargetError as error:
            return StreamReport(turns, str(error))
    return StreamReport(turns + len(connections))


class BackgroundStreams:
    """Streams on a server, from `start` to `stop`; nothing is done where their count is 0."""

    def __init__(self, target: Target, server: Server, count: int) -> None:
        headers = {**target.users[0].headers, **target.load.headers}
        self._job = Job(count, server.url, target.paths.socket, headers, target.load)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Let them begin."""
        if not self._job.streams:
            return
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chat_conformance.load.background"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(self._job) + b"\n")

    async def stop(self) -> tuple[str, ...]:
        """Let the running answers end, and return what went wrong with any."""
        if self._process is None:
            return ()
        assert self._process.stdin is not None
        self._process.stdin.close()
        said, _ = await self._process.communicate()
        if self._process.returncode:
            return (f"the streams beside the cases ended with exit status {self._process.returncode}",)
        report = msgspec.json.decode(said, type=StreamReport)
        return (f"a background stream failed: {report.trouble}",) if report.trouble else ()


if __name__ == "__main__":
    work = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    sys.stdout.buffer.write(msgspec.json.encode(stream(work)))
