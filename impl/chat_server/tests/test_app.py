"""HTTP: every response has its status and form, and pages of other origins are refused."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from chat_server.app import READY_SECONDS
from chat_server.shares import BODIES_AT_ONCE, REQUESTS_AT_ONCE
from chat_server.tests.loop_clock import LONG, LoopClock, in_time
from chat_server.tests.sites import Address, Fake, Site, program, site, until
from chat_server.turns.turn import Turn
from chat_server.web.handlers import STATIC
from chat_server.web.keys import CONNECTIONS, SHARES, STORE, TURNS
from chat_server.web.serving import LINGER_SECONDS
from fake_claude.gates import Gate

NOWHERE = "0123456789ab"
FORM = "application/x-www-form-urlencoded"
ZULU = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture
async def chat(fake: Fake, tmp_path: Path) -> AsyncIterator[Site]:
    async with site(fake.command, tmp_path) as running:
        yield running


@pytest.fixture
async def there(outpost: str) -> AsyncIterator[Address]:
    """A server that other tests use too."""
    async with aiohttp.ClientSession() as http:
        yield Address(outpost, http)


async def post(chat: Address, **form: str) -> tuple[int, dict[str, Any]]:
    body = io.BytesIO(urlencode(form).encode())
    async with chat.http.post(f"{chat.url}/chat", data=body, headers={"Content-Type": FORM}) as response:
        return response.status, await response.json()


async def raw(chat: Address, request: bytes) -> bytes:
    """What comes back for bytes that no client library would send."""
    host, _, port = chat.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request)
    try:
        async with in_time():
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"Content-Length: (\d+)", head)
            return head + (await reader.readexactly(int(length[1])) if length else b"")
    finally:
        writer.close()
        await writer.wait_closed()


def running(chat: Site) -> list[Turn]:
    return list(chat.app[TURNS]._running.values())


@asynccontextmanager
async def long_post(
    chat: Site, clock: LoopClock, gate: Gate, **form: str
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer to a POST whose turn stands at the gate; the clock is moved until it has begun."""

    async def post() -> aiohttp.ClientResponse:
        return await chat.http.post(f"{chat.url}/chat", data=form)

    posting = asyncio.create_task(post())
    await gate.reached()
    await pass_by(chat, clock)
    async with await posting as response:
        yield response


async def pass_by(chat: Site, clock: LoopClock) -> None:
    """Move the clock past the keepalive of a POST that waits for its turn."""
    await until(lambda: any(each.log._readers for each in running(chat)))
    clock.advance()


# --- POST /chat


async def test_post_answers_with_the_whole_turn(chat: Site) -> None:
    status, answer = await post(chat, message="[[fake tokens=3]]", message_id="m1")

    assert status == 200
    assert (answer["response"], answer["message_id"]) == ("t1 t2 t3 ", "m1")
    assert [each["content"] for each in await chat.history(answer["conversation_id"])] == [
        "[[fake tokens=3]]",
        "t1 t2 t3 ",
    ]


async def test_post_continues_a_conversation(chat: Site) -> None:
    _, first = await post(chat, message="one")
    _, second = await post(chat, message="two", conversation_id=first["conversation_id"])

    assert "turn 2 of our conversation" in second["response"]


async def test_post_and_socket_share_a_conversation(chat: Site, fake: Fake) -> None:
    _, first = await post(chat, message="one")
    async with chat.socket() as peer:
        await peer.chat("two", conversation_id=first["conversation_id"])
        await peer.turn()

    assert len(await chat.history(first["conversation_id"])) == 4
    assert len(fake.runs()) == 1


async def test_post_sent_again_is_the_same_turn(chat: Site, fake: Fake) -> None:
    assert await post(chat, message="hi", message_id="m1") == await post(chat, message="hi", message_id="m1")
    assert len(fake.runs()) == 1


async def test_post_may_be_multipart(chat: Site) -> None:
    form = aiohttp.FormData({"message": "héllo"}, default_to_multipart=True)
    async with chat.http.post(f"{chat.url}/chat", data=form) as response:
        assert "héllo" in (await response.json())["response"]


BAD_FORMS: list[Any] = [
    pytest.param({}, 400, "bad_request", "the message is empty", id="nothing"),
    pytest.param({"message": " "}, 400, "bad_request", "the message is empty", id="empty"),
    pytest.param(
        {"message": "x", "message_id": "a b"}, 400, "bad_request", "message_id is 'a b'", id="message-id"
    ),
    pytest.param(
        {"message": "x", "conversation_id": "1"}, 400, "bad_request", "12 lower-case", id="conversation-id"
    ),
    pytest.param({"message": "x", "conversation_id": NOWHERE}, 404, "not_found", NOWHERE, id="unknown"),
    pytest.param({"message": "x" * (2**20 + 1)}, 413, "too_large", "1,048,577 bytes", id="too-large"),
    pytest.param(
        {"message": "x" * (7 * 2**20)}, 413, "too_large", "the request is too large", id="far-too-large"
    ),
]


