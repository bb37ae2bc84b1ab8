"""What the Caddyfile lets through, and what it keeps out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from e2e.site import Caddy, caddy

FORGED = [
    "X-Chat-User",
    "X-Chat-Secret",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-WebAuth-User",
    "Remote-User",
    "Remote-Groups",
]
FORGED += [
    spelled
    for name in FORGED
    for spelled in (name.upper(), name.replace("-", "_"), name.replace("-", "_", 1))
]


async def _echo(request: web.Request) -> web.StreamResponse:
    """Say what has arrived; a socket says it on each message."""
    seen = {"path": request.path, "headers": {name.lower(): value for name, value in request.headers.items()}}
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return web.json_response(seen)
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    await ws.send_json(seen)
    await ws.close()
    return ws


@pytest_asyncio.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Caddy]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _echo)
    async with TestServer(app) as upstream, caddy(f"127.0.0.1:{upstream.port}", tmp_path) as running:
        yield running


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize("path", ["/chat", "/chat/", "/chat/history", "/chat/static/main.js", "/health"])
async def test_chat_and_health_are_passed_on(proxy: Caddy, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(proxy.url + path) as response:
        assert (response.status, (await response.json())["path"]) == (200, path)


@pytest.mark.parametrize("path", ["/metrics", "/chatter", "/health/ready", "/favicon.ico"])
async def test_anything_else_stays_inside(proxy: Caddy, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(proxy.url + path) as response:
        assert (response.status, await response.text()) == (404, "Not found")


@pytest.mark.parametrize("path", ["/chat/", "/metrics"])
async def test_software_is_not_named(proxy: Caddy, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(proxy.url + path) as response:
        assert "Server" not in response.headers
        assert "Strict-Transport-Security" not in response.headers  # it is not https


async def test_bare_address_leads_to_the_page(proxy: Caddy, http: aiohttp.ClientSession) -> None:
    async with http.get(proxy.url, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/chat/")


async def test_forged_identity_is_removed(proxy: Caddy, http: aiohttp.ClientSession) -> None:
    forged = [(name, "mallory") for name in FORGED]
    async with http.get(f"{proxy.url}/chat/", headers=[*forged, ("X-Harmless", "kept")]) as response:
        seen = (await response.json())["headers"]

    assert [name for name in FORGED if name.lower() in seen] == []
    assert seen["x-harmless"] == "kept"


async def test_forged_identity_is_removed_from_sockets(proxy: Caddy, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(f"{proxy.url}/chat/ws", headers={"X-Chat-User": "mallory"}) as ws:
        seen = (await ws.receive_json())["headers"]

    assert "x-chat-user" not in seen
    assert seen["host"] == proxy.url.removeprefix("http://")


# The user, according to another service.


async def _ask(request: web.Request) -> web.Response:
    """A login service: knows ada by her cookie, and sends everybody else to its own page."""
    request.app[ASKED].append(
        {"path": request.path, **{name.lower(): value for name, value in request.headers.items()}}
    )
    if request.cookies.get("session") == "ada":
        return web.Response(headers={"Remote-User": "ada"})
    return web.Response(status=302, headers={"Location": "https://login.example/"})


ASKED: web.AppKey[list[dict[str, str]]] = web.AppKey("ASKED")


@pytest_asyncio.fixture
async def service() -> AsyncIterator[TestServer]:
    app = web.Application()
    app[ASKED] = []
    app.router.add_get("/check", _ask)
    server = TestServer(app)
    async with server:
        yield server


@pytest_asyncio.fixture
async def guarded(tmp_path: Path, service: TestServer) -> AsyncIterator[Caddy]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _echo)
    env = {
        "CHATGATE_LOGIN": "forward",
        "CHATGATE_AUTH": f"127.0.0.1:{service.port}",
        "CHATGATE_AUTH_URI": "/check",
        "CHATGATE_AUTH_HEADER": "Remote-User",
        "CHATGATE_SECRET": "a secret with spaces",
    }
    async with TestServer(app) as upstream, caddy(f"127.0.0.1:{upstream.port}", tmp_path, env) as running:
        yield running


ADA = {"Cookie": "session=ada"}
FORGERY = {"X-Chat-User": "mallory", "Remote-User": "mallory", "X-Chat-Secret": "guessed"}


@pytest.mark.parametrize("path", ["/chat", "/chat/", "/chat/history", "/chat/ws", "/chat/static/main.js"])
async def test_who_is_not_known_goes_where_the_service_says(
    guarded: Caddy, http: aiohttp.ClientSession, path: str
) -> None:
    async with http.get(guarded.url + path, headers=FORGERY, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "https://login.example/")


@pytest.mark.parametrize("path", ["/chat/login", "/chat/oauth/callback", "/chat/logged-out", "/health"])
async def test_logging_in_needs_no_login(guarded: Caddy, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(guarded.url + path, headers=FORGERY) as response:
        seen = (await response.json())["headers"]

    assert not {"x-chat-user", "remote-user", "x-chat-secret"} & seen.keys()


async def test_service_names_the_user(
    guarded: Caddy, service: TestServer, http: aiohttp.ClientSession
) -> None:
    async with http.post(f"{guarded.url}/chat", headers=ADA | FORGERY, data={"message": "hi"}) as response:
        seen = (await response.json())["headers"]

    assert seen["x-chat-user"] == "ada"
    assert seen["x-chat-secret"] == "a secret with spaces"
    assert "remote-user" not in seen
    asked = service.app[ASKED]
    assert [each["path"] for each in asked] == ["/check"]
    assert asked[0]["x-forwarded-uri"] == "/chat"
    assert not {"x-chat-user", "remote-user"} & asked[0].keys()
    assert "x-chat-secret" not in asked[0]


async def test_client_cannot_take_the_proof_away(guarded: Caddy, http: aiohttp.ClientSession) -> None:
    """Headers that ``Connection`` names are for one hop only; a client must not reach what the proxy adds by that."""
    headers = ADA | {"Connection": "keep-alive, X-Chat-User, X-Chat-Secret"}
    async with http.get(f"{guarded.url}/chat/history", headers=headers) as response:
        seen = (await response.json())["headers"]

    assert (seen.get("x-chat-user"), seen.get("x-chat-secret")) in {
        ("ada", "a secret with spaces"),
        (None, None),  # then the server refuses the request, which is the client's own
    }


async def test_socket_is_asked_about_like_anything_else(
    guarded: Caddy, service: TestServer, http: aiohttp.ClientSession
) -> None:
    async with http.ws_connect(f"{guarded.url}/chat/ws", headers=ADA | FORGERY) as ws:
        seen = (await ws.receive_json())["headers"]

    assert seen["x-chat-user"] == "ada"
    assert [each["x-forwarded-uri"] for each in service.app[ASKED]] == ["/chat/ws"]
