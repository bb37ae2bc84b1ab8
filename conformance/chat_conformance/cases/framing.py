"""Frames as RFC 6455 has them."""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass, replace

from chat_conformance.cases.handshake import COMPLETES
from chat_conformance.errors import NotOffered
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal
from chat_conformance.suite.turn import TurnReader
from chat_conformance.wire.frames import Frame, Opcode, encode_frame
from chat_conformance.wire.peer import MASK, Peer

PING_PONG = "framing/ping"
MIB = 1 << 20


@case(
    PING_PONG,
    title="A ping is answered by a pong with the same payload",
    clause="FRAME-4",
    severity=Severity.BLOCKER,
    means="Proxies and clients that watch the connection take it for dead.",
    finding="R1-7",
    evidence="the connection ended",
    needs=(COMPLETES,),
)
async def ping(chat: CaseContext) -> None:
    async with chat.websocket() as peer:
        for payload in (b"", b"hello", bytes(range(125))):
            await peer.send(Frame(Opcode.PING, payload, mask=MASK))
            await peer.expect_pong(payload)


@case(
    "framing/ping-during-turn",
    title="A ping is answered while a turn is running and silent",
    clause="FRAME-4",
    severity=Severity.MEDIUM,
    means="A long answer is cut because the connection looks dead while Claude thinks.",
    needs=(PING_PONG, "turns/answered"),
)
async def ping_during_turn(chat: CaseContext) -> None:
    async with chat.fake.gate("silent") as gate, chat.websocket() as peer:
        turn = await chat.start_turn(peer, chat.fake.prompt(tokens=2, hold=f"{gate.name}@0"))
        await chat.fake.wait_at_gate(gate)

        await peer.expect_alive()
        gate.open()
        await turn.completed()


@case(
    "framing/unsolicited-pong",
    title="An unsolicited pong is ignored",
    clause="FRAME-4",
    severity=Severity.LOW,
    means="Browsers and proxies that send pongs as a heartbeat are thrown out.",
    needs=(PING_PONG,),
)
async def unsolicited_pong(chat: CaseContext) -> None:
    async with chat.websocket() as peer:
        await peer.send(Frame(Opcode.PONG, b"unsolicited", mask=MASK))
        await peer.expect_alive()


async def cut(peer: Peer, other: Peer, data: bytes, at: int, what: str) -> None:
    """Send bytes in two pieces; a round trip on another connection lets the server read the first before the second."""
    with peer.unbroken():
        await peer.send_bytes(data[:at], f"{what}, the first {at} of {len(data)} bytes")
        await other.expect_alive()
        await peer.send_bytes(data[at:], "… the rest")


