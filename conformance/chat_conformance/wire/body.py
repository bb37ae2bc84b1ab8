"""The body of an HTTP answer, inflated, of bounded length."""

from __future__ import annotations

import zlib
from typing import Protocol

import aiohttp

from chat_conformance.errors import Failure
from chat_conformance.wire.frames import MAX_PAYLOAD

ENCODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""Those that aiohttp asks for, with the format as zlib counts it."""


class _Decoder(Protocol):
    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes: ...

    @property
    def unconsumed_tail(self) -> bytes: ...


async def read_body(
    response: aiohttp.ClientResponse, *, limit: int = MAX_PAYLOAD, inflated: bool = False
) -> bytes:
    """All of the body, as it was before it was compressed; ``inflated``: aiohttp has seen to that.

    Raises:
        Failure: It is longer than the limit, or compressed wrongly.
    """
    # For a session that leaves bodies as they are (auto_decompress off): aiohttp itself would inflate what it
    # reads at once, a bomb of kilobytes to megabytes, before its length can be looked at.
    encoding = "" if inflated else response.headers.get("Content-Encoding", "").strip().lower()
    decoder = zlib.decompressobj(ENCODINGS[encoding]) if encoding in ENCODINGS else None
    body = bytearray()
    async for data in response.content.iter_any():
        body += data if decoder is None else _inflated(decoder, data, limit + 1 - len(body))
        if len(body) > limit:
            raise Failure(f"a body of at most {limit >> 20} MiB", "it is longer")
    return bytes(body)


def _inflated(decoder: _Decoder, data: bytes, room: int) -> bytes:
    try:
        # At least 1, as 0 means "no bound" to zlib.
        return decoder.decompress(data, max(room, 1))
    except zlib.error as error:
        raise Failure("a body that is compressed as its header says", str(error)) from None
