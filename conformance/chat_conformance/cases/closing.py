"""The closing handshake, and what the end of a connection must not end."""

from __future__ import annotations

from contextlib import suppress

from chat_conformance.cases.framing import PING_PONG
from chat_conformance.cases.turns import ANSWERED, pieces
from chat_conformance.errors import Failure, NotOffered
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal
from chat_conformance.wire.evidence import saw
from chat_conformance.wire.frames import Frame, Opcode, close_frame, encode_frame
from chat_conformance.wire.peer import MASK, Peer

BEGUN_BY_SERVER = "closing/begun-by-server"
GOODBYES = (1000, 1001, None)
"""How a close may be answered besides with its own code, which RFC 6455 §5.5.1 calls typical only."""


@case(
    "closing/code",
    title="A close is answered by a close with a code that is allowed on the wire",
    clause="CLOSE-1",
    severity=Severity.LOW,
    means="Browsers report an abnormal close (1006 or 1002), and clients reconnect for nothing.",
    finding="R1-6",
    evidence="CLOSE 768",
    needs=(PING_PONG, "closing/before-tcp"),
)
async def code(chat: CaseContext) -> None:
    # Both ends of what applications may use (RFC 6455 §7.4.2), and no code at all, which a close may have as
    # well.
    for sent in (1000, 1001, 3000, 4999, None):
        async with chat.websocket() as peer:
            await peer.send(close_frame(sent, "bye" if sent else "", mask=MASK))

            await peer.expect_close(sent, *GOODBYES)


@case(
    "closing/before-tcp",
    title="Close and pong have left before the TCP connection ends",
    clause="CLOSE-1",
    severity=Severity.LOW,
    means="The last frames are lost with the socket: clean goodbyes look like broken connections.",
    finding="R1-7",
    evidence="the connection ended",
    needs=(PING_PONG, "framing/glued"),
)
async def before_tcp(chat: CaseContext) -> None:
    # Whether frames that were not flushed still leave is a race with the end of the socket: one round may be
    # lucky.
    for _ in range(5):
        async with chat.websocket() as peer:
            await last_words(peer)


async def last_words(peer: Peer) -> None:
    """Send a ping and then a close; both must be answered before the connection ends, the close with any code."""
    await peer.send(Frame(Opcode.PING, b"last words", mask=MASK))
    await peer.send(close_frame(1000, mask=MASK))

    await peer.expect_pong(b"last words")
    await peer.until(lambda: peer.close, "a close frame")
    await peer.until(lambda: peer.ended, "the end of the connection")


@case(
    "closing/nothing-after",
    title="Nothing is sent after the close, even in the middle of a turn",
    clause="CLOSE-1",
    severity=Severity.LOW,
    means="Clients report a broken connection where there was a clean close.",
    needs=(PING_PONG, ANSWERED, "closing/code"),
)
async def nothing_after(chat: CaseContext) -> None:
    async with chat.websocket() as peer:
        # Some 400 ms of tokens, so that the turn is writing while the close is answered.
        turn = await chat.start_turn(peer, chat.fake.prompt(tokens=200, gap="2ms"))
        await turn.next()
        await peer.send(close_frame(1000, mask=MASK))

        await peer.expect_close(*GOODBYES)
        last = peer.frames[-1][1]
        expect(
            last.opcode == Opcode.CLOSE,
            "the close frame to be the last one",
            f"opcode {last.opcode} came after it",
        )


@case(
    "closing/bad-code",
    title="A close with a forbidden code ends the connection, with 1002 if a reason is sent",
    clause="CLOSE-2",
    severity=Severity.LOW,
    means="A forbidden code reaches logs and proxies as if it meant something.",
    needs=(PING_PONG,),
)
async def bad_code(chat: CaseContext) -> None:
    # 1004 to 1006 and 1015 may be in no frame (RFC 6455 §7.4.1); the others lie at the edges of the ranges of
    # §7.4.2.
    for forbidden in (0, 768, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535):
        async with chat.websocket() as peer:
            peer.break_rules()
            await peer.send(close_frame(forbidden, mask=MASK))
            await peer.expect_refusal(1002)


@case(
    "closing/turn-goes-on",
    title="A turn continues when its connection ends, however it ends",
    clause="CLOSE-3",
    severity=Severity.BLOCKER,
    means="A user who reloads the page or changes networks loses the answer they paid for.",
    needs=(ANSWERED, "following/goes-live", "closing/code"),
)
async def turn_goes_on(chat: CaseContext) -> None:
    # A reload closes with 1001, a page that has done with 1000, and a network that is lost not at all.
    for end in (1001, 1000, None):
        async with chat.fake.gate(f"away{end}") as gate, chat.websocket() as stays:
            async with chat.websocket() as leaves:
                prompt = chat.fake.prompt(tokens=4, hold=f"{gate.name}@2")
                turn = await chat.start_turn(leaves, prompt)
                await chat.fake.wait_at_gate(gate)
                if end is None:
                    leaves.abort()
                else:
                    await leaves.send(close_frame(end, mask=MASK))
                    await leaves.expect_close(end, *GOODBYES)
            followed = await chat.follow(stays, turn.conversation_id, turn.message_id)
            await followed.begin()
            gate.open()

            expect_equal(
                await followed.complete(), pieces(4), "the answer after the connection that asked was gone"
            )
            kept = await chat.http.last_message(turn.conversation_id)
            expect_equal(kept.get("content"), pieces(4), "the answer in history")


