"""Who a request comes from, and whether its page may ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from impl.errors import Forbidden


class Identity(Protocol):
    """How users are told apart."""

    def user(self, request: web.BaseRequest) -> str:
        """The user of a request; never empty.

        Raises:
            ChatError: ``unauthorized`` or ``forbidden``.
        """


class DevIdentity:
    """One local user. Safe because the server listens on loopback only, under a loopback name."""

    _names = ("localhost", "127.0.0.1", "::1")

    def user(self, request: web.BaseRequest) -> str:
        """The local user.

        Raises:
            Forbidden: The ``Host`` is not a loopback name: a foreign site whose name was made to point here.
        """
        host = urlsplit(f"//{request.host}").hostname
        if host not in self._names:
            raise Forbidden(f"the dev server answers to {', '.join(self._names)}, not to {host!r}")
        return "dev"


def check_origin(request: web.BaseRequest, origins: Sequence[str]) -> None:
    """Refuse what a foreign page asks (HAND-4, HTTP-3); ``origins`` are allowed besides the server's own.

    Raises:
        Forbidden: There is an ``Origin``, and it is neither the server's own nor an allowed one.
    """
    given = request.headers.getall(hdrs.ORIGIN, [])
    for origin in given:
        parts = urlsplit(origin)
        own = parts.scheme in {"http", "https"} and parts.netloc.lower() == request.host.lower()
        if not own and origin not in origins:
            raise Forbidden(f"pages of {origin} may not use this chat")
