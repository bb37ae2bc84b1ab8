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
            yield server.sockets[0].getsockname()[1]
