"""How a case connects: a channel, or a TCP connection and the opening handshake, and a hostile box in between.

A case that only wants to talk calls ``CaseContext.peer`` and does not see what carries its messages. What is about
WebSocket itself calls ``CaseContext.websocket``, or ``wire`` and ``upgrade`` here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from chat_conformance.errors import Failure, NotOffered
from chat_conformance.suite.http import HttpClient, HttpResponse
from chat_conformance.suite.opening import Opening, address, with_cookies
from chat_conformance.suite.scope import CaseScope
from chat_conformance.target.server import Server
from chat_conformance.target.speech import Speech
from chat_conformance.wire.channel import Channel
from chat_conformance.wire.handshake import (
    Response,
    check_response,
    encode_key,
    encode_request,
    upgrade_headers,
)
from chat_conformance.wire.http_stream import streaming
from chat_conformance.wire.middlebox import Forwarder, MiddleBox, middle_box, pass_through
from chat_conformance.wire.peer import Peer, connected
from chat_conformance.wire.socket_io_peer import SocketIOPeer
from chat_conformance.wire.trace import shorten


class Connector:
    """The connections of one case to one server."""

    def __init__(self, scope: CaseScope, http: HttpClient) -> None:
        self._scope = scope
        self._http = http

    @asynccontextmanager
    async def wire(self, server: Server | MiddleBox | None = None) -> AsyncIterator[Peer]:
        """A TCP connection, nothing sent; to another server than the case's, or through a box before it.

        Raises:
            NotOffered: The server does not speak WebSocket.
        """
        where = server or self._scope.server
        target = self._scope.target
        if not target.is_websocket:
            raise NotOffered(f"it does not speak WebSocket: transport is {target.transport}")
        async with connected(
            where.host,
            where.port,
            name=f"ws{self._scope.next_number()}",
            trace=self._scope.trace,
            within=target.within,
            speech=Speech(target, self._scope.user(0).values),
            kind=SocketIOPeer if target.transport == "socket.io" else Peer,
        ) as peer:
            yield peer

    async def upgrade(
        self,
        peer: Peer,
        headers: dict[str, str | None] | list[tuple[str, str]] | None = None,
        *,
        user: int = 0,
        path: str | None = None,
        method: str = "GET",
        key: str | None = None,
        offered: tuple[str, ...] | None = None,
        after: bytes = b"",
        http: str = "1.1",
        checked: bool = True,
        server: Server | None = None,
    ) -> Response:
        """Send an opening handshake and wait for its response.

        Args:
            peer: The connection.
            headers: What differs from a valid handshake; None takes a header away.
            user: Whose headers are sent.
            path: Another path.
            method: Another method.
            key: Another key.
            offered: The subprotocols; without it, the server's own.
            after: Bytes that are sent glued to the request.
            http: Another version of HTTP.
            checked: Whether a 101 must be the right one; a faulty handshake has no right one.
            server: Another server than the case's, whose name is sent as Host.

        Raises:
            Failure: There is no response, or a 101 that does not fit the handshake.
        """
        key = key or encode_key(self._scope.random.randbytes(16))
        offered = self._subprotocols if offered is None else offered
        cookies: dict[str, str] = {}
        opening: Opening | None = None
        # A case that names a path tests the handshake itself: the opening steps would only be in its way.
        if path is None:
            opening = self._steps(peer.speech, user, server)
            path, cookies = await opening.before()
        # Later ones win: a valid handshake, then the user's headers, then what the case breaks on purpose. A
        # list is added as it is, so that a header can stand there twice.
        sent: dict[str, str | None] = dict(
            upgrade_headers(_host(server or self._scope.server), key, subprotocols=offered)
        )
        sent |= with_cookies(self._scope.user(user).headers, cookies)
        more = headers if isinstance(headers, list) else []
        sent |= headers if isinstance(headers, dict) else {}
        request = encode_request(path, sent, method=method, http=http, more=more)
        what = f"{method} {path} upgrade{f' with {headers}' if headers else ''}"
        # One write: bytes after the request are in the server's buffer before it has answered (a client must
        # wait for the response, RFC 6455, section 4.1; some do not).
        await peer.send_bytes(request + after, what)
        response = await peer.expect_response()
        if (
            checked
            and response.status == 101
            and (
                wrong := check_response(
                    response,
                    sent.get("Sec-WebSocket-Key") or key,
                    offered=offered,
                    extensions=sent.get("Sec-WebSocket-Extensions") or "",
                )
            )
        ):
            raise Failure("a right answer to the handshake", wrong)
        if opening is not None and response.status == 101:
            # The namespace is joined first: before that, a Socket.IO server takes no event of the opening.
            if isinstance(peer, SocketIOPeer):
                await peer.join()
            await opening.after(peer)
        return response

    @property
    def _subprotocols(self) -> tuple[str, ...]:
        """What a handshake offers; nothing where the server has no subprotocol."""
        ours = self._scope.target.dialect.subprotocol
        return (ours,) if ours else ()

    def handshake_bytes(self, *, user: int = 0) -> bytes:
        """A valid opening handshake, for code that does not use a ``Peer``.

        Raises:
            NotOffered: The server is reached by TLS only, which such code does not speak.
        """
        if self._scope.target.tls() is not None:
            raise NotOffered("the server is reached by https only: floods are not sent through TLS")
        key = encode_key(self._scope.random.randbytes(16))
        headers: dict[str, str | None] = dict(
            upgrade_headers(_host(self._scope.server), key, subprotocols=self._subprotocols)
        )
        path = address(self._scope.target.socket_path, Speech(self._scope.target, self._values(user)))
        return encode_request(path, headers | self._scope.user(user).headers)

    def _values(self, user: int) -> dict[str, str]:
        """What identifies a user in paths and messages."""
        who = self._scope.user(user)
        return {"user": who.name, **who.values}

    def _steps(self, speech: Speech, user: int, server: Server | None) -> Opening:
        speech.captures |= self._values(user)

        async def request(
            method: str, path: str, *, body: bytes | None, headers: dict[str, str]
        ) -> HttpResponse:
            mine = self._scope.user(user).headers
            own = with_cookies(mine, headers)
            return await self._http.request(method, path, body=body, only=own, server=server)

        return Opening(speech, request)

    @asynccontextmanager
    async def channel(
        self, *, user: int = 0, server: Server | MiddleBox | None = None
    ) -> AsyncIterator[Channel]:
        """An open channel, by the transport of the target; to another server, or through a box before it.

        Raises:
            Failure: It cannot be opened.
        """
        if self._scope.target.is_websocket:
            async with self.websocket(user=user, server=server) as peer:
                yield peer
            return
        where = server or self._scope.server
        speech = Speech(self._scope.target)
        opening = self._steps(speech, user, server if isinstance(server, Server) else None)
        _, cookies = await opening.before()
        headers = with_cookies(self._scope.user(user).headers, cookies)
        # The box has another port; the server would refuse a Host that is not its own.
        if isinstance(server, MiddleBox):
            headers["Host"] = _host(self._scope.server)
        async with streaming(
            where.url,
            name=f"http{self._scope.next_number()}",
            trace=self._scope.trace,
            within=self._scope.target.within,
            speech=speech,
            headers=headers,
        ) as channel:
            await opening.after(channel)
            yield channel

    @asynccontextmanager
    async def websocket(
        self, *, user: int = 0, server: Server | MiddleBox | None = None
    ) -> AsyncIterator[Peer]:
        """An open WebSocket; to another server than the case's, or through a box before it.

        Raises:
            Failure: The handshake was not answered as it must be.
            NotOffered: The server does not speak WebSocket.
        """
        async with self.wire(server) as peer:
            response = await self.upgrade(
                peer, user=user, server=server if isinstance(server, Server) else None
            )
            if response.status != 101:
                raise Failure(
                    "101 to a valid handshake", f"{response.status} {response.reason} {shorten(peer.body)}"
                )
            yield peer

    def proxied(
        self, *, down: Forwarder = pass_through, up: Forwarder = pass_through
    ) -> AbstractAsyncContextManager[MiddleBox]:
        """A hostile middle box before the server."""
        server = self._scope.server
        return middle_box(server.host, server.port, self._scope.trace, down=down, up=up)


def _host(server: Server) -> str:
    return f"{server.host}:{server.port}"
