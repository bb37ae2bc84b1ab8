"""A listener owns all that it has accepted, also at the moment when it ends."""

from __future__ import annotations

import asyncio
import socket

from chat_conformance.wire.listening import listening


async def test_connection_at_the_end_is_owned() -> None:
    taken: list[asyncio.StreamWriter] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(writer)
        writer.transport.abort()

    async with listening(serve) as port:
        with socket.create_connection(("127.0.0.1", port)):
            # After these rounds of the loop the socket is accepted, and has no transport yet.
            for _ in range(2):
                await asyncio.sleep(0)

    assert len(taken) == 1
