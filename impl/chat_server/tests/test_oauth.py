"""Login at a forge, through the server as a browser meets it."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import yarl
from aiohttp import web
from msgspec.structs import replace

from chat_conformance.target.oauth_server import CLIENT_ID, CLIENT_SECRET, OAuthServer
from chat_conformance.target.oauth_server import oauth_server as a_forge
from chat_server.app import make_app
from chat_server.login.identity import Login
from chat_server.login.oauth import ANSWER_MAX, SESSION_COOKIE, OAuthIdentity
from chat_server.login.state import COOKIE, LOGIN_SECONDS, LOGINS_AT_ONCE
from chat_server.settings import Settings
from chat_server.tests.loop_clock import LONG, LoopClock, in_time
from chat_server.tests.sites import Clock, Fake


@pytest.fixture
async def forge() -> AsyncIterator[OAuthServer]:
    async with a_forge() as place:
        yield place


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def server(
    forge: OAuthServer, fake: Fake, folder: Path, *, now: Callable[[], float] = time.time, **changes: object
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
    settings = replace(settings, **changes)
    app = make_app(settings, command=fake.command, now=now)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


async def error_code(response: aiohttp.ClientResponse) -> tuple[int, str]:
    return response.status, (await response.json())["error"]["code"]


async def test_page_leads_through_the_forge_and_back(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        async with ada.get(f"{url}/chat/") as page:
            assert (page.status, page.url.path) == (200, "/chat/")
        async with ada.get(f"{url}/chat/auth/verify") as verified:
            assert verified.headers["X-Chat-User"] == "ada"
        async with ada.post(f"{url}/chat", data={"message": "hello"}) as answer:
            assert "hello" in (await answer.json())["response"]


async def test_nobody_gets_401_everywhere(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as nobody:
        for path in ("/chat/history", "/chat/history/0123456789ab", "/chat/auth/verify", "/chat/ws"):
            async with nobody.get(url + path) as response:
                assert await error_code(response) == (401, "unauthorized"), path
        async with nobody.post(f"{url}/chat", data={"message": "hello"}) as response:
            assert await error_code(response) == (401, "unauthorized")

    assert fake.runs() == []


async def test_stranger_is_refused_by_name(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    forge.user = "mallory"
    async with server(forge, fake, tmp_path) as url, browser() as mallory:
        async with mallory.get(f"{url}/chat/login") as response:
            assert await error_code(response) == (403, "forbidden")
            assert "mallory" in (await response.json())["error"]["message"]
        async with mallory.get(f"{url}/chat/history") as response:
            assert response.status == 401


async def test_star_lets_everybody_in(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    forge.user = "zoe"
    async with server(forge, fake, tmp_path, users=("*",)) as url, browser() as zoe:
        async with zoe.get(f"{url}/chat/login") as response:
            assert response.status == 200


async def test_refusal_at_the_forge(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    forge.user = ""
    async with (
        server(forge, fake, tmp_path) as url,
        browser() as ada,
        ada.get(f"{url}/chat/login") as response,
    ):
        assert response.status == 401
        assert "was not allowed at the forge" in (await response.json())["error"]["message"]


async def test_foreign_code_does_not_log_in(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada, browser() as victim:
        async with ada.get(f"{url}/chat/login", allow_redirects=False) as begun:
            at_forge = begun.headers["Location"]
        async with ada.get(at_forge, allow_redirects=False) as agreed:
            back = agreed.headers["Location"]
        async with victim.get(back) as response:
            assert await error_code(response) == (401, "unauthorized")
        async with ada.get(back) as response:
            assert response.status == 200


async def test_login_asks_with_state_and_challenge(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        async with ada.get(f"{url}/chat/login", allow_redirects=False) as begun:
            query = parse_qs(urlsplit(begun.headers["Location"]).query)
            (cookie,) = begun.cookies.values()

    assert query["code_challenge_method"] == ["S256"]
    assert query["scope"] == ["read:user"]
    assert cookie.key == COOKIE + query["state"][0][:16]
    assert query["state"][0] not in cookie.value
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (
        True,
        "Lax",
        "/",
        "",
    )
    assert not cookie["secure"]


async def test_forge_out_of_reach_is_503(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
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


async def test_valid_cookie_behind_a_stale_one_counts(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
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


async def test_database_does_not_hold_the_token(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        token = await session_token(ada, url)

    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("chat.sqlite3*"))
    assert token.encode() not in stored


async def test_login_survives_a_restart(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        token = await session_token(ada, url)
    async with server(forge, fake, tmp_path) as url, aiohttp.ClientSession() as plain:
        header = {"Cookie": f"{SESSION_COOKIE}={token}"}
        async with plain.get(f"{url}/chat/history", headers=header) as response:
            assert response.status == 200


async def test_unlisted_user_loses_the_login(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        token = await session_token(ada, url)
    async with server(forge, fake, tmp_path, users=("bob",)) as url, aiohttp.ClientSession() as plain:
        header = {"Cookie": f"{SESSION_COOKIE}={token}"}
        async with plain.get(f"{url}/chat/history", headers=header) as response:
            assert await error_code(response) == (401, "unauthorized")


async def test_logout_ends_the_login_and_its_sockets(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
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
    forge: OAuthServer, fake: Fake, tmp_path: Path, loop_clock: LoopClock
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


async def test_foreign_page_cannot_log_out(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        await session_token(ada, url)
        async with ada.post(f"{url}/chat/logout", headers={"Origin": "https://evil.example"}) as response:
            assert await error_code(response) == (403, "forbidden")


@pytest.mark.parametrize(
    ("asked", "status"),
    [("GET text/html,*/*", 303), ("GET */*", 401), ("POST text/html,*/*", 401)],
)
async def test_verify_redirects_pages_to_login(
    forge: OAuthServer, fake: Fake, tmp_path: Path, asked: str, status: int
) -> None:
    headers = dict(zip(("X-Forwarded-Method", "Accept"), asked.split(), strict=True))
    async with (
        server(forge, fake, tmp_path) as url,
        browser() as nobody,
        nobody.get(f"{url}/chat/auth/verify", headers=headers, allow_redirects=False) as response,
    ):
        assert response.status == status
        assert response.headers.get("Location") == (f"{url}/chat/login" if status == 303 else None)


# --- logins that were begun

HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


async def begun_login(url: str, visitor: aiohttp.ClientSession) -> str:
    """Begin a login and agree at the forge; where it sends the browser back to."""
    async with visitor.get(f"{url}/chat/login", allow_redirects=False) as begun:
        at_forge = begun.headers["Location"]
    async with visitor.get(at_forge, allow_redirects=False) as agreed:
        return agreed.headers["Location"]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
async def test_logins_of_several_tabs_all_succeed(
    forge: OAuthServer, fake: Fake, tmp_path: Path, order: list[int]
) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        backs = [await begun_login(url, ada) for _ in order]
        for each in order:
            async with ada.get(backs[each]) as response:
                assert (response.status, response.url.path) == (200, "/chat/")


async def test_logins_of_a_browser_are_bounded(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        for _ in range(LOGINS_AT_ONCE + 3):
            await begun_login(url, ada)

        assert len([each for each in ada.cookie_jar if each.key.startswith(COOKIE)]) == LOGINS_AT_ONCE


async def test_planted_login_is_refused(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as mallory, browser() as ada:
        back = await begun_login(url, mallory)
        state = parse_qs(urlsplit(back).query)["state"][0]
        (good,) = (each.value for each in mallory.cookie_jar if each.key.startswith(COOKIE))
        expires, verifier, signature = good.split(".")
        planted = [
            f"{COOKIE}{state[:16]}={state}.{verifier}",
            f"{COOKIE}{state[:16]}={expires}.{verifier}",
            f"{COOKIE}{state[:16]}={expires}.{verifier}.{'0' * 64}",
            f"{COOKIE}{state[:16]}={int(expires) + 1}.{verifier}.{signature}",
            f"{COOKIE}{state[:16]}={expires}.{verifier}x.{signature}",
            f"{COOKIE}{state[:16]}=..",
            f"{COOKIE}{state[:16]}=\u00b2.{verifier}.{signature}",
            f"{COOKIE}{state[:16]}=\udcff.\udcff.\udcff",
            f"{COOKIE}other={good}",
            f"chat_login={state}.{verifier}",
        ]
        for cookie in planted:
            header = {"Cookie": cookie.encode(errors="surrogateescape").decode("latin-1")}
            async with ada.get(back, headers=header) as response:
                assert await error_code(response) == (401, "unauthorized"), cookie
        for path in ("?code=x", "?code=x&state=", "?code=x&state=%FF", "?code=x&state=a%3B%20b", ""):
            async with ada.get(f"{url}/chat/oauth/callback{path}") as response:
                assert await error_code(response) == (401, "unauthorized"), path

        assert forge.asked == []
        async with mallory.get(back) as response:
            assert response.status == 200


async def test_begun_login_is_good_once(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada, aiohttp.ClientSession() as plain:
        back = await begun_login(url, ada)
        header = {"Cookie": "; ".join(f"{each.key}={each.value}" for each in ada.cookie_jar)}
        for status in (303, 401):
            async with plain.get(back, headers=header, allow_redirects=False) as response:
                assert response.status == status

    assert len(forge.asked) == 2


async def test_login_that_took_too_long_is_refused(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    clock = Clock()
    async with server(forge, fake, tmp_path, now=clock) as url, aiohttp.ClientSession() as plain:
        for passed, status in ((LOGIN_SECONDS - 1, 303), (LOGIN_SECONDS, 401)):
            async with plain.get(f"{url}/chat/login", allow_redirects=False) as begun:
                (cookie,) = begun.cookies.values()
                at_forge = begun.headers["Location"]
            async with plain.get(at_forge, allow_redirects=False) as agreed:
                back = agreed.headers["Location"]
            clock.now += passed
            header = {"Cookie": f"{cookie.key}={cookie.value}"}
            async with plain.get(back, headers=header, allow_redirects=False) as response:
                assert response.status == status

    assert len(forge.asked) == 2


async def test_head_begins_and_ends_nothing(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        back = await begun_login(url, ada)
        for address in (back, f"{url}/chat/login"):
            async with ada.head(address, allow_redirects=False) as response:
                assert response.status == 405


# --- what the forge says


async def test_forges_cookies_stay_with_nobody(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    forge.sets_cookies = True
    async with server(forge, fake, tmp_path, users=("*",)) as url, browser() as ada, browser() as bob:
        await session_token(ada, url)
        forge.user = "bob"
        await session_token(bob, url)
        async with bob.get(f"{url}/chat/whoami") as response:
            assert (await response.json())["user"] == "bob"

    assert {str(each.cookies) for each in forge.asked} == {"{}"}


@asynccontextmanager
async def odd_forge(answer: web.Response | bytes, at: str) -> AsyncIterator[str]:
    """A forge that answers oddly at one of its two places; its address."""

    async def reply(request: web.Request) -> web.StreamResponse:
        if request.path == at:
            return answer if isinstance(answer, web.Response) else web.Response(body=answer)
        return web.json_response(
            {"access_token": "t"} if request.method == "POST" else {"id": 1, "login": "ada"}
        )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", reply)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


TOKEN_AT, USER_AT = "/login/oauth/access_token", "/api/v1/user"
ODD_ANSWERS = [
    pytest.param(TOKEN_AT, b"<html>", 401, id="page-for-a-token"),
    pytest.param(TOKEN_AT, b'{"error":"bad_verification_code"}', 401, id="error-with-status-200"),
    pytest.param(TOKEN_AT, b"[" * 100_000, 401, id="deep"),
    pytest.param(TOKEN_AT, b"x" * (ANSWER_MAX + 1), 503, id="endless"),
    pytest.param(USER_AT, b'{"login":"ada"}', 401, id="no-number"),
    pytest.param(USER_AT, b'{"id":0,"login":"ada"}', 401, id="number-0"),
    pytest.param(USER_AT, b'{"id":-1,"login":"Ghost"}', 401, id="ghost"),
    pytest.param(USER_AT, b'{"id":true,"login":"ada"}', 401, id="number-true"),
    pytest.param(USER_AT, b'{"id":1.5,"login":"ada"}', 401, id="half-a-number"),
    pytest.param(USER_AT, b'{"id":"","login":"ada"}', 401, id="empty-number"),
    pytest.param(USER_AT, b'{"id":"1:2","login":"ada"}', 401, id="odd-number"),
    pytest.param(USER_AT, b'{"id":1,"login":" "}', 401, id="no-name"),
    pytest.param(USER_AT, b'{"id":1,"login":"\xff"}', 401, id="no-utf8"),
    pytest.param(USER_AT, b"", 401, id="empty"),
]


async def odd_login(url: str, visitor: aiohttp.ClientSession) -> aiohttp.ClientResponse:
    async with visitor.get(f"{url}/chat/login", allow_redirects=False) as begun:
        state = parse_qs(urlsplit(begun.headers["Location"]).query)["state"][0]
    return await visitor.get(f"{url}/chat/oauth/callback?code=x&state={state}", allow_redirects=False)


@pytest.mark.parametrize(("at", "answer", "status"), ODD_ANSWERS)
async def test_odd_forge_answer_logs_nobody_in(
    forge: OAuthServer, fake: Fake, tmp_path: Path, *, at: str, answer: bytes, status: int
) -> None:
    async with odd_forge(answer, at) as odd, server(forge, fake, tmp_path, oauth_url=odd) as url:
        async with browser() as ada:
            response = await odd_login(url, ada)

            assert (await error_code(response))[0] == status
            assert SESSION_COOKIE not in response.cookies


@pytest.mark.parametrize("at", [TOKEN_AT, USER_AT])
@pytest.mark.parametrize("status", [301, 307, 308, 500, 502])
async def test_forge_redirect_is_not_followed(
    forge: OAuthServer, fake: Fake, tmp_path: Path, *, at: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    away = web.Response(status=status, headers={"Location": f"{forge.url}{at}"})
    async with odd_forge(away, at) as odd, server(forge, fake, tmp_path, oauth_url=odd) as url:
        async with browser() as ada:
            response = await odd_login(url, ada)

            assert await error_code(response) == (503, "unavailable")
            assert odd not in await response.text()
    assert forge.asked == []
    assert ("CHAT_OAUTH_URL must be the forge's final address" in caplog.text) == (status < 400)


# --- accounts and names


async def whoami(visitor: aiohttp.ClientSession, url: str) -> object:
    async with visitor.get(f"{url}/chat/whoami") as response:
        return (await response.json())["user"]


async def say(visitor: aiohttp.ClientSession, url: str, message: str) -> None:
    async with visitor.post(f"{url}/chat", data={"message": message}) as response:
        assert response.status == 200


async def titles(visitor: aiohttp.ClientSession, url: str) -> list[str]:
    async with visitor.get(f"{url}/chat/history") as response:
        return [each["title"] for each in (await response.json())["conversations"]]


async def test_renamed_user_keeps_what_is_theirs(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    """By the account's number; who has the old name then finds nothing, and does not get in by it."""
    async with server(forge, fake, tmp_path) as url, browser() as ada, browser() as mallory:
        forge.numbers = {"ada": 7}
        await session_token(ada, url)
        await say(ada, url, "hers")
        forge.user, forge.numbers = "countess", {"countess": 7, "ada": 8}
        await session_token(ada, url)
        assert (await whoami(ada, url), await titles(ada, url)) == ("countess", ["hers"])
        forge.user = "ada"
        async with mallory.get(f"{url}/chat/login") as response:
            assert await error_code(response) == (403, "forbidden")
            assert "add id:8 to CHAT_USERS" in (await response.json())["error"]["message"]
    async with server(forge, fake, tmp_path, users=("ada", "id:8")) as url, browser() as other:
        await session_token(other, url)
        assert (await whoami(other, url), await titles(other, url)) == ("ada", [])