@pytest.mark.parametrize(("form", "status", "code", "sentence"), BAD_FORMS)
async def test_bad_post_is_answered_with_its_status(
    form: dict[str, str], status: int, code: str, sentence: str, there: Address
) -> None:
    given, document = await post(there, **form)

    assert (given, document["error"]["code"]) == (status, code)
    assert sentence in document["error"]["message"]


BOUNDARY = "multipart/form-data; boundary=b"

BAD_BODIES = [
    pytest.param(
        "application/json", b'{"message":"hi"}', "the body is application/json; send a form", id="json"
    ),
    pytest.param("text/plain", b"message=hi", "the body is text/plain; send a form", id="text"),
    pytest.param(FORM, b"message=%ff\xff", "the form cannot be read", id="not-utf-8"),
    pytest.param(f"{FORM}; charset=klingon", b"message=hi", "the form cannot be read", id="unknown-charset"),
    pytest.param(FORM, b"message=a&message=b", "message must be one text field", id="twice"),
    pytest.param("multipart/form-data", b"message=hi", "the form cannot be read", id="no-boundary"),
    pytest.param(BOUNDARY, b"no such thing", "the form cannot be read", id="torn"),
    pytest.param(
        BOUNDARY,
        b"--b\r\nContent-Disposition: form-data; name=message\r\n\r\nhi\r\n--b\r\nContent-Disp",
        "the form cannot be read",
        id="torn-in-a-header",
    ),
    pytest.param(
        BOUNDARY,
        b"--b\r\nContent-Disposition: form-data\r\n\r\nhi\r\n--b--\r\n",
        "cannot be read",
        id="no-name",
    ),
    pytest.param(
        BOUNDARY,
        b'--b\r\nContent-Disposition: form-data; name="message"\r\n\r\n\xff\r\n--b--\r\n',
        "the form cannot be read",
        id="part-not-utf-8",
    ),
    pytest.param(
        BOUNDARY,
        b'--b\r\nContent-Disposition: form-data; name="message"; filename="a.txt"\r\n\r\nhi\r\n--b--\r\n',
        "message must be one text field",
        id="file",
    ),
    pytest.param(
        BOUNDARY,
        b'--b\r\nContent-Disposition: form-data; name="message"\r\nContent-Type: image/png\r\n\r\nhi\r\n--b--\r\n',
        "message must be one text field",
        id="picture",
    ),
]


@pytest.mark.parametrize(("kind", "body", "sentence"), BAD_BODIES)
async def test_body_without_form_is_refused(kind: str, body: bytes, sentence: str, there: Address) -> None:
    async with there.http.post(f"{there.url}/chat", data=body, headers={"Content-Type": kind}) as response:
        document = await response.json()

    assert (response.status, document["error"]["code"]) == (400, "bad_request")
    assert sentence in document["error"]["message"]


@pytest.mark.parametrize("path", ["/chat", "/chat/new", "/health", "/nowhere"])
async def test_encoded_body_is_refused_before_it_comes(path: str, there: Address) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 4000000\r\n\r\n"
    answered = await raw(there, head.encode())

    assert answered.startswith(b"HTTP/1.1 415 ")
    assert b"Accept-Encoding: identity" in answered
    assert b"without Content-Encoding" in answered


async def test_busy_conversation_answers_409(chat: Site, fake: Fake) -> None:
    with fake.gate("here") as gate:
        async with chat.socket() as peer:
            await peer.chat("[[fake tokens=1 hold=here]]")
            conversation_id = (await peer.receive())["conversation_id"]
            status, document = await post(chat, message="me too", conversation_id=conversation_id)
            gate.open()
            await peer.turn()

    assert (status, document["error"]["code"]) == (409, "busy")


async def test_limit_answers_429_and_says_when(fake: Fake, tmp_path: Path) -> None:
    async with site(fake.command, tmp_path, requests_per_hour=1) as chat:
        await post(chat, message="hi")
        async with chat.http.post(f"{chat.url}/chat", data={"message": "hi"}) as response:
            error = (await response.json())["error"]

    assert (response.status, error["code"]) == (429, "rate_limited")
    assert error["retry_after"] <= int(response.headers["Retry-After"]) < error["retry_after"] + 1


FAILURES: list[Any] = [
    pytest.param("read(); init(); sys.exit(3)", 502, "claude_failed", id="exit"),
    pytest.param(
        "read(); init(); result(is_error=True, result='no'); read()", 502, "claude_failed", id="error"
    ),
]


