"""A target that is started: when it is ready."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from chat_conformance.target.file import Target
from chat_conformance.target.server import Server

SAYS_SO_TOO_EARLY = """
import pathlib, socket, sys, time
print("ready", flush=True)
while not pathlib.Path(sys.argv[2], "open").exists():
    time.sleep(0.01)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    listener.accept()
"""


async def test_ready_line_is_not_yet_an_open_port(tmp_path: Path) -> None:
    target = Target(
        name="hasty",
        url="http://127.0.0.1:{port}",
        start=[sys.executable, "-c", SAYS_SO_TOO_EARLY, "{port}", "{data}"],
        ready_line="ready",
    )
    server = Server(target, tmp_path)
    said = asyncio.Event()
    server.on_line = lambda _: said.set()
    starting = asyncio.create_task(server.start())
    try:
        await said.wait()
        for _ in range(20):
            await asyncio.sleep(0.01)  # the line has come; the port waits for the file
        assert not starting.done()
        (tmp_path / "data" / "open").touch()
        await starting
        _, writer = await asyncio.open_connection(server.host, server.port)
        writer.close()
    finally:
        await server.end()


def test_servers_of_two_suites_have_two_marks(tmp_path: Path) -> None:
    folders = [tmp_path / suite / "scripted" for suite in ("one", "two")]
    marks = []
    for folder in folders:
        folder.mkdir(parents=True)
        marks.append(Server(Target(name="t", url="http://127.0.0.1:1"), folder)._mark)

    assert marks[0] != marks[1]
