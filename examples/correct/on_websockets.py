"""The chat on websockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from chat import FRAME_MAX, PROTOCOL, Chat, Talker, options
from chat import Headers as Named
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response


async def start(chat: Chat) -> Callable[[], Any]:
    def http(_: ServerConnection, request: Request) -> Response | None:
        found = chat.answer(request.method, request.path, Named(request.headers.raw_items()))
        if found is None:
            return None
        status, headers, body = found
        return Response(status, HTTPStatus(status).phrase, Headers({**headers, "Connection": "close"}), body)

    async def talk(connection: ServerConnection) -> None:
        talker = Talker(lambda text: broadcast([connection], text))
        pings = asyncio.create_task(ping(connection))
        try:
            if not chat.came(talker):
                await connection.close(1001)
            async for data in connection:
                await chat.took(talker, data)
        except ConnectionClosed:
            pass  # without a close frame
        finally:
            chat.left(talker)
            pings.cancel()

    async def ping(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(chat.options.keepalive)
                await connection.ping()

    server = await serve(
        *(talk, "127.0.0.1", chat.options.port),
        process_request=http,
        max_size=FRAME_MAX,
        ping_interval=None,
        select_subprotocol=lambda _, offered: (
            PROTOCOL if PROTOCOL in offered and not chat.has("nameless") else None
        ),
    )
    return server.close


if __name__ == "__main__":
    asyncio.run(Chat(options()).serve(start))
