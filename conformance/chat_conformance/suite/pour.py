"""Pour bytes into a server without reading them back: floods cost the suite's own loop little."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

# A flood of megabytes in one write would copy all of it into the transport's buffer; pieces go out as there is
# room.
PIECE = 262_144


class _Discard(asyncio.Protocol):
    """Discards what it receives."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.room = asyncio.Event()
        self.room.set()
        self.received = asyncio.Event()

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - that is its work
        self.received.set()

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()

    def connection_lost(self, _exc: BaseException | None) -> None:
        self.room.set()
        self.received.set()
        if not self.ended.done():
            self.ended.set_result(None)


@asynccontextmanager
async def pouring(
    host: str, port: int, opening: bytes, flood: bytes, *, again: bool = True, whole: bool = False
) -> AsyncIterator[None]:
    """Send ``flood`` again and again for the length of the block, on a connection that begins with ``opening``.

    When the server ends it another is opened. Without ``again`` each sends it once, and waits for an answer; for the
    ``whole`` of it, which ends with the connection, or only for its beginning.
    """
    task = asyncio.create_task(_pour(host, port, opening, flood, again=again, whole=whole))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _pour(host: str, port: int, opening: bytes, flood: bytes, *, again: bool, whole: bool) -> None:
    loop = asyncio.get_running_loop()
    while True:
        transport = None
        with suppress(OSError):
            transport, protocol = await loop.create_connection(_Discard, host, port)
            try:
                await _send(transport, protocol, opening, flood, again=again)
                if whole:
                    await protocol.ended
            finally:
                # Not close(): that would wait until the rest of the buffer is sent, to a server that may not
                # read.
                transport.abort()
        # A server that refuses at once would else be asked without a pause.
        await asyncio.sleep(0.01)


async def _send(
    transport: asyncio.Transport, protocol: _Discard, opening: bytes, flood: bytes, *, again: bool
) -> None:
    transport.write(opening)
    if opening:
        # The answer to the handshake.
        await protocol.received.wait()
    while not protocol.ended.done():
        # Cleared before the flood goes out: the answer may come while it is sent.
        protocol.received.clear()
        for start in range(0, len(flood), PIECE):
            transport.write(flood[start : start + PIECE])
            # Three waits, each with its reason: room, so that the buffer does not grow while the server does
            # not read; the end, as after it every write is lost; a turn of the loop, as with room there is
            # nothing else to wait for and the cases beside would stand still.
            await protocol.room.wait()
            if protocol.ended.done():
                return
            await asyncio.sleep(0)
        if not again:
            await protocol.received.wait()
            return
