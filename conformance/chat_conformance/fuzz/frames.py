"""WebSocket connections of the fuzzer: legal frames in any form, and one that RFC 6455 forbids now and then."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from chat_conformance.fuzz.sent import Kind, Sent
from chat_conformance.fuzz.texts import text
from chat_conformance.wire.frames import Frame, Opcode, close_frame, encode_frame

FRAMES = 200
"""How many frames a connection sends at most."""

BREAKS_ONE_IN = 120
"""So rarely a frame is one that RFC 6455 forbids; it ends the connection."""

CLOSE_CODES = (0, 999, 1000, 1001, 1003, 1004, 1005, 1006, 1007, 1011, 1015, 2999, 3000, 4999, 5000, 65535)


def connection(seed: str, number: int) -> Sent:
    """The frames of one connection, after the handshake."""
    # By seed and number, not from one stream of random numbers: so each connection can be made again by
    # itself.
    random = Random(f"{seed} frames {number}")  # noqa: S311 - it is to be repeatable
    pieces: list[bytes] = []
    legal, open_message = True, False
    for _ in range(random.randrange(1, FRAMES)):
        mask = random.randbytes(4)
        if random.randrange(BREAKS_ONE_IN) == 0:
            pieces.append(_forbidden(random, mask, open_message=open_message))
            legal = False
            # Sometimes more follows: a server must not act on frames behind one that it had to refuse.
            if random.random() < 0.7:
                break
            continue
        frame, open_message = _legal(random, open_message=open_message)
        pieces.append(encode_frame(replace(frame, mask=mask)))
    leaves = random.random() < 0.1
    cuts = tuple(random.choice((1, 2, 3, 7, 100, 1_400)) for _ in range(6)) if random.random() < 0.15 else ()
    return Sent(Kind.FRAMES, number, tuple(pieces), len(pieces), legal, leaves, cuts)


def _legal(random: Random, *, open_message: bool) -> tuple[Frame, bool]:
    """A legal frame, and whether a fragmented message is open after it."""
    dice = random.random()
    if dice < 0.15:
        payload = random.randbytes(random.choice((0, 1, 4, 124, 125)))
        return Frame(random.choice((Opcode.PING, Opcode.PONG)), payload), open_message
    if open_message:
        fin = random.random() < 0.5
        return Frame(Opcode.CONTINUATION, b" " * random.choice((0, 0, 1, 125, 126)), fin=fin), not fin
    if dice < 0.25:
        return Frame(Opcode.BINARY, random.randbytes(random.choice((0, 1, 126, 65_536)))), False
    payload = text(random)
    if dice < 0.4:
        whole = len(payload.decode()[: random.randrange(10)].encode())
        return Frame(Opcode.TEXT, payload[:whole], fin=False), True
    return Frame(Opcode.TEXT, payload), False


def _forbidden(random: Random, mask: bytes, *, open_message: bool) -> bytes:
    payload = random.randbytes(random.randrange(20))
    choices = [
        encode_frame(Frame(random.choice((3, 4, 7, 11, 15)), payload, mask=mask)),
        encode_frame(Frame(Opcode.TEXT, b"{}", rsv=random.randrange(1, 8), mask=mask)),
        # Not masked.
        encode_frame(Frame(Opcode.TEXT, b"{}")),
        encode_frame(Frame(Opcode.PING, bytes(126), mask=mask)),
        encode_frame(Frame(Opcode.PING, payload, fin=False, mask=mask)),
        encode_frame(Frame(Opcode.TEXT, b"\xff\xfe" + payload, mask=mask)),
        # Half of a surrogate pair.
        encode_frame(Frame(Opcode.TEXT, b"\xed\xa0\x80", mask=mask)),
        encode_frame(Frame(Opcode.TEXT, b"{}", length_bytes=8, mask=mask)),
        encode_frame(Frame(Opcode.BINARY, b"", mask=mask), announced=2**63 - 1),
        encode_frame(Frame(Opcode.BINARY, b"", mask=mask), announced=2**40),
        encode_frame(Frame(Opcode.TEXT, b"x" * 10, mask=mask), announced=200)[: random.randrange(1, 14)],
        encode_frame(close_frame(random.choice(CLOSE_CODES), mask=mask)),
        encode_frame(Frame(Opcode.CLOSE, b"\x03", mask=mask)),
        encode_frame(Frame(Opcode.CLOSE, b"\x03\xe8\xff\xff", mask=mask)),
        encode_frame(close_frame(None, mask=mask)),
        random.randbytes(random.randrange(1, 40)),
    ]
    choices.append(
        encode_frame(Frame(Opcode.TEXT if open_message else Opcode.CONTINUATION, b"{}", mask=mask))
    )
    return random.choice(choices)
