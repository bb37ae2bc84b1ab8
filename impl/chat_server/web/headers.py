"""The headers that every answer carries (HTTP-7)."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import hdrs

SERVER = "chatgate"
"""Not which library answers, and in which version."""

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types dompurify"
)
"""Nothing of other origins, no frames around the page, and no text that becomes markup in the DOM, but through the
policy that DOMPurify makes for itself."""

PERMISSIONS = ", ".join(
    f"{feature}=()"
    for feature in ("camera", "display-capture", "geolocation", "microphone", "midi", "payment", "usb")
)

HEADERS: Mapping[str, str] = {
    hdrs.SERVER: SERVER,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": CONTENT_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": PERMISSIONS,
    hdrs.CACHE_CONTROL: "no-store",  # the page's files say otherwise
}

STRICT_TRANSPORT = {"Strict-Transport-Security": "max-age=31536000"}
"""RFC 6797: browsers use https alone for a year. For a server whose public address is https."""


def bare_answer(status: int, reason: str) -> bytes:
    """An answer without a body, to a connection that is closed then."""
    lines = [f"HTTP/1.1 {status} {reason}", "Connection: close", "Content-Length: 0"]
    lines += [f"{name}: {value}" for name, value in HEADERS.items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii")
