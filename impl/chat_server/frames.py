"""WebSocket frames as a server writes them: whole and unmasked (FRAME-5)."""

from __future__ import annotations

PING = b"\x89\x00"
"""A ping without payload (RFC 6455 §5.5.2)."""


def text_frame(payload: bytes) -> bytes:
    """A text frame of any size up to 2**63 - 1 bytes (RFC 6455 §5.2)."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 65_536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), payload)
