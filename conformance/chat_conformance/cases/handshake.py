"""The opening handshake."""

from __future__ import annotations

from typing import Any

from chat_conformance.errors import Failure, NotOffered
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal
from chat_conformance.wire.frames import Frame, Opcode, encode_frame
from chat_conformance.wire.handshake import Response, encode_key
from chat_conformance.wire.peer import MASK

COMPLETES = "handshake/completes"


@case(
    COMPLETES,
    title="A valid handshake is answered with 101 at once",
    clause="HAND-1",
    severity=Severity.BLOCKER,
    means="The page never gets a connection: it hangs at connecting.",
    finding="R1-2",
    evidence="not within",
)
async def completes(chat: CaseContext) -> None:
    async with chat.connector.wire() as peer:
        response = await chat.connector.upgrade(peer)

        expect_equal(response.status, 101, "the status of the answer")


@case(
    "handshake/two-at-once",
    title="A second connection is answered while the first one is open",
    clause="TURN-10",
    severity=Severity.BLOCKER,
    means="Only one person at a time can chat; everybody else waits for them to leave.",
)
async def two_at_once(chat: CaseContext) -> None:
    async with chat.websocket() as first, chat.websocket() as second:
        await second.expect_alive()
        await first.expect_alive()


@case(
    "handshake/early-frame",
    title="A frame sent in one piece with the handshake is read",
    clause="HAND-1",
    # RFC 6455 §4.1: clients wait for the 101; those that do not are odd, and they exist.
    severity=Severity.LOW,
    means="A message sent by a fast client, or glued on by a proxy, is lost and its answer never comes.",
    needs=(COMPLETES,),
)
async def early_frame(chat: CaseContext) -> None:
    async with chat.connector.wire() as peer:
        await chat.connector.upgrade(peer, after=encode_frame(Frame(Opcode.PING, b"early", mask=MASK)))

        await peer.expect_pong(b"early")


@case(
    "handshake/subprotocol-selected",
    title="An offered chat-stream-v1 is selected, among others too",
    clause="HAND-2",
    severity=Severity.BLOCKER,
    means="Browsers fail a connection whose subprotocol was not confirmed.",
    needs=(COMPLETES,),
)
async def subprotocol_selected(chat: CaseContext) -> None:
    ours = chat.target.dialect.subprotocol
    if not ours:
        raise NotOffered("dialect.subprotocol is empty in the target file: the server selects none")
    for offered in ((ours,), ("other-v9", ours)):
        async with chat.connector.wire() as peer:
            response = await chat.connector.upgrade(peer, offered=offered)

            expect_equal(response.header("sec-websocket-protocol"), ours, "the subprotocol selected")


@case(
    "handshake/subprotocol-not-invented",
    title="No subprotocol is selected that was not offered",
    clause="HAND-2",
    severity=Severity.MEDIUM,
    means="Clients that offer another subprotocol, or none, must fail the connection.",
    needs=(COMPLETES,),
)
async def subprotocol_not_invented(chat: CaseContext) -> None:
    # `chat-stream-v10` begins with ours: a search in the header's text would find it.
    for offered in ((), ("other-v9",), ("chat-stream-v10",)):
        async with chat.connector.wire() as peer:
            response = await chat.connector.upgrade(peer, offered=offered)

            chosen = response.header("sec-websocket-protocol")
            expect(
                chosen in (None, *offered),
                f"none but an offered subprotocol when {list(offered)} is offered",
                f"{chosen!r} is selected",
            )


@case(
    "handshake/faulty",
    title="A faulty handshake is refused and harms no other user",
    clause="HAND-3",
    severity=Severity.MEDIUM,
    means="A scanner or a broken proxy leaves tracebacks, hanging sockets or a dead server.",
    finding="M-13",
    evidence="it is 50|the connection ended",
)
async def faulty(chat: CaseContext) -> None:
    # Keys of 15 and 17 bytes are well-formed base64: they are wrong only by what they decode to (RFC 6455
    # §4.2.1).
    faults: dict[str, dict[str, str | None]] = {
        "no key": {"Sec-WebSocket-Key": None},
        "a key of 15 bytes": {"Sec-WebSocket-Key": encode_key(bytes(15))},
        "a key of 17 bytes": {"Sec-WebSocket-Key": encode_key(bytes(17))},
        "a key that is not base64": {"Sec-WebSocket-Key": "not base64 at all!"},
        "a key that is not ASCII": {"Sec-WebSocket-Key": "ÿ"},
        "an empty key": {"Sec-WebSocket-Key": ""},
        "no version": {"Sec-WebSocket-Version": None},
        "version 8": {"Sec-WebSocket-Version": "8"},
        "version 14": {"Sec-WebSocket-Version": "14"},
        "no upgrade": {"Upgrade": None},
        "another upgrade": {"Upgrade": "h2c"},
        "no connection header": {"Connection": None},
        "a connection to be closed": {"Connection": "close"},
    }
    for fault, headers in faults.items():
        async with chat.connector.wire() as peer:
            response = await chat.connector.upgrade(peer, headers)
            refused(response, fault)
    # HAND-3 asks for more than the refusals: others are still served after them.
    async with chat.websocket() as peer:
        await peer.expect_alive()


