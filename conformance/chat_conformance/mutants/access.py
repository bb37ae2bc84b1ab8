"""The reference server with one thing broken in how people log in, and in which page may ask."""

from __future__ import annotations

import hmac
import secrets
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs, web

import chat_server.app
import chat_server.login.identity
import chat_server.login.oauth
import chat_server.login.state
import chat_server.web.handlers
import chat_server.web.keys
import chat_server.web.middleware
from chat_conformance.mutants.registry import always, breaks, put, replace_handler
from chat_server.errors import Forbidden
from chat_server.login.cookies import OwnCookies
from chat_server.login.identity import SECRET_HEADER, USER_HEADER, Login, ProxyIdentity
from chat_server.login.oauth import SESSION_COOKIE, Account, OAuthIdentity


@breaks("one-login-per-browser")
def one_login_at_a_time() -> None:
    """All logins of a browser share one cookie."""
    put(chat_server.login.state, "_TAG", lambda _: 0)


@breaks("state-signature-unchecked")
def any_state_is_signed() -> None:
    """The signature of a login's state is not looked at."""
    fake = SimpleNamespace(digest=hmac.digest, new=hmac.new, compare_digest=lambda *_: True)
    put(chat_server.login.state, "hmac", lambda _: fake)


@breaks("session-fixation")
def old_sessions_are_taken_over() -> None:
    """A login makes the session valid that the browser had before."""

    def make(finish: Any) -> Any:
        async def mutant(self: OAuthIdentity, request: web.Request) -> Any:
            planted = self._cookies.values(request, SESSION_COOKIE)
            kept: Any = secrets
            fake = SimpleNamespace(
                token_urlsafe=lambda size: planted[0] if planted else kept.token_urlsafe(size)
            )
            put(chat_server.login.oauth, "secrets", lambda _: fake)
            try:
                return await finish(self, request)
            finally:
                put(chat_server.login.oauth, "secrets", lambda _: kept)

        return mutant

    put(OAuthIdentity, "finish", make)


@breaks("logout-keeps-session")
def log_out_ends_nothing() -> None:
    """The cookie is taken away, and the session lives on."""

    async def end(*_args: Any, **_named: Any) -> list[str]:
        return []

    put(OAuthIdentity, "end", lambda _: end)


@breaks("cookies-without-httponly")
def cookies_for_scripts() -> None:
    """Scripts can read the cookies."""

    def bare(self: OwnCookies, response: web.StreamResponse, name: str, value: str, seconds: int) -> None:
        response.set_cookie(self.name(name), value, max_age=seconds, path="/")

    put(OwnCookies, "set", lambda _: bare)


@breaks("cookies-must-be-utf-8")
def cookies_must_be_utf_8() -> None:
    """A cookie that is no UTF-8 fails the request."""

    def make(values: Any) -> Any:
        def mutant(self: OwnCookies, request: web.BaseRequest, name: str) -> list[str]:
            request.headers.get(hdrs.COOKIE, "").encode()
            found: list[str] = values(self, request, name)
            return found

        return mutant

    put(OwnCookies, "values", make)


@breaks("account-by-name")
def names_are_accounts() -> None:
    """Who has the name has what was kept under it."""
    put(Account, "owner", lambda _: property(lambda self: f"forge:{self.name}"))
    put(OAuthIdentity, "_may", always(True))


@breaks("shared-cookie-jar")
def one_cookie_jar() -> None:
    """What the forge sets in one login is sent in the next."""
    put(aiohttp, "DummyCookieJar", lambda _: lambda: aiohttp.CookieJar(unsafe=True))


def begun(change: Any) -> None:
    """Change where a login leads to."""

    def make(begin: Any) -> Any:
        def mutant(self: OAuthIdentity, request: web.Request) -> web.Response:
            response: web.Response = begin(self, request)
            response.headers[hdrs.LOCATION] = change(response.headers[hdrs.LOCATION], request)
            return response

        return mutant

    put(OAuthIdentity, "begin", make)


@breaks("redirect-by-host-header")
def host_says_where_back() -> None:
    """People are sent back to whatever the request was sent to."""

    def change(location: str, request: web.Request) -> str:
        host = request.headers.get("X-Forwarded-Host", request.host)
        return location.replace(urlsplit(str(request.url)).netloc.replace(":", "%3A"), host)

    begun(change)


@breaks("no-pkce")
def no_challenge() -> None:
    """A login carries no challenge."""
    begun(lambda location, _request: location.partition("&code_challenge")[0])


@breaks("refused-page-is-json")
def json_for_people() -> None:
    """Browsers get what programs get."""
    for module in (chat_server.web.handlers, chat_server.web.middleware):
        put(module, "wants_page", always(False))


@breaks("placeholder-name-accepted")
def nobody_is_somebody() -> None:
    """What proxies send for nobody is a user's name."""
    put(chat_server.login.identity, "is_nobody", always(False))


@breaks("underscore-header-accepted")
def aliases_are_believed() -> None:
    """A header with underscores names a user, too."""

    def make(login: Any) -> Any:
        async def mutant(self: ProxyIdentity, request: web.BaseRequest) -> Login:
            alias = request.headers.get(USER_HEADER.replace("-", "_"))
            if alias and SECRET_HEADER in request.headers:
                return Login(alias, alias)
            found: Login = await login(self, request)
            return found

        return mutant

    put(ProxyIdentity, "login", make)


@breaks("origin-compared-as-text")
def origins_are_texts() -> None:
    """An origin is compared with what Host says, letter by letter."""

    def check(request: web.BaseRequest, _own: object) -> None:
        if request.headers.get(hdrs.ORIGIN, f"http://{request.host}") != f"http://{request.host}":
            raise Forbidden("a foreign origin")

    put(chat_server.web.middleware, "check_origin", lambda _: check)


@breaks("upgrade-spelling-skips-check")
def upgrades_are_spelled_so() -> None:
    """The origin is asked for where Upgrade is spelled as usual."""

    def make(check: Any) -> Any:
        def mutant(request: web.BaseRequest, own: object) -> None:
            if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket" or request.method != "GET":
                check(request, own)

        return mutant

    put(chat_server.web.middleware, "check_origin", make)


@breaks("any-host")
def any_host() -> None:
    """Any Host is the server's own, and its pages may ask."""
    put(chat_server.web.middleware, "check_host", always(None))
    origins_are_texts()


@breaks("fetch-site-ignored")
def origins_only() -> None:
    """Who sends no Origin may ask, whatever the browser says of it."""
    put(
        chat_server.web.middleware,
        "check_origin",
        lambda check: lambda request, own: check(request, own) if hdrs.ORIGIN in request.headers else None,
    )


@breaks("get-starts-turn")
def links_ask() -> None:
    """A link with a message in it starts a turn."""

    def make(to_page: Any) -> Any:
        async def mutant(request: web.Request) -> Any:
            if message := request.query.get("message"):
                log = await request.app[chat_server.web.keys.TURNS].start("dev", message)
                await log.wait_ended(10)
            return await to_page(request)

        return mutant

    for path in ("/", "/chat"):
        replace_handler("GET", path, make)
