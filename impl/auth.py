"""Who a request comes from, and whether its page may ask."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from aiohttp import hdrs, web

from impl.errors import Forbidden, Unauthorized

USER_HEADER = "X-Chat-User"
SECRET_HEADER = "X-Chat-Secret"  # noqa: S105 - the header's name, not its value

USER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@+-]{0,126}[A-Za-z0-9])?", re.ASCII)
PLACEHOLDERS = frozenset({"null", "none", "nil", "undefined", "user", "username"})
"""What a proxy without a name to send sends, besides what ``USER`` refuses anyway (``{user}``, ``$user``, ``-``)."""


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody who is logged in."""

    user: str
    key: str = ""  # names the login, to find its connections when it ends
    expires_at: float | None = None  # Unix seconds


class Identity(Protocol):
    """How users are told apart."""

    async def login(self, request: web.BaseRequest) -> Login:
        """Who sends a request.

        Raises:
            Unauthorized: Nobody is logged in.
            Forbidden: Somebody is, who may not use this chat; or the request came by a wrong way.
        """


class DevIdentity:
    """One local user. Safe because the server listens on loopback only, under a loopback name."""

    _names = ("localhost", "127.0.0.1", "::1")

    async def login(self, request: web.BaseRequest) -> Login:
        """The local user.

        Raises:
            Forbidden: The ``Host`` is not a loopback name: a foreign site whose name was made to point here.
        """
        host = _split(f"//{request.host}").hostname
        if host not in self._names:
            raise Forbidden(f"the dev server answers to {', '.join(self._names)}, not to {host!r}")
        return Login("dev")


class ProxyIdentity:
    """The user whom a trusted proxy names in ``X-Chat-User``, proving itself by ``X-Chat-Secret``."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    async def login(self, request: web.BaseRequest) -> Login:
        """The user that the proxy names.

        Raises:
            Unauthorized: The request did not come by the proxy, or the proxy names nobody, several, or a placeholder.
        """
        check_secret(request, self._secret)
        names = request.headers.getall(USER_HEADER, [])
        if len(names) != 1:
            raise Unauthorized(f"the proxy sent {len(names)} {USER_HEADER} headers; one is needed")
        name = names[0].strip()
        if not USER.fullmatch(name) or name.lower() in PLACEHOLDERS:
            raise Unauthorized(f"the proxy's {USER_HEADER} is not a user's name: {name[:40]!r}")
        return Login(name)


def check_secret(request: web.BaseRequest, secret: str) -> None:
    """Refuse what did not come by the proxy.

    Raises:
        Unauthorized: There is not exactly one ``X-Chat-Secret``, or it is wrong.
    """
    given = request.headers.getall(SECRET_HEADER, [])
    if len(given) != 1 or not hmac.compare_digest(_raw(given[0]), _raw(secret)):
        raise Unauthorized(
            f"this request did not come by the trusted proxy: its {SECRET_HEADER} is missing or wrong"
        )


def check_origin(request: web.BaseRequest, origins: Sequence[str]) -> None:
    """Refuse what a foreign page asks (HAND-4, HTTP-3); ``origins`` are allowed besides the server's own.

    Raises:
        Forbidden: There is an ``Origin``, and it is neither the server's own nor an allowed one.
    """
    given = request.headers.getall(hdrs.ORIGIN, [])
    for origin in given:
        parts = _split(origin)
        own = parts.scheme in {"http", "https"} and parts.netloc.lower() == request.host.lower()
        if not own and origin not in origins:
            raise Forbidden(f"pages of {origin!r} may not use this chat")


def _raw(header: str) -> bytes:
    """A header's value as it was sent, whatever bytes that were."""
    return header.encode(errors="surrogateescape")


def _split(url: str) -> SplitResult:
    """The parts of a URL; all empty when it is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
