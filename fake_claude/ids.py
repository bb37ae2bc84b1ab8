"""Fresh ids as the CLI makes them, without importing ``uuid``."""

from __future__ import annotations

import os

_UUID_LENGTHS = (8, 4, 4, 4, 12)


class UuidSource:
    """Version 4 UUIDs: one random head per process and a counter, so that a flood of lines stays cheap."""

    def __init__(self) -> None:
        head = os.urandom(10).hex()
        # The 4 and the a are the version and the variant of RFC 9562; all other digits of the head are random.
        self._head = f"{head[:8]}-{head[8:12]}-4{head[13:16]}-a{head[17:20]}-"
        # Five bytes, while the last part has room for six: no flood of ids makes it a digit too long.
        self._next = int.from_bytes(os.urandom(5), "big")

    def __call__(self) -> str:
        """Return an id that no other call in any process returns."""
        self._next += 1
        return f"{self._head}{self._next:012x}"


fresh_uuid = UuidSource()


def is_uuid(text: str) -> bool:
    """Return whether ``text`` is a UUID in its usual form, in either case (docs/claude-cli.md, sessions)."""
    parts = text.split("-")
    return tuple(map(len, parts)) == _UUID_LENGTHS and all(
        digit in "0123456789abcdefABCDEF" for part in parts for digit in part
    )


def fresh_id(prefix: str) -> str:
    """Return an id in the style of the Messages API, ``msg_01…``."""
    return f"{prefix}_01{os.urandom(11).hex()}"
