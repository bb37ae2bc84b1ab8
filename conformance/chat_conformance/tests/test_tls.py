"""A server behind TLS is reached with the certificate that its target file names, and not without."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from chat_conformance.errors import Failure
from chat_conformance.target.file import Target
from chat_conformance.target.server import Server
from chat_conformance.target.speech import Speech
from chat_conformance.tests.test_speech import target
from chat_conformance.wire.handshake import encode_key, encode_request, upgrade_headers
from chat_conformance.wire.peer import Peer, connected
from chat_conformance.wire.trace import Trace

OWN = """
messages = { chat_request = "{prompt}", pong = "still here" }
[[events]]
is = "ping"
when = "are you there?"
[[events]]
is = "token"
text = "*"
"""


def certificate(folder: Path) -> tuple[str, str]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    paths = str(folder / "cert.pem"), str(folder / "key.pem")
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-days", "2", "-subj", "/CN=chat"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", paths[0], "-keyout", paths[1]]
    subprocess.run(["openssl", *words], check=True, capture_output=True)
    return paths


@asynccontextmanager
async def server(folder: Path) -> AsyncIterator[tuple[int, str, list[str]]]:
    """A WebSocket behind TLS that pings by a message and repeats what it is sent: port, certificate, received."""
    cert, key = certificate(folder)
    received: list[str] = []

    async def chat(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.send_str("are you there?")
        async for message in ws:
            received.append(message.data)
            await ws.send_str(f"{message.data}!")
        return ws

    app = web.Application()

    async def health(_: web.Request) -> web.Response:
        return web.Response()

    app.add_routes([web.get("/", chat), web.get("/health", health)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield port, cert, received
    finally:
        await runner.cleanup()


@asynccontextmanager
async def opened(port: int, ca: str) -> AsyncIterator[Peer]:
    """A WebSocket through TLS."""
    described = msgspec.structs.replace(target(OWN), url=f"https://127.0.0.1:{port}", ca=ca)
    async with connected(
        "127.0.0.1", port, name="ws", trace=Trace(), within=5, speech=Speech(described)
    ) as peer:
        headers = upgrade_headers(f"127.0.0.1:{port}", encode_key(bytes(16)), subprotocols=())
        await peer.send_bytes(encode_request("/", dict(headers)))
        assert (await peer.expect_response()).status == 101
        yield peer


def test_socket_goes_through_tls_and_answers_their_pings(tmp_path: Path) -> None:
    async def play() -> list[str]:
        async with server(tmp_path) as (port, cert, received), opened(port, cert) as peer:
            await peer.send_json(type="chat_request", message="hello")
            place, first = await peer.expect_event()
            _, second = await peer.expect_event(place)
            assert sorted([first["token"], second["token"]]) == ["hello!", "still here!"]
            assert len(peer.pings) == 1
            return received

    assert sorted(asyncio.run(play())) == ["hello", "still here"]


def test_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    async def play() -> None:
        async with server(tmp_path) as (port, _, _), opened(port, ""):
            pass

    with pytest.raises(Failure, match="CERTIFICATE_VERIFY_FAILED"):
        asyncio.run(play())


def test_health_is_asked_through_tls(tmp_path: Path) -> None:
    async def play() -> bool:
        async with server(tmp_path) as (port, cert, _):
            healthy = Target(name="t", url=f"https://127.0.0.1:{port}", ca=cert)
            return await Server(healthy, tmp_path)._is_healthy()

    assert asyncio.run(play())


def test_certificates_are_read_once(tmp_path: Path) -> None:
    cert, _ = certificate(tmp_path)
    trusting = Target(name="t", url="https://127.0.0.1:1", ca=cert)

    assert trusting.tls() is trusting.tls()
