"""Many connections in one process: a loop on epoll, with as little between the socket and the clock as Python allows.

Nothing here is asyncio: a callback and a task per token would cost more than the servers that are measured.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from urllib.parse import urlsplit

from chat_conformance.errors import TargetError
from chat_conformance.load.answer import AnswerSpec
from chat_conformance.load.wire import FrameScanner, PhraseFinder, TokenCounter
from chat_conformance.target.file import Load
from chat_conformance.wire.frames import Frame, Opcode, encode_frame
from chat_conformance.wire.handshake import ResponseDecoder, encode_key, encode_request, upgrade_headers

READ = 1 << 18
# RFC 6455 §5.3 asks for a random key; servers see no difference, and this one costs nothing.
MASK = b"\x00\x00\x00\x00"
# What browsers offer.
DEFLATE = "permessage-deflate; client_max_window_bits"


class Connection:
    """One WebSocket, and the turn that is under way on it.

    Attributes:
        opened: When its handshake was answered (CLOCK_MONOTONIC, seconds), 0.0 before.
        asked: When its turn was asked for.
        tokens: What came of the answer.
        ended: When the end of the turn was read, 0.0 before.
        trouble: What went wrong, empty while nothing did.
        conversation: The id that the server gave, where it gives ids.
    """

    def __init__(self, sock: socket.socket, load: Load) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.load = load
        self.head: ResponseDecoder | None = ResponseDecoder()
        self.walk = FrameScanner()
        self.tokens = TokenCounter()
        self.opened = self.asked = self.ended = 0.0
        self.began = time.monotonic()
        self.trouble = ""
        self.conversation = ""
        # A reader that has stopped.
        self.quiet = False
        # The server may close it.
        self.may_end = False
        # Asked as soon as it is open.
        self.then: AnswerSpec | None = None
        self.unsent = b""
        # The beginning of the answer, which has the conversation's id.
        self.beginning = b""
        self._end = PhraseFinder(load.end.encode())
        self._failed = PhraseFinder(load.failed.encode()) if load.failed else None

    def begin(self, now: float) -> None:
        """Forget the last turn."""
        self.asked, self.ended = now, 0.0
        self.tokens = TokenCounter()
        self.beginning = b""
        self._end = PhraseFinder(self.load.end.encode())

    def take(self, data: bytes, now: int, delays: list[int] | None) -> None:
        """Bytes that were read at ``now``, nanoseconds."""
        # The order counts: tokens first, as this is what `now` is for. Then the end of a turn is looked for,
        # but only in the last payload: a turn's end is the last that a server sends, and a search of all
        # bytes would cost more than the count. Small pieces are joined, as the words may be cut by frames.
        pieces = self.walk.feed(data)
        for piece in pieces:
            self.tokens.feed(piece, now, delays)
        if not pieces:
            return
        if self.load.conversation and not self.conversation and len(self.beginning) < READ:
            self.beginning += b"".join(pieces)
            self._find_conversation()
        last = (
            pieces[-1] if len(pieces[-1]) >= PhraseFinder.BACK or len(pieces) == 1 else b"".join(pieces[-64:])
        )
        if self._end.feed(last) and not self.ended:
            self.ended = now / 1e9
        if self._failed is not None and self._failed.feed(last):
            self.trouble = last[-300:].decode(errors="replace")

    def _find_conversation(self) -> None:
        _, found, rest = self.beginning.partition(self.load.conversation.encode())
        name, closed, _ = rest.partition(b'"')
        if found and closed:
            self.conversation = name.decode()


class Client:
    """Connections to one server.

    Args:
        url: The server's origin.
        path: Of its socket.
        load: How turns are asked for and recognised.
        headers: What identifies the user.
    """

    def __init__(self, url: str, path: str, load: Load, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._host = parts.netloc
        self._path = path
        self._load = load
        self._headers = dict(headers)
        self._epoll = select.epoll()
        self._by_fd: dict[int, Connection] = {}
        # The first of any connection.
        self._trouble = ""
        self.delays: list[int] | None = None
        """Where the delays of tokens go, in nanoseconds, while they are kept."""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close(tuple(self._by_fd.values()))
        self._epoll.close()

    def connect(
        self, count: int, *, deflate: bool = False, ask: AnswerSpec | None = None
    ) -> list[Connection]:
        """Begin ``count`` connections; `opened` says when they are open. Each asks ``ask`` as soon as it is open."""
        headers = upgrade_headers(
            self._host,
            encode_key(bytes(16)),
            subprotocols=(self._load.subprotocol,) if self._load.subprotocol else (),
        )
        if deflate:
            headers["Sec-WebSocket-Extensions"] = DEFLATE
        request = encode_request(self._path, {**headers, **self._headers})
        made = []
        for _ in range(count):
            sock = socket.socket(socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET)
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock, self._load)
            connection.then = ask
            self._by_fd[sock.fileno()] = connection
            self._epoll.register(sock.fileno(), select.EPOLLIN)
            sock.connect_ex(self._address)
            # The connection may still be in the making: then the request waits in `unsent` until epoll says
            # that the socket can be written.
            self._send(connection, request)
            made.append(connection)
        return made

    def open(
        self, count: int, *, deflate: bool = False, at_once: int = 64, within: float = 60.0
    ) -> list[Connection]:
        """Open ``count`` connections.

        Raises:
            TargetError: They did not open in time.
        """
        made: list[Connection] = []
        while len(made) < count:
            some = self.connect(min(at_once, count - len(made)), deflate=deflate)
            self.run(partial(_opened, some), within)
            made += some
        return made

    def ask(self, connection: Connection, ask: AnswerSpec) -> None:
        """Begin a turn that the hub answers."""
        self.send_prompt(connection, ask.prompt())

    def send_prompt(self, connection: Connection, prompt: str) -> None:
        """Begin a turn with this prompt, which needs no escaping in JSON."""
        text = self._load.ask
        if connection.conversation and self._load.ask_again:
            text = self._load.ask_again.replace("{conversation}", connection.conversation)
        payload = text.replace("{prompt}", prompt).encode()
        frame = encode_frame(Frame(Opcode.TEXT, payload, mask=MASK))
        connection.begin(time.monotonic())
        self._send(connection, frame)

    def pause_reading(self, connection: Connection) -> None:
        """Let a connection be a reader that has stopped."""
        connection.quiet = True
        self._epoll.modify(connection.fd, 0)

    def resume_reading(self, connection: Connection) -> None:
        """And let it read again."""
        connection.quiet = False
        self._epoll.modify(connection.fd, select.EPOLLIN)

    def close(self, connections: Sequence[Connection]) -> None:
        """Close sockets, without a word: what is measured is over."""
        for each in connections:
            if self._by_fd.pop(each.fd, None) is not None:
                each.sock.close()

    def run(self, done: Callable[[], bool], within: float, *, every: float = 0.05) -> None:
        """Serve the connections until ``done`` says so; it is asked after each that ended, and every ``every`` seconds.

        Raises:
            TargetError: It did not in time, or a connection or a turn failed; the sentence says what was missing.
        """
        deadline = time.monotonic() + within
        while not done():
            if self._trouble:
                raise TargetError(self._trouble)
            if time.monotonic() > deadline:
                raise TargetError(f"{self._state()} after {within:g} s")
            self._serve_until_change(min(deadline, time.monotonic() + every))

    def run_for(self, seconds: float) -> None:
        """Serve the connections for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._serve_until_change(end)

    def _serve_until_change(self, until: float) -> None:
        """Until then, or until a connection opened, was lost, or began or ended its answer."""
        poll, by_fd, clock = self._epoll.poll, self._by_fd, time.monotonic_ns
        end = int(until * 1e9)
        news = False
        while not news and (now := clock()) < end:
            for fd, events in poll((end - now) / 1e9):
                # It may have been closed since.
                connection = by_fd.get(fd)
                if connection is not None and self._serve(connection, events):
                    news = True

    def _serve(self, connection: Connection, events: int) -> bool:
        """Write and read what is possible at once; whether there is news."""
        try:
            if events & select.EPOLLOUT:
                self._flush(connection)
            if not events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                return False
            data = os.read(connection.fd, READ)
        except BlockingIOError:
            return False
        except OSError as error:
            self._lost(connection, error.strerror or "lost")
            return True
        now = time.monotonic_ns()
        if not data:
            self._lost(connection, "the server closed the connection")
            return True
        if connection.head is not None:
            self._opening(connection, data)
            return True
        before = connection.tokens.first, connection.ended
        connection.take(data, now, self.delays)
        if connection.walk.pings or connection.walk.closed:
            self._answer(connection)
        self._trouble = self._trouble or connection.trouble
        return before != (connection.tokens.first, connection.ended)

    def _opening(self, connection: Connection, data: bytes) -> None:
        assert connection.head is not None
        response = connection.head.feed(data)
        if response is None:
            return
        if response.status != 101:
            self._lost(connection, f"the handshake was answered with {response.status}")
            return
        rest, connection.head = connection.head.rest, None
        connection.opened = time.monotonic()
        if rest:
            connection.take(rest, time.monotonic_ns(), self.delays)
        if connection.then is not None:
            self.ask(connection, connection.then)

    def _answer(self, connection: Connection) -> None:
        for payload in connection.walk.pings:
            self._send(connection, encode_frame(Frame(Opcode.PONG, payload, mask=MASK)))
        connection.walk.pings.clear()
        if connection.walk.closed and not connection.trouble:
            self._lost(connection, f"the server closed the connection with {connection.walk.closed}")

    def _send(self, connection: Connection, data: bytes) -> None:
        connection.unsent += data
        self._flush(connection)

    def _flush(self, connection: Connection) -> None:
        try:
            connection.unsent = connection.unsent[connection.sock.send(connection.unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self._lost(connection, error.strerror or "lost")
            return
        # A socket with room can always be written: with EPOLLOUT left on, the loop would never sleep.
        events = 0 if connection.quiet else select.EPOLLIN
        self._epoll.modify(connection.fd, events | (select.EPOLLOUT if connection.unsent else 0))

    def _lost(self, connection: Connection, why: str) -> None:
        if not connection.trouble:
            connection.trouble = why
        if not connection.may_end:
            self._trouble = self._trouble or connection.trouble
        self.close([connection])

    def _state(self) -> str:
        """How far the connections have come."""
        all_of_them = list(self._by_fd.values())
        opened = sum(bool(each.opened) for each in all_of_them)
        first = sum(bool(each.tokens.first) for each in all_of_them)
        ended = sum(bool(each.ended) for each in all_of_them)
        return f"of {len(all_of_them)} connections {opened} had opened, {first} had a first token, {ended} had ended"


def _opened(connections: Sequence[Connection]) -> bool:
    return all(each.opened for each in connections)