async def test_account_claims_one_listed_name(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path, users=("mallory", "bob")) as url:
        for name, number in (("mallory", 1), ("bob", 1), ("Bob", 2)):
            forge.user, forge.numbers = name, {name: number}
            async with browser() as visitor:
                await session_token(visitor, url)


# --- sessions


async def test_new_login_ends_the_old_one(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada, aiohttp.ClientSession() as plain:
        first = await session_token(ada, url)
        async with ada.ws_connect(f"{url}/chat/ws") as ws:
            second = await session_token(ada, url)
            assert (await ws.receive()).data == 4401
        for token, status in ((first, 401), (second, 200)):
            header = {"Cookie": f"{SESSION_COOKIE}={token}"}
            async with plain.get(f"{url}/chat/history", headers=header) as response:
                assert response.status == status


async def test_token_before_login_is_invalid(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    planted = "p" * 43
    async with server(forge, fake, tmp_path) as url, browser() as ada, aiohttp.ClientSession() as plain:
        ada.cookie_jar.update_cookies({SESSION_COOKIE: planted}, yarl.URL(url))
        assert await session_token(ada, url) != planted
        header = {"Cookie": f"{SESSION_COOKIE}={planted}"}
        async with plain.get(f"{url}/chat/history", headers=header) as response:
            assert response.status == 401


async def test_logout_everywhere_ends_all_logins(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path, users=("*",)) as url:
        async with browser() as desk, browser() as phone, browser() as bob:
            await session_token(desk, url)
            await session_token(phone, url)
            forge.user = "bob"
            await session_token(bob, url)
            async with phone.ws_connect(f"{url}/chat/ws") as ws:
                async with desk.post(f"{url}/chat/logout/everywhere") as response:
                    assert response.status == 204
                assert (await ws.receive()).data == 4401
            for visitor, status in ((desk, 401), (phone, 401), (bob, 200)):
                async with visitor.get(f"{url}/chat/history") as response:
                    assert response.status == status


async def test_logout_takes_the_cookie_away(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        await session_token(ada, url)
        async with ada.post(f"{url}/chat/logout") as response:
            assert response.cookies[SESSION_COOKIE]["max-age"] == "0"
        assert [each for each in ada.cookie_jar if each.key == SESSION_COOKIE] == []


async def test_unused_login_ends_before_its_time(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    clock = Clock()
    lasts = {"session_seconds": 1000.0, "session_idle_seconds": 100.0}
    async with server(forge, fake, tmp_path, now=clock, **lasts) as url, browser() as ada:
        header = {"Cookie": f"{SESSION_COOKIE}={await session_token(ada, url)}"}
        async with aiohttp.ClientSession() as plain:
            for passed, status in ((90, 200), (90, 200), (110, 401)):
                clock.now += passed
                async with plain.get(f"{url}/chat/history", headers=header) as response:
                    assert response.status == status


async def test_used_login_keeps_its_socket(
    forge: OAuthServer, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket that was to end with an unused login is looked at once more, then."""
    monkeypatch.setattr("chat_server.web.login_timer.CHECK_SECONDS", 0.01)
    looked = asyncio.Event()
    seconds_left = OAuthIdentity.seconds_left

    async def look(self: OAuthIdentity, login: Login) -> float:
        left = await seconds_left(self, login)
        looked.set()
        return left

    monkeypatch.setattr(OAuthIdentity, "seconds_left", look)
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        await session_token(ada, url)
        async with ada.ws_connect(f"{url}/chat/ws") as ws:
            async with in_time():
                await looked.wait()
            await ws.ping()
            async with ada.post(f"{url}/chat/logout") as response:
                assert response.status == 204
            assert (await ws.receive()).data == 4401


async def test_login_that_ends_elsewhere_closes_its_socket(
    forge: OAuthServer, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat_server.web.login_timer.CHECK_SECONDS", 0.01)
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        await session_token(ada, url)
        async with ada.ws_connect(f"{url}/chat/ws") as ws:
            with sqlite3.connect(tmp_path / "data" / "chat.sqlite3") as db:
                db.execute("DELETE FROM sessions")
            db.close()
            assert (await ws.receive()).data == 4401


BROKEN = ['"\udcff"', "\udcff", "", '"', "=", "a b", "x" * 43, "\u00e9", "%00"]


@pytest.mark.parametrize("broken", BROKEN)
async def test_broken_cookie_locks_nobody_out(
    forge: OAuthServer, fake: Fake, tmp_path: Path, broken: str
) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada, aiohttp.ClientSession() as plain:
        token = await session_token(ada, url)
        for pair in (f"{SESSION_COOKIE}={broken}", broken, f"{broken}=1"):
            for cookie in (f"{pair}; {SESSION_COOKIE}={token}", f'{SESSION_COOKIE}="{token}"; {pair}'):
                header = {"Cookie": cookie}
                async with plain.get(f"{url}/chat/history", headers=header) as response:
                    assert response.status == 200, cookie


async def test_https_cookies_cannot_be_planted(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    """Their names and attributes keep them from neighbouring hosts, and from the network."""
    site = "https://chat.example"
    async with server(forge, fake, tmp_path, public_url=site) as url, aiohttp.ClientSession() as plain:
        there = {"Host": "chat.example"}
        async with plain.get(f"{url}/chat/login", headers=there, allow_redirects=False) as begun:
            at_forge = begun.headers["Location"]
            jar = {cookie.key: cookie.value for cookie in begun.cookies.values()}
            cookies = [*begun.cookies.values()]
        async with plain.get(at_forge, allow_redirects=False) as agreed:
            back = agreed.headers["Location"].removeprefix(site)
        header = {**there, "Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
        async with plain.get(url + back, headers=header, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, f"{site}/chat/")
            cookies += [each for each in response.cookies.values() if each["max-age"] != "0"]
            session = response.cookies[f"__Host-{SESSION_COOKIE}"].value
        for cookie in cookies:
            assert cookie.key.startswith("__Host-")
            assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Lax")
            assert (cookie["path"], cookie["domain"]) == ("/", "")
        for name, status in ((f"__Host-{SESSION_COOKIE}", 200), (SESSION_COOKIE, 401)):
            header = {**there, "Cookie": f"{name}={session}"}
            async with plain.get(f"{url}/chat/history", headers=header) as response:
                assert response.status == status


# --- people


async def text_of(response: aiohttp.ClientResponse) -> str:
    assert response.content_type == "text/html"
    return await response.text()


async def test_people_get_pages_and_programs_documents(
    forge: OAuthServer, fake: Fake, tmp_path: Path
) -> None:
    forge.user = "mallory"
    async with server(forge, fake, tmp_path) as url, browser() as mallory:
        async with mallory.get(f"{url}/chat/login", headers=HTML) as response:
            page = await text_of(response)
            assert response.status == 403
            assert "style-src 'sha256-" in response.headers["Content-Security-Policy"]
        assert "The user mallory may not use this chat" in page
        assert f'<a href="{url}/chat/login">Log in again</a>' in page
        assert f'<a href="{forge.url}">Open the forge</a>' in page
        assert "<script" not in page
        for headers in (
            {},
            {"Accept": "*/*"},
            HTML | {"Sec-Fetch-Mode": "cors"},
            {"Accept": "text/html;q=0"},
        ):
            async with mallory.get(f"{url}/chat/history", headers=headers) as response:
                assert await error_code(response) == (401, "unauthorized")


async def test_what_the_forge_says_is_no_markup(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    forge.user = "<script>alert(1)</script>"
    async with server(forge, fake, tmp_path) as url, browser() as mallory:
        async with mallory.get(f"{url}/chat/login", headers=HTML) as response:
            page = await text_of(response)
            assert (response.status, "<script" in page, "&lt;script&gt;" in page) == (403, False, True)
        async with mallory.get(f"{url}/chat/login", allow_redirects=False) as begun:
            state = parse_qs(urlsplit(begun.headers["Location"]).query)["state"][0]
        callback = f"{url}/chat/oauth/callback?state={state}&error=%3Cb%3E"
        async with mallory.get(callback, headers=HTML) as response:
            page = await text_of(response)
            assert (response.status, "<b>" in page, "no reason" in page) == (401, False, True)


async def test_reload_after_login_shows_page(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        back = await begun_login(url, ada)
        for _ in range(2):
            async with ada.get(back, headers=HTML, allow_redirects=False) as response:
                assert (response.status, response.headers["Location"]) == (303, f"{url}/chat/")
        # "No" at the forge, in another tab
        forge.user = ""
        async with ada.get(await begun_login(url, ada), headers=HTML) as response:
            assert (response.status, response.url.path) == (200, "/chat/")
        async with ada.post(f"{url}/chat/logout") as response:
            assert response.status == 204
        async with ada.get(back, headers=HTML) as response:
            assert response.status == 401
            assert "Log in again" in await text_of(response)


async def test_logout_does_not_log_in_again(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        await session_token(ada, url)
        async with ada.post(f"{url}/chat/logout", headers=HTML) as response:
            assert (response.status, response.url.path) == (200, "/chat/logged-out")
            assert "You are logged out" in await text_of(response)
        async with ada.get(f"{url}/chat/whoami") as response:
            assert response.status == 401


async def test_whoami_names_the_user(forge: OAuthServer, fake: Fake, tmp_path: Path) -> None:
    async with server(forge, fake, tmp_path) as url, browser() as ada:
        await session_token(ada, url)
        async with ada.get(f"{url}/chat/whoami") as response:
            assert await response.json() == {"user": "ada", "logout": True, "logout_url": None, "fake": True}
        async with ada.get(f"{url}/chat/auth/verify") as response:
            assert response.headers["X-Chat-User"] == "ada"
            assert response.headers["X-Chat-User-Id"] == str(forge.number("ada"))
