"""Chats that stream over HTTP: what comes is read, whatever the answers end with, and a cut stream is taken up."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web

from chat_conformance.errors import Failure, NotOffered, UsageError
from chat_conformance.suite.opening import Opening
from chat_conformance.suite.turn import TurnReader
from chat_conformance.target.file import Target
from chat_conformance.target.speech import Speech
from chat_conformance.wire.http_stream import StreamChannel, streaming
from chat_conformance.wire.trace import Trace
from fake_claude.patience import patience

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ASK = {"chat_request": {"prompt": "{prompt}", "session": "{conversation_id}"}}
SSE: dict[str, Any] = {
    "transport": "sse",
    "stream": {"send": "POST /chat"},
    "messages": ASK,
    "captures": {"conversation_id": "session"},
    "events": [
        {"is": "token", "when": {"@event": "delta"}, "text": "text"},
        {"is": "complete", "when": {"@event": "done"}},
        {"is": "error", "when": {"@event": "problem"}, "members": {"message": "why"}},
    ],
}
LINES: dict[str, Any] = {
    "transport": "json-lines",
    "stream": {"send": "POST /chat"},
    "messages": ASK,
    "events": [{"is": "token", "has": ["delta"], "text": "delta"}],
}
FOLLOWED: dict[str, Any] = {
    **SSE,
    "stream": {"send": "POST /chat", "open": "GET /events", "resume": True},
}


@asynccontextmanager
async def channel_of(description: dict[str, Any], **handlers: Handler) -> AsyncIterator[StreamChannel]:
    """A channel to a server with these handlers: ``post`` at ``/chat``, ``get`` at ``/events``."""
    app = web.Application()
    for method, path in (("post", "/chat"), ("get", "/events"), ("put", "/chat/{id}")):
        if method in handlers:
            app.router.add_route(method, path, handlers[method])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    target = msgspec.convert({"name": "s", "url": "http://127.0.0.1:1", **description}, Target)
    trace = Trace()
    try:
        async with streaming(
            f"http://127.0.0.1:{port}",
            name="http1",
            trace=trace,
            within=patience(10),
            speech=Speech(target),
            headers={},
        ) as channel:
            yield channel
    finally:
        await runner.cleanup()


async def ask(channel: StreamChannel, prompt: str = "hi", message_id: str = "m1") -> TurnReader:
    turn = TurnReader(channel, message_id, len(channel.events))
    await channel.send_json(type="chat_request", message=prompt, message_id=message_id)
    return turn


def answering(*parts: bytes | asyncio.Event, breaks: bool = False, status: int = 200) -> Handler:
    """A handler that sends parts, waits for what is an event, and may break the answer off."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for part in parts:
            if isinstance(part, bytes):
                await response.write(part)
            else:
                await part.wait()
        if breaks:
            assert request.transport is not None
            request.transport.abort()
        return response

    return handler


DELTA = b'event: delta\ndata: {"text": "%s", "session": "s1"}\n\n'
DONE = b"event: done\ndata: {}\n\n"


async def test_answer_of_a_post_is_a_turn() -> None:
    async with channel_of(SSE, post=answering(DELTA % b"a", DELTA % b"b", DONE)) as channel:
        turn = await ask(channel)

        assert await turn.complete() == "ab"
        assert channel.speech.captures["conversation_id"] == "s1"


async def test_tokens_come_while_the_answer_goes_on() -> None:
    gate = asyncio.Event()
    async with channel_of(SSE, post=answering(DELTA % b"a", gate, DELTA % b"b", DONE)) as channel:
        turn = await ask(channel)
        await turn.until_text("a")
        before = turn.terminal
        gate.set()

        assert (before, await turn.complete()) == (None, "ab")


async def test_answers_in_parallel_are_separate() -> None:
    gate = asyncio.Event()
    replies = iter([answering(DELTA % b"one", gate, DONE), answering(DELTA % b"two", DONE)])

    async def post(request: web.Request) -> web.StreamResponse:
        return await next(replies)(request)

    async with channel_of(SSE, post=post) as channel:
        one = await ask(channel, message_id="m1")
        await one.until_text("one")
        two = await (await ask(channel, message_id="m2")).complete()
        gate.set()

        assert (await one.complete(), two) == ("one", "two")


