"""Large documents are made and sent in pieces, and are what they would be in one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from chat_server.protocol import Usage
from chat_server.store.records import Conversation, StoredTurn
from chat_server.tests.loop_clock import in_time
from chat_server.web.responses import (
    PIECE,
    answer_in_pieces,
    conversation_document,
    history_pieces,
    message_documents,
)

CONVERSATION = Conversation("0123456789ab", 'a "title"', None, 1.0, 2.0)
TEXTS = [
    "",
    "plain",
    '"quotes" \\ \n \x00 \u2028 ä 👩‍👧',
    "👧" * (2 * PIECE + 1),
    '"' * PIECE,
    "x" * (PIECE + 1),
]


def turn(text: str) -> StoredTurn:
    steps = '[{"type":"thinking","thinking":"hm","at":0}]' if text else ""
    return StoredTurn("0123456789ab", "m1", text, text, "failed", "x", text[:9], Usage(1, 2), 1.0, 2.0, steps)


async def in_batches(turns: list[StoredTurn]) -> AsyncIterator[list[StoredTurn]]:
    for each in turns:
        yield []
        yield [each]


@pytest.mark.parametrize("texts", [[], *([text] for text in TEXTS), TEXTS])
async def test_pieces_of_history_are_the_document(texts: list[str]) -> None:
    turns = [turn(text) for text in texts]
    messages = [message for each in turns for message in message_documents(each)]
    whole = msgspec.json.encode({**conversation_document(CONVERSATION), "messages": messages})

    pieces = [piece async for piece in history_pieces(CONVERSATION, in_batches(turns))]

    assert msgspec.json.decode(b"".join(pieces)) == msgspec.json.decode(whole)
    assert max(map(len, pieces)) <= 6 * PIECE + 2


async def numbers(count: int) -> AsyncIterator[bytes]:
    yield b"["
    for number in range(count):
        yield b"%d," % number
    yield b"0]"


@pytest.mark.parametrize(("count", "chunked"), [(0, False), (100, False), (100_000, True)])
async def test_only_large_documents_come_in_chunks(count: int, chunked: bool) -> None:  # noqa: FBT001
    async def handle(request: web.Request) -> web.StreamResponse:
        return await answer_in_pieces(request, numbers(count))

    app = web.Application()
    app.router.add_get("/", handle)
    async with in_time(), TestClient(TestServer(app)) as client:
        answer = await client.get("/")
        assert await answer.json() == [*range(count), 0]
        assert answer.content_type == "application/json"
        assert ("Content-Length" not in answer.headers) == chunked
        head = await client.head("/")
        assert (head.status, await head.read()) == (200, b"")
        assert (await client.get("/")).status == 200  # on the same connection, which nothing is left on
