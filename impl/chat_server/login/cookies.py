"""Cookies of this server: read from requests as browsers send them, and set with all that keeps them safe."""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import hdrs, web

HOST_PREFIX = "__Host-"
"""Browsers keep a cookie of such a name only from https, for the whole host, and from this very host: neither a
neighbouring subdomain nor an attacker on the network can plant one (RFC 6265bis §4.1.3.2)."""


def cookies(request: web.BaseRequest) -> Iterator[tuple[str, str]]:
    """The cookies of a request, by name and value, in order.

    Browsers send several of one name, left by other paths or domains, and foreign ones in any form. One that cannot be
    understood spoils no other; bytes that are no UTF-8 stay in the value as surrogates.
    """
    for header in request.headers.getall(hdrs.COOKIE, []):
        # RFC 6265 §5.4: names and values as they are, joined by "; ".
        for pair in header.split(";"):
            name, equals, value = pair.strip(" \t").partition("=")
            if equals:
                yield name, value.removeprefix('"').removesuffix('"')


class OwnCookies:
    """How this server's cookies are named and set, by whether browsers reach it by https."""

    def __init__(self, *, https: bool) -> None:
        self._https = https

    def name(self, name: str) -> str:
        """The full name of a cookie."""
        return f"{HOST_PREFIX}{name}" if self._https else name

    def values(self, request: web.BaseRequest, name: str) -> list[str]:
        """All values of a cookie that a request has."""
        return [value for each, value in cookies(request) if each == self.name(name)]

    def set(self, response: web.StreamResponse, name: str, value: str, seconds: int) -> None:
        """Give the browser a cookie that no script reads, and that no foreign page's request but a link carries."""
        response.set_cookie(
            self.name(name),
            value,
            max_age=seconds,
            path="/",  # as the prefix needs it
            httponly=True,
            # Sent when the forge sends people back, not with what foreign pages do.
            samesite="Lax",
            secure=self._https,
        )

    def remove(self, response: web.StreamResponse, name: str) -> None:
        """Take a cookie away."""
        self.set(response, name, "", 0)