@pytest.mark.parametrize(("code", "status", "error"), FAILURES)
async def test_failed_turn_answers_with_its_status(
    code: str, status: int, error: str, tmp_path: Path
) -> None:
    async with site(program(tmp_path, code), tmp_path) as chat:
        given, document = await post(chat, message="hi", message_id="m1")

    assert (given, document["error"]["code"], document["message_id"]) == (status, error, "m1")


async def test_silent_turn_answers_504(tmp_path: Path, loop_clock: LoopClock) -> None:
    silent = program(tmp_path, "read(); init(); text('half'); signal.pause()")
    limits = {"claude_silence_seconds": LONG, "claude_grace_seconds": 0}
    async with site(silent, tmp_path, **limits) as chat:
        posting = asyncio.create_task(post(chat, message="hi"))
        await until(lambda: [each.parser.text for each in running(chat)] == ["half"])
        loop_clock.advance()
        status, document = await posting

    assert (status, document["error"]["code"]) == (504, "timeout")


async def test_missing_claude_answers_503(tmp_path: Path) -> None:
    async with site(["/no/such/claude"], tmp_path) as chat:
        status, document = await post(chat, message="hi")

    assert (status, document["error"]["code"]) == (503, "claude_unavailable")


async def test_white_space_keeps_post_alive(fake: Fake, tmp_path: Path, loop_clock: LoopClock) -> None:
    with fake.gate("here") as gate:
        async with site(fake.command, tmp_path, keepalive_seconds=LONG) as chat:
            form = {"message": "[[fake tokens=2 hold=here@1]]"}
            async with long_post(chat, loop_clock, gate, **form) as response:
                space = [await response.content.readany()]
                for _ in range(2):
                    await pass_by(chat, loop_clock)
                    space.append(await response.content.readany())
                gate.open()
                rest = await response.content.read()

    assert response.headers["Content-Type"] == "application/json"
    assert b"".join(space).strip() == b""
    assert json.loads(b"".join(space) + rest)["response"] == "t1 t2 "


async def test_stopping_server_answers_the_post(fake: Fake, tmp_path: Path, loop_clock: LoopClock) -> None:
    with fake.gate("here") as gate:
        async with site(fake.command, tmp_path, shutdown=LONG) as chat, chat.socket() as peer:
            posting = asyncio.create_task(post(chat, message="[[fake tokens=2 hold=here@1]]"))
            await gate.reached()
            stopping = asyncio.create_task(chat.runner.cleanup())
            await peer.closed()
            for _ in range(3):
                loop_clock.advance()  # longer than aiohttp's own patience
                await asyncio.sleep(0.01)
            assert not posting.done()
            gate.open()

            assert (await posting)[1]["response"] == "t1 t2 "
            await stopping


async def test_failed_long_post_has_an_error(fake: Fake, tmp_path: Path, loop_clock: LoopClock) -> None:
    with fake.gate("here") as gate:
        async with site(fake.command, tmp_path, keepalive_seconds=LONG) as chat:
            form = {"message": "[[fake tokens=1 hold=here exit=3]]"}
            async with long_post(chat, loop_clock, gate, **form) as response:
                await response.content.readany()
                gate.open()
                document = json.loads(await response.content.read())

    assert (response.status, document["error"]["code"]) == (200, "claude_failed")


async def test_post_whose_client_leaves_goes_on(
    fake: Fake, tmp_path: Path, caplog: pytest.LogCaptureFixture, loop_clock: LoopClock
) -> None:
    caplog.set_level("INFO")
    with fake.gate("here") as gate:
        async with site(fake.command, tmp_path, keepalive_seconds=LONG) as chat:
            form = {"message": "[[fake tokens=2 hold=here@1]]", "message_id": "m1"}
            async with long_post(chat, loop_clock, gate, **form) as response:
                await response.content.readany()
                response.close()
            async with in_time():
                while "a client left before its answer was there" not in caplog.text:
                    loop_clock.advance()
                    await asyncio.sleep(0.01)
            gate.open()
            status, document = await post(chat, **form)

    assert (status, document["response"]) == (200, "t1 t2 ")
    assert "Traceback" not in caplog.text


# --- usage


async def test_usage_decides_the_next_turn(fake: Fake, tmp_path: Path) -> None:
    async with site(
        fake.command, tmp_path, requests_per_hour=2, requests_per_day=0, tokens_per_day=0
    ) as chat:
        for used in range(3):
            limits = (await chat.get("/chat/usage"))["limits"]
            status, _ = await post(chat, message="hi [[fake tokens=1]]")

            [limit] = limits
            assert (limit["limit"], limit["used"], limit["of"]) == ("requests_per_hour", used, 2)
            assert (limit["resets_in"] is None) == (used == 0)
            assert status == (429 if used == 2 else 200)


