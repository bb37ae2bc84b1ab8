"""A chat in forty lines on starlette: each message starts claude, and each line that it prints is a message."""

import asyncio
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

CLAUDE = [sys.argv[2], "-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages"]
LINE_BYTES = 64 * 1024 * 1024  # asyncio's own limit is 64 KiB, and an answer's last line is longer than that


async def chat(socket: WebSocket) -> None:
    """One connection, one answer after the other."""
    await socket.accept()
    async for message in socket.iter_text():
        process = await asyncio.create_subprocess_exec(
            *CLAUDE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_BYTES
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(message.encode())
        process.stdin.close()
        async for line in process.stdout:
            await socket.send_text(line.decode())
        await process.wait()


def main() -> None:
    """Serve on loopback."""
    app = Starlette(routes=[WebSocketRoute("/chat/ws", chat)])
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        ws="wsproto",
        http="h11",
        loop="asyncio",
        log_level="info",
    )


if __name__ == "__main__":
    main()
