"""A listener on loopback that lives as long as a block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def listening(serve: Serve, port: int = 0) -> AsyncIterator[int]:
    """A listener on a free port of loopback for the length of the block; its connections end before it does."""
    async with asyncio.TaskGroup() as group:

        def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # asyncio's own tasks for connections are never awaited, and what they raise is only logged.
            group.create_task(serve(reader, writer))

        server = await asyncio.start_server(taken, "127.0.0.1", port)
        async with server:
            try:
                yield server.sockets[0].getsockname()[1]
            finally:
                await _stop_accepting(server)


async def _stop_accepting(server: asyncio.Server) -> None:
    """Accept no more, and let what is accepted become connections, which the caller's group then owns.

    asyncio takes three rounds of its loop: it accepts a socket, makes its transport, and calls ``taken``. A server that
    is closed in between leaves a socket that nobody owns.
    """
    loop = asyncio.get_running_loop()
    for each in server.sockets:
        loop.remove_reader(each.fileno())
    for _ in range(2):
        await asyncio.sleep(0)
