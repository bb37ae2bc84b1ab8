"""A Chainlit app before the claude CLI: one session of the CLI for each chat."""

import asyncio
import json
import os

import chainlit as cl

CLAUDE = os.environ.get("CLAUDE", "claude")
OPTIONS = ["--output-format", "stream-json", "--verbose", "--include-partial-messages"]


@cl.on_message
async def on_message(message: cl.Message) -> None:
    """Ask claude, and stream what it says into an answer."""
    session = cl.user_session.get("claude")
    claude = await asyncio.create_subprocess_exec(
        CLAUDE, "-p", *OPTIONS, *(["--resume", session] if session else []),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        limit=1 << 24,
    )  # fmt: skip
    claude.stdin.write(message.content.encode())
    claude.stdin.close()
    answer = cl.Message(content="")
    async for line in claude.stdout:
        event = json.loads(line)
        if event["type"] == "system" and event.get("subtype") == "init":
            cl.user_session.set("claude", event["session_id"])
        elif event["type"] == "stream_event":
            delta = event["event"].get("delta", {})
            if delta.get("type") == "text_delta":
                await answer.stream_token(delta["text"])
        elif event["type"] == "result" and event["is_error"]:
            await cl.ErrorMessage(content=str(event.get("result"))).send()
    if await claude.wait():
        await cl.ErrorMessage(content=f"claude ended with {claude.returncode}").send()
    await answer.send()