# --- history


async def test_history_has_the_shape_of_the_protocol(chat: Site) -> None:
    _, answer = await post(chat, message="  What\nis this? ", message_id="m1")
    conversation_id = answer["conversation_id"]
    listed = await chat.get("/chat/history")
    shown = await chat.get(f"/chat/history/{conversation_id}")
    prompt, reply = shown["messages"]

    (conversation,) = listed["conversations"]
    assert listed["next"] is None
    assert conversation.pop("preview") == " ".join(answer["response"].split())
    assert set(conversation) == {"id", "title", "created_at", "updated_at"}
    assert conversation == {key: shown[key] for key in conversation}
    assert (conversation["id"], conversation["title"]) == (conversation_id, "What is this?")
    assert set(prompt) == set(reply) == {"role", "content", "message_id", "status", "created_at"}
    assert (prompt["role"], prompt["content"], prompt["message_id"]) == ("user", "  What\nis this? ", "m1")
    assert (reply["role"], reply["content"], reply["status"]) == ("assistant", answer["response"], "complete")
    for moment in (
        conversation["created_at"],
        conversation["updated_at"],
        prompt["created_at"],
        reply["created_at"],
    ):
        assert ZULU.fullmatch(moment)


async def test_history_of_a_failed_turn_says_why(chat: Site) -> None:
    _, document = await post(chat, message="[[fake tokens=2 exit=3]]")
    _, reply = await chat.history(document["conversation_id"])

    assert (reply["content"], reply["status"], reply["error"]["code"]) == (
        "t1 t2 ",
        "failed",
        "claude_failed",
    )


async def test_history_shows_a_running_turn(chat: Site, fake: Fake) -> None:
    with fake.gate("here") as gate:
        async with chat.socket() as peer:
            await peer.chat("[[fake tokens=1 hold=here]]")
            conversation_id = (await peer.receive())["conversation_id"]
            _, reply = await chat.history(conversation_id)
            gate.open()
            await peer.turn()

    assert reply["status"] == "running"


async def test_history_is_paged_newest_first(chat: Site) -> None:
    made = []
    for _ in range(5):
        async with chat.http.post(f"{chat.url}/chat/new") as response:
            assert response.status == 201
            made.append((await response.json())["conversation_id"])
    shown, path = [], "/chat/history?limit=2"
    while path:
        page = await chat.get(path)
        shown += [each["id"] for each in page["conversations"]]
        path = f"/chat/history?limit=2&before={page['next']}" if page["next"] else ""

    assert shown == made[::-1]


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=201", "limit=-1", "limit=x", "limit=", "limit=%C2%B2", "limit=1.0"),
        pytest.param("limit=" + "9" * 5000, id="limit-of-5000-digits"),
        *("before=x", "before=", "before=nan_a", "before=1e999_a"),
    ],
)
async def test_wrong_page_is_a_bad_request(query: str, there: Address) -> None:
    document = await there.get(f"/chat/history?{query}", status=400)

    assert document["error"]["code"] == "bad_request"
    assert len(document["error"]["message"]) < 200


@pytest.mark.parametrize("name", [NOWHERE, "x", "ABCDEF012345", "..%2f..%2fetc", "%FF", "0123456789ab0"])
async def test_unknown_conversation_is_not_found(name: str, there: Address) -> None:
    assert (await there.get(f"/chat/history/{name}", status=404))["error"]["code"] == "not_found"
    async with there.http.delete(f"{there.url}/chat/history/{name}") as response:
        assert response.status == 404


async def test_delete_ends_the_turn(chat: Site, fake: Fake) -> None:
    with fake.gate("here") as gate:
        async with chat.socket() as peer:
            await peer.chat("[[fake tokens=1 hold=here]]")
            conversation_id = (await peer.receive())["conversation_id"]
            await gate.reached()
            async with chat.http.delete(f"{chat.url}/chat/history/{conversation_id}") as response:
                assert (response.status, await response.read()) == (204, b"")
            assert (await peer.turn())[-1]["stop_reason"] == "cancelled"

    await chat.get(f"/chat/history/{conversation_id}", status=404)
    assert (await chat.get("/chat/history"))["conversations"] == []


# --- foreign pages and hosts

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}

CHANGES = [
    pytest.param("GET", "/chat/ws", UPGRADE, id="socket"),
    pytest.param("POST", "/chat", {}, id="post"),
    pytest.param("POST", "/chat/new", {}, id="new"),
    pytest.param("DELETE", f"/chat/history/{NOWHERE}", {}, id="delete"),
]


