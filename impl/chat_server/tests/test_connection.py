"""One WebSocket: bad messages are answered and harm nothing, and each follower of a turn gets all of it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from websockets.asyncio.client import connect

from chat_server.login.identity import Login
from chat_server.tests.loop_clock import LONG, LoopClock, in_time
from chat_server.tests.sites import Address, Fake, Peer, Site, events, site, spoken, until
from chat_server.turns.event_log import TurnLog
from chat_server.turns.manager import Turns
from chat_server.web.connection import Connection
from chat_server.web.handlers import ENVELOPE, LEAST_LIMIT
from chat_server.web.keys import CONNECTIONS, IDENTITY, TURNS

NOWHERE = "0123456789ab"


@pytest.fixture
async def chat(fake: Fake, tmp_path: Path) -> AsyncIterator[Site]:
    async with site(fake.command, tmp_path) as running:
        yield running


@pytest.fixture
async def peer(chat: Site) -> AsyncIterator[Peer]:
    async with chat.socket() as connected:
        yield connected


# --- a turn


async def test_turn_comes_as_the_protocol_says(peer: Peer) -> None:
    await peer.chat("[[fake tokens=3]]", message_id="m1")
    accepted, *got = await peer.turn()

    assert peer.ws.protocol == "chat-stream-v1"
    assert accepted == {
        "type": "accepted",
        "message_id": "m1",
        "conversation_id": accepted["conversation_id"],
    }
    assert [message["seq"] for message in got] == list(range(1, len(got) + 1))
    assert {(each["message_id"], each["conversation_id"]) for each in got} == {
        ("m1", accepted["conversation_id"])
    }
    assert spoken(got) == "t1 t2 t3 "
    assert got[-1]["type"] == "complete"
    assert set(got[-1]["usage"]) == {"input_tokens", "output_tokens"}


async def test_pieces_come_while_claude_answers(peer: Peer, fake: Fake) -> None:
    with fake.gate("here") as gate:
        await peer.chat("[[fake tokens=4 hold=here@2]]")
        received = await peer.text("t1 t2 ")
        assert received[0]["type"] == "accepted"
        gate.open()

        assert spoken(await peer.turn()) == "t3 t4 "


async def test_turns_share_a_connection(peer: Peer, fake: Fake) -> None:
    with fake.gate("here") as gate:
        await peer.chat("[[fake tokens=4 hold=here@2]]", message_id="slow")
        await gate.reached()
        await peer.chat("[[fake tokens=2]]", message_id="fast")
        received = await peer.until("complete")
        assert received[-1]["message_id"] == "fast"
        gate.open()
        received += await peer.turn()

    assert spoken([each for each in received if each["message_id"] == "slow"]) == "t1 t2 t3 t4 "
    assert spoken([each for each in received if each["message_id"] == "fast"]) == "t1 t2 "


async def test_long_prompt_arrives_whole(peer: Peer, fake: Fake) -> None:
    prompt = "é\u0000" * (2**20 // 3)
    await peer.chat(prompt)
    await peer.turn()

    blocks = json.loads(fake.runs()[0].stdin[0])["message"]["content"]
    assert "".join(block["text"] for block in blocks) == prompt


# --- bad messages

BAD: list[Any] = [
    pytest.param("hello", "bad_request", "the frame is not JSON", None, id="not-json"),
    pytest.param('{"a":' * 100_000, "bad_request", "the frame is not JSON", None, id="bottomless"),
    pytest.param("[]", "bad_request", "not a JSON object", None, id="list"),
    pytest.param(
        '{"type":"shout"}', "bad_request", "$.type is 'shout'; known types are", None, id="unknown-type"
    ),
    pytest.param('{"type":"chat_request"}', "bad_request", "required field `message`", None, id="no-message"),
    pytest.param(
        '{"type":"chat_request","message":7,"message_id":"m"}',
        "bad_request",
        "at `$.message`",
        "m",
        id="wrong-type",
    ),
    pytest.param(
        '{"type":"chat_request","message":" "}', "bad_request", "the message is empty", None, id="empty"
    ),
    pytest.param(
        '{"type":"chat_request","message":"","message_id":"m"}',
        "bad_request",
        "is empty",
        "m",
        id="empty-named",
    ),
    pytest.param(
        json.dumps({"type": "chat_request", "message": "x" * (2**20 + 1), "message_id": "m"}),
        "too_large",
        "the message has 1,048,577 bytes; the limit is 1,048,576",
        "m",
        id="too-large",
    ),
    pytest.param(
        '{"type":"chat_request","message":"x","message_id":"m m"}',
        "bad_request",
        "1 to 64",
        None,
        id="message-id",
    ),
    pytest.param(
        '{"type":"chat_request","message":"x","message_id":"m","conversation_id":"X"}',
        "bad_request",
        "12 lower-case",
        "m",
        id="conversation-id",
    ),
    pytest.param(
        json.dumps({"type": "chat_request", "message": "x", "message_id": "m", "conversation_id": NOWHERE}),
        "not_found",
        f"there is no conversation {NOWHERE}",
        "m",
        id="unknown-conversation",
    ),
    pytest.param(
        json.dumps({"type": "subscribe", "message_id": "m", "conversation_id": NOWHERE}),
        "not_found",
        f"there is no conversation {NOWHERE}",
        "m",
        id="follow-unknown",
    ),
    pytest.param(
        '{"type":"cancel","message_id":"m"}', "not_found", "there is no turn m", "m", id="cancel-unknown"
    ),
]


@pytest.mark.parametrize(("text", "code", "sentence", "named"), BAD)
async def test_bad_message_gets_an_error(
    text: str, code: str, sentence: str, named: str | None, outpost: str
) -> None:
    async with aiohttp.ClientSession() as http, Address(outpost, http).socket() as peer:
        await peer.ws.send_str(text)
        answer = await peer.receive()

    assert (answer["type"], answer["code"], answer.get("message_id")) == ("error", code, named)
    assert sentence in answer["message"]


async def test_bad_messages_are_harmless(peer: Peer, fake: Fake) -> None:
    with fake.gate("here") as gate:
        await peer.chat("[[fake tokens=4 hold=here@2]]", message_id="good")
        await peer.text("t1 t2 ")
        for bad in BAD:
            await peer.ws.send_str(bad.values[0])
            assert (await peer.receive())["type"] == "error"
        gate.open()

        assert spoken(await peer.turn()) == "t3 t4 "


async def test_binary_message_is_answered(peer: Peer) -> None:
    await peer.ws.send_bytes(b'{"type":"chat_request","message":"hi"}')

    assert (await peer.receive())["message"] == "binary messages are not understood; send JSON text"
    await peer.chat("hi")
    assert (await peer.turn())[-1]["type"] == "complete"


async def test_internal_error_is_answered(
    chat: Site, peer: Peer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(chat.app[TURNS], "start", None)
        await peer.chat("hi", message_id="m")
        answer = await peer.receive()

    assert (answer["code"], answer["message_id"]) == ("unavailable", "m")
    assert "TypeError" in caplog.text
    await peer.chat("hi")
    assert (await peer.turn())[-1]["type"] == "complete"


async def test_oversized_frame_closes_with_1009(fake: Fake, tmp_path: Path) -> None:
    async with site(fake.command, tmp_path, message_max_bytes=1000) as chat, chat.socket() as peer:
        await peer.ws.send_str("x" * (LEAST_LIMIT + ENVELOPE + 1))

        assert await peer.closed() == 1009


async def test_message_may_come_in_fragments(chat: Site) -> None:
    address = chat.url.replace("http", "ws") + "/chat/ws"
    async with connect(address, subprotocols=["chat-stream-v1"]) as ws:  # type: ignore[list-item]  # a NewType of str
        await ws.send(['{"type":"chat_request",', '"mess', 'age":"h', 'éllo"}'])
        while (message := json.loads(await ws.recv()))["type"] != "complete":
            pass

    history = await chat.history(message["conversation_id"])
    assert history[0]["content"] == "héllo"


async def test_ping_is_answered_during_turn(chat: Site, fake: Fake) -> None:
    with fake.gate("here") as gate:
        async with chat.socket(autoping=False) as peer:
            await peer.chat("[[fake tokens=1 hold=here]]")
            await gate.reached()
            await peer.ws.ping(b"are you there?")
            while (frame := await peer.ws.receive()).type is WSMsgType.TEXT:
                pass
            gate.open()

    assert (frame.type, bytes(frame.data)) == (WSMsgType.PONG, b"are you there?")


# --- the same message again


async def test_duplicate_elsewhere_replays_turn(chat: Site, peer: Peer, fake: Fake) -> None:
    with fake.gate("here") as gate:
        await peer.chat("[[fake tokens=3 hold=here@2]]", message_id="m1")
        before = await peer.text("t1 t2 ")
        async with chat.socket() as other:
            await other.chat("[[fake tokens=3 hold=here@2]]", message_id="m1")
            again = await other.text("t1 t2 ")
            gate.open()
            again += await other.turn()
        before += await peer.turn()

    assert again == before
    assert len(fake.runs()) == 1


async def test_duplicate_on_connection_streams_once(peer: Peer, fake: Fake) -> None:
    for _ in range(2):
        await peer.chat("hello", message_id="m1")
    received = await peer.turn()
    await peer.send("cancel", message_id="m1")

    assert [message["type"] for message in received].count("accepted") == 1
    assert await peer.receive() == received[-1]  # nothing came in between
    assert len(fake.runs()) == 1


# --- following


async def test_resume_sends_later_events(chat: Site, peer: Peer, fake: Fake) -> None:
    with fake.gate("here") as gate:
        await peer.chat("[[fake tokens=6 hold=here@4]]", message_id="m1")
        received = await peer.text("t1 t2 t3 t4 ")
        conversation_id, last = received[0]["conversation_id"], received[-1]["seq"]
        async with chat.socket() as other:
            await other.send("subscribe", conversation_id=conversation_id, message_id="m1", after=last)
            assert await other.receive() == received[0]
            gate.open()
            rest = await other.turn()

    assert rest == await peer.turn()
    assert spoken(rest) == "t5 t6 "


async def test_ended_turn_is_replayed(chat: Site, peer: Peer) -> None:
    await peer.chat("[[fake tokens=3]]", message_id="m1")
    got = await peer.turn()
    async with chat.socket() as other:
        await other.send("subscribe", conversation_id=got[0]["conversation_id"], message_id="m1")

        assert await other.turn() == got


async def test_turn_can_be_replayed_twice(peer: Peer) -> None:
    await peer.chat("[[fake tokens=3]]", message_id="m1")
    got = await peer.turn()
    for after in (0, 1, got[-1]["seq"] - 1):
        await peer.send("subscribe", conversation_id=got[0]["conversation_id"], message_id="m1", after=after)

        assert await peer.turn() == [got[0], *got[1 + after :]]


async def test_cursor_at_end_gets_accepted(peer: Peer) -> None:
    await peer.chat("hi", message_id="m1")
    got = await peer.turn()
    conversation_id, last = got[0]["conversation_id"], got[-1]["seq"]
    await peer.send("subscribe", conversation_id=conversation_id, message_id="m1", after=last)

    assert await peer.receive() == got[0]


async def test_cursor_beyond_end_gets_reset(peer: Peer) -> None:
    await peer.chat("hi", message_id="m1")
    got = await peer.turn()
    conversation_id, last = got[0]["conversation_id"], got[-1]["seq"]
    await peer.send("subscribe", conversation_id=conversation_id, message_id="m1", after=last + 1)
    answer = await peer.receive()

    assert (answer["code"], answer["message_id"]) == ("reset", "m1")


async def test_follower_gets_later_turns(chat: Site, peer: Peer, fake: Fake) -> None:
    with fake.gate("here") as gate:
        await peer.chat("[[fake tokens=2 hold=here@1]]", message_id="m1")
        conversation_id = (await peer.text("t1 "))[0]["conversation_id"]
        async with chat.socket() as other:
            await other.send("subscribe", conversation_id=conversation_id)
            received = await other.text("t1 ")
            gate.open()
            received += await other.turn()
            await peer.turn()
            await peer.chat("and again", message_id="m2", conversation_id=conversation_id)
            later = await other.turn()

            assert spoken(received) == "t1 t2 "
            assert later == await peer.turn()


async def test_follower_gets_first_turn(chat: Site, peer: Peer) -> None:
    async with chat.http.post(f"{chat.url}/chat/new") as response:
        conversation_id = (await response.json())["conversation_id"]
    async with chat.socket() as other:
        for _ in range(3):
            await other.send("subscribe", conversation_id=conversation_id)
        await other.send("cancel", message_id="ready")
        assert (await other.receive())["code"] == "not_found"
        await peer.chat("hi", conversation_id=conversation_id)

        assert await other.turn() == await peer.turn()
        await other.send("cancel", message_id="ready")
        assert (await other.receive())["code"] == "not_found"  # and nothing twice


# --- stopping


async def test_cancel_ends_the_turn(peer: Peer, fake: Fake) -> None:
    with fake.gate("here") as gate:
        await peer.chat("[[fake tokens=9 hold=here@2]]", message_id="m1")
        await gate.reached()
        await peer.text("t1 t2 ")
        await peer.send("cancel", message_id="m1")
        (last,) = await peer.turn()

    assert (last["type"], last["stop_reason"]) == ("complete", "cancelled")


async def test_cancel_elsewhere_reaches_both(chat: Site, peer: Peer, fake: Fake) -> None:
    with fake.gate("here") as gate:
        await peer.chat("[[fake tokens=9 hold=here@2]]", message_id="m1")
        await gate.reached()
        await peer.text("t1 t2 ")
        async with chat.socket() as other:
            await other.send("cancel", message_id="m1")

            assert (await other.turn())[-1] == (await peer.turn())[-1]


async def test_cancel_of_ended_turn_sends_end(peer: Peer) -> None:
    await peer.chat("hi", message_id="m1")
    got = await peer.turn()
    await peer.send("cancel", message_id="m1", conversation_id=got[0]["conversation_id"])

    assert await peer.receive() == got[-1]


# --- the end of a connection

ENDS = [pytest.param(1000, id="done"), pytest.param(1001, id="going-away"), pytest.param(None, id="cut")]


@pytest.mark.parametrize("code", ENDS)
async def test_turn_goes_on_without_its_connection(code: int | None, chat: Site, fake: Fake) -> None:
    with fake.gate("here") as gate:
        async with chat.socket() as peer:
            await peer.chat("[[fake tokens=4 hold=here@2]]", message_id="m1")
            conversation_id = (await peer.text("t1 t2 "))[0]["conversation_id"]
            if code is None:
                assert peer.ws._response.connection is not None
                assert peer.ws._response.connection.transport is not None
                peer.ws._response.connection.transport.abort()
            else:
                await peer.ws.close(code=code)
        await until(lambda: not chat.app[CONNECTIONS])
        gate.open()
        async with chat.socket() as other:
            await other.send("subscribe", conversation_id=conversation_id, message_id="m1")
            assert spoken(await other.turn()) == "t1 t2 t3 t4 "

    assert (await chat.history(conversation_id))[1]["status"] == "complete"


async def test_connection_leaves_nothing_in_the_server(chat: Site, fake: Fake) -> None:
    with fake.gate("here") as gate:
        async with chat.socket() as peer:
            await peer.chat("[[fake tokens=1 hold=here]]", message_id="m1")
            conversation_id = (await peer.receive())["conversation_id"]
            await peer.send("subscribe", conversation_id=conversation_id)
            await gate.reached()
            log = await chat.app[TURNS].follow("dev", conversation_id, "m1", 0)
        await until(lambda: not chat.app[CONNECTIONS])

        assert log is not None
        assert len(log._readers) == 0
        assert chat.app[TURNS]._subscribers == {}
        gate.open()
        await events(log)


async def test_login_that_ends_closes_with_4401(chat: Site) -> None:
    class Short:
        async def login(self, _request: web.BaseRequest) -> Login:
            return Login("ada", expires_at=0.0)

        async def seconds_left(self, _login: Login) -> float:
            return 0.0

    vars(chat.app)["_state"][IDENTITY] = Short()  # the app is frozen while it runs
    async with chat.socket() as peer:
        assert await peer.closed() == 4401


# --- keepalive


async def pings(clock: LoopClock, peer: Peer, count: int) -> None:
    """Move the clock from one ping to the next, ``times`` times; none is answered."""
    async with in_time():
        for _ in range(count):
            clock.advance()
            while (frame := await peer.ws.receive()).type is not WSMsgType.PING:
                assert frame.type not in {WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR}, frame


async def beat(clock: LoopClock, connection: Connection) -> None:
    """Move the clock to the next ping, and wait until the peer has answered it."""
    before = connection._next_ping
    clock.advance()
    await until(lambda: connection._next_ping is not before and not connection._unanswered)


async def test_pings_come_while_claude_is_silent(fake: Fake, tmp_path: Path, loop_clock: LoopClock) -> None:
    with fake.gate("here") as gate:
        async with (
            site(fake.command, tmp_path, keepalive_seconds=LONG) as chat,
            chat.socket(autoping=False) as peer,
        ):
            await peer.chat("[[fake tokens=1 hold=here]]")
            await gate.reached()

            await pings(loop_clock, peer, 3)
            gate.open()


async def test_three_missed_pongs_drop_peer(fake: Fake, tmp_path: Path, loop_clock: LoopClock) -> None:
    async with (
        site(fake.command, tmp_path, keepalive_seconds=LONG) as chat,
        chat.socket(autoping=False) as peer,
    ):
        await pings(loop_clock, peer, 3)
        loop_clock.advance()
        assert await peer.closed() in {None, 1006}


async def test_late_pong_is_soon_enough(fake: Fake, tmp_path: Path, loop_clock: LoopClock) -> None:
    async with (
        site(fake.command, tmp_path, keepalive_seconds=LONG) as chat,
        chat.socket(autoping=False) as peer,
    ):
        (connection,) = chat.app[CONNECTIONS]
        for _ in range(3):
            await pings(loop_clock, peer, 2)
            await peer.ws.pong(b"")
            await until(lambda: not connection._unanswered)
        await peer.chat("hi")

        assert (await peer.receive())["type"] == "accepted"


async def test_peer_that_answers_stays(fake: Fake, tmp_path: Path, loop_clock: LoopClock) -> None:
    with fake.gate("here") as gate:
        async with site(fake.command, tmp_path, keepalive_seconds=LONG) as chat, chat.socket() as peer:
            (connection,) = chat.app[CONNECTIONS]
            await peer.chat("[[fake tokens=1 hold=here]]")
            listening = asyncio.create_task(peer.turn())
            await gate.reached()
            async with chat.socket(autoping=False) as silent:
                for _ in range(4):
                    await beat(loop_clock, connection)
                await silent.closed()  # a peer that does not answer is dropped by now
            gate.open()

            assert (await listening)[-1]["type"] == "complete"


async def test_waiting_message_keeps_peer(
    monkeypatch: pytest.MonkeyPatch, loop_clock: LoopClock, fake: Fake, tmp_path: Path
) -> None:
    """Its pongs are there, but behind the message."""
    go = asyncio.Event()
    start = Turns.start

    async def late(turns: Turns, *args: Any) -> TurnLog:
        await go.wait()
        return await start(turns, *args)

    monkeypatch.setattr(Turns, "start", late)
    async with site(fake.command, tmp_path, keepalive_seconds=LONG) as chat, chat.socket() as peer:
        await peer.chat("hi")
        received = asyncio.create_task(peer.turn())
        (connection,) = chat.app[CONNECTIONS]
        await until(lambda: connection._handling)
        for _ in range(5):
            before = connection._next_ping
            loop_clock.advance()
            await until(lambda: connection._next_ping is not before)  # noqa: B023 - it is waited for here
        go.set()

        assert (await received)[-1]["type"] == "complete"


# --- a reader that stalls


async def stalled(chat: Site, got: list[dict[str, Any]]) -> socket.socket:
    """A client that asks for more than the line holds, and reads nothing."""
    loop = asyncio.get_running_loop()
    others = chat.app[CONNECTIONS].copy()
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    host, port = chat.place
    await loop.sock_connect(raw, (host, port))
    head = (
        f"GET /chat/ws HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await loop.sock_sendall(raw, head.encode())
    await until(lambda: chat.app[CONNECTIONS] - others)
    (connection,) = chat.app[CONNECTIONS] - others
    connection._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    again = {"type": "subscribe", "conversation_id": got[0]["conversation_id"], "message_id": "big"}
    payload = json.dumps(again).encode()
    frame = bytes([0x81, 0x80 | len(payload)]) + bytes(4) + payload  # a mask of zeros leaves it as it is
    await loop.sock_sendall(raw, frame)
    await until(lambda: held(connection) > 0)
    return raw


def held(connection: Connection) -> int:
    """How many bytes the server holds for a peer that does not take them."""
    return connection._transport.get_write_buffer_size()


async def big_turn(peer: Peer, chars: int = 500_000) -> list[dict[str, Any]]:
    await peer.chat(f'[[fake say="{"x" * chars}"]]', message_id="big")
    return await peer.turn()


async def test_stalled_reader_is_dropped(fake: Fake, tmp_path: Path, loop_clock: LoopClock) -> None:
    async with site(fake.command, tmp_path, keepalive_seconds=LONG) as chat, chat.socket() as peer:
        (connection,) = chat.app[CONNECTIONS]
        with await stalled(chat, await big_turn(peer)):
            await peer.chat("hi")
            assert (await peer.turn())[-1]["type"] == "complete"
            listening = asyncio.create_task(peer.receive())
            for _ in range(4):
                await beat(loop_clock, connection)
            await until(lambda: len(chat.app[CONNECTIONS]) == 1)
            await peer.send("cancel", message_id="unknown")

            assert (await listening)["code"] == "not_found"


async def test_stalled_reader_costs_little_memory(fake: Fake, tmp_path: Path) -> None:
    async with site(fake.command, tmp_path) as chat, chat.socket() as peer:
        got = await big_turn(peer, 1_000_000)
        others = chat.app[CONNECTIONS].copy()
        with await stalled(chat, got):
            (connection,) = chat.app[CONNECTIONS] - others
            protocol: Any = connection._transport.get_protocol()
            await until(lambda: protocol._paused)
            assert held(connection) < 400_000


async def test_stalled_reader_does_not_delay_shutdown(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop_clock: LoopClock
) -> None:
    monkeypatch.setattr("chat_server.web.connection.CLOSE_SECONDS", LONG)
    async with site(fake.command, tmp_path) as chat, chat.socket() as peer:
        with await stalled(chat, await big_turn(peer)):
            ending = asyncio.create_task(chat.runner.cleanup())
            await peer.closed()
            loop_clock.advance()
            async with in_time():
                await ending


async def fall_behind(connection: Connection) -> None:
    """Let a reader be one that has no room."""
    connection._catching_up = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]  # it is only waited for


def catch_up(connection: Connection) -> None:
    assert connection._catching_up is not None
    connection._catching_up.cancel()
    connection._catching_up = asyncio.create_task(connection._catch_up())


async def test_lagging_reader_may_resume(chat: Site, peer: Peer) -> None:
    await peer.chat("[[fake tokens=2]]", message_id="m1")
    got = await peer.turn()
    again = {"conversation_id": got[0]["conversation_id"], "message_id": "m1"}
    (connection,) = chat.app[CONNECTIONS]
    await fall_behind(connection)
    await peer.send("subscribe", **again)
    await peer.send("subscribe", **again)
    await peer.send("cancel", message_id="unknown")
    received = await peer.until("error")
    catch_up(connection)

    assert [message["type"] for message in received] == ["accepted", "accepted", "error"]
    assert await peer.turn() == got[1:]


async def test_cancel_during_replay_keeps_order(chat: Site, peer: Peer) -> None:
    await peer.chat("[[fake tokens=2]]", message_id="m1")
    got = await peer.turn()
    (connection,) = chat.app[CONNECTIONS]
    await fall_behind(connection)
    await peer.send("subscribe", conversation_id=got[0]["conversation_id"], message_id="m1")
    await peer.send("cancel", message_id="m1")
    await peer.send("cancel", message_id="unknown")
    received = await peer.until("error")
    catch_up(connection)

    assert received[:-1] + await peer.turn() == got
    await peer.send("cancel", message_id="unknown")
    assert (await peer.receive())["code"] == "not_found"  # the end came once


async def test_shutdown_closes_with_1001(fake: Fake, tmp_path: Path) -> None:
    async with site(fake.command, tmp_path) as chat, chat.socket() as peer:
        closing = asyncio.create_task(chat.runner.cleanup())

        assert await peer.closed() == 1001
        await closing
