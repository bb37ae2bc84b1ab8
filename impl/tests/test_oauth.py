"""Login at a forge, through the server as a browser meets it."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from aiohttp import web

from conformance.forge import CLIENT_ID, CLIENT_SECRET, Forge
from conformance.forge import forge as a_forge
from impl.app import make_app
from impl.oauth import LOGIN_COOKIE, SESSION_COOKIE
from impl.settings import Settings
from impl.tests.loop_clock import LONG, LoopClock
from impl.tests.sites import Clock, Fake


@pytest.fixture
async def forge() -> AsyncIterator[Forge]:
    async with a_forge() as place:
        yield place


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def server(
    forge: Forge, fake: Fake, folder: Path, *, now: Callable[[], float] = time.time, **changes: object
) -> AsyncIterator[str]:
    """A chat server whose users log in at the forge; its address."""
    port = free_port()
    settings = Settings(
        claude_spare=0,
        data=folder / "data",
        identity="oauth",
        oauth_url=forge.url,
        oauth_client_id=CLIENT_ID,
        oauth_client_secret=CLIENT_SECRET,
        public_url=f"http://127.0.0.1:{port}",
        users=("ada",),
    )
    settings = replace(settings, **changes)  # type: ignore[arg-type]  # of any field
    app = make_app(settings, command=fake.command, now=now)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield settings.public_url
    finally:
        await runner.cleanup()


@asynccontextmanager
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


async def error_code(response: aiohttp.ClientResponse) -> tuple[int, str]:
    return response.status, (await response.json())["error"]["code"]


async def test_page_leads_through_the_forge_and_back(forge: Forge, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        async with ada.get(f"{url}/chat/") as page:
            assert (page.status, page.url.path) == (200, "/chat/")
        async with ada.get(f"{url}/chat/auth/verify") as verified:
            assert verified.headers["X-Chat-User"] == "ada"
        async with ada.post(f"{url}/chat", data={"message": "hello"}) as answer:
            assert "hello" in (await answer.json())["response"]


async def test_nobody_gets_401_everywhere(forge: Forge, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as nobody:
        for path in ("/chat/history", "/chat/history/0123456789ab", "/chat/auth/verify", "/chat/ws"):
            async with nobody.get(url + path) as response:
                assert await error_code(response) == (401, "unauthorized"), path
        async with nobody.post(f"{url}/chat", data={"message": "hello"}) as response:
            assert await error_code(response) == (401, "unauthorized")

    assert fake.runs() == []


async def test_stranger_is_refused_by_name(forge: Forge, fake: Fake, tmp_path: Path) -> None:
    forge.user = "mallory"
    async with server(forge, fake, tmp_path) as url, browser() as mallory:
        async with mallory.get(f"{url}/chat/login") as response:
            assert await error_code(response) == (403, "forbidden")
            assert "mallory" in (await response.json())["error"]["message"]
        async with mallory.get(f"{url}/chat/history") as response:
            assert response.status == 401


async def test_star_lets_everybody_in(forge: Forge, fake: Fake, tmp_path: Path) -> None:
    forge.user = "zoe"
    async with server(forge, fake, tmp_path, users=("*",)) as url, browser() as zoe:
        async with zoe.get(f"{url}/chat/login") as response:
            assert response.status == 200


async def test_refusal_at_the_forge_is_told(forge: Forge, fake: Fake, tmp_path: Path) -> None:
    forge.user = ""
    async with (
        server(forge, fake, tmp_path) as url,
        browser() as ada,
        ada.get(f"{url}/chat/login") as response,
    ):
        assert response.status == 401
        assert "access_denied" in (await response.json())["error"]["message"]


async def test_code_of_another_browser_does_not_log_in(forge: Forge, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada, browser() as victim:
        async with ada.get(f"{url}/chat/login", allow_redirects=False) as begun:
            at_forge = begun.headers["Location"]
        async with ada.get(at_forge, allow_redirects=False) as agreed:
            back = agreed.headers["Location"]
        async with victim.get(back) as response:
            assert await error_code(response) == (401, "unauthorized")
        async with ada.get(back) as response:
            assert response.status == 200


async def test_login_asks_with_state_and_challenge(forge: Forge, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        async with ada.get(f"{url}/chat/login", allow_redirects=False) as begun:
            query = parse_qs(urlsplit(begun.headers["Location"]).query)
            cookie = begun.cookies[LOGIN_COOKIE]

    assert query["code_challenge_method"] == ["S256"]
    assert cookie.value.startswith(query["state"][0] + ".")
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"


async def test_forge_out_of_reach_is_503(forge: Forge, fake: Fake, tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    async with server(forge, fake, tmp_path, oauth_url=nowhere) as url, browser() as ada:
        async with ada.get(f"{url}/chat/login", allow_redirects=False) as begun:
            state = parse_qs(urlsplit(begun.headers["Location"]).query)["state"][0]
        async with ada.get(f"{url}/chat/oauth/callback", params={"state": state, "code": "x"}) as response:
            assert await error_code(response) == (503, "unavailable")


async def session_token(ada: aiohttp.ClientSession, url: str) -> str:
    async with ada.get(f"{url}/chat/login") as response:
        assert response.status == 200
    return ada.cookie_jar.filter_cookies(response.url)[SESSION_COOKIE].value


async def test_valid_cookie_behind_a_stale_one_counts(forge: Forge, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        token = await session_token(ada, url)
        header = {
            "Cookie": f'{SESSION_COOKIE}=stale; odd[]="x; {SESSION_COOKIE}={token}; {SESSION_COOKIE}=older'
        }
        async with (
            aiohttp.ClientSession() as plain,
            plain.get(f"{url}/chat/history", headers=header) as response,
        ):
            assert response.status == 200


async def test_database_does_not_hold_the_token(forge: Forge, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        token = await session_token(ada, url)

    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("chat.sqlite3*"))
    assert token.encode() not in stored


async def test_login_survives_a_restart(forge: Forge, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        token = await session_token(ada, url)
    async with server(forge, fake, tmp_path) as url, aiohttp.ClientSession() as plain:
        header = {"Cookie": f"{SESSION_COOKIE}={token}"}
        async with plain.get(f"{url}/chat/history", headers=header) as response:
            assert response.status == 200


async def test_login_of_somebody_taken_off_the_list_ends(forge: Forge, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        token = await session_token(ada, url)
    async with server(forge, fake, tmp_path, users=("bob",)) as url, aiohttp.ClientSession() as plain:
        header = {"Cookie": f"{SESSION_COOKIE}={token}"}
        async with plain.get(f"{url}/chat/history", headers=header) as response:
            assert await error_code(response) == (401, "unauthorized")


async def test_logout_ends_the_login_and_its_sockets(forge: Forge, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        await session_token(ada, url)
        async with ada.ws_connect(f"{url}/chat/ws") as ws:
            async with ada.post(f"{url}/chat/logout") as response:
                assert response.status == 204
            message = await ws.receive()
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)
        async with ada.get(f"{url}/chat/history") as response:
            assert response.status == 401


async def test_expired_login_closes_its_sockets(
    forge: Forge, fake: Fake, tmp_path: Path, loop_clock: LoopClock
) -> None:
    clock = Clock(time.time())
    async with server(forge, fake, tmp_path, now=clock, session_seconds=LONG) as url, browser() as ada:
        token = await session_token(ada, url)
        async with ada.ws_connect(f"{url}/chat/ws") as ws:
            clock.now += LONG
            loop_clock.advance()
            message = await ws.receive()
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)
        header = {"Cookie": f"{SESSION_COOKIE}={token}"}
        async with (
            aiohttp.ClientSession() as plain,
            plain.get(f"{url}/chat/history", headers=header) as response,
        ):
            assert response.status == 401


async def test_foreign_page_cannot_log_out(forge: Forge, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        await session_token(ada, url)
        async with ada.post(f"{url}/chat/logout", headers={"Origin": "https://evil.example"}) as response:
            assert await error_code(response) == (403, "forbidden")


@pytest.mark.parametrize(
    ("asked", "status"),
    [("GET text/html,*/*", 303), ("GET */*", 401), ("POST text/html,*/*", 401)],
)
async def test_verify_sends_whoever_opens_a_page_to_the_login(
    forge: Forge, fake: Fake, tmp_path: Path, asked: str, status: int
) -> None:
    headers = dict(zip(("X-Forwarded-Method", "Accept"), asked.split(), strict=True))
    async with (
        server(forge, fake, tmp_path) as url,
        browser() as nobody,
        nobody.get(f"{url}/chat/auth/verify", headers=headers, allow_redirects=False) as response,
    ):
        assert response.status == status
        assert response.headers.get("Location") == (f"{url}/chat/login" if status == 303 else None)
