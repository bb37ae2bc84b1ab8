"""Log in by a Forgejo- or Gitea-style forge: the code flow, and sessions kept on the server."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec
from aiohttp import hdrs, web

from chat_server.errors import Forbidden, Unauthorized, Unavailable
from chat_server.login.cookies import OwnCookies
from chat_server.login.identity import Login
from chat_server.login.state import LoginStates
from chat_server.store.records import LoginSession
from chat_server.store.store import Store

logger = logging.getLogger(__name__)

SESSION_COOKIE = "chat_session"
SCOPE = "read:user"
"""What the server does with a token: ask whose it is. Forges that know no scopes ignore it."""

FORGE_SECONDS = 10
ANSWER_MAX = 262_144
"""How many bytes an answer of the forge may have; a user's profile has one or two thousand."""

EVERYBODY = "*"
BY_ID = "id:"
"""What an entry of CHAT_USERS begins with that names an account by its number."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")
_NUMBER = re.compile(r"[1-9][0-9]{0,18}|[A-Za-z][A-Za-z0-9_-]{0,63}")
"""A number, or what other forges have in its place. Those of nobody (0, and -1 of Gitea's ghost) are none."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Forge:
    """Where people log in, and the credentials of this server there."""

    # Of the forge, without a slash at the end.
    url: str
    client_id: str
    client_secret: str
    # Of this server, as browsers see it, without a slash at the end.
    public_url: str


class _Token(msgspec.Struct):
    access_token: str


class _Profile(msgspec.Struct):
    """``GET /api/v1/user`` of Gitea and Forgejo."""

    id: int | str
    login: str


@dataclass(frozen=True, slots=True)
class Account:
    """An account at the forge. Its number is for ever; its name may change, and then be another account's."""

    number: str
    name: str

    @property
    def owner(self) -> str:
        """What everything of theirs is kept under; no proxy's name has a colon."""
        return f"forge:{self.number}"


@dataclass(frozen=True, slots=True)
class Finished:
    """A login that has succeeded: the answer, and the keys of the sessions that it has ended."""

    response: web.Response
    ended: list[str]


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
        idle_seconds: float,
        now: Callable[[], float],
    ) -> None:
        self._forge = forge
        self._everybody = EVERYBODY in users
        self._numbers = frozenset(each.removeprefix(BY_ID) for each in users if each.startswith(BY_ID))
        self._names = frozenset(each.lower() for each in users if not each.startswith(BY_ID))
        self._store = store
        self._http = http
        self._session_seconds = session_seconds
        self._idle_seconds = idle_seconds
        self._now = now
        self._cookies = OwnCookies(https=forge.public_url.lower().startswith("https:"))
        self._states = LoginStates(forge.client_secret, self._cookies, now)

    async def login(self, request: web.BaseRequest) -> Login:
        """Who is logged in. Of several cookies of the name, left by other paths or domains, any valid one will do.

        Raises:
            Unauthorized: No cookie names a session that lives, of a user who may still use this chat.
        """
        for session in await self._sessions(request):
            if self._lives(session) and self._may(session.owner, session.listed_names):
                await self._note_use(session)
                return Login(session.owner, session.name, session.key, self._ends_at(session))
        raise Unauthorized("nobody is logged in; log in at /chat/login")

    async def seconds_left(self, login: Login) -> float:
        """For how long a session is still good; it may have been used since, or ended by another server."""
        for session in await self._store.sessions([login.key]):
            if self._lives(session):
                return self._ends_at(session) - self._now()
        return 0.0

    def begin(self, request: web.Request) -> web.Response:
        """Send the browser to the forge, and remember in a cookie what its answer must fit."""
        response = web.Response(status=303)
        begun = self._states.begin(request, response)
        query = {
            "client_id": self._forge.client_id,
            "redirect_uri": self._redirect_uri,
            "response_type": "code",
            "scope": SCOPE,
            "state": begun.state,
            "code_challenge": begun.challenge,
            "code_challenge_method": "S256",  # RFC 7636
        }
        response.headers[hdrs.LOCATION] = f"{self._forge.url}/login/oauth/authorize?{urlencode(query)}"
        return response

    async def finish(self, request: web.Request) -> Finished:
        """Take the forge's answer, open a session in place of the browser's old one, and lead to the page.

        Who comes back once more, by Back or a reload, is logged in already and only led to the page.

        Raises:
            Unauthorized: The answer does not belong to a login that this browser began, or the forge refused it.
            Forbidden: The user may not use this chat.
            Unavailable: The forge cannot be reached.
        """
        try:
            account = await self._account(request)
        except Unauthorized:
            try:
                await self.login(request)
            except Unauthorized:
                pass
            else:
                return Finished(self._to_page(), [])
            raise
        await self._admit(account)
        # A new token for each login: a cookie that others planted before it leads to no session of this user.
        token = secrets.token_urlsafe(32)
        old = [session.key for session in await self._sessions(request)]
        expires_at = self._now() + self._session_seconds
        await self._store.open_session(_digest(token), account.owner, account.name, expires_at, ends=old)
        response = self._to_page()
        self._cookies.set(response, SESSION_COOKIE, token, int(self._session_seconds))
        self._states.forget(response, request.query["state"])
        return Finished(response, old)

    async def end(
        self, request: web.BaseRequest, response: web.StreamResponse, *, everywhere: bool
    ) -> list[str]:
        """Log out: end the sessions that the request names, or all of their users; the keys of those that ended."""
        sessions = await self._sessions(request)
        self._cookies.remove(response, SESSION_COOKIE)
        if everywhere:
            owners = {each.owner for each in sessions if self._lives(each)}
            return await self._store.close_sessions(owners=owners)
        return await self._store.close_sessions(keys=[each.key for each in sessions])

    async def _sessions(self, request: web.BaseRequest) -> list[LoginSession]:
        """The sessions that the request's cookies name, whether they live or not."""
        tokens = [each for each in self._cookies.values(request, SESSION_COOKIE) if _TOKEN.fullmatch(each)]
        return await self._store.sessions([_digest(each) for each in tokens]) if tokens else []

    def _ends_at(self, session: LoginSession) -> float:
        if not self._idle_seconds:
            return session.expires_at
        return min(session.expires_at, session.used_at + self._idle_seconds)

    def _lives(self, session: LoginSession) -> bool:
        return self._ends_at(session) > self._now()

    async def _note_use(self, session: LoginSession) -> None:
        """Remember when a session was last used, as exactly as its idle time needs it."""
        if self._idle_seconds and self._now() - session.used_at > min(60.0, self._idle_seconds / 10):
            await self._store.use_session(session.key)

    def _may(self, owner: str, listed_names: Collection[str]) -> bool:
        """Whether an account may use the chat: everybody may, or its number or a name that belongs to it is listed."""
        number = owner.removeprefix("forge:")
        return self._everybody or number in self._numbers or not self._names.isdisjoint(listed_names)

    async def _admit(self, account: Account) -> None:
        """Let an account in that may come in; a name on the list belongs to the first account that comes by it.

        Raises:
            Forbidden: It may not.
        """
        name = account.name.lower()  # as the forge compares them
        if not self._may(account.owner, await self._store.names_of(account.owner)):
            if name not in self._names:
                raise Forbidden(
                    f"the user {account.name} may not use this chat; its operator can add the name to CHAT_USERS"
                )
            if await self._store.claim_name(name, account.owner) != account.owner:
                raise Forbidden(
                    f"the name {account.name} on the list of this chat's users belongs to another account; "
                    f"its operator can add {BY_ID}{account.number} to CHAT_USERS"
                )

    def _to_page(self) -> web.Response:
        return web.Response(status=303, headers={hdrs.LOCATION: f"{self._forge.public_url}/chat/"})

    @property
    def _redirect_uri(self) -> str:
        return f"{self._forge.public_url}/chat/oauth/callback"

    async def _account(self, request: web.Request) -> Account:
        """Whose login has come back. The forge is asked only about a login that this browser began here."""
        state = request.query.get("state", "")
        verifier = self._states.take(request, state) if state else None
        if verifier is None:
            raise Unauthorized("login state missing, used or expired; log in again")
        code = request.query.get("code", "")
        if not code:
            raise Unauthorized(_refusal(request.query.get("error", "")))
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": self._forge.client_id,
            "client_secret": self._forge.client_secret,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        token = await self._ask("POST", "/login/oauth/access_token", _Token, data=form)
        if token is None:
            raise Unauthorized("the forge did not take the code; log in again")
        bearer = {hdrs.AUTHORIZATION: f"Bearer {token.access_token}"}
        profile = await self._ask("GET", "/api/v1/user", _Profile, headers=bearer)
        if profile is None or not _NUMBER.fullmatch(str(profile.id)) or not profile.login.strip():
            raise Unauthorized("the forge did not say who logged in; log in again")
        return Account(str(profile.id), profile.login.strip())

    async def _ask(self, method: str, path: str, kind: type[T], **options: Any) -> T | None:
        """What the forge answers; ``None`` where it refuses or says something else.

        Raises:
            Unavailable: It cannot be reached, fails, leads elsewhere, or answers without end.
        """
        headers = {hdrs.ACCEPT: "application/json", **options.pop("headers", {})}
        try:
            async with self._http.request(
                method,
                self._forge.url + path,
                headers=headers,
                # Elsewhere the secret and the token are nobody's business.
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=FORGE_SECONDS),
                **options,
            ) as response:
                body = await _read(response)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _unusable(f"{type(error).__name__}: {error}") from error
        if response.status // 100 == 3:
            raise _unusable(f"{path} leads elsewhere; CHAT_OAUTH_URL must be the forge's final address")
        if response.status >= 500:
            raise _unusable(f"{path} was answered with status {response.status}")
        if response.status != 200:
            logger.warning("= the forge answered %s with status %d", path, response.status)
            return None
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            logger.warning("= the forge's answer to %s cannot be understood: %s", path, error)
            return None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body of an answer.

    Raises:
        ValueError: It is longer than `ANSWER_MAX`.
    """
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > ANSWER_MAX:
            raise ValueError(f"an answer of more than {ANSWER_MAX:,} bytes")
    return bytes(body)


def _refusal(code: str) -> str:
    """What the forge's error means for who wanted to log in (RFC 6749 §4.1.2.1)."""
    if code == "access_denied":
        return "the login was not allowed at the forge; log in again"
    if code in {"server_error", "temporarily_unavailable"}:
        return "the forge could not log anybody in just now; log in again"
    shown = code if _ERROR_CODE.fullmatch(code) else "no reason"
    return f"the forge refused the login ({shown}); its operator and this chat's can find out why"


def _unusable(reason: str) -> Unavailable:
    logger.warning("= nobody can log in: the forge cannot be used: %s", reason)
    return Unavailable("the forge, where one logs in, cannot be reached now; try again later")


def _digest(token: str) -> str:
    """What the store keeps of a token: who reads the database cannot log in with it."""
    # Neither salt nor slow hash: a token has 256 random bits, and cannot be guessed as a password can.
    return hashlib.sha256(token.encode()).hexdigest()