async def test_end_without_its_word_fails_at_once() -> None:
    async with channel_of(SSE, post=answering(DELTA % b"a")) as channel:
        turn = await ask(channel)
        with pytest.raises(Failure, match="ended before its end was said"):
            await turn.complete()


async def test_broken_answer_is_no_end() -> None:
    async with channel_of(LINES, post=answering(b'{"delta": "a"}\n', breaks=True)) as channel:
        turn = await ask(channel)
        with pytest.raises(Failure, match="the answer broke off"):
            await turn.complete()


async def test_end_of_the_body_is_the_end_where_no_word_says_it() -> None:
    async with channel_of(LINES, post=answering(b'{"delta": "a"}\n{"del', b'ta": "b"}')) as channel:
        assert await (await ask(channel)).complete() == "ab"


async def test_comments_and_blank_lines_are_pings() -> None:
    for description, sign in ((SSE, b": still there\n\n"), (LINES, b"\n")):
        gate = asyncio.Event()
        async with channel_of(description, post=answering(sign, gate)) as channel:
            await ask(channel)
            assert len(await channel.expect_ping()) == 1
            gate.set()


@pytest.mark.parametrize(
    ("status", "code"), [(409, "busy"), (429, "rate_limited"), (413, "too_large"), (418, "bad_request")]
)
async def test_status_of_a_refusal_is_its_code(status: int, code: str) -> None:
    async def post(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="no")

    async with channel_of(SSE, post=post) as channel:
        end = await (await ask(channel)).finish()

        assert (end["type"], end["code"], end["message"]) == ("error", code, "no")


async def test_compressed_refusal_is_read() -> None:
    async def post(_: web.Request) -> web.StreamResponse:
        response = web.Response(status=409, text="no")
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with channel_of(SSE, post=post) as channel:
        end = await (await ask(channel)).finish()

        assert (end["code"], end["message"]) == ("busy", "no")


async def test_unreadable_answer_is_said_so() -> None:
    async with channel_of(SSE, post=answering(b"event: delta\ndata: {oops\n\n", DONE)) as channel:
        turn = await ask(channel)
        await turn.finish()

        assert "not JSON" in str(channel.events[0])


@pytest.mark.parametrize(
    ("encoding", "seen"),
    [
        ("json", ("/chat", '{"prompt":"a b&ü"}', "application/json")),
        ("form", ("/chat", "prompt=a+b%26%C3%BC", "application/x-www-form-urlencoded")),
        ("query", ("/chat?prompt=a+b%26%C3%BC", "", "application/octet-stream")),
        ("text", ("/chat", "{'prompt': 'a b&ü'}", "text/plain; charset=utf-8")),
    ],
)
async def test_messages_go_out_as_described(encoding: str, seen: tuple[str, str, str]) -> None:
    came = []

    async def post(request: web.Request) -> web.StreamResponse:
        came.append((request.raw_path, await request.text(), request.headers.get("Content-Type")))
        return web.Response(text="")

    description = {**LINES, "stream": {"send": "POST /chat", "encoding": encoding}}
    async with channel_of(description, post=post) as channel:
        await (await ask(channel, "a b&ü")).complete()

        assert came == [seen]


async def test_captures_are_quoted_into_the_path() -> None:
    came = []

    async def put(request: web.Request) -> web.StreamResponse:
        came.append(request.raw_path)
        return web.Response(text="")

    async with channel_of({**LINES, "stream": {"send": "PUT /chat/{conversation_id}"}}, put=put) as channel:
        channel.speech.captures["conversation_id"] = "a/b c"
        await (await ask(channel)).complete()

        assert came == ["/chat/a%2Fb%20c"]


async def test_message_that_no_request_carries_is_not_offered() -> None:
    async with channel_of({**SSE, "messages": {**ASK, "cancel": {}}}) as channel:
        with pytest.raises(NotOffered, match=r"stream\.requests"):
            await channel.send_json(type="cancel")


async def test_cookies_are_kept() -> None:
    came = []

    async def post(request: web.Request) -> web.StreamResponse:
        came.append(request.cookies.get("session"))
        response = web.Response(text="")
        response.set_cookie("session", "s1")
        return response

    async with channel_of(LINES, post=post) as channel:
        for number in range(2):
            await (await ask(channel, message_id=f"m{number}")).complete()

        assert came == [None, "s1"]


