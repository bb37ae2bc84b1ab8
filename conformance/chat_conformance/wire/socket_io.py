"""Socket.IO 5 packets in Engine.IO 4 messages, as they stand in WebSocket text messages.

The first character is Engine.IO's type; of a message (``4``) the second is Socket.IO's. Before the JSON may stand the
number of binary attachments with a dash, a namespace with a comma, and the number of an acknowledgement:

    >>> decode('42["hello",{"to":"all"}]')
    Packet(engine=4, kind=2, namespace='/', ack=None, data=['hello', {'to': 'all'}])
    >>> encode(Packet(4, 2, "/chat", 7, ["ask", "why?"]))
    '42/chat,7["ask","why?"]'
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgspec

from chat_conformance.wire.json_text import decoded

MAIN = "/"


class Engine(IntEnum):
    """Types of Engine.IO packets."""

    OPEN = 0
    CLOSE = 1
    PING = 2
    PONG = 3
    MESSAGE = 4
    UPGRADE = 5
    NOOP = 6


class Kind(IntEnum):
    """Types of Socket.IO packets."""

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


class PacketError(Exception):
    """Text that is no packet."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of Engine.IO, and that of Socket.IO in it.

    Attributes:
        engine: Engine.IO's type.
        kind: Socket.IO's type; None where the Engine.IO packet is no message.
        namespace: The namespace of a Socket.IO packet.
        ack: The number under which an answer is asked for, or given.
        data: The JSON; for an Engine.IO packet that is no message its text (JSON of an ``OPEN``).
    """

    engine: int
    kind: int | None = None
    namespace: str = MAIN
    ack: int | None = None
    data: Any = None


# After the 4 of Engine.IO, 2/chat,7["ask"] is kind 2, namespace /chat, acknowledgement 7 and the JSON.
# Numbers are bounded, because Python refuses to read one of thousands of digits by a ValueError that nothing
# here expects.
_MESSAGE = re.compile(
    r"(?P<kind>[0-6])(?:(?P<attachments>[0-9]{1,9})-)?(?:(?P<namespace>/[^,]*)(?:,|$))?(?P<ack>[0-9]{1,15})?(?P<data>.*)",
    re.DOTALL,
)
_BINARY = (Kind.BINARY_EVENT, Kind.BINARY_ACK)


def decode(text: str) -> Packet:
    """The packet of a text message.

    Raises:
        PacketError: It is none; binary packets are refused, since what follows them is no text.
    """
    if text[:1] not in tuple("0123456"):
        raise PacketError("no type of Engine.IO at its beginning")
    engine = int(text[0])
    if engine != Engine.MESSAGE:
        return Packet(engine, data=_json(text[1:]) if engine == Engine.OPEN else text[1:])
    found = _MESSAGE.fullmatch(text, 1)
    if found is None:
        raise PacketError("no type of Socket.IO after that of Engine.IO")
    # An attachment would come as a binary message of its own, and put a placeholder into the JSON.
    kind = int(found["kind"])
    if kind in _BINARY or found["attachments"] is not None:
        raise PacketError("a packet with binary attachments")
    data = _json(found["data"]) if found["data"] else None
    packet = Packet(
        engine, kind, found["namespace"] or MAIN, int(found["ack"]) if found["ack"] else None, data
    )
    # The code behind this relies on these shapes: `[ACK, *packet.data]` needs a list, and an event a name.
    _check(packet)
    return packet


def _json(text: str) -> Any:
    try:
        return decoded(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise PacketError(f"no JSON ({error})") from None


def _check(packet: Packet) -> None:
    """Refuse data that its type cannot have, as the protocol's page lists it.

    Raises:
        PacketError: It does not fit.
    """
    data, kind = packet.data, packet.kind
    right = {
        Kind.CONNECT: data is None or isinstance(data, dict),
        Kind.DISCONNECT: data is None,
        Kind.EVENT: isinstance(data, list) and bool(data) and isinstance(data[0], str | int),
        Kind.ACK: isinstance(data, list) and packet.ack is not None,
        Kind.CONNECT_ERROR: isinstance(data, str | dict),
    }
    if not right[Kind(kind or 0)]:
        raise PacketError(f"data that no packet of type {kind} has")


def encode(packet: Packet) -> str:
    """A packet as text."""
    if packet.engine != Engine.MESSAGE:
        return f"{packet.engine}{packet.data or ''}"
    namespace = "" if packet.namespace == MAIN else f"{packet.namespace},"
    ack = "" if packet.ack is None else str(packet.ack)
    data = "" if packet.data is None else msgspec.json.encode(packet.data).decode()
    return f"{packet.engine:d}{packet.kind:d}{namespace}{ack}{data}"
