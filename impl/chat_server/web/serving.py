"""The listening server: how long a connection may take to send a request, and how many connections there may be.

aiohttp waits for a request for as long as its client likes, and has no bound on connections. Both are added in a
subclass of its protocol, which our own factory for ``loop.create_server`` makes: aiohttp's runner still starts, tracks
and ends the connections. Only public methods are overridden.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import resource
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from chat_server.errors import BadRequest, ChatError
from chat_server.settings import Settings
from chat_server.web.headers import HEADERS, bare_answer
from chat_server.web.inflow import Inflow
from chat_server.web.responses import error_answer

logger = logging.getLogger(__name__)

KEEPALIVE_SECONDS = 150.0
"""How long a connection may idle between two requests. Proxies close theirs earlier (nginx 60 s, Caddy 120 s), so that
no request meets a connection that is being closed."""

WRITE_SECONDS = 30.0
"""How long a client may read nothing of an answer that waits for it. WebSockets have pings for that (KEEP-2)."""

LINGER_SECONDS = 2.0
"""How long the rest of a refused body is read, so that the client sees the refusal and not a reset."""

HEADER_LINES = 64
HEADER_BYTES = 65_536
"""The header of one request; aiohttp bounds a line (8,190 bytes), but not the sum of the lines."""

WARN_SECONDS = 60.0
"""How often the log says that connections were turned away."""

MOST_FILES = 65_536
FILES_KEPT = 64
FILES_OF_A_PROCESS = 8
"""Open files that are not connections: the server's own, and those for each claude process."""

TIMEOUT = bare_answer(408, "Request Timeout")
TOO_LARGE = bare_answer(431, "Request Header Fields Too Large")
TOO_MANY = bare_answer(503, "Service Unavailable")

_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What connections may take.

    Attributes:
        connections: How many there may be.
        per_address: How many from one address that is not loopback; 0 is any number.
        header_seconds: How long the header of a request may take.
    """

    connections: int
    per_address: int
    header_seconds: float


class Arrivals:
    """The connections there are. One that waits for a request makes room for a new one; the oldest goes first."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._all: dict[ClientProtocol, str] = {}  # with their addresses
        self._waiting: dict[ClientProtocol, None] = {}  # for a request, the oldest first
        self._of_address: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()
        self._warned = float("-inf")
        self._turned_away = 0

    def __len__(self) -> int:
        return len(self._all)

    def admit(self, connection: ClientProtocol, address: str) -> bool:
        """Whether a new connection may stay."""
        # First the address: one that has too many must not push out the idle connections of others.
        # Loopback has the empty address and is never counted: behind a proxy there, all clients would share one limit.
        if self.bounds.per_address and self._of_address[address] >= self.bounds.per_address:
            self._warn(f"one address has {self.bounds.per_address} (CHAT_CONNECTIONS_PER_ADDRESS)")
            return False
        if len(self._all) >= self.bounds.connections:
            self._warn(f"there are {self.bounds.connections} (CHAT_CONNECTIONS, or the limit of open files)")
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                return False
            self.left(oldest)
            oldest.drop()
        self._all[connection] = address
        if address:
            self._of_address[address] += 1
        self._waiting[connection] = None
        return True

    def waits(self, connection: ClientProtocol) -> None:
        """It has no request now."""
        if connection in self._all:
            self._waiting[connection] = None

    def serves(self, connection: ClientProtocol) -> None:
        """It has one."""
        self._waiting.pop(connection, None)

    def left(self, connection: ClientProtocol) -> None:
        """It is gone, or going."""
        self._waiting.pop(connection, None)
        address = self._all.pop(connection, "")
        if address:
            self._of_address[address] -= 1
            if not self._of_address[address]:
                del self._of_address[address]

    def _warn(self, why: str) -> None:
        self._turned_away += 1
        now = self._loop.time()
        if now - self._warned >= WARN_SECONDS:
            logger.warning("connections are turned away (%d so far): %s", self._turned_away, why)
            self._warned = now


