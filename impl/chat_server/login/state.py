"""Logins that were begun and not finished: what the forge's answer must fit (RFC 6749 §10.12, RFC 7636)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from chat_server.login.cookies import OwnCookies, cookies

COOKIE = "chat_login_"
"""What the name of such a cookie begins with; the rest says which login it is of, so that each tab has its own."""

LOGIN_SECONDS = 600
"""How long a login may take."""

LOGINS_AT_ONCE = 5
"""How many logins a browser may have begun; a further one makes the oldest forgotten."""

REMEMBERED = 10_000
"""How many used states are remembered, each for as long as it would be good. Beyond it, the oldest may be tried again,
and it is the forge that refuses its code."""

_COOKIE_NAME = re.compile(r"[A-Za-z0-9_-]+")
# Characters of the state that name its cookie.
_TAG = 16


@dataclass(frozen=True, slots=True)
class BegunLogin:
    """A login that begins: what the forge is asked with."""

    state: str
    challenge: str  # S256 of the verifier (RFC 7636 §4.2)


class LoginStates:
    """Gives out states and recognises them, once each.

    The browser keeps a state's secret in a cookie, signed, so that nothing is stored for strangers, and an answer that
    belongs to no login of this server costs nothing.
    """

    def __init__(self, secret: str, own: OwnCookies, now: Callable[[], float]) -> None:
        self._key = hmac.digest(secret.encode(), b"chatgate: states of logins", "sha256")
        self._own = own
        self._now = now
        # States, and until when they would be good; the oldest first.
        self._used: dict[str, float] = {}

    def begin(self, request: web.BaseRequest, response: web.StreamResponse) -> BegunLogin:
        """Begin a login, and let the response give the browser its cookie."""
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        expires = int(self._now()) + LOGIN_SECONDS
        value = f"{expires}.{verifier}.{self._sign(state, expires, verifier)}"
        self._own.set(response, COOKIE + state[:_TAG], value, LOGIN_SECONDS)
        for name in self._oldest(request):
            self._own.remove(response, name)
        digest = hashlib.sha256(verifier.encode()).digest()
        return BegunLogin(state, base64.urlsafe_b64encode(digest).rstrip(b"=").decode())

    def take(self, request: web.BaseRequest, state: str) -> str | None:
        """The verifier of the login that this browser began with this state; ``None`` if it began none, or used it."""
        for value in self._own.values(request, COOKIE + state[:_TAG]) if state.isascii() else ():
            expires, _, rest = value.partition(".")
            verifier, _, signature = rest.partition(".")
            if not (value.isascii() and expires.isdigit() and len(expires) <= 12):
                continue
            signed = hmac.compare_digest(signature, self._sign(state, int(expires), verifier))
            if signed and self._now() < int(expires) and self._use(state, float(expires)):
                return verifier
        return None

    def forget(self, response: web.StreamResponse, state: str) -> None:
        """Take away the cookie of one login, and leave those of others."""
        if state.isascii():
            self._own.remove(response, COOKIE + state[:_TAG])

    def _sign(self, state: str, expires: int, verifier: str) -> str:
        return hmac.new(self._key, f"{state}.{expires}.{verifier}".encode(), "sha256").hexdigest()

    def _use(self, state: str, expires: float) -> bool:
        """Whether this is the first use of a state."""
        # They are in the order of their use, so one that is no longer good may stay behind one that is. It costs only
        # memory, which `REMEMBERED` bounds: `take` has looked at the time already.
        for each, until in tuple(self._used.items()):
            if until > self._now() and len(self._used) < REMEMBERED:
                break
            del self._used[each]
        if state in self._used:
            return False
        self._used[state] = expires
        return True

    def _oldest(self, request: web.BaseRequest) -> list[str]:
        """The logins, by the names of their cookies, that are too many beside one more."""
        prefix = self._own.name(COOKIE)
        begun = {
            name.removeprefix(self._own.name("")): value.partition(".")[0]
            for name, value in cookies(request)
            if name.startswith(prefix) and _COOKIE_NAME.fullmatch(name)
        }
        # Compared as text with zeros before it: what a cookie says need not be a number.
        newest_first = sorted(begun, key=lambda name: begun[name].zfill(12), reverse=True)
        return newest_first[LOGINS_AT_ONCE - 1 :]
