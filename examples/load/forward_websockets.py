"""A chat in forty lines on websockets: each message starts claude, and each line that it prints is a message."""

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, serve

CLAUDE = [sys.argv[2], "-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages"]
LINE_BYTES = 64 * 1024 * 1024  # asyncio's own limit is 64 KiB, and an answer's last line is longer than that


async def chat(socket: ServerConnection) -> None:
    """One connection, one answer after the other."""
    async for message in socket:
        process = await asyncio.create_subprocess_exec(
            *CLAUDE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_BYTES
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(message.encode() if isinstance(message, str) else message)
        process.stdin.close()
        async for line in process.stdout:
            await socket.send(line.decode())
        await process.wait()


async def main() -> None:
    """Serve on loopback."""
    async with serve(chat, "127.0.0.1", int(sys.argv[1])) as server:
        print("listening", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
