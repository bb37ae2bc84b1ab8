"""A chat in forty lines on aiohttp: each message starts claude, and each line that it prints is a message."""

import asyncio
import sys

from aiohttp import WSMsgType, web

CLAUDE = [sys.argv[2], "-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages"]
LINE_BYTES = 64 * 1024 * 1024  # asyncio's own limit is 64 KiB, and an answer's last line is longer than that


async def chat(request: web.Request) -> web.WebSocketResponse:
    """One connection, one answer after the other."""
    socket = web.WebSocketResponse(heartbeat=30)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            process = await asyncio.create_subprocess_exec(
                *CLAUDE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_BYTES
            )
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(message.data.encode())
            process.stdin.close()
            async for line in process.stdout:
                await socket.send_str(line.decode())
            await process.wait()
    return socket


def main() -> None:
    """Serve on loopback."""
    app = web.Application()
    app.router.add_get("/chat/ws", chat)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None)


if __name__ == "__main__":
    main()