@case(
    "framing/cut-anywhere",
    title="A frame cut at any byte is read as one frame",
    clause="FRAME-1",
    severity=Severity.MEDIUM,
    means="On real networks messages are misread: garbage, or a dead connection.",
    finding="R1-4",
    evidence="not within",
    needs=(PING_PONG,),
)
async def cut_anywhere(chat: CaseContext) -> None:
    async with chat.websocket() as peer, chat.websocket() as other:
        data = encode_frame(Frame(Opcode.PING, b"cut here", mask=MASK))
        for at in range(1, len(data)):
            await cut(peer, other, data, at, "a ping")
            await peer.expect_pong(b"cut here")
        # Lengths of 16 and of 64 bits.
        for size in (200, 70_000):
            # Two bytes and a length of two or eight more (RFC 6455 §5.2), and the four of the mask behind
            # them: all places in these are tried, and a few in the payload.
            header = 4 if size < 1 << 16 else 10
            places = (*range(1, header + 6), size // 2, size - 1)
            # Each cut costs a turn, so fewer are made where no cheaper message is answered.
            for at in places if chat.offers("checked") else places[:: len(places) // 3]:
                await cut_message(chat, (peer, other), size, at)


async def cut_message(chat: CaseContext, peers: tuple[Peer, Peer], size: int, at: int) -> None:
    """Send a text message of that size cut in two; what answers it shows that it was read."""
    asked = probe(chat, peers[0], "cut", size=size)
    await cut(
        *peers, encode_frame(Frame(Opcode.TEXT, asked.data, mask=MASK)), at, f"a text frame of {size} bytes"
    )
    await answered(chat, peers[0], asked)


@dataclass(frozen=True, slots=True)
class Probe:
    """A message that shows by its answer that it was read, as one message.

    Attributes:
        name: What distinguishes it.
        data: The payload of its frame.
        begin: The place in the peer's events behind which the answer is.
        turn: The turn that it begins; None if it is of a type that no server knows.
    """

    name: str
    data: bytes
    begin: int
    turn: TurnReader | None


def probe(chat: CaseContext, peer: Peer, name: str = "m", *, size: int = 0, text: str = "x") -> Probe:
    """A message of that many bytes, or a little more, with a text in it.

    It is of an unknown type, which is answered with an error (MSG-2); where no clause asks for that, it is a prompt.
    """
    name, begin = chat.next_id(name), len(peer.events)
    if chat.offers("checked"):
        data = peer.encode(type="no_such_type", message_id=name, detail=text)
        # White space behind the brace is legal in JSON and changes no member, so any size can be had.
        return Probe(name, data[:1] + b" " * (size - len(data)) + data[1:], begin, None)
    prompt = f"{chat.fake.prompt(name)} {text}"
    # An `x` takes one byte whatever the envelope is: they fill what is left of the size.
    empty = len(peer.encode(type="chat_request", message=prompt))
    prompt += "x" * (size - empty)
    return Probe(name, peer.encode(type="chat_request", message=prompt), begin, chat.turn_of(peer, prompt))


async def answered(chat: CaseContext, peer: Peer, asked: Probe) -> None:
    """Wait for what answers a probe: so it was read, as one message.

    An error names this message or none: whether errors do is MSG-6's affair, and which code they have MSG-2's.
    """
    if asked.turn is not None:
        await asked.turn.completed()
        expect_equal(chat.fake.prompt_count(asked.name), 1, "how often Claude was given the message")
    if chat.offers("checked"):
        _, event = await peer.expect_event(asked.begin)
        expect(
            event.get("type") == "error" and event.get("message_id") in (None, asked.name),
            f"an error for the message {asked.name!r}",
            f"it is {event}",
        )


@case(
    "framing/glued",
    title="Frames that arrive in one piece are all read",
    clause="FRAME-1",
    severity=Severity.MEDIUM,
    means="The second of two quick messages is lost or waits for the next one.",
    needs=(PING_PONG,),
)
async def glued(chat: CaseContext) -> None:
    async with chat.websocket() as peer:
        # Turns may have to wait for one another.
        count = 10 if chat.offers("checked") else 1
        probes = [probe(chat, peer, "glued") for _ in range(count)]
        frames = [Frame(Opcode.TEXT, each.data, mask=MASK) for each in probes]
        frames += [Frame(Opcode.PING, f"glued {number}".encode(), mask=MASK) for number in range(10)]
        await peer.send_bytes(b"".join(map(encode_frame, frames)), "messages and 10 pings in one piece")

        # It may stand for all of them (RFC 6455 §5.5.3).
        await peer.expect_pong(b"glued 9")
        for place, each in enumerate(probes):
            # All probes were made at one place in the events, but their answers come one behind the other.
            await answered(chat, peer, replace(each, begin=each.begin + place))


@case(
    "framing/fragments",
    title="A fragmented message with pings between its fragments is understood",
    clause="FRAME-2",
    severity=Severity.MEDIUM,
    means="Large pasted prompts, which some clients and proxies fragment, are lost.",
    finding="M-12",
    evidence="the connection ended|not within",
    needs=(PING_PONG,),
)
async def fragments(chat: CaseContext) -> None:
    async with chat.websocket() as peer:
        asked = probe(chat, peer, text="ä€ " + "€" * 50)
        text = asked.data
        # The cut is between the bytes of one character.
        inside = text.rindex("€".encode()) + 1
        await peer.send(Frame(Opcode.TEXT, text[:5], fin=False, mask=MASK))
        await peer.expect_alive()
        await peer.send(Frame(Opcode.CONTINUATION, text[5:inside], fin=False, mask=MASK))
        # A fragment may be empty; some readers take that for the end.
        await peer.send(Frame(Opcode.CONTINUATION, b"", fin=False, mask=MASK))
        await peer.expect_alive()
        await peer.send(Frame(Opcode.CONTINUATION, text[inside:], mask=MASK))

        await answered(chat, peer, asked)


ILLEGAL: dict[str, list[Frame]] = {
    "rsv1": [Frame(Opcode.TEXT, b"{}", rsv=4, mask=MASK)],
    "rsv2": [Frame(Opcode.TEXT, b"{}", rsv=2, mask=MASK)],
    "rsv3 on a ping": [Frame(Opcode.PING, b"rsv3", rsv=1, mask=MASK)],
    "rsv1 on a close": [Frame(Opcode.CLOSE, b"", rsv=4, mask=MASK)],
    "rsv1 on a fragment": [
        Frame(Opcode.TEXT, b"{", fin=False, mask=MASK),
        Frame(Opcode.CONTINUATION, b"}", rsv=4, mask=MASK),
    ],
    **{
        f"reserved opcode {number}": [Frame(number, b"reserved", mask=MASK)]
        for number in (*range(3, 8), *range(11, 16))
    },
    "fragmented ping": [Frame(Opcode.PING, b"x", fin=False, mask=MASK)],
    "fragmented pong": [Frame(Opcode.PONG, b"x", fin=False, mask=MASK)],
    "fragmented close": [Frame(Opcode.CLOSE, b"\x03\xe8", fin=False, mask=MASK)],
    "ping of 126 bytes": [Frame(Opcode.PING, bytes(126), mask=MASK)],
    "pong of 126 bytes": [Frame(Opcode.PONG, bytes(126), mask=MASK)],
    "close of 126 bytes": [Frame(Opcode.CLOSE, b"\x03\xe8" + b"x" * 124, mask=MASK)],
    "nothing to continue": [Frame(Opcode.CONTINUATION, b"x", mask=MASK)],
    "message inside a message": [
        Frame(Opcode.TEXT, b"a", fin=False, mask=MASK),
        Frame(Opcode.TEXT, b"b", mask=MASK),
    ],
    "nothing left to continue": [
        Frame(Opcode.TEXT, b'{"type":"cancel",', fin=False, mask=MASK),
        Frame(Opcode.CONTINUATION, b'"message_id":"none"}', mask=MASK),
        Frame(Opcode.CONTINUATION, b"x", mask=MASK),
    ],
    "close of one byte": [Frame(Opcode.CLOSE, b"\x03", mask=MASK)],
}


@case(
    "framing/illegal",
    title="A frame that breaks RFC 6455 ends the connection, with 1002 if a reason is sent",
    clause="FRAME-3",
    severity=Severity.MEDIUM,
    means="Bytes that mean nothing are taken for messages, and the connection continues out of step.",
    needs=(PING_PONG, "framing/glued"),
)
async def illegal(chat: CaseContext) -> None:
    for what, frames in ILLEGAL.items():
        async with chat.websocket() as peer:
            # That one has a legal message in front, which may be answered before the connection ends.
            await peer.expect_refused(1002, *frames, answered=what == "nothing left to continue")


@case(
    "framing/unmasked",
    title="An unmasked frame ends the connection, with 1002 if a reason is sent",
    clause="FRAME-3",
    severity=Severity.LOW,
    means="Masking keeps pages from poisoning proxies (RFC 6455 §10.3); a server that does not insist gives that up.",
    needs=(PING_PONG,),
)
async def unmasked(chat: CaseContext) -> None:
    for frame in (Frame(Opcode.PING, b"bare"), Frame(Opcode.TEXT, b'{"type":"no_such_type"}')):
        async with chat.websocket() as peer:
            await peer.expect_refused(1002, frame)


@case(
    "framing/long-length",
    title="A length written longer than needed ends the connection, with 1002 if a reason is sent",
    clause="FRAME-3",
    severity=Severity.LOW,
    means="Two readers of the same bytes disagree about what they are, which is how filters are passed.",
    needs=(PING_PONG,),
)
async def long_length(chat: CaseContext) -> None:
    for size in (2, 8):
        async with chat.websocket() as peer:
            await peer.expect_refused(
                1002, Frame(Opcode.TEXT, b'{"type":"no_such_type"}', mask=MASK, length_bytes=size)
            )


@case(
    "framing/bad-utf8",
    title="Text that is not UTF-8 ends the connection, with 1007 if a reason is sent",
    clause="FRAME-3",
    severity=Severity.MEDIUM,
    means="Broken text reaches Claude and history, or the connection dies without a reason.",
    needs=(PING_PONG, "framing/glued"),
)
async def bad_utf8(chat: CaseContext) -> None:
    # A byte that never occurs, a surrogate, `/` in two bytes, and a character cut off at the end (all RFC
    # 3629 §3).
    for payload in (b'{"type":"\xff"}', b'{"type":"\xed\xa0\x80"}', b'{"type":"\xc0\xaf"}', b'"\xe2\x82'):
        async with chat.websocket() as peer:
            await peer.expect_refused(1007, Frame(Opcode.TEXT, payload, mask=MASK))
    async with chat.websocket() as peer:
        # Begun in one fragment and not finished in the next: only the whole message can be judged (RFC 6455
        # §8.1).
        await peer.expect_refused(
            1007,
            Frame(Opcode.TEXT, b'"\xe2', fin=False, mask=MASK),
            Frame(Opcode.CONTINUATION, b'\x82"', mask=MASK),
        )


@case(
    "framing/too-big",
    title="A frame that announces 2^62 bytes ends the connection at once, with 1009 if a reason is sent",
    clause="FRAME-3",
    severity=Severity.MEDIUM,
    means="One client can ask for all of the server's memory.",
    finding="M-12",
    evidence="not within",
    needs=(PING_PONG,),
)
async def too_big(chat: CaseContext) -> None:
    async with chat.websocket() as peer:
        # The highest bit is not set, so the number itself is legal: only its size is wrong.
        frame = Frame(Opcode.TEXT, b"{", mask=MASK)
        peer.break_rules()
        await peer.send_bytes(
            encode_frame(frame, announced=1 << 62), "a text frame that announces 2^62 bytes"
        )
        await peer.expect_refusal(1009)


BEYOND = 20 * MIB
"""More than a server should take as one message (FRAME-3)."""


@case(
    "framing/fragment-sum",
    title="The limit of a message holds for the sum of its fragments, too",
    clause="FRAME-3",
    severity=Severity.LOW,
    means="One client fills all of the server's memory, in pieces of which each is allowed.",
    needs=(PING_PONG,),
)
async def fragment_sum(chat: CaseContext) -> None:
    async with chat.websocket() as peer:
        first = encode_frame(Frame(Opcode.TEXT, b"x" * MIB, fin=False, mask=MASK))
        more = encode_frame(Frame(Opcode.CONTINUATION, b"x" * MIB, fin=False, mask=MASK))
        peer.break_rules()
        try:
            # A server may read no more of it.
            async with asyncio.timeout(chat.target.within):
                for number in range(BEYOND // MIB):
                    if peer.close or peer.ended:
                        break
                    await peer.send_bytes(more if number else first, f"fragment {number + 1}, of 1 MiB")
        except TimeoutError:
            pass
        await peer.expect_refusal(1009, 1008)


@case(
    "framing/deflate-bomb",
    title="The limit of a message holds for what it is after inflation, too",
    clause="FRAME-3",
    severity=Severity.LOW,
    means="One client fills all of the server's memory with a message of some kilobytes.",
    needs=("framing/deflate",),
)
async def deflate_bomb(chat: CaseContext) -> None:
    # -15: raw deflate, without the header of zlib; and what a sync flush ends with is left out (RFC 7692
    # §7.2.1).
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    text = b'{"type":"no_such_type","x":"' + b"x" * BEYOND + b'"}'
    small = (squeeze.compress(text) + squeeze.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")
    async with chat.connector.wire() as peer:
        response = await chat.connector.upgrade(peer, {"Sec-WebSocket-Extensions": "permessage-deflate"})
        if "permessage-deflate" not in (response.header("sec-websocket-extensions") or ""):
            raise NotOffered("the server declines compression")
        behind = Frame(Opcode.PING, b"behind it", mask=MASK)
        await peer.expect_refused(1009, Frame(Opcode.TEXT, small, rsv=4, mask=MASK), behind)


@case(
    "framing/two-mib",
    title="A message of 2 MiB passes the framing",
    clause="FRAME-3",
    severity=Severity.MEDIUM,
    means="Long prompts end in a dead connection instead of an answer or a clear refusal.",
    needs=(PING_PONG, "framing/cut-anywhere"),
)
async def two_mib(chat: CaseContext) -> None:
    async with chat.websocket() as peer:
        asked = probe(chat, peer, text="x" * (2 * MIB))
        await peer.send_text(asked.data)
        await answered(chat, peer, asked)
        await peer.expect_alive()


@case(
    "framing/server-frames",
    title="The server's own frames are legal",
    clause="FRAME-5",
    severity=Severity.BLOCKER,
    means="Browsers fail the connection at the first such frame.",
    needs=(COMPLETES,),
)
async def server_frames(chat: CaseContext) -> None:
    async with chat.websocket() as peer:
        await peer.expect_alive()
        turn = await chat.send_prompt(peer, chat.fake.prompt("are your frames legal?"))
        await turn.finish()

        expect(not peer.illegal, "frames that RFC 6455 allows", "; ".join(map(str, peer.illegal[:3])))


@case(
    "framing/lengths",
    title="Messages at each border of the length forms are read",
    clause="FRAME-1",
    severity=Severity.MEDIUM,
    means="Messages of just that length are lost, and with them all that follow on the connection.",
    needs=(PING_PONG, "framing/cut-anywhere"),
)
async def lengths(chat: CaseContext) -> None:
    async with chat.websocket() as peer:
        for size in (125, 126, 127, 65_535, 65_536, 65_537):
            asked = probe(chat, peer, "s", size=size)
            # The shortest are shorter than some servers' shortest message.
            if len(asked.data) == size:
                await peer.send_text(asked.data)
                await answered(chat, peer, asked)


@case(
    "framing/masks",
    title="Every masking key is undone, and each frame has its own",
    clause="FRAME-1",
    severity=Severity.MEDIUM,
    means="Browsers draw a key for each frame: some messages arrive as garbage.",
    needs=(PING_PONG, "framing/fragments", "framing/glued"),
)
async def masks(chat: CaseContext) -> None:
    async with chat.websocket() as peer:
        # Zeros leave the payload as it is, FF turns every bit, and 00 00 00 01 shows a key that is read from
        # the wrong end.
        for mask in (bytes(4), b"\xff" * 4, b"\x00\x00\x00\x01", chat.random.randbytes(4)):
            await peer.send(Frame(Opcode.PING, b"masked so", mask=mask))
            await peer.expect_pong(b"masked so")
        asked = probe(chat, peer)
        await peer.send(Frame(Opcode.TEXT, asked.data[:7], fin=False, mask=chat.random.randbytes(4)))
        await peer.send(Frame(Opcode.CONTINUATION, asked.data[7:], mask=chat.random.randbytes(4)))
        await answered(chat, peer, asked)


@case(
    "framing/highest-bit",
    title="A 64-bit length with its highest bit set ends the connection",
    clause="FRAME-3",
    severity=Severity.MEDIUM,
    means="A negative length: a crash, or all of the server's memory.",
    needs=(PING_PONG,),
)
async def highest_bit(chat: CaseContext) -> None:
    for announced in (1 << 63, (1 << 64) - 1):
        async with chat.websocket() as peer:
            peer.break_rules()
            data = encode_frame(Frame(Opcode.TEXT, b"{", mask=MASK), announced=announced)
            await peer.send_bytes(data, f"a text frame that announces {announced} bytes")
            # RFC 6455 §5.2: it must be 0; and it is too big.
            await peer.expect_refusal(1002, 1009)


@case(
    "framing/deflate",
    title="Compression, as browsers offer it, is declined or spoken right",
    clause="FRAME-5",
    severity=Severity.BLOCKER,
    means="Every browser offers it: they all fail the connection at the first message.",
    needs=(COMPLETES, "framing/server-frames"),
)
async def deflate(chat: CaseContext) -> None:
    # What browsers send; an unknown extension in front; an offer with an unknown parameter, which has to be
    # passed over for the next one (RFC 7692 §7); and nothing that is known.
    offers = (
        "permessage-deflate; client_max_window_bits",
        "x-no-such-extension, permessage-deflate; server_no_context_takeover",
        "permessage-deflate; no_such_parameter, permessage-deflate",
        "x-no-such-extension",
    )
    say = "the same words again and again " * 20
    for offer in offers:
        async with chat.connector.wire() as peer:
            response = await chat.connector.upgrade(peer, {"Sec-WebSocket-Extensions": offer})
            expect_equal(response.status, 101, f"the status when {offer!r} is offered")
            # Twice: the second message may refer back to the first one's window, and only then a wrong window
            # shows.
            for _ in range(2):
                turn = await chat.run_turn(peer, chat.fake.prompt(say=say))
                expect_equal(turn.text, say, f"the answer when {offer!r} is offered")
            expect(not peer.illegal, "frames that RFC 6455 allows", "; ".join(map(str, peer.illegal[:3])))
