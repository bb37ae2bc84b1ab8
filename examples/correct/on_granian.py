"""The chat as an ASGI application, served by granian, whose HTTP and WebSocket are written in Rust."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from typing import Any

from chat import PROTOCOL, Chat, Headers, Talker, options

chat: Chat | None = None


async def app(scope: Any, receive: Any, send: Any) -> None:
    global chat  # noqa: PLW0603 - of the one worker
    if chat is None:
        chat = Chat(options(*shlex.split(os.environ["CHAT_OPTIONS"])))
    if scope["type"] == "lifespan":
        return
    headers = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    path = scope["raw_path"].decode("latin-1") if scope.get("raw_path") else scope["path"]
    path += f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
    found = chat.answer(scope.get("method", "GET"), path, headers, scope["http_version"])
    if scope["type"] == "http":
        status, more, body = found or (426, {"Sec-WebSocket-Version": "13"}, b"{}")
        named = [(name.lower().encode(), value.encode()) for name, value in more.items()]
        await send({"type": "http.response.start", "status": status, "headers": named})
        await send({"type": "http.response.body", "body": body})
    else:
        await talk(chat, scope, receive, send, refused=found is not None)


async def talk(chat: Chat, scope: Any, receive: Any, send: Any, *, refused: bool) -> None:
    await receive()
    if refused:
        await send({"type": "websocket.close", "code": 1008})  # before it is accepted: 403
        return
    named = PROTOCOL in scope["subprotocols"] and not chat.has("nameless")
    await send({"type": "websocket.accept", "subprotocol": PROTOCOL if named else None})
    said: asyncio.Queue[str] = asyncio.Queue()
    talker = Talker(said.put_nowait)

    async def speak() -> None:
        while True:
            await send({"type": "websocket.send", "text": await said.get()})

    speaking = asyncio.create_task(speak())
    try:
        chat.came(talker)
        while (event := await receive())["type"] == "websocket.receive":
            text = event.get("text")
            await chat.took(talker, event["bytes"] if text is None else text)
    finally:
        chat.left(talker)
        speaking.cancel()


if __name__ == "__main__":
    taken = options()
    os.environ["CHAT_OPTIONS"] = shlex.join(sys.argv[1:])
    words = ["--interface", "asgi", "--host", "127.0.0.1", "--port", str(taken.port), "--workers", "1"]
    words += ["--no-access-log", "--working-dir", os.path.dirname(os.path.abspath(__file__))]  # noqa: PTH100, PTH120
    os.execv(sys.executable, [sys.executable, "-m", "granian", *words, "on_granian:app"])  # noqa: S606
