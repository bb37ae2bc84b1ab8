"""One question to the claude command-line tool, and what it answers."""

import asyncio
import ctypes
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

COMMAND = [
    *("--print", "--verbose", "--output-format", "stream-json", "--include-partial-messages"),
    *("--input-format", "stream-json", "--tools", ""),
    # What users type is data: no commands, and nothing of the account that runs this.
    *("--disable-slash-commands", "--setting-sources", "", "--strict-mcp-config"),
]
SAFE = {"CLAUDE_CODE_DISABLE_FILE_MENTIONS": "1", "CLAUDE_CODE_DISABLE_CLAUDE_MDS": "1"}
LINE_MAX = 64 << 20  # bytes
Json = dict[str, Any]


async def ask(claude: str, prompt: str, session: str | None, grace: float) -> AsyncIterator[Json]:
    """Start Claude with a prompt in a session, or in a new one.

    Yields ``{"session": ID}``, then ``token`` and ``rewind`` events, and at last ``complete`` or ``error``. When the
    generator is left, the process is ended: asked at once if it was cancelled, killed after two graces; and what it
    had started with it.

    Raises:
        OSError: It cannot be started.
    """
    option, session = ("--resume", session) if session else ("--session-id", str(uuid.uuid4()))
    mark = f"CHAT_RUN={uuid.uuid4()}"
    process = await asyncio.create_subprocess_exec(
        *[claude, *COMMAND, option, session],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_MAX,
        env={**os.environ, **SAFE, "CHAT_RUN": mark.partition("=")[2]},
        preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL),  # PR_SET_PDEATHSIG: it dies with us
    )
    assert process.stdin is not None
    assert process.stdout is not None
    processes = asyncio.create_task(end_processes(process, mark))
    begun, reason = False, "end_turn"
    shown, start, place = "", 0, 0  # the answer so far, where its open block begins, and how far that is sent
    end: Json = {"type": "error", "code": "claude_failed", "message": "Claude ended without a result"}
    try:
        # Only the last block is searched for commands and mentions, and an empty one is left out of the request.
        content = [{"type": "text", "text": text} for text in (prompt, "")]
        process.stdin.write(
            json.dumps({"type": "user", "message": {"role": "user", "content": content}}).encode() + b"\n"
        )
        process.stdin.close()
        while end["type"] == "error" and (line := await process.stdout.readline()):
            text = old = ""  # what is repeated, and what is shown in its place
            try:
                event = json.loads(line)
            except ValueError:
                continue  # a warning, or what a later version says
            match event:
                case {"type": "system", "subtype": "init"}:
                    if option == "--resume" and event.get("session_id", session) != session:
                        yield {"type": "status", "status": "fresh_session"}  # it forgot what was said before
                    begun, session = True, event.get("session_id", session)
                    yield {"session": session}
                case {"parent_tool_use_id": str()} | {"is_api_error_message": True}:
                    pass  # a subagent's, or what the result says, too
                case {"type": "stream_event", "abandoned_blocks": dict()}:
                    place = start  # the stream broke: the block is repeated
                case {"type": "stream_event", "event": {"delta": {"type": "text_delta", "text": str(text)}}}:
                    old = shown[place : place + len(text)]
                case {"type": "stream_event", "event": {"delta": {"stop_reason": str(reason)}}}:
                    pass
                case {"type": "assistant", "message": {"content": list(blocks)}}:
                    if text := "".join(each.get("text", "") for each in blocks):
                        place, old = start, shown[start:]
                    start = place + len(text)
                case {"type": "result", "is_error": True} if option == "--resume" and not begun:
                    async for each in ask(claude, prompt, None, grace):  # it knows the session no more
                        yield each
                    return
                case {"type": "result", "is_error": True}:
                    end["message"] = str(event.get("result") or event.get("errors"))
                case {"type": "result", "result": str(result), "usage": dict(usage)}:
                    if not shown.endswith(result):
                        text, old = result, shown[place:]
                    tokens = {each: usage[each] for each in ("input_tokens", "output_tokens")}
                    end = {"type": "complete", "stop_reason": reason, "usage": tokens}
            if not text.startswith(old):
                yield {"type": "rewind", "to": place}
                shown, old = shown[:place], ""
            place += len(text)
            if new := text[len(old) :]:
                shown += new
                yield {"type": "token", "token": new}
        yield end
    except asyncio.CancelledError:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        raise
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            await asyncio.wait([processes], timeout=grace)
            if process.returncode is None:
                process.send_signal(number)
        await processes


async def end_processes(process: asyncio.subprocess.Process, mark: str) -> None:
    """Wait for the end of Claude and kill what it leaves behind, which may hold its stdout open."""
    while process.returncode is None:
        await asyncio.sleep(0.05)  # Process.wait() waits for stdout, too, in some versions of Python
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in path.read_bytes().split(b"\0"):
                os.kill(int(path.parts[2]), signal.SIGKILL)
