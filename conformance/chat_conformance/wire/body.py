"""The body of an HTTP answer, inflated, of bounded length."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

import aiohttp

from chat_conformance.errors import Failure
from chat_conformance.wire.frames import MAX_PAYLOAD

ENCODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""Those that we ask for, with the format as zlib counts it."""
PART = 1 << 16
"""How much is inflated at a time, in bytes."""


async def read_body(response: aiohttp.ClientResponse, *, limit: int = MAX_PAYLOAD) -> bytes:
    """All of the body, as it was before it was compressed.

    Raises:
        Failure: It is longer than the limit, or compressed wrongly.
    """
    body = bytearray()
    async for data in inflated(response):
        body += data
        if len(body) > limit:
            raise Failure(f"a body of at most {limit >> 20} MiB", "it is longer")
    return bytes(body)


async def inflated(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body as it comes, as it was before it was compressed; the caller counts how much it is.

    Raises:
        Failure: It is compressed wrongly.
    """
    # For a session that leaves bodies as they are (auto_decompress off): aiohttp itself would inflate what it
    # reads at once, a bomb of kilobytes to megabytes, before its length can be looked at.
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    decoder = zlib.decompressobj(ENCODINGS[encoding]) if encoding in ENCODINGS else None
    async for data in response.content.iter_any():
        if decoder is None:
            yield data
            continue
        try:
            # What does not fit into a part stays in the tail. An empty part says that nothing is left.
            while part := decoder.decompress(data, PART):
                yield part
                data = decoder.unconsumed_tail  # noqa: PLW2901 - what is left of it
        except zlib.error as error:
            raise Failure("a body that is compressed as its header says", str(error)) from None