class ClientProtocol(web.RequestHandler):
    """One connection, which has to send its requests in time and to read the answers.

    A new connection has ``header_seconds`` to send the header of a request; a later request has as long from its first
    byte on (HAND-5).

    Attributes:
        inflow: What stands before the reader of frames, once the connection is a WebSocket.
    """

    __slots__ = (
        "_arrivals",
        "_closing",
        "_header",
        "_header_bytes",
        "_late",
        "_serving",
        "_socket",
        "_tcp",
        "inflow",
    )

    def __init__(self, manager: web.Server, arrivals: Arrivals, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            manager,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # None switches it off
            auto_decompress=False,  # a few kilobytes may become gigabytes
            keepalive_timeout=KEEPALIVE_SECONDS,
            lingering_time=LINGER_SECONDS,
            max_headers=HEADER_LINES,
        )
        self._arrivals = arrivals
        self.inflow: Inflow | None = None
        self._tcp: asyncio.Transport | None = None
        self._serving = False  # a request; or a WebSocket, to its end
        self._socket = False  # it is a WebSocket
        self._header = b""  # how the header under way ends so far
        self._header_bytes = 0
        self._late: asyncio.TimerHandle | None = None  # when the header must be there
        # When a client must have read, or be gone.
        self._closing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new connection, or turn it away."""
        tcp = self._tcp = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        if not self._arrivals.admit(self, address_of(tcp.get_extra_info("peername"))):
            tcp.write(TOO_MANY)
            tcp.close()
            return
        super().connection_made(transport)
        self._late = self._loop.call_later(self._arrivals.bounds.header_seconds, self._too_late)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is gone; so are its timers."""
        self._arrivals.left(self)
        self._tcp = None
        for timer in (self._late, self._closing):
            if timer is not None:
                timer.cancel()
        self._late = self._closing = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Watch for the end of the header, while no request is served."""
        if not self._serving and not self._header_ended(data):
            return
        super().data_received(data)

    def begin(self) -> None:
        """A request is being served: nothing but the handler decides how long it takes."""
        self._serving = True
        self._header, self._header_bytes = b"", 0
        self._arrivals.serves(self)
        if self._late is not None:
            self._late.cancel()
            self._late = None

    async def finish_response(self, *args: Any, **options: Any) -> tuple[web.StreamResponse, bool]:
        """Send the answer; then the connection waits for the next request."""
        response, reset = await super().finish_response(*args, **options)
        self._serving = False
        self._arrivals.waits(self)
        if not response.keep_alive:
            self._must_end()
        return response, reset

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request, a cookie for one
    ) -> web.StreamResponse:
        """Answer what never reached the application, in the form of our own errors, with one line in the log."""
        if isinstance(exc, ConnectionError):
            logger.info("= a client left before its answer was there")
            raise exc
        theirs = isinstance(exc, HttpProcessingError | UnicodeError | ValueError)
        if theirs:
            logger.info("= a request that is no HTTP: %s", type(exc).__name__)
        else:
            logger.error("%s %s failed", request.method, request.path, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun, so that no other can be given")
        if theirs:
            answer = error_answer(BadRequest("the request cannot be understood"), 400, HEADERS)
        else:
            answer = error_answer(
                ChatError("internal error; see the server's log"), max(status, 500), HEADERS
            )
        answer.force_close()
        return answer

    def set_parser(self, parser: Any, *args: Any, **options: Any) -> None:
        """From now on it is a WebSocket."""
        self._socket = True
        reader: Any = self.inflow.attach(parser, self) if self.inflow else parser
        super().set_parser(reader, *args, **options)

    def pause_reading(self) -> None:
        """Aiohttp wants no more for now: the reader of the body, or of the messages, is behind."""
        if self.inflow is not None:
            self.inflow.full = True
        super().pause_reading()

    def resume_reading(self, *args: Any, **options: Any) -> None:
        """They have caught up."""
        super().resume_reading(*args, **options)
        if self.inflow is not None:
            self.inflow.full = False
            self.inflow.resumed()

    def pause(self) -> None:
        """Read nothing from the socket."""
        if self._tcp is not None and not self._tcp.is_closing():
            self._tcp.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._tcp is not None and not self._tcp.is_closing():
            self._tcp.resume_reading()

    def pause_writing(self) -> None:
        """The client does not read, or not so fast."""
        super().pause_writing()
        if not self._socket:
            self._must_end()

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None

    def force_close(self) -> None:
        """Close; a client that does not read what is still to be sent is dropped."""
        super().force_close()
        self._must_end()

    def drop(self) -> None:
        """End the connection at once."""
        if self._tcp is not None:
            self._tcp.abort()

    def _header_ended(self, data: bytes) -> bool:
        """Count bytes of a header; whether they may be passed on."""
        if not self._header_bytes:
            # RFC 9112 section 2.2: empty lines before a request are ignored.
            data = data.lstrip(b"\r\n")
            if not data:
                return True
            if self._late is None:
                self._late = self._loop.call_later(self._arrivals.bounds.header_seconds, self._too_late)
        # The end may be torn: after `…\r` comes `\n`. So the last three bytes of what came before are looked at again.
        # Bytes behind the end are a body or the next request, and do not count.
        seen = self._header + data
        end = seen.find(_END)
        self._header_bytes += len(data) if end < 0 else max(0, end + len(_END) - len(self._header))
        if self._header_bytes > HEADER_BYTES:
            self._refuse(TOO_LARGE)
            return False
        if end < 0:
            self._header = seen[1 - len(_END) :]
        else:
            self.begin()
        return True

    def _too_late(self) -> None:
        self._late = None
        self._refuse(TIMEOUT if self._header_bytes else b"")

    def _refuse(self, answer: bytes) -> None:
        if self._tcp is not None:
            self._tcp.write(answer)
        self.force_close()

    def _must_end(self) -> None:
        if self._closing is None and self._tcp is not None:
            self._closing = self._loop.call_later(WRITE_SECONDS, self.drop)


@asynccontextmanager
async def serving(
    app: web.Application, host: str, port: int, bounds: Bounds, *, grace: float
) -> AsyncIterator[tuple[str, int]]:
    """Serve an application for the length of the block: its address. ``grace`` is for requests that are being served.

    Raises:
        OSError: The address cannot be listened on.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=grace, handle_signals=False)
    await runner.setup()
    try:
        listening = await listen(runner, host, port, bounds)
        try:
            yield listening.sockets[0].getsockname()[:2]
        finally:
            listening.close()
    finally:
        await runner.cleanup()


