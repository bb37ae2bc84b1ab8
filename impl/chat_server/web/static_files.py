"""The files of the page: served by plain names only."""

from __future__ import annotations

import re
from pathlib import Path

from aiohttp import hdrs, web

NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}/){0,3}[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII)
"""No dot at the start of a part, and nothing else that a file system takes in its own way."""


def add_files(app: web.Application, prefix: str, folder: Path) -> None:
    """Serve the files of a folder below a path; any other name is not found."""

    async def serve(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        file = folder / name
        if not NAME.fullmatch(name) or not file.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(file, headers={hdrs.CACHE_CONTROL: "no-cache"})

    app.router.add_get(prefix + "/{name:.+}", serve)
