"""The documents that answer requests over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from math import ceil
from typing import Any

import msgspec
from aiohttp import hdrs, web

from chat_server.errors import STATUS, ChatError
from chat_server.printable import printable
from chat_server.protocol import Failed
from chat_server.store.records import Conversation, StoredTurn
from chat_server.store.store import rfc3339
from chat_server.turns.event_log import TurnLog, answer_text

dumps = msgspec.json.Encoder().encode

PIECE = 1 << 16
"""How much of a large document is encoded and sent at a time, in characters and in bytes."""

PAUSE = 0.003
"""Between two such pieces, in seconds, others are served, and other processes have the processor."""


def redirect(target: str) -> web.Response:
    """Send a browser elsewhere, relative to where it is, since a proxy may have put us anywhere."""
    return web.Response(status=303, headers={hdrs.LOCATION: target})


def json_answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A document as an HTTP answer."""
    return web.Response(body=dumps(document), status=status, content_type="application/json", headers=headers)


async def answer_in_pieces(request: web.Request, pieces: AsyncIterable[bytes]) -> web.StreamResponse:
    """A JSON document of any size as an HTTP answer; a large one is made while it is sent (TURN-10)."""
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/json"})
    gathered = bytearray()
    async for piece in pieces:
        gathered += piece
        if len(gathered) >= PIECE:
            if not response.prepared:
                await response.prepare(request)
                if request.method == hdrs.METH_HEAD:
                    return response
            await response.write(bytes(gathered))
            gathered.clear()
            await asyncio.sleep(PAUSE)
    if not response.prepared:
        return web.Response(body=bytes(gathered), content_type="application/json")
    await response.write(bytes(gathered))
    await response.write_eof()
    return response


def error_answer(
    error: ChatError, status: int | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A refusal as an HTTP answer (docs/protocol.md §8); ``status`` is the error's own unless another is given."""
    document: dict[str, Any] = {"code": error.code, "message": printable(error.message)}
    headers = dict(headers or {})
    if error.retry_after is not None:
        document["retry_after"] = error.retry_after
        headers[hdrs.RETRY_AFTER] = str(ceil(error.retry_after))  # HTTP-4
    return json_answer({"error": document}, status or error.status, headers)


def outcome(log: TurnLog) -> tuple[int, dict[str, Any]]:
    """HTTP status and document for a turn that is over."""
    events = log.read(0)
    ids = {"conversation_id": log.accepted.conversation_id, "message_id": log.accepted.message_id}
    match events[-1]:
        case Failed(code=code, message=message):
            return STATUS[code], {"error": {"code": code, "message": message}, **ids}
        case _:
            return 200, {"response": answer_text(events), **ids}


def conversation_document(conversation: Conversation) -> dict[str, Any]:
    """A conversation as lists show it, with a preview if there is one at hand (HIST-3)."""
    document = {
        "id": conversation.id,
        "title": conversation.title,
        "created_at": rfc3339(conversation.created_at),
        "updated_at": rfc3339(conversation.updated_at),
    }
    return document if conversation.preview is None else {**document, "preview": conversation.preview}


async def history_pieces(
    conversation: Conversation, batches: AsyncIterable[Sequence[StoredTurn]]
) -> AsyncIterator[bytes]:
    """A conversation with its messages as JSON (HIST-4), of which no piece takes long to make."""
    yield dumps(conversation_document(conversation))[:-1] + b',"messages":['
    between = b""
    async for batch in batches:
        for message in (message for turn in batch for message in message_documents(turn)):
            content = message.pop("content")
            yield between + dumps(message)[:-1] + b',"content":"'
            for start in range(0, len(content), PIECE):
                yield dumps(content[start : start + PIECE])[1:-1]
            yield b'"}'
            between = b","
    yield b"]}"


def message_documents(turn: StoredTurn) -> list[dict[str, Any]]:
    """A turn as history shows it: the prompt, and the answer as far as there is one (HIST-4)."""
    answered: dict[str, Any] = {
        "role": "assistant",
        "content": turn.answer,
        "message_id": turn.message_id,
        "status": turn.status,
        "created_at": rfc3339(turn.ended_at or turn.started_at),
    }
    if turn.steps:
        # HIST-8; it is JSON in the form of the protocol.
        answered["steps"] = msgspec.Raw(turn.steps.encode())
    if turn.detail:
        answered["error"] = {"code": turn.stop_reason, "message": turn.detail}
    return [
        {
            "role": "user",
            "content": turn.prompt,
            "message_id": turn.message_id,
            "status": "complete",
            "created_at": rfc3339(turn.started_at),
        },
        answered,
    ]
