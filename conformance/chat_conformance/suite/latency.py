"""Ping latency on a connection of its own, in a process of its own: ``python -m chat_conformance.suite.latency``.

Pings go out at a fixed pace, whether the ones before were answered or not: a server that stands still for a while is
late with all that fell into it, and not with one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import select
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

# A process of its own: in the suite's, the event loop that sends the load would be late with the pongs, and the
# server be blamed. The pace is fixed (coordinated omission): if it stood still for 300 ms, 30 pings are late,
# and the percentile shows it; pings that wait for their pong would show one.
PAUSE = 0.01
# How long pongs are waited for after the last ping.
PATIENCE = 1.5
BEGUN = b"begun\n"
# A client must mask (RFC 6455, section 5.3); a mask of zeros leaves the payload readable.
_MASK = b"\0\0\0\0"


@asynccontextmanager
async def pinging(
    host: str, port: int, handshake: bytes, seconds: float
) -> AsyncIterator[Callable[[], Awaitable[list[float]]]]:
    """Send pings for so long; they have begun when the block is entered.

    What is given waits for their end and returns their latencies, in seconds: `PATIENCE` for what was not answered.

    Raises:
        ConnectionError: There is no WebSocket, or, from what is given, it ended.
    """
    words = [host, str(port), base64.b64encode(handshake).decode(), str(seconds)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chat_conformance.suite.latency", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )

    async def latencies() -> list[float]:
        out, err = await process.communicate()
        if process.returncode:
            raise ConnectionError(err.decode(errors="replace").strip().rpartition("\n")[2])
        found: list[float] = json.loads(out)
        return found

    try:
        assert process.stdout is not None
        if await process.stdout.readline() != BEGUN:
            # It raises the reason.
            await latencies()
        yield latencies
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def percentile(values: list[float], percent: float) -> float:
    """The value that this percentage of them do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def _ping(number: int) -> bytes:
    # FIN and ping; masked, four bytes. The number comes back in the pong, so each has its own time.
    return b"\x89\x84" + _MASK + number.to_bytes(4, "big")


def _main(host: str, port: str, handshake: str, seconds: str) -> None:
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        connection.sendall(base64.b64decode(handshake))
        received = b""
        while b"\r\n\r\n" not in received:
            if not (more := connection.recv(65_536)):
                raise ConnectionError("no answer to the handshake")
            received += more
        head, _, received = received.partition(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            raise ConnectionError(head.decode(errors="replace").split("\r\n", 1)[0])
        connection.setblocking(False)
        print(BEGUN.decode(), end="", flush=True)  # noqa: T201 - the parent process waits for it
        print(json.dumps(_pings(connection, received, float(seconds))))  # noqa: T201 - it is the result


def _pings(connection: socket.socket, received: bytes, seconds: float) -> list[float]:
    begun = time.perf_counter()
    sent: list[float] = []
    latencies: dict[int, float] = {}
    while True:
        now = time.perf_counter() - begun
        while len(sent) * PAUSE <= min(now, seconds):
            sent.append(time.perf_counter())
            connection.send(_ping(len(sent) - 1))
        if now > seconds and (len(latencies) == len(sent) or now > seconds + PATIENCE):
            return [latencies.get(number, PATIENCE) for number in range(len(sent))]
        due = len(sent) * PAUSE - now if now <= seconds else 0.05
        if select.select([connection], [], [], max(0.0, due))[0]:
            if not (more := connection.recv(65_536)):
                raise ConnectionError("the connection ended")
            received = _pongs(received + more, sent, latencies)


def _pongs(data: bytes, sent: list[float], latencies: dict[int, float]) -> bytes:
    """Note the pongs among the frames; what is left of the last frame."""
    # A frame of a server is not masked (section 5.1): two bytes, then none, two or eight of length. Whatever is
    # no pong of ours is skipped; a frame that is not whole waits for more bytes.
    while len(data) >= 2:
        length, start = data[1] & 0x7F, 2
        if length == 126:
            length, start = int.from_bytes(data[2:4], "big"), 4
        elif length == 127:
            length, start = int.from_bytes(data[2:10], "big"), 10
        if len(data) < start + length:
            break
        if data[0] == 0x8A and length == 4:
            number = int.from_bytes(data[start : start + 4], "big")
            latencies[number] = time.perf_counter() - sent[number]
        data = data[start + length :]
    return data


if __name__ == "__main__":
    _main(*sys.argv[1:5])
