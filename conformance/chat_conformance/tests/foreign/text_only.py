"""A chat of plain text: a message is a prompt, the answer's text comes as it is written, and nothing marks its end."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress

from aiohttp import WSMsgType, web

OPTIONS = ("--output-format", "stream-json", "--verbose", "--include-partial-messages")


async def chat(request: web.Request) -> web.WebSocketResponse:
    """One connection; each prompt has a Claude of its own."""
    ws = web.WebSocketResponse(max_msg_size=1 << 24)
    await ws.prepare(request)
    async for message in ws:
        if message.type != WSMsgType.TEXT:
            continue
        claude = await asyncio.create_subprocess_exec(
            request.app["claude"],
            "--print",
            *OPTIONS,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=1 << 26,
        )
        assert claude.stdin is not None
        assert claude.stdout is not None
        try:
            claude.stdin.write(message.data.encode())
            claude.stdin.close()
            async for line in claude.stdout:
                event = json.loads(line).get("event", {})
                if event.get("type") == "content_block_delta" and "text" in event["delta"]:
                    await ws.send_str(event["delta"]["text"])
        finally:
            # The server may be stopped in the middle of an answer.
            with suppress(ProcessLookupError):
                claude.kill()
            await claude.wait()
    return ws


if __name__ == "__main__":
    made = web.Application()
    made["claude"] = sys.argv[2]
    made.add_routes([web.get("/chat", chat)])
    web.run_app(made, host="127.0.0.1", port=int(sys.argv[1]), shutdown_timeout=0.5)
