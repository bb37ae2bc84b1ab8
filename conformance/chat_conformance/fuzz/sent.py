"""What one connection of the fuzzer sends, in pieces that can be left out one by one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a connection speaks."""

    FRAMES = "frames"
    REQUESTS = "requests"


@dataclass(frozen=True, slots=True)
class Sent:
    """One connection.

    Attributes:
        kind: What it speaks.
        number: By which, with the seed, it can be made again.
        pieces: What is sent, in order. A piece is a frame, a request, or a part of either.
        count: How many frames or requests they are.
        legal: Whether nothing in it gives the server a right to close.
        leaves: Whether the client goes away without reading an answer.
        cuts: Where the bytes are cut into writes; each is a length, used in turn. Empty is one write.
    """

    kind: Kind
    number: int
    pieces: tuple[bytes, ...]
    count: int
    legal: bool
    leaves: bool = False
    cuts: tuple[int, ...] = ()
