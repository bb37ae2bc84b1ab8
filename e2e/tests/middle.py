"""A TCP proxy in the middle, which resets, dribbles and swallows on demand."""

from __future__ import annotations

import asyncio


class Middle:
    """A TCP proxy that passes bytes on until a test wants otherwise.

    It puts the site's address in place of its own, in Host and Origin: the chat knows one origin.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._writers: set[asyncio.StreamWriter] = set()
        self._dead: set[asyncio.StreamWriter] = set()
        self._closed = False
        self.portion = 65_536
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, both ways."""
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, up_writer}
        try:
            if self._closed:
                return
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, up_writer, renames=True))
                group.create_task(self._pass(up_reader, writer, renames=False))
        except* OSError:
            pass
        finally:
            for each in (writer, up_writer):
                self._writers.discard(each)
                self._dead.discard(each)
                each.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, renames: bool
    ) -> None:
        own, site = self.url.removeprefix("http://").encode(), "{}:{}".format(*self._target).encode()
        while data := await reader.read(65_536):
            if writer in self._dead:
                continue
            passed = data.replace(own, site) if renames else data
            for start in range(0, len(passed), self.portion):
                writer.write(passed[start : start + self.portion])
                await writer.drain()
        raise ConnectionResetError

    def cut(self) -> None:
        """Reset every connection where it is."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def close(self) -> None:
        """Reset every connection, and those that are just beginning."""
        self._closed = True
        self.cut()

    def swallow(self) -> None:
        """Let every connection that is open die without a word, as behind a NAT that forgot it; new ones live."""
        self._dead |= self._writers