@pytest.mark.parametrize(("method", "path", "headers"), CHANGES)
async def test_foreign_page_changes_nothing(
    method: str, path: str, headers: dict[str, str], chat: Site
) -> None:
    for origin in ("https://evil.example", "null", "http://[", "http://localhost:1"):
        sent = {**headers, "Origin": origin}
        async with chat.http.request(
            method, chat.url + path, headers=sent, data={"message": "hi"}
        ) as response:
            document = await response.json()
        assert (response.status, document["error"]["code"]) == (403, "forbidden")

    assert chat.app[CONNECTIONS] == set()
    assert (await chat.get("/chat/history"))["conversations"] == []


async def test_own_and_allowed_pages_may_connect(fake: Fake, tmp_path: Path) -> None:
    async with site(fake.command, tmp_path, origins=("https://friend.example",)) as chat:
        for origin in (chat.url, "https://friend.example"):
            async with chat.socket(origin=origin) as peer:
                await peer.chat("hi")
                assert (await peer.turn())[-1]["type"] == "complete"


@pytest.mark.parametrize("path", ["/chat/", "/chat/history", f"/chat/history/{NOWHERE}", "/chat/ws"])
async def test_foreign_host_gets_nothing(path: str, there: Address) -> None:
    async with there.http.get(there.url + path, headers={"Host": "evil.example"}) as response:
        assert response.status == 403
        assert (await response.json())["error"]["code"] == "forbidden"


ODD = [
    pytest.param(
        "POST /chat", "localhost", "Origin: http://\udce9\r\nContent-Length: 0\r\n", 403, id="origin"
    ),
    pytest.param("GET /chat/history", "\udce9", "", 400, id="host"),
    pytest.param("GET /chat/history", "[::1", "", 400, id="half-an-address"),
]


@pytest.mark.parametrize(("line", "host", "headers", "status"), ODD)
async def test_odd_bytes_get_a_plain_refusal(
    line: str, host: str, headers: str, status: int, there: Address
) -> None:
    request = f"{line} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode(errors="surrogateescape")
    head, _, body = (await raw(there, request)).partition(b"\r\n\r\n")

    assert int(head.split()[1]) == status
    assert json.loads(body)["error"]["code"] == {400: "bad_request", 403: "forbidden"}[status]


@pytest.mark.parametrize("host", ["evil.example", "10.0.0.7:8000", ""])
async def test_health_is_answered_at_any_address(host: str, there: Address) -> None:
    async with there.http.get(f"{there.url}/health", headers={"Host": host}) as response:
        assert response.status == 200


@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket", "websocket\u00a0", "h2c, websocket", "x"])
async def test_origin_is_checked_for_any_upgrade(upgrade: str, there: Address) -> None:
    headers = UPGRADE | {"Upgrade": upgrade, "Origin": "http://evil.example"}
    async with there.http.get(f"{there.url}/chat/ws", headers=headers) as response:
        assert response.status == 403


@pytest.mark.parametrize("page", ["/chat/", "/chat/static/main.js", "/metrics", "/health/ready", "/nothing"])
async def test_foreign_host_is_refused_first(page: str, chat: Site) -> None:
    async with chat.http.get(chat.url + page, headers={"Host": "evil.example"}) as response:
        assert response.status == 403
        assert "CHAT_ALLOWED_HOSTS" in await response.text()


async def test_foreign_site_without_an_origin_changes_nothing(chat: Site) -> None:
    for site_of_page in ("cross-site", "same-site", "Cross-Site", "odd"):
        headers = {"Sec-Fetch-Site": site_of_page}
        async with chat.http.post(f"{chat.url}/chat/new", headers=headers) as response:
            assert response.status == 403
        async with chat.http.get(f"{chat.url}/chat/history", headers=headers) as response:
            assert (await response.json())["conversations"] == []
    for site_of_page in ("same-origin", "none"):
        headers = {"Sec-Fetch-Site": site_of_page}
        async with chat.http.post(f"{chat.url}/chat/new", headers=headers) as response:
            assert response.status == 201


# --- handshake

HANDSHAKES: list[Any] = [
    pytest.param({"Upgrade": None, "Connection": None}, 400, id="no-upgrade"),
    pytest.param({"Upgrade": "h2c"}, 400, id="other-upgrade"),
    pytest.param({"Connection": "keep-alive"}, 400, id="no-connection-upgrade"),
    pytest.param({"Sec-WebSocket-Key": None}, 400, id="no-key"),
    pytest.param({"Sec-WebSocket-Key": "AAAA"}, 400, id="short-key"),
    pytest.param({"Sec-WebSocket-Key": "not base64 at all!"}, 400, id="odd-key"),
    pytest.param({"Sec-WebSocket-Version": "8"}, 426, id="old-version"),
    pytest.param({"Sec-WebSocket-Version": None}, 400, id="no-version"),
]