async def test_cut_stream_is_taken_up_where_it_was() -> None:
    asked, opened = [], asyncio.Event()
    held = asyncio.Event()

    async def get(request: web.Request) -> web.StreamResponse:
        last = request.headers.get("Last-Event-ID")
        asked.append(last)
        if last is None:
            return await answering(opened, b"retry: 1\nid: 1\n" + DELTA % b"a", held)(request)
        return await answering(b"id: 2\n" + DELTA % b"b", b"id: 3\n" + DONE, held)(request)

    async def post(_: web.Request) -> web.StreamResponse:
        opened.set()
        return web.json_response({"ok": True}, status=202)

    async with channel_of(FOLLOWED, get=get, post=post) as channel:
        turn = await ask(channel)
        await turn.until_text("a")
        channel.cut()

        assert (await turn.complete(), asked) == ("ab", [None, "1"])
        held.set()


async def test_refused_stream_is_a_failure() -> None:
    async def get(_: web.Request) -> web.StreamResponse:
        return web.Response(status=401)

    with pytest.raises(Failure, match="answered with 401"):
        async with channel_of(FOLLOWED, get=get):
            pass


async def test_dropped_channel_ends_its_requests() -> None:
    gone = asyncio.Event()

    async def post(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(DELTA % b"a")
        try:
            while True:
                await response.write(b": x\n\n")
                await asyncio.sleep(0.01)
        finally:
            gone.set()

    async with channel_of(SSE, post=post) as channel:
        turn = await ask(channel)
        await turn.until_text("a")
        channel.abort()
        async with asyncio.timeout(patience(10)):
            await gone.wait()

        assert channel.ended == "we dropped it"


async def test_what_is_not_read_piles_up() -> None:
    async def post(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(200):
            await response.write(DELTA % (b"x" * 100_000))
        await response.write(DONE)
        return response

    async with channel_of(SSE, post=post) as channel:
        turn = await ask(channel)
        channel.stall()
        await channel.clogged()
        before = len(channel.events)
        channel.read_on()

        assert (before < 20, len(await turn.complete())) == (True, 20_000_000)


async def test_too_much_ends_the_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_conformance.wire.channel.MAX_RECEIVED", 1 << 20)
    async with channel_of(
        SSE, post=answering(DELTA % (b"x" * 100_000), *[DELTA % (b"x" * 100_000)] * 20)
    ) as channel:
        turn = await ask(channel)
        with pytest.raises(Failure, match="more than 1 MiB"):
            await turn.complete()


CANCELLED: dict[str, Any] = {
    **LINES,
    "stream": {"send": "POST /chat", "requests": {"cancel": "PUT /chat/{message_id}"}},
    "messages": {**ASK, "cancel": {}},
}


async def test_answered_cancel_ends_no_turn() -> None:
    gate = asyncio.Event()
    async with channel_of(
        CANCELLED, post=answering(b'{"delta": "a"}\n', gate, b'{"delta": "b"}\n'), put=answering()
    ) as channel:
        turn = await ask(channel)
        await turn.until_text("a")
        before = set(channel._tasks)
        await channel.send_json(type="cancel", message_id="m1")
        await asyncio.gather(*(channel._tasks - before))
        gate.set()

        assert await turn.complete() == "ab"


async def test_opening_message_ends_no_wait() -> None:
    gate = asyncio.Event()
    replies = iter([answering(), answering(gate, DELTA % b"a", DONE)])

    async def post(request: web.Request) -> web.StreamResponse:
        return await next(replies)(request)

    async with channel_of(SSE, post=post) as channel:
        await channel.send_message({"login": "ada"})
        await asyncio.gather(*channel._tasks)
        await ask(channel)
        waiting = asyncio.create_task(channel.expect_event())
        await asyncio.sleep(0)
        gate.set()

        assert (await waiting)[1]["token"] == "a"


async def no_request(*_: Any, **__: Any) -> Any:
    raise AssertionError


async def test_opening_waits_on_an_answer() -> None:
    steps = [{"send": {"login": "ada"}}, {"wait": {"text": "welcome"}}]
    async with channel_of({**SSE, "opening": steps}, post=answering(DELTA % b"welcome", DONE)) as channel:
        await Opening(channel.speech, no_request).after(channel)

        assert (channel.events, channel.speech.captures["conversation_id"]) == ([], "s1")


async def test_greeting_that_opens_is_not_ignored() -> None:
    steps = [{"send": {"login": "ada"}}, {"wait": {"hello": "ada"}}]
    async with channel_of(
        {**SSE, "opening": steps}, post=answering(b'data: {"hello": "ada"}\n\n')
    ) as channel:
        await Opening(channel.speech, no_request).after(channel)

        assert channel.ignored_in_words() == ""


async def test_refusal_that_no_rule_takes() -> None:
    async def post(_: web.Request) -> web.StreamResponse:
        return web.json_response({"detail": "slow down"}, status=429)

    async with channel_of(SSE, post=post) as channel:
        end = await (await ask(channel)).finish()

        assert (end["code"], end["message"]) == ("rate_limited", '{"detail": "slow down"}')


async def test_redirect_is_a_refusal() -> None:
    async def post(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "/login"})

    async with channel_of(SSE, post=post) as channel:
        assert (await (await ask(channel)).finish())["status"] == 302


async def test_path_without_values_is_not_offered() -> None:
    async with channel_of({**LINES, "stream": {"send": "PUT /chat/{conversation_id}"}}) as channel:
        with pytest.raises(NotOffered, match="needs 'conversation_id'"):
            await ask(channel)


async def test_message_that_cannot_be_encoded() -> None:
    description = {**LINES, "stream": {"send": "POST /chat", "encoding": "form"}}
    async with channel_of({**description, "messages": {"chat_request": "{prompt}"}}) as channel:
        with pytest.raises(UsageError, match="a message is no table"):
            await ask(channel)


async def test_stream_without_values_is_not_offered() -> None:
    with pytest.raises(NotOffered, match="needs 'session'"):
        async with channel_of({**SSE, "stream": {"send": "POST /chat", "open": "GET /events?{session}"}}):
            pass


async def test_last_id_outlives_idle_streams() -> None:
    asked: list[str | None] = []
    streams = iter([b"retry: 1\nid: 7\n\n", b": hello\n\n", b"id\n\n", b": hello\n\n"])
    held, done = asyncio.Event(), asyncio.Event()

    async def get(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Last-Event-ID"))
        if (stream := next(streams, None)) is not None:
            return await answering(stream)(request)
        done.set()
        return await answering(held)(request)

    async with channel_of(FOLLOWED, get=get):
        async with asyncio.timeout(patience(10)):
            await done.wait()
        held.set()

    assert asked == [None, "7", "7", None, None]


def compressed(*parts: bytes, gate: asyncio.Event | None = None) -> Handler:
    """A handler that sends parts, each flushed, in gzip; it waits before the last."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Encoding": "gzip"})
        await response.prepare(request)
        encoder = zlib.compressobj(wbits=31)
        for number, part in enumerate(parts, 1):
            if gate is not None and number == len(parts):
                await gate.wait()
            await response.write(encoder.compress(part) + encoder.flush(zlib.Z_SYNC_FLUSH))
        await response.write(encoder.flush())
        return response

    return handler


async def test_compressed_stream_is_read_as_it_comes() -> None:
    gate = asyncio.Event()
    async with channel_of(SSE, post=compressed(DELTA % b"a", DELTA % b"b" + DONE, gate=gate)) as channel:
        turn = await ask(channel)
        await turn.until_text("a")
        gate.set()

        assert await turn.complete() == "ab"


async def test_bomb_in_a_stream_is_not_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_conformance.wire.channel.MAX_RECEIVED", 1 << 20)
    async with channel_of(SSE, post=compressed(bytes(16 << 20))) as channel:
        turn = await ask(channel)
        with pytest.raises(Failure, match="more than 1 MiB"):
            await turn.complete()

        assert channel._received < 2 << 20


async def test_wrongly_compressed_stream_is_said_so() -> None:
    async def get(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Encoding": "gzip"})
        await response.prepare(request)
        await response.write(b"plain")
        return response

    async with channel_of(FOLLOWED, get=get) as channel:
        with pytest.raises(Failure, match="compressed as its header says"):
            await channel.expect_event()