@case(
    "handshake/ambiguous",
    title="A handshake of HTTP/1.0, without Host, with two keys or two versions is refused and harms no other user",
    clause="HAND-3",
    severity=Severity.LOW,
    means="A proxy and the server read the same request differently, which is how one of them is passed by.",
    needs=(COMPLETES,),
)
async def ambiguous(chat: CaseContext) -> None:
    another = encode_key(chat.random.randbytes(16))
    twice: dict[str, list[tuple[str, str]]] = {
        "two keys": [("Sec-WebSocket-Key", another)],
        "two versions": [("Sec-WebSocket-Version", "8")],
    }
    for fault, headers in twice.items():
        async with chat.connector.wire() as peer:
            refused(await chat.connector.upgrade(peer, headers, checked=False), fault)
    no_http: dict[str, dict[str, Any]] = {"HTTP/1.0": {"http": "1.0"}, "no Host": {"headers": {"Host": None}}}
    for fault, sent in no_http.items():
        async with chat.connector.wire() as peer:
            try:
                response = await chat.connector.upgrade(peer, **sent)
            # A close without an answer is allowed for what is no HTTP/1.1 (HAND-3); silence is not.
            except Failure:
                if peer.ended is None:
                    raise
            else:
                refused(response, fault)
    async with chat.websocket() as peer:
        await peer.expect_alive()


def refused(response: Response, fault: str) -> None:
    """Expect that a handshake was refused as HAND-3 wants it, for what is wrong with it."""
    right = 400 <= response.status < 500 or response.status in (501, 505)
    expect(right, f"a 4xx status for {fault}", f"it is {response.status}")


@case(
    "handshake/wrong-version",
    title="A wrong version is answered with 426 and the right one",
    clause="HAND-3",
    severity=Severity.LOW,
    means="A client of another version does not learn which one to use.",
)
async def wrong_version(chat: CaseContext) -> None:
    async with chat.connector.wire() as peer:
        response = await chat.connector.upgrade(peer, {"Sec-WebSocket-Version": "8"})

        # 426 is what chat-stream-v1 asks for; RFC 6455 §4.4 names it as an example only.
        right = 400 <= response.status < 500 if chat.target.described else response.status == 426
        expect(right, "the status for version 8 to be 426", f"it is {response.status}")
        expect_equal(response.header("sec-websocket-version"), "13", "Sec-WebSocket-Version in the answer")


@case(
    "handshake/foreign-origin",
    title="An upgrade from a foreign page is refused with 403",
    clause="HAND-4",
    severity=Severity.BLOCKER,
    means="Any web page can talk to Claude as the logged-in user who visits it.",
    finding="M-3",
    evidence="it is 101",
)
async def foreign_origin(chat: CaseContext) -> None:
    own = chat.server.url
    # Each passes some careless check: the own address at the beginning, at the end, as the part before an
    # `@`, with another port. `null` is what sandboxed frames send, and what cannot be parsed must not count
    # as no Origin.
    foreign = [
        "https://evil.example",
        "null",
        "http://[no address",
        f"{own}.evil.example",
        f"http://evil.example#{own}",
        f"http://{chat.server.host}:{chat.server.port + 1 if chat.server.port < 65535 else 1}",
        f"https://{chat.server.host}:{chat.server.port}@evil.example",
    ]
    for origin in foreign:
        async with chat.connector.wire() as peer:
            response = await chat.connector.upgrade(peer, {"Origin": origin})

            expect_equal(response.status, 403, f"the status for the origin {origin!r}")


@case(
    "handshake/own-origin",
    title="The server's own page may connect",
    clause="HAND-4",
    severity=Severity.BLOCKER,
    means="The page itself is locked out.",
    needs=(COMPLETES,),
)
async def own_origin(chat: CaseContext) -> None:
    async with chat.connector.wire() as peer:
        response = await chat.connector.upgrade(peer, {"Origin": chat.server.url})

        expect_equal(response.status, 101, "the status for the server's own origin")


@case(
    "handshake/spellings",
    title="A handshake is understood however its headers are spelled",
    clause="HAND-1",
    severity=Severity.MEDIUM,
    means="Some browsers and proxies get no connection: Firefox sends `keep-alive, Upgrade`.",
    needs=(COMPLETES,),
)
async def spellings(chat: CaseContext) -> None:
    key = encode_key(chat.random.randbytes(16))
    # Names of headers have no case, and white space around a value is no part of it (RFC 9110 §5.1, §5.5).
    spelled: list[dict[str, str | None]] = [
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": "upgrade", "Upgrade": "WebSocket"},
        {"Connection": None, "connection": "Upgrade", "Upgrade": None, "UPGRADE": "websocket"},
        {"Sec-WebSocket-Key": None, "sec-websocket-key": f"  {key}  "},
        {"Sec-WebSocket-Version": None, "SEC-WEBSOCKET-VERSION": "13"},
    ]
    for headers in spelled:
        async with chat.connector.wire() as peer:
            response = await chat.connector.upgrade(peer, headers, key=key)

            expect_equal(response.status, 101, f"the status with {headers}")


@case(
    "handshake/no-get",
    title="An upgrade by another method than GET is refused",
    clause="HAND-3",
    severity=Severity.LOW,
    means="What filters let through as a form opens a connection.",
)
async def no_get(chat: CaseContext) -> None:
    for method in ("POST", "PUT", "OPTIONS"):
        async with chat.connector.wire() as peer:
            # With a length: some servers answer 411 to a POST without one, which would be a refusal for
            # another reason.
            response = await chat.connector.upgrade(peer, {"Content-Length": "0"}, method=method)
            refused(response, method)
