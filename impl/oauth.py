"""Log in by a Forgejo- or Gitea-style forge: the code flow, and sessions kept on the server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlencode

import aiohttp
from aiohttp import hdrs, web

from impl.auth import Login
from impl.errors import Forbidden, Unauthorized, Unavailable
from impl.store import Store

SESSION_COOKIE = "chat_session"
LOGIN_COOKIE = "chat_login"
LOGIN_SECONDS = 600
FORGE_SECONDS = 10
EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class Forge:
    """Where people log in, and as whom this server asks."""

    url: str  # of the forge, without a slash at the end
    client_id: str
    client_secret: str
    public_url: str  # of this server, as browsers see it, without a slash at the end


class OAuthIdentity:
    """The user of a session cookie, which the login at the forge has set."""

    def __init__(
        self,
        forge: Forge,
        users: Collection[str],
        store: Store,
        http: aiohttp.ClientSession,
        *,
        session_seconds: float,
        now: Callable[[], float],
    ) -> None:
        self._forge = forge
        self._users = users
        self._store = store
        self._http = http
        self._session_seconds = session_seconds
        self._now = now

    async def login(self, request: web.BaseRequest) -> Login:
        """Who is logged in. Of several cookies of the name, left by other paths or domains, any valid one will do.

        Raises:
            Unauthorized: No cookie names a session that lives, of a user who may still use this chat.
        """
        for token in cookies(request, SESSION_COOKIE):
            key = _digest(token)
            session = await self._store.session(key)
            if session is not None and session.expires_at > self._now() and self._allows(session.owner):
                return Login(session.owner, session.owner, key, session.expires_at)
        raise Unauthorized("nobody is logged in; log in at /chat/login")

    def begin(self) -> web.Response:
        """Send the browser to the forge, and remember in a cookie what its answer must fit."""
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "client_id": self._forge.client_id,
            "redirect_uri": self._redirect_uri,
            "response_type": "code",
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",  # RFC 7636
        }
        response = web.Response(
            status=303, headers={hdrs.LOCATION: f"{self._forge.url}/login/oauth/authorize?{urlencode(query)}"}
        )
        self._set_cookie(response, LOGIN_COOKIE, f"{state}.{verifier}", LOGIN_SECONDS)
        return response

    async def finish(self, request: web.BaseRequest) -> web.Response:
        """Take the forge's answer, open a session and send the browser to the page.

        Raises:
            Unauthorized: The answer does not belong to a login that this browser began, or the forge refused it.
            Forbidden: The user may not use this chat.
            Unavailable: The forge cannot be reached.
        """
        state, code = request.query.get("state", ""), request.query.get("code", "")
        verifier = next(
            (
                verifier
                for expected, _, verifier in (each.partition(".") for each in cookies(request, LOGIN_COOKIE))
                if state and hmac.compare_digest(expected.encode(), state.encode())
            ),
            None,
        )
        if verifier is None:
            raise Unauthorized(
                "this login was not begun in this browser, or took too long; begin again at /chat/login"
            )
        if not code:
            raise Unauthorized(
                f"the forge refused the login: {request.query.get('error', 'it sent no code')[:200]}"
            )
        user = await self._user_of(code, verifier)
        if not self._allows(user):
            raise Forbidden(f"{user} may not use this chat; ask its operator to add the name to CHAT_USERS")
        token = secrets.token_urlsafe(32)
        await self._store.open_session(_digest(token), user, self._now() + self._session_seconds)
        response = web.Response(status=303, headers={hdrs.LOCATION: f"{self._forge.public_url}/chat/"})
        self._set_cookie(response, SESSION_COOKIE, token, int(self._session_seconds))
        response.del_cookie(LOGIN_COOKIE, path="/")
        return response

    async def end(self, request: web.BaseRequest) -> list[str]:
        """Log out: forget every session that the request names; their keys."""
        keys = [_digest(token) for token in cookies(request, SESSION_COOKIE)]
        for key in keys:
            await self._store.close_session(key)
        return keys

    def _allows(self, user: str) -> bool:
        return EVERYBODY in self._users or user in self._users

    def _set_cookie(self, response: web.Response, name: str, value: str, seconds: int) -> None:
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path="/",
            httponly=True,
            samesite="Lax",  # sent when the forge sends people back, not with what foreign pages do
            secure=self._forge.public_url.startswith("https:"),
        )

    @property
    def _redirect_uri(self) -> str:
        return f"{self._forge.public_url}/chat/oauth/callback"

    async def _user_of(self, code: str, verifier: str) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": self._forge.client_id,
            "client_secret": self._forge.client_secret,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        timeout = aiohttp.ClientTimeout(total=FORGE_SECONDS)
        accept = {hdrs.ACCEPT: "application/json"}
        try:
            url = f"{self._forge.url}/login/oauth/access_token"
            async with self._http.post(url, data=form, headers=accept, timeout=timeout) as response:
                token = (await response.json()).get("access_token") if response.ok else None
            if not isinstance(token, str):
                raise Unauthorized("the forge did not take the code; begin again at /chat/login")
            headers = {hdrs.AUTHORIZATION: f"Bearer {token}", **accept}
            async with self._http.get(
                f"{self._forge.url}/api/v1/user", headers=headers, timeout=timeout
            ) as response:
                user = (await response.json()).get("login") if response.ok else None
        except (aiohttp.ClientError, TimeoutError, ValueError, AttributeError) as error:
            raise Unavailable(f"the forge at {self._forge.url} cannot be reached or understood") from error
        if not isinstance(user, str) or not user:
            raise Unauthorized("the forge did not say who logged in")
        return user


def cookies(request: web.BaseRequest, name: str) -> list[str]:
    """All values of a cookie; browsers send several of one name, and ``request.cookies`` keeps only one."""
    found = []
    for header in request.headers.getall(hdrs.COOKIE, []):
        for pair in header.split(";"):
            try:
                parsed = SimpleCookie(pair)
            except CookieError:
                continue  # a foreign cookie in an odd form does not lock anybody out
            if name in parsed:
                found.append(parsed[name].value)
    return found


def _digest(token: str) -> str:
    """What the store keeps of a token: who reads the database cannot log in with it."""
    return hashlib.sha256(token.encode()).hexdigest()
