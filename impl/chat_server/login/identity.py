"""Who a request comes from."""

from __future__ import annotations

import hmac
import math
import re
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from chat_server.errors import Unauthorized

USER_HEADER = "X-Chat-User"
SECRET_HEADER = "X-Chat-Secret"  # noqa: S105 - the header's name, not its value

USER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@+-]{0,126}[A-Za-z0-9])?", re.ASCII)
"""A name of ASCII: one that looks like another, is written from right to left or hides a character cannot be in it."""

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]")
NOBODY = frozenset(
    (
        # what proxies send where nobody has logged in
        *("anonymous", "anonymoususer", "guest", "nobody", "public", "unauthenticated", "unknown", "unset"),
        *("null", "nil", "none", "undefined", "nan", "na", "false", "true", "empty"),
        # the names of variables and headers that nobody has filled in
        *("user", "userid", "username", "preferredusername", "email", "sub", "uid", "upn"),
        *("remoteuser", "xremoteuser", "httpremoteuser", "authuser", "xauthuser", "httpauthuser"),
        *("httpauthuserid", "authenticateduser", "forwardeduser", "xforwardeduser", "xforwardedemail"),
        *("authrequestuser", "xauthrequestuser", "webauthuser", "xwebauthuser", "chatuser", "xchatuser"),
        *("requser", "requestuser", "sslclientsdn", "sslclientsdncn"),
    )
)
"""Names that are nobody's, in lower case and without anything but letters and digits (ID-1). What ``USER`` refuses
anyway (``{user}``, ``$user``, ``%{REMOTE_USER}s``, ``(null)``, ``-``) is not among them."""


def is_nobody(name: str) -> bool:
    """Whether a name stands for nobody, however it is spelled: ``REMOTE_USER``, ``http.auth.user.id``."""
    return _NOT_IN_NAMES.sub("", name.lower()) in NOBODY


@dataclass(frozen=True, slots=True)
class Login:
    """A user who is logged in."""

    # What everything of theirs is kept under, and never shown.
    user: str
    # As people know them; empty where there is one local user.
    name: str = ""
    # Names the login, to find its connections when it ends.
    key: str = ""
    expires_at: float | None = None  # Unix seconds


class Identity(Protocol):
    """How users are identified."""

    async def login(self, request: web.BaseRequest) -> Login:
        """Who sends a request.

        Raises:
            Unauthorized: Nobody is logged in.
            Forbidden: The user may not use this chat, or the request did not come through the proxy.
        """

    async def seconds_left(self, login: Login) -> float:
        """For how long a login is still good; 0 or less once it has ended."""


class DevIdentity:
    """One local user. Safe because the server listens on loopback only, and answers to loopback names only."""

    async def login(self, _request: web.BaseRequest) -> Login:
        """The local user."""
        return Login("dev")

    async def seconds_left(self, _login: Login) -> float:
        """For ever."""
        return math.inf


class ProxyIdentity:
    """The user that a trusted proxy names in ``X-Chat-User``, proving itself by ``X-Chat-Secret``."""

    def __init__(self, secret: str, *, fold_names: bool = False) -> None:
        """``fold_names`` makes one user of all spellings of a name that differ in letter case only."""
        self._secret = secret
        self._fold_names = fold_names

    async def login(self, request: web.BaseRequest) -> Login:
        """The user that the proxy names.

        Raises:
            Unauthorized: The request did not come by the proxy, or the proxy names nobody, several, or a placeholder.
        """
        check_secret(request, self._secret)
        # In any letter case; X_Chat_User is another header.
        names = request.headers.getall(USER_HEADER, [])
        if len(names) != 1:
            raise Unauthorized(f"the proxy sent {len(names)} {USER_HEADER} headers; one is needed")
        name = names[0].strip(" \t")
        if not USER.fullmatch(name) or is_nobody(name):
            raise Unauthorized(f"the proxy's {USER_HEADER} is not a user's name: {name[:40]!r}")
        return Login(name.lower() if self._fold_names else name, name)

    async def seconds_left(self, _login: Login) -> float:
        """For ever: the proxy does not say when a login ends."""
        return math.inf


def check_secret(request: web.BaseRequest, secret: str) -> None:
    """Refuse what did not come by the proxy.

    Raises:
        Unauthorized: There is not exactly one ``X-Chat-Secret``, or it is wrong.
    """
    if not has_secret(request, secret):
        raise Unauthorized(
            f"this request did not come by the trusted proxy: its {SECRET_HEADER} is missing or wrong"
        )


def has_secret(request: web.BaseRequest, secret: str) -> bool:
    """Whether a request proves that it came by the proxy of this secret; nothing proves it where there is none."""
    given = request.headers.getall(SECRET_HEADER, [])
    return bool(secret) and len(given) == 1 and hmac.compare_digest(_raw(given[0]), _raw(secret))


def _raw(header: str) -> bytes:
    """A header's value as it was sent, whatever bytes that were."""
    return header.encode(errors="surrogateescape")
