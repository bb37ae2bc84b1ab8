"""Socket.IO packets: those of the protocol's page and of its parsers, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_conformance.wire.socket_io import MAIN, Engine, Kind, Packet, PacketError, decode, encode

# Packets as facts: the sample sessions of the Engine.IO 4 and Socket.IO 5 protocol pages and socket.io-parser's inputs.
PACKETS = {
    "2": Packet(Engine.PING, data=""),
    "3probe": Packet(Engine.PONG, data="probe"),
    '0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}': Packet(
        Engine.OPEN,
        data={
            "sid": "lv_VI97HAXpY6yYWAAAC",
            "upgrades": ["websocket"],
            "pingInterval": 25000,
            "pingTimeout": 20000,
        },
    ),
    "40": Packet(4, Kind.CONNECT),
    '40{"sid":"oSO0OpakMV_3jnilAAAA"}': Packet(4, Kind.CONNECT, data={"sid": "oSO0OpakMV_3jnilAAAA"}),
    '40/admin,{"token":"123"}': Packet(4, Kind.CONNECT, "/admin", data={"token": "123"}),
    "40/admin,": Packet(4, Kind.CONNECT, "/admin"),
    "40/woot": Packet(4, Kind.CONNECT, "/woot"),
    "41/admin,": Packet(4, Kind.DISCONNECT, "/admin"),
    '42["foo"]': Packet(4, Kind.EVENT, data=["foo"]),
    '42/admin,["bar"]': Packet(4, Kind.EVENT, "/admin", data=["bar"]),
    '4212["foo"]': Packet(4, Kind.EVENT, ack=12, data=["foo"]),
    '42/admin,1["tellme"]': Packet(4, Kind.EVENT, "/admin", 1, ["tellme"]),
    '43/admin,13["bar"]': Packet(4, Kind.ACK, "/admin", 13, ["bar"]),
    "431[]": Packet(4, Kind.ACK, ack=1, data=[]),
    '44{"message":"Not authorized"}': Packet(4, Kind.CONNECT_ERROR, data={"message": "Not authorized"}),
    '44"Unauthorized"': Packet(4, Kind.CONNECT_ERROR, data="Unauthorized"),
    '42/woot?a=1,["x"]': Packet(4, Kind.EVENT, "/woot?a=1", data=["x"]),
}
WRONG = [
    *(
        "",
        "x",
        "7",
        "4",
        "49",
        "4x",
        "442",
        "42",
        "42{}",
        "42[]",
        "42[null]",
        "42[[]]",
        '42["a"',
        '40"text"',
        "40[]",
    ),
    *(
        "43[]",
        '45["a"]',
        '451-["a",{"_placeholder":true,"num":0}]',
        '421-["a"]',
        "0",
        '41{"a":1}',
        '42"foo"',
        "43",
    ),
    "42" + "[" * 100_000,
]


@pytest.mark.parametrize("text", PACKETS)
def test_known_packets_are_read(text: str) -> None:
    assert decode(text) == PACKETS[text]


@pytest.mark.parametrize("text", WRONG)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(PacketError):
        decode(text)


@given(
    st.sampled_from([MAIN, "/chat", "/a/b", "/é"]),
    st.none() | st.integers(0, 10**14),
    st.text(),
    st.lists(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.lists(st.text(), max_size=2)
    ),
)
def test_written_events_are_read(namespace: str, ack: int | None, name: str, values: list[object]) -> None:
    packet = Packet(4, Kind.EVENT, namespace, ack, [name, *values])

    assert decode(encode(packet)) == packet


@given(st.text())
def test_any_text_is_packet_or_refused(text: str) -> None:
    try:
        packet = decode(text)
    except PacketError:
        return
    assert decode(encode(packet)).kind == packet.kind
