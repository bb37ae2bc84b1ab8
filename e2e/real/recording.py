"""A proxy before the loopback Messages API that keeps the body of every request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web


class Recording:
    """The requests for a message, oldest first.

    Attributes:
        url: Where the proxy listens.
        bodies: What it was sent.
    """

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[dict[str, Any]] = []

    def last(self, text: str) -> dict[str, Any]:
        """The newest request that has ``text`` in the newest message of the user."""
        found = [body for body in self.bodies if text in newest(body)]
        assert found, f"no request ends with {text!r}; the last ends with {newest(self.bodies[-1])!r}"
        return found[-1]


def newest(body: dict[str, Any]) -> list[str]:
    """The texts of the newest message of the user in a request."""
    return texts({"messages": [each for each in body["messages"] if each["role"] == "user"][-1:]}, "user")


def texts(body: dict[str, Any], role: str) -> list[str]:
    """The texts of a role's messages in a request, oldest first; other blocks as they are written."""
    found: list[str] = []
    for message in body["messages"]:
        if message["role"] == role:
            content = message["content"]
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            found += [block["text"] if block["type"] == "text" else str(block) for block in blocks]
    return found


@asynccontextmanager
async def recording(api: str) -> AsyncIterator[Recording]:
    """Pass every request on to ``api``, and its answer back as it comes."""
    kept = Recording()

    async def pass_on(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.path == "/v1/messages":
            kept.bodies.append(await request.json())
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        async with session.request(
            request.method, api + request.path_qs, data=body, headers=headers
        ) as answer:
            response = web.StreamResponse(status=answer.status)
            response.content_type = answer.content_type
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
        return response

    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", pass_on)
    runner = web.AppRunner(app)
    async with aiohttp.ClientSession() as session:
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            kept.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield kept
        finally:
            await runner.cleanup()


HOP_BY_HOP = {"host", "content-length", "connection", "accept-encoding", "transfer-encoding"}