@pytest.mark.parametrize(("changes", "status"), HANDSHAKES)
async def test_faulty_handshake_is_refused(
    changes: dict[str, str | None], status: int, there: Address
) -> None:
    headers = {key: value for key, value in {**UPGRADE, **changes}.items() if value is not None}
    async with there.http.get(f"{there.url}/chat/ws", headers=headers) as response:
        document = await response.json()

    assert (response.status, document["error"]["code"]) == (status, "bad_request")
    if status == 426:
        assert response.headers["Sec-WebSocket-Version"] == "13"
    async with there.socket() as peer:  # it goes on serving others
        await peer.send("cancel", message_id="m1")
        assert (await peer.receive())["code"] == "not_found"


async def test_subprotocol_is_chosen_only_if_offered(there: Address) -> None:
    for offered, chosen in (
        (["chat-stream-v1"], "chat-stream-v1"),
        (["x", "chat-stream-v1"], "chat-stream-v1"),
    ):
        async with there.http.ws_connect(f"{there.url}/chat/ws", protocols=offered) as ws:
            assert ws.protocol == chosen
    for none in ([], ["chat-stream-v2"]):
        async with there.http.ws_connect(f"{there.url}/chat/ws", protocols=none) as ws:
            assert ws.protocol is None


# --- pages


async def test_page_loads_nothing_from_elsewhere(there: Address) -> None:
    async with there.http.get(f"{there.url}/chat/") as response:
        text = await response.text()

    assert response.headers["Content-Type"].startswith("text/html")
    assert re.findall(r'(?:src|href)="(?:https?:)?//', text) == []
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


async def test_every_static_file_is_served(there: Address) -> None:
    files = [path for path in STATIC.rglob("*") if path.is_file()]
    assert files
    for path in files:
        async with there.http.get(f"{there.url}/chat/static/{path.relative_to(STATIC)}") as response:
            assert response.status == 200
            assert await response.read() == path.read_bytes()


@pytest.mark.parametrize("path", ["/", "/chat"])
async def test_short_addresses_lead_to_the_page(path: str, there: Address) -> None:
    async with there.http.get(there.url + path) as response:
        assert (response.status, response.url.path) == (200, "/chat/")


PATHS = [
    pytest.param("GET", "/chat/", 200, id="page"),
    pytest.param("GET", "/chat/static/chat.css", 200, id="static"),
    pytest.param("GET", "/health", 200, id="health"),
    pytest.param("GET", "/chat/history", 200, id="history"),
    pytest.param("GET", "/nothing", 404, id="not-found"),
    pytest.param("GET", "/chat/static/../app.py", 404, id="escape"),
    pytest.param("GET", "/chat/static/%2e%2e/app.py", 404, id="hidden-escape"),
    pytest.param("GET", "/chat/static/", 404, id="folder"),
    pytest.param("POST", "/health", 405, id="method"),
    pytest.param("PUT", "/chat", 405, id="other-method"),
]


@pytest.mark.parametrize(("method", "path", "status"), PATHS)
async def test_every_answer_has_the_security_headers(
    method: str, path: str, status: int, there: Address
) -> None:
    async with there.http.request(method, there.url + path) as response:
        assert response.status == status
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert response.headers["Server"] == "chatgate"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert response.headers["Cache-Control"] == (
            "no-cache"
            if status == 200 and (path == "/chat/" or path.startswith("/chat/static/"))
            else "no-store"
        )
        assert "Strict-Transport-Security" not in response.headers
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
        if status >= 400:
            assert (await response.json())["error"]["message"]
        if status == 405:
            assert response.headers["Allow"]


async def test_long_post_has_security_headers(fake: Fake, tmp_path: Path, loop_clock: LoopClock) -> None:
    with fake.gate("here") as gate:
        async with site(fake.command, tmp_path, keepalive_seconds=LONG) as chat:
            form = {"message": "[[fake tokens=1 hold=here]]"}
            async with long_post(chat, loop_clock, gate, **form) as response:
                gate.open()
                await response.read()

    assert response.headers["X-Content-Type-Options"] == "nosniff"


# --- health and numbers


async def test_health_answers_while_chats_are_silent(chat: Site, fake: Fake) -> None:
    with fake.gate("here") as gate:
        async with chat.socket() as one, chat.socket() as two:
            for peer in (one, two):
                await peer.chat("[[fake tokens=1 hold=here]]")
                await gate.reached()
            assert await chat.get("/health") == {"status": "ok"}
            gate.open(2)
            await one.turn()
            await two.turn()


