"""The further servers of a run: the target set otherwise, each started when a case first asks for it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from chat_conformance.errors import CouldNotTest
from chat_conformance.target.file import Target, Variant
from chat_conformance.target.oauth_server import OAuthServer, oauth_server
from chat_conformance.target.server import Server

SCRIPT = Path(__file__).parent / "script.toml"
"""What the fake of every server here plays to the prompts that it names."""


class VariantServers:
    """Servers that cases share, and the forge where their users log in; started on demand, ended together.

    Args:
        target: What is judged.
        folder: Holds a folder for each server.
        starting: Held while a server starts: those that start all at once starve each other.
        seed: What all randomness comes from.
    """

    def __init__(self, target: Target, folder: Path, starting: asyncio.Lock, seed: object = 0) -> None:
        self.forge: OAuthServer | None = None
        self._target = target
        self._folder = folder
        self._starting = starting
        self._seed = seed
        self._servers: dict[str, asyncio.Task[Server]] = {}
        self._stack = AsyncExitStack()
        self._forging = asyncio.Lock()

    async def get(self, name: str, variant: Variant) -> Server:
        """The shared server of that name, running.

        Raises:
            TargetError: It does not start.
            CouldNotTest: The target runs already and cannot be set otherwise.
        """
        # The task is shared, so two cases that want one server get the same start. Shielded, because a case
        # that runs out of time is cancelled, and that must not end the start that others wait for.
        if name not in self._servers:
            self._servers[name] = asyncio.create_task(self._start(name, variant))
        server = await asyncio.shield(self._servers[name])
        async with self._starting:
            if not server.alive:
                await server.restart()
        return server

    async def create(self, folder: Path, variant: Variant) -> Server:
        """A server that is set so, not started.

        Raises:
            CouldNotTest: The target runs already and cannot be set otherwise.
        """
        if not self._target.starts:
            raise CouldNotTest("the target runs already; to be set otherwise it needs a start command")
        async with self._forging:
            if self.forge is None:
                self.forge = await self._stack.enter_async_context(oauth_server(self._seed))
        folder.mkdir(exist_ok=True)  # noqa: ASYNC240 - a folder of our own, at once
        target = msgspec.structs.replace(self._target, env={**self._target.env, **variant.env})
        return Server(target, folder, forge=self.forge.url, script=SCRIPT)

    @property
    def shared(self) -> list[Server]:
        """The servers that were started and that cases share."""
        started = [each for each in self._servers.values() if each.done() and not each.cancelled()]
        return [each.result() for each in started if each.exception() is None]

    async def _start(self, name: str, variant: Variant) -> Server:
        # Letters only.
        server = await self.create(self._folder / name.replace("_", ""), variant)
        try:
            async with self._starting:
                await server.start()
        except BaseException:
            # A run that is broken off leaves nothing behind.
            await server.end()
            raise
        return server

    async def close(self) -> tuple[str, ...]:
        """End all servers and return what went wrong."""
        for task in self._servers.values():
            if not task.done():
                task.cancel()
        ended = await asyncio.gather(*self._servers.values(), return_exceptions=True)
        servers = [each for each in ended if isinstance(each, Server)]
        troubles = await asyncio.gather(*(server.end() for server in servers))
        await self._stack.aclose()
        return tuple(each for trouble in troubles for each in trouble)
