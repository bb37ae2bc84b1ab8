"""For developers of the chat: a panel of fake scripts and live frames, and pages that follow their sources.

Only for the dev identity. The page gets one more module, ``devpage/page.js``, which hands what goes over its socket to
the panel at ``/chat/dev``, plays what the panel asks for, and reloads when a source has changed; when one of the
server's own has, and it still can be imported, the server restarts.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import sys
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

from aiohttp import hdrs, web
from msgspec.structs import replace

from chat_server.settings import Settings
from chat_server.web.responses import json_answer
from chat_server.web.static_files import add_files

logger = logging.getLogger(__name__)

SOURCES = Path(__file__).parents[1]
FOLDER = SOURCES / "devpage"
SCRIPTS = FOLDER / "scripts.toml"
CHECK = (
    "import fake_claude.script.file as file, chat_server.command, chat_server.web.devserver as devserver; "
    "file.load(str(devserver.SCRIPTS))"
)
EVERY_SECONDS = 0.3
LOOKS_PER_SIGN_OF_LIFE = 50
SCRIPT = '<script type="module" src="static/main.js"></script>'
OWN_SCRIPT = '<script type="module" src="devpage/page.js"></script>'

Files = tuple[tuple[str, int], ...]
"""Paths, and when they were last written (nanoseconds)."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add_to(app: web.Application, settings: Settings, *, restart: Callable[[], None] | None) -> None:
    """Add the panel and the reloading to an app that has not begun to serve.

    Args:
        app: The server.
        settings: Its settings; with a ``claude`` of their own the panel has no scripts.
        restart: Called when the server's own code has changed; without it, that is a change like any other.

    Raises:
        ValueError: The identity is another than ``dev``.
    """
    if settings.identity != "dev":
        raise ValueError(f"the dev panel is for the dev identity, not for {settings.identity}")
    sources = Sources(SOURCES, restart)

    async def watching(_app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(sources.watch())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def panel(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(FOLDER / "panel.html")

    async def listed(_request: web.Request) -> web.Response:
        return json_answer({"scripts": [] if settings.claude else scripts()})

    async def changes(request: web.Request) -> web.StreamResponse:
        return await _send_changes(request, sources)

    async def stop(_app: web.Application) -> None:
        sources.stop()

    app.middlewares.append(_with_own_script)
    app.cleanup_ctx.append(watching)
    app.on_shutdown.append(stop)
    app.router.add_get("/chat/dev", panel)
    app.router.add_get("/chat/dev/scripts", listed)
    app.router.add_get("/chat/dev/changes", changes)
    add_files(app, "/chat/devpage", FOLDER)


def with_tools(settings: Settings) -> Settings:
    """Let the built-in fake use the tool that the scripts call; the fake's does nothing."""
    more = (*settings.claude_args, "--allowedTools=WebFetch")
    return replace(settings, claude_tools="WebFetch", claude_args=more)


def scripts() -> list[dict[str, str]]:
    """What can be played: the prompt that does it, and what happens then."""
    turns = tomllib.loads(SCRIPTS.read_text(encoding="utf-8"))["turn"]
    return [{"prompt": each["match"].strip("^").removesuffix(r"\b"), "about": each["name"]} for each in turns]


@web.middleware
async def _with_own_script(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let the page load our module before its own, which thus meets the socket that we watch."""
    response = await handler(request)
    if request.path != "/chat/" or not isinstance(response, web.FileResponse):
        return response
    page = (SOURCES / "static/index.html").read_text(encoding="utf-8")
    return web.Response(
        text=page.replace(SCRIPT, OWN_SCRIPT + SCRIPT),
        content_type="text/html",
        headers={hdrs.CACHE_CONTROL: "no-cache"},
    )


async def _send_changes(request: web.Request, sources: Sources) -> web.StreamResponse:
    """Server-sent events (HTML, §9.2): the sources' state, at once and whenever it has changed."""
    response = web.StreamResponse(
        headers={hdrs.CONTENT_TYPE: "text/event-stream", hdrs.CACHE_CONTROL: "no-store"}
    )
    await response.prepare(request)
    sent, quiet = "", 0
    with suppress(ConnectionError):
        while not sources.stopping.is_set():
            if sent != sources.state:
                sent, quiet = sources.state, 0
                await response.write(f"data: {sent}\n\n".encode())
            elif quiet >= LOOKS_PER_SIGN_OF_LIFE:
                quiet = 0
                await response.write(b":\n\n")  # who has gone is noticed by it
            quiet += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(sources.stopping.wait(), EVERY_SECONDS)
    return response


class Sources:
    """The files that page and server are made of, and their state: a text that changes when one of them does."""

    def __init__(self, folder: Path, restart: Callable[[], None] | None) -> None:
        self._folder = folder
        self._restart = restart
        self._seen = self._look()
        self._written = self._code()
        self.state = _digest(self._seen)
        self.stopping = asyncio.Event()

    def stop(self) -> None:
        """Let those go who wait for changes."""
        self.stopping.set()

    async def watch(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            seen = (
                self._look()
            )  # a fifth of a millisecond; in a thread it would cost those who are served more
            if seen == self._seen:
                continue
            self._seen = seen
            if self._restart is not None and (written := self._code()) != self._written:
                self._written = written
                if await _can_start():
                    logger.info("= code changed, restarting")
                    self._restart()
            else:
                self.state = _digest(seen)

    def _look(self) -> Files:
        return tuple(sorted(_files(str(self._folder))))

    def _code(self) -> Files:
        return tuple(each for each in self._seen if each[0].endswith((".py", ".toml")))


def _files(folder: str) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir():
                # An editor may be putting a new one in its place.
                with suppress(OSError):
                    yield entry.path, entry.stat().st_mtime_ns
            elif entry.name not in {"tests", "__pycache__"}:
                yield from _files(entry.path)


def _digest(seen: Files) -> str:
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]


async def _can_start() -> bool:
    """Whether what is written now can be imported; if not, the log says why, and the server stays as it is."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CHECK),
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("CHAT_")},
    )
    _, error = await process.communicate()
    if process.returncode:
        logger.error(
            "the changed code cannot be imported, so the server stays as it was",
            extra={"details": error.decode(errors="replace")},
        )
    return process.returncode == 0
