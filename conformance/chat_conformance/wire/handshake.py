"""The opening handshake: request and response as bytes and values."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

# RFC 6455 §1.3.
GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_HEAD: Final = 64 * 1024


class HandshakeError(Exception):
    """Bytes that are no HTTP/1.1 response head."""


def accept_key(key: str) -> str:
    """The ``Sec-WebSocket-Accept`` that answers a key (RFC 6455 §4.2.2)."""
    # The RFC's own example (§1.3): "dGhlIHNhbXBsZSBub25jZQ==" is answered by "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()  # noqa: S324  (the RFC's choice)


def encode_key(nonce: bytes) -> str:
    """The ``Sec-WebSocket-Key`` of a nonce; a right one has 16 bytes (RFC 6455 §4.1)."""
    return base64.b64encode(nonce).decode()


def upgrade_headers(host: str, key: str, *, subprotocols: tuple[str, ...] = ()) -> dict[str, str]:
    """The headers of a valid opening handshake (RFC 6455 §4.1)."""
    headers = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
    }
    if subprotocols:
        headers["Sec-WebSocket-Protocol"] = ", ".join(subprotocols)
    return headers


def encode_request(
    path: str,
    headers: Mapping[str, str | None],
    *,
    method: str = "GET",
    http: str = "1.1",
    more: Sequence[tuple[str, str]] = (),
) -> bytes:
    """A request head as bytes; a header whose value is None is left out, ``more`` may repeat names."""
    lines = [f"{method} {path} HTTP/{http}"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
    lines += [f"{name}: {value}" for name, value in more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@dataclass(frozen=True, slots=True)
class Response:
    """A response head.

    Attributes:
        status: The status code.
        reason: The words after it.
        headers: Name in lower case and value, in order; repeated headers stay repeated.
    """

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        """The value of a header, repeated ones joined by a comma, None when it is absent."""
        values = [value for other, value in self.headers if other == name.lower()]
        return ", ".join(values) if values else None


class ResponseDecoder:
    """A response head from a stream of bytes; what follows it stays in ``rest``."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.rest = b""

    def feed(self, data: bytes) -> Response | None:
        """Add received bytes and return the response once its head is whole.

        Raises:
            HandshakeError: This is no HTTP/1.1 response, or its head passes 64 KiB.
        """
        self._buffer += data
        head, end, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        # As many bytes as there are are compared: "HT" may become a response, while "SSH-2.0" is refused
        # without a wait for a head that never ends.
        if not b"HTTP/1.".startswith(head[:7]) and head[:7] != b"HTTP/1.":
            raise HandshakeError(f"not an HTTP/1.1 response: {head[:60]!r}")
        if not end:
            if len(head) > MAX_HEAD:
                raise HandshakeError(f"a response head of more than {MAX_HEAD} bytes")
            return None
        self.rest = rest
        return _parse_head(head)


def _parse_head(head: bytes) -> Response:
    # Every byte is a character of Latin-1, so a header in any encoding can be read and shown.
    status_line, *lines = head.decode("latin-1").split("\r\n")
    parts = status_line.split(" ", 2)
    if len(parts) < 2 or not (parts[1].isdigit() and len(parts[1]) == 3):
        raise HandshakeError(f"a status line without a status: {status_line!r}")
    headers: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.partition(":")
        # White space before the colon and folded lines are what requests and responses are smuggled by (RFC
        # 9112 §5.1, §5.2).
        if not colon or not name or name != name.strip():
            raise HandshakeError(f"not a header line: {line!r}")
        headers.append((name.lower(), value.strip()))
    return Response(int(parts[1]), parts[2] if len(parts) == 3 else "", tuple(headers))


def check_response(
    response: Response, key: str, *, offered: tuple[str, ...] = (), extensions: str = ""
) -> str | None:
    """What RFC 6455 §4.1 has against this answer to a valid handshake, None if nothing."""
    if response.status != 101:
        return f"status {response.status} {response.reason}".rstrip()
    return (
        _check_upgrade(response, key)
        or _check_choice(response, offered)
        or _check_extensions(response, extensions)
    )


def _check_upgrade(response: Response, key: str) -> str | None:
    if (response.header("upgrade") or "").lower() != "websocket":
        return f"Upgrade is {response.header('upgrade')!r}, not 'websocket'"
    # The header is a list, such as "keep-alive, Upgrade", and case does not count (RFC 6455 §4.1).
    tokens = [token.strip().lower() for token in (response.header("connection") or "").split(",")]
    if "upgrade" not in tokens:
        return f"Connection is {response.header('connection')!r} and does not name 'Upgrade'"
    if response.header("sec-websocket-accept") != accept_key(key):
        return f"Sec-WebSocket-Accept is {response.header('sec-websocket-accept')!r}, not {accept_key(key)!r}"
    return None


def _check_choice(response: Response, offered: tuple[str, ...]) -> str | None:
    chosen = response.header("sec-websocket-protocol")
    if chosen is not None and chosen not in offered:
        return f"the subprotocol {chosen!r} was not offered"
    return None


def _check_extensions(response: Response, offered: str) -> str | None:
    if (chosen := response.header("sec-websocket-extensions")) is None:
        return None
    names = _names(chosen)
    if unoffered := [name for name in names if name not in _names(offered)]:
        return f"the extension {unoffered[0]!r} was not offered"
    return f"an extension is chosen twice: {chosen!r}" if len(set(names)) < len(names) else None


def _names(extensions: str) -> list[str]:
    return [each.partition(";")[0].strip() for each in extensions.split(",")]
