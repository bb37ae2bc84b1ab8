"""The chat on aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType, web
from chat import FRAME_MAX, PROTOCOL, Chat, Headers, Talker, options


async def start(chat: Chat) -> Callable[[], Any]:
    async def handle(request: web.Request) -> web.StreamResponse:
        version = "{}.{}".format(*request.version)
        found = chat.answer(request.method, request.raw_path, Headers(request.headers.items()), version)
        if found is not None:
            status, headers, body = found
            return web.Response(status=status, headers=headers, body=body)
        protocols = () if chat.has("nameless") else (PROTOCOL,)
        socket = web.WebSocketResponse(protocols=protocols, compress=False, max_msg_size=FRAME_MAX)
        await socket.prepare(request)
        await talk(chat, socket)
        return socket

    app = web.Application(client_max_size=FRAME_MAX)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", chat.options.port).start()
    return runner.cleanup


async def talk(chat: Chat, socket: web.WebSocketResponse) -> None:
    said: asyncio.Queue[str] = asyncio.Queue()
    talker = Talker(said.put_nowait)

    async def speak() -> None:
        with suppress(ConnectionError):
            while True:
                await socket.send_str(await said.get())

    async def ping() -> None:
        with suppress(ConnectionError):
            while True:
                await asyncio.sleep(chat.options.keepalive)
                await socket.ping()

    tasks = [asyncio.create_task(each()) for each in (speak, ping)]
    try:
        if not chat.came(talker):
            await socket.close(code=1001)
        async for message in socket:
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                await chat.took(talker, message.data)
    finally:
        chat.left(talker)
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    taken = options()
    asyncio.run(Chat(taken).serve(start))