async def test_ready_says_what_is_missing(
    fake: Fake, tmp_path: Path, caplog: pytest.LogCaptureFixture, loop_clock: LoopClock
) -> None:
    async with site(fake.command, tmp_path) as chat:
        assert await chat.get("/health/ready") == {"status": "ready", "problems": []}
        loop_clock.advance(READY_SECONDS)
        fake.remove()
        with sqlite3.connect(tmp_path / "data" / "chat.sqlite3") as database:
            database.execute("DROP TABLE chatgate_schema")
        database.close()
        unready = await chat.get("/health/ready", status=503)

    assert unready["problems"] == ["the history cannot be used", "the program of Claude is not there"]
    assert "no such table" in caplog.text
    assert f"claude executable not found: {fake.command[0]}" in caplog.text


async def test_readiness_is_cached(chat: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[None] = []

    async def check() -> None:
        looks.append(None)

    monkeypatch.setattr(chat.app[STORE], "check", check)
    await asyncio.gather(*(chat.get("/health/ready") for _ in range(9)))

    assert len(looks) == 1


async def test_requests_of_a_user_are_bounded(chat: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    serving, most = 0, 0
    old = chat.app[STORE].conversations

    async def conversations(*args: Any, **options: Any) -> Any:
        nonlocal serving, most
        serving += 1
        most = max(most, serving)
        try:
            return await old(*args, **options)
        finally:
            serving -= 1

    monkeypatch.setattr(chat.app[STORE], "conversations", conversations)
    await asyncio.gather(*(chat.get("/chat/history") for _ in range(20)))

    assert most == REQUESTS_AT_ONCE


async def test_new_conversations_are_limited_by_themselves(fake: Fake, tmp_path: Path) -> None:
    async with site(fake.command, tmp_path, requests_per_hour=2) as chat:
        for _ in range(2):
            async with chat.http.post(f"{chat.url}/chat/new") as made:
                conversation_id = (await made.json())["conversation_id"]
            async with chat.http.delete(f"{chat.url}/chat/history/{conversation_id}") as deleted:
                assert (made.status, deleted.status) == (201, 204)
        async with chat.http.post(f"{chat.url}/chat/new") as refused:
            assert refused.status == 429
            assert 3500 < int(refused.headers["Retry-After"]) <= 3600
            assert "2 an hour" in await refused.text()
        status, _ = await post(chat, message="[[fake tokens=1]]")
        limits = (await chat.get("/chat/usage"))["limits"]

    assert status == 200
    assert [each["used"] for each in limits] == [1]


async def test_slow_body_is_answered_408(fake: Fake, tmp_path: Path, loop_clock: LoopClock) -> None:
    head = (
        f"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nContent-Length: 9\r\n\r\nmessage="
    )
    async with site(fake.command, tmp_path, receive_seconds=LONG) as chat:
        answering = asyncio.create_task(raw(chat, head.encode()))
        await until(lambda: chat.app[SHARES].body("dev")._value < BODIES_AT_ONCE)
        loop_clock.advance(LONG)

        assert (await answering).startswith(b"HTTP/1.1 408 ")
        loop_clock.advance(LINGER_SECONDS)  # the rest of the body is waited for
        await until(lambda: chat.runner.server is not None and not chat.runner.server.connections)


async def test_metrics_count_what_happens(chat: Site) -> None:
    await post(chat, message="hi")
    await post(chat, message="")
    async with chat.socket() as peer:
        await peer.chat("hi")
        await peer.turn()
        async with chat.http.get(f"{chat.url}/metrics") as response:
            lines = (await response.text()).splitlines()

    assert response.headers["Content-Type"].startswith("text/plain")
    assert 'chat_turns_total{outcome="complete"} 2.0' in lines
    assert 'chat_refused_total{code="bad_request"} 1.0' in lines
    assert "chat_open_sockets 1.0" in lines
    assert "chat_live_turns 0.0" in lines
    assert "chat_claude_processes 2.0" in lines
    assert "chat_first_token_seconds_count 2.0" in lines


METRICS = [
    pytest.param("", None, 404, id="not-set"),
    pytest.param("t0ken", None, 401, id="no-token"),
    pytest.param("t0ken", "Bearer other", 401, id="other-token"),
    pytest.param("t0ken", "Basic t0ken", 401, id="other-scheme"),
    pytest.param("t0ken", "Bearer t0ken", 200, id="token"),
    pytest.param("t0ken", "bearer  t0ken", 200, id="spelling"),
]


@pytest.mark.parametrize(("setting", "given", "status"), METRICS)
async def test_metrics_need_the_token(
    fake: Fake, tmp_path: Path, setting: str, given: str | None, status: int
) -> None:
    headers = {} if given is None else {"Authorization": given}
    async with (
        site(fake.command, tmp_path, identity="proxy", proxy_secret="s", metrics_token=setting) as chat,
        chat.http.get(f"{chat.url}/metrics", headers=headers) as response,
    ):
        assert response.status == status
        assert response.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)


async def test_strict_transport_with_public_https(fake: Fake, tmp_path: Path) -> None:
    async with (
        site(fake.command, tmp_path, public_url="https://chat.example") as chat,
        chat.http.get(f"{chat.url}/health") as response,
    ):
        assert response.headers["Strict-Transport-Security"] == "max-age=31536000"


STRANGE = [
    pytest.param(b"GET /chat/static/" + b"a" * 300, b"", 404, id="long-name"),
    pytest.param(b"GET /chat/static/a%00b", b"", 404, id="nul"),
    pytest.param(b"GET /chat/static/..%2f..%2fapp.py", b"", 404, id="escape"),
    pytest.param(b"GET /chat/static/\xff\xfe", b"", 400, id="raw-bytes"),
    pytest.param(b"GET /chat/static/%ff%1b%0a", b"", 404, id="encoded-bytes"),
    pytest.param(b"GET /health", b"Upgrade: \x85\r\nConnection: upgrade\r\n", 200, id="upgrade"),
    pytest.param(b"GET /chat/ws", b"Upgrade: \x85\r\nConnection: upgrade\r\n", 400, id="socket-upgrade"),
    pytest.param(b"GET /health", b"Expect: \xff\r\n", 400, id="expect"),
    pytest.param(b"GET /health", b"Expect: a\r\n", 417, id="other-expect"),
    pytest.param(b"G\x1bT /health", b"", 400, id="method"),
    pytest.param(b"GET /health", b"Content-Length: 1\r\nContent-Length: 2\r\n", 400, id="two-lengths"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01", b"", 400, id="tls"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM", b"", 400, id="http2"),
    pytest.param(b"GET /" + b"a" * 9_000, b"", 400, id="long-target"),
    pytest.param(b"GET /chat/history?limit=%ff", b"", 400, id="query"),
    pytest.param(b"POST /chat", b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, id="chunks"),
]


@pytest.mark.parametrize(("line", "headers", "status"), STRANGE)
async def test_mistakes_of_strangers_are_theirs(
    line: bytes, headers: bytes, status: int, chat: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    caplog.clear()
    reader, writer = await asyncio.open_connection(*chat.place)
    writer.write(line + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + headers + b"\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert int(answer.split()[1]) == status, answer
    assert b"nosniff" in answer
    assert b"aiohttp" not in answer
    assert len(caplog.records) <= 1
    assert not any(each.exc_info or each.levelno > logging.INFO for each in caplog.records)


# --- trouble


async def test_stopping_server_refuses_new_turns(chat: Site) -> None:
    await chat.app.shutdown()
    status, document = await post(chat, message="hi")

    assert (status, document["error"]["code"]) == (503, "unavailable")


async def test_internal_error_is_json(
    chat: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(chat.app[TURNS], "start", None)
    status, document = await post(chat, message="hi")

    assert (status, document["error"]["code"]) == (503, "unavailable")
    assert "TypeError" not in document["error"]["message"]
    assert "TypeError" in caplog.text


async def test_server_survives_broken_store(chat: Site, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "data" / "chat.sqlite3") as database:
        database.execute("ALTER TABLE conversations RENAME TO away")
    database.close()
    document = await chat.get("/chat/history", status=503)
    assert document["error"] == {"code": "unavailable", "message": "database unavailable"}
    assert (await post(chat, message="hi"))[0] == 503
    assert await chat.get("/health") == {"status": "ok"}


async def test_upload_that_breaks_off_harms_nobody(chat: Site, caplog: pytest.LogCaptureFixture) -> None:
    host, port = chat.place
    _, writer = await asyncio.open_connection(host, port)
    head = (
        f"POST /chat HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: {FORM}\r\nContent-Length: 1000\r\n\r\n"
    )
    writer.write(head.encode() + b"message=h")
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    assert (await post(chat, message="hi"))[0] == 200
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("name", ["with space", "50%", "a?b=c", "a#b", "é"])
async def test_data_folder_may_have_any_name(name: str, fake: Fake, tmp_path: Path) -> None:
    async with site(fake.command, tmp_path, data=tmp_path / name) as chat:
        assert (await post(chat, message="hi"))[0] == 200

    assert (tmp_path / name / "chat.sqlite3").exists()