async def listen(runner: web.AppRunner, host: str, port: int, bounds: Bounds) -> asyncio.Server:
    """Listen for a runner that is set up. Close the server before the runner is cleaned up."""
    manager, arrivals, loop = runner.server, Arrivals(bounds), asyncio.get_running_loop()
    assert manager is not None
    return await loop.create_server(lambda: ClientProtocol(manager, arrivals, loop), host, port)


def bounds_of(settings: Settings) -> Bounds:
    """What the settings allow. All connections of a trusted proxy come from its address."""
    return Bounds(
        connections=settings.connections or room(settings.claude_max_processes),
        per_address=0 if settings.identity == "proxy" else settings.connections_per_address,
        header_seconds=settings.header_seconds,
    )


def raise_file_limit() -> None:
    """Let this process open as many files as its hard limit allows; the soft one is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def room(processes: int) -> int:
    """How many connections the limit of open files allows beside `processes` claude processes."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        files = MOST_FILES
    return max(files - FILES_KEPT - FILES_OF_A_PROCESS * processes, files // 2)


def address_of(peer: object) -> str:
    """Where a connection comes from, by its peer name; empty for loopback, where proxies are."""
    if not isinstance(peer, tuple):
        return ""
    address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None) or address
    if mapped.is_loopback:
        return ""
    if mapped.version == 6:  # one customer has a /64 of them
        return str(ipaddress.ip_network((mapped, 64), strict=False))
    return str(mapped)
