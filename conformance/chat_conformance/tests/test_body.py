"""Bodies that are long, compressed, or both."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import cast

import aiohttp
import pytest

from chat_conformance.errors import Failure
from chat_conformance.wire.body import read_body

MIB = 1 << 20


class Answered:
    """An answer with these pieces of a body; it counts what was read."""

    def __init__(self, pieces: AsyncIterator[bytes], headers: Mapping[str, str]) -> None:
        self.headers = headers
        self.content = self
        self.read = 0
        self._pieces = pieces

    async def iter_any(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            self.read += len(piece)
            yield piece


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for each in data:
        yield each


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(MIB)


def read(body: AsyncIterator[bytes], encoding: str = "", limit: int = MIB) -> bytes:
    answer = Answered(body, {"Content-Encoding": encoding} if encoding else {})
    return asyncio.run(read_body(cast(aiohttp.ClientResponse, answer), limit=limit))


@pytest.mark.parametrize("encoding", ["", "identity", "gzip", "x-gzip", "deflate"])
def test_body_is_read_whole(encoding: str) -> None:
    text = b"a body of some length " * 100
    data = {"deflate": zlib.compress}.get(encoding, gzip.compress if "gzip" in encoding else bytes)(text)

    assert read(pieces(data[:7], data[7:]), encoding) == text


def test_body_at_limit_is_read() -> None:
    assert len(read(pieces(bytes(MIB)))) == MIB


def test_endless_body_is_a_failure() -> None:
    with pytest.raises(Failure, match="a body of at most 1 MiB; it is longer"):
        read(endless())


def test_bomb_is_not_inflated() -> None:
    bomb = gzip.compress(bytes(64 * MIB))

    with pytest.raises(Failure, match="a body of at most 1 MiB; it is longer"):
        read(pieces(bomb), "gzip")


def test_wrong_compression_is_a_failure() -> None:
    with pytest.raises(Failure, match="compressed as its header says"):
        read(pieces(b"plain"), "gzip")