@case(
    "closing/reason",
    title="A close with a reason is answered, one whose reason is not UTF-8 refused",
    clause="CLOSE-1",
    severity=Severity.LOW,
    means="A close with a reason ends as a broken connection, or broken text reaches logs.",
    needs=(PING_PONG, "closing/code"),
)
async def reason(chat: CaseContext) -> None:
    # 123 bytes is the longest reason: a control frame has at most 125, and the code takes two (RFC 6455
    # §5.5).
    for words in ("bye", "ä€👋", "x" * 123):
        async with chat.websocket() as peer:
            await peer.send(close_frame(1000, words, mask=MASK))
            await peer.expect_close(*GOODBYES)
    async with chat.websocket() as peer:
        peer.break_rules()
        await peer.send(Frame(Opcode.CLOSE, b"\x03\xe8\xff\xfe", mask=MASK))
        await peer.expect_refusal(1007, 1002)


@case(
    "closing/inside-message",
    title="A close between the fragments of a message is answered",
    clause="CLOSE-1",
    severity=Severity.LOW,
    means="Who leaves while sending hangs, or is taken for broken.",
    needs=(PING_PONG, "closing/code", "framing/fragments"),
)
async def inside_message(chat: CaseContext) -> None:
    async with chat.websocket() as peer:
        await peer.send(Frame(Opcode.TEXT, b'{"type":', fin=False, mask=MASK))
        await peer.send(close_frame(1000, mask=MASK))
        await peer.expect_close(*GOODBYES)


@case(
    "closing/nothing-obeyed",
    title="What comes after a close is neither answered nor obeyed",
    clause="CLOSE-1",
    severity=Severity.LOW,
    means="Messages behind a close run, and cost, though their sender has left.",
    needs=(PING_PONG, ANSWERED, "closing/code"),
)
async def nothing_obeyed(chat: CaseContext) -> None:
    message_id = chat.next_id()
    async with chat.websocket() as peer:
        peer.break_rules()
        late = peer.encode(type="chat_request", message=chat.fake.prompt("too late"), message_id=message_id)
        frames = (close_frame(1000, mask=MASK), Frame(Opcode.TEXT, late, mask=MASK))
        await peer.send_bytes(b"".join(map(encode_frame, frames)), "a close, and a chat_request behind it")
        await peer.expect_close(*GOODBYES)

        expect_equal(peer.events, [], "the messages that came")
    async with chat.websocket() as peer:
        # Under the id of what came too late: had that been obeyed, it would be the same turn (TURN-7).
        await chat.run_turn(peer, chat.fake.prompt("in time"), message_id=message_id)
        expect_equal(
            chat.fake.prompt_count("too late"), 0, "how often Claude was given what came after the close"
        )


@case(
    BEGUN_BY_SERVER,
    title="A connection that the server closes ends when the client has answered",
    clause="CLOSE-1",
    severity=Severity.LOW,
    means="Every client that is refused costs the server a connection for ever.",
    needs=(PING_PONG,),
)
async def begun_by_server(chat: CaseContext) -> None:
    # Whatever it closes for: which frames it has to refuse is judged by other cases.
    for frame in (
        Frame(3, b"", mask=MASK),
        Frame(Opcode.PING, b"bare"),
        Frame(Opcode.TEXT, b"\xff", mask=MASK),
    ):
        async with chat.websocket() as peer:
            peer.break_rules()
            await peer.send(frame)
            with suppress(Failure):
                await peer.until(lambda: peer.close or peer.ended, "the end of the connection")
            if peer.close or peer.ended:
                await peer.until(lambda: peer.ended, "the end of a connection whose close is answered")
                saw("a connection that the server closed has ended")
                return
    raise NotOffered("the server closes no connection, whatever comes")


@case(
    "closing/unanswered",
    title="A close that the server begins ends the connection even without an answer",
    clause="CLOSE-1",
    severity=Severity.LOW,
    means="Every client that breaks a rule and stays costs the server a connection for ever.",
    needs=(BEGUN_BY_SERVER, "framing/illegal"),
    waits=True,
)
async def unanswered(chat: CaseContext) -> None:
    async with chat.websocket() as peer:
        peer.break_rules()
        peer.answers_close = False
        # Opcode 3 is reserved (RFC 6455 §5.2), so the server has to end the connection, and the suite does
        # not answer its close.
        await peer.send(Frame(3, b"", mask=MASK))
        await peer.until(lambda: peer.close or peer.ended, "the end of the connection, by a close with 1002")
        await peer.until(
            lambda: peer.ended,
            "the end of a connection whose close is not answered",
            within=3 * chat.target.within,
        )
