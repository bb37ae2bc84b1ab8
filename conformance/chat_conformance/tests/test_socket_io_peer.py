"""Socket.IO: a server of other people (python-socketio) and one that breaks the rules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import socketio
from aiohttp import web

from chat_conformance.errors import Failure, NotOffered
from chat_conformance.suite.turn import TurnReader
from chat_conformance.target.file import Target
from chat_conformance.target.speech import Speech
from chat_conformance.wire.frames import Frame, Opcode
from chat_conformance.wire.handshake import encode_request, upgrade_headers
from chat_conformance.wire.peer import MASK, connected
from chat_conformance.wire.socket_io_peer import SocketIOPeer
from chat_conformance.wire.trace import Trace
from fake_claude.patience import patience

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
CHAT: dict[str, Any] = {
    "name": "s",
    "url": "http://127.0.0.1:1",
    "transport": "socket.io",
    "messages": {"chat_request": ["ask", {"text": "{prompt}"}]},
    "events": [
        {"is": "token", "when": {"0": "token"}, "text": "1"},
        {"is": "complete", "when": {"0": "done"}},
        {"is": "status", "when": {"0": "@ack"}, "members": {"status": "1.status"}},
    ],
}


@asynccontextmanager
async def peer_of(server: Any, **socket_io: Any) -> AsyncIterator[SocketIOPeer]:
    """A peer of this server, its namespace not joined yet."""
    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    speech = Speech(msgspec.convert({**CHAT, "socket_io": socket_io}, Target))
    try:
        async with connected(
            "127.0.0.1",
            port,
            name="ws1",
            trace=Trace(),
            within=patience(10),
            speech=speech,
            kind=SocketIOPeer,
        ) as peer:
            assert isinstance(peer, SocketIOPeer)
            path = speech.target.socket_path
            await peer.send_bytes(encode_request(path, dict(upgrade_headers(f"127.0.0.1:{port}", KEY))))
            await peer.expect_response()
            yield peer
    finally:
        await runner.cleanup()


def chat(namespace: str = "/", **settings: Any) -> Any:
    """A chat that says each word of a prompt, and acknowledges where it is asked to."""
    server = socketio.AsyncServer(async_mode="aiohttp", **settings)

    async def ask(sid: str, data: dict[str, str]) -> dict[str, str]:
        for word in data["text"].split():
            await server.emit("token", word + " ", to=sid, namespace=namespace)
        await server.emit("done", to=sid, namespace=namespace)
        return {"status": "taken"}

    server.on("ask", handler=ask, namespace=namespace)
    return server


async def said(peer: SocketIOPeer, prompt: str) -> str:
    turn = TurnReader(peer, "m1", len(peer.events))
    await peer.send_json(type="chat_request", message=prompt, message_id="m1")
    return await turn.complete()


async def test_events_of_the_main_namespace_are_a_turn() -> None:
    async with peer_of(chat()) as peer:
        await peer.join()

        assert await said(peer, "one two ü") == "one two ü "
        await peer.expect_alive()


async def test_another_namespace_is_joined_with_auth() -> None:
    server, came = chat("/chat"), []

    async def connect(_: str, environ: dict[str, Any], auth: dict[str, str]) -> None:
        came.append((auth, environ["QUERY_STRING"]))

    server.on("connect", handler=connect, namespace="/chat")
    async with peer_of(server, namespace="/chat", auth={"token": "t"}, query={"lang": "en"}) as peer:
        await peer.join()

        assert await said(peer, "hi") == "hi "
        assert came == [({"token": "t"}, "EIO=4&transport=websocket&lang=en")]


async def test_refused_namespace_is_a_failure() -> None:
    async with peer_of(chat("/chat"), namespace="/other") as peer:
        with pytest.raises(Failure, match="refused the namespace"):
            await peer.join()


async def test_acknowledgement_is_an_event() -> None:
    async with peer_of(chat(), acknowledge=True) as peer:
        await peer.join()
        turn = TurnReader(peer, "m1", 0)
        await peer.send_json(type="chat_request", message="hi", message_id="m1")
        _, event = await peer.expect_event(where=lambda each: each["type"] == "status")

        assert (event["status"], await turn.complete()) == ("taken", "hi ")


async def test_pings_are_answered_and_counted() -> None:
    async with peer_of(chat(ping_interval=0.05, ping_timeout=0.2)) as peer:
        await peer.join()
        await peer.expect_ping(8)  # without pongs the server would have ended it after five

        assert await said(peer, "still") == "still "


async def test_unanswered_pings_end_the_connection() -> None:
    async with peer_of(chat(ping_interval=0.05, ping_timeout=0.1)) as peer:
        peer.answers_pings = False
        await peer.join()

        assert await peer.until(lambda: peer.ended, "the end")


async def test_server_that_asks_is_acknowledged() -> None:
    server, came = chat(), []

    async def connect(sid: str, _: dict[str, Any]) -> None:
        await server.emit("token", "x", to=sid, callback=lambda *answer: came.append(answer))

    server.on("connect", handler=connect)
    async with peer_of(server) as peer:
        await peer.join()
        await said(peer, "hi")

        assert came == [()]


async def test_what_is_no_array_is_not_offered() -> None:
    async with peer_of(chat()) as peer:
        with pytest.raises(NotOffered, match="an array with a name first"):
            await peer.send_message({"type": "ask"})


async def test_text_that_is_no_packet_is_garbled() -> None:
    class Broken:
        def attach(self, app: web.Application) -> None:
            app.router.add_get("/socket.io/", self.serve)

        async def serve(self, request: web.Request) -> web.WebSocketResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            for text in ("0{}", "hello", '42{"no":"array"}', '42/other,["token","x"]', '42["token","y"]'):
                await socket.send_str(text)
            await socket.send_bytes(b"binary")
            await socket.receive()
            return socket

    async with peer_of(Broken()) as peer:
        await peer.until(lambda: True if len(peer.events) == 4 else None, "four events")

        kinds = [getattr(each, "why", None) for each in peer.events]
        assert kinds == [
            "no packet: no type of Engine.IO at its beginning",
            "no packet: data that no packet of type 2 has",
            None,
            "a binary attachment",
        ]


async def test_frames_may_be_sent_as_on_any_websocket() -> None:
    async with peer_of(chat()) as peer:
        await peer.join()
        packet = peer.encode(type="chat_request", message="hi")
        await peer.send(Frame(Opcode.TEXT, packet[:5], fin=False, mask=MASK))
        turn = TurnReader(peer, "m1", 0)
        await peer.send(Frame(Opcode.CONTINUATION, packet[5:], mask=MASK))

        assert await turn.complete() == "hi "
