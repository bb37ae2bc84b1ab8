"""A chat on Starlette: POST a prompt, and the answer of the claude CLI streams as server-sent events."""

import asyncio
import json
import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

CLAUDE = os.environ.get("CLAUDE", "claude")
OPTIONS = ["--output-format", "stream-json", "--verbose", "--include-partial-messages"]


def event(name: str, **data: object) -> str:
    """One server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


async def answer(prompt: str, session: str | None) -> AsyncIterator[str]:
    """The answer as events, while claude writes it."""
    resume = ["--resume", session] if session else []
    claude = await asyncio.create_subprocess_exec(
        CLAUDE, "-p", *OPTIONS, *resume,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        limit=1 << 24,
    )  # fmt: skip
    try:
        claude.stdin.write(prompt.encode())
        claude.stdin.close()
        async for line in claude.stdout:
            message = json.loads(line)
            if message["type"] == "system" and message.get("subtype") == "init":
                yield event("session", id=message["session_id"])
            elif message["type"] == "stream_event":
                delta = message["event"].get("delta", {})
                if delta.get("type") == "text_delta":
                    yield event("delta", text=delta["text"])
            elif message["type"] == "result":
                if message["is_error"]:
                    yield event("problem", message=str(message.get("result")))
                else:
                    yield event("done", usage=message["usage"])
                return
        yield event("problem", message=f"claude ended with {await claude.wait()}")
    finally:
        if claude.returncode is None:
            claude.kill()
        await claude.wait()


async def chat(request: Request) -> StreamingResponse:
    """POST {"prompt": …, "session": …}; the session is that of an earlier answer."""
    body = await request.json()
    return StreamingResponse(answer(body["prompt"], body.get("session")), media_type="text/event-stream")


async def health(_: Request) -> JSONResponse:
    """Whether the server lives."""
    return JSONResponse({"ok": True})


app = Starlette(routes=[Route("/chat", chat, methods=["POST"]), Route("/health", health)])
