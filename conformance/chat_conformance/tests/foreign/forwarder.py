"""What websocketd does: each connection has a program of its own, and lines go both ways as they are."""

from __future__ import annotations

import asyncio
import sys

from aiohttp import WSMsgType, web

OPTIONS = (
    "--print --verbose --input-format stream-json --output-format stream-json --include-partial-messages"
)


async def serve(claude: str, port: int) -> None:
    """Serve until the process ends."""

    async def connect(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(max_msg_size=1 << 24)
        await ws.prepare(request)
        program = await asyncio.create_subprocess_exec(
            claude,
            *OPTIONS.split(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=1 << 26,
        )
        assert program.stdin is not None
        assert program.stdout is not None
        out = program.stdout

        async def forward() -> None:
            async for line in out:
                await ws.send_str(line.decode().rstrip("\n"))
            await ws.close()

        lines = asyncio.create_task(forward())
        try:
            async for message in ws:
                if message.type == WSMsgType.TEXT:
                    program.stdin.write(message.data.encode() + b"\n")
        finally:
            lines.cancel()
            await asyncio.gather(lines, return_exceptions=True)
            if program.returncode is None:
                program.kill()
            await program.wait()
        return ws

    app = web.Application()
    app.add_routes([web.get("/", connect)])
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("serving", flush=True)  # noqa: T201 - what the target file waits for
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[2], int(sys.argv[1])))
