"""The channel of a chat on Socket.IO: packets in the text messages of a WebSocket.

The server opens with ``0{…}``, the client joins a namespace with ``40``, and the server agrees with ``40{…}``. Only
then events pass, as arrays, in both directions::

    server  0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000}
    client  40
    server  40{"sid":"b"}
    client  42["ask",{"text":"hi"}]
    server  42["token","Hel"]   42["token","lo"]   2 (a ping, answered with 3)

What answers a message that asked for an acknowledgement is read as an event named ``@ack``.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from chat_conformance.errors import NotOffered
from chat_conformance.target.templates import filled
from chat_conformance.wire.channel import Garbled, read_events
from chat_conformance.wire.evidence import saw
from chat_conformance.wire.frames import Frame, Opcode
from chat_conformance.wire.messages import Message
from chat_conformance.wire.peer import MASK, Peer
from chat_conformance.wire.socket_io import Engine, Kind, Packet, PacketError, decode, encode
from chat_conformance.wire.trace import shorten

ACK = "@ack"


class SocketIOPeer(Peer):
    """A WebSocket that speaks Socket.IO; what is sent and noted are the events of one namespace.

    Attributes:
        joined: Whether the namespace has been joined.
    """

    joined = False
    _acks = 0

    @property
    def _namespace(self) -> str:
        return self.speech.target.socket_io.namespace

    async def join(self) -> None:
        """Wait until the namespace is joined; the pump does the steps as they are due.

        Raises:
            Failure: The server does not open, or refuses.
        """
        await self.until(lambda: self.joined or None, f"to join the namespace {self._namespace}")
        saw(f"the namespace {self._namespace} was joined")

    def encode(self, **members: Any) -> bytes:
        """A client message as this server has it, as the text of a packet; members that are None are left out."""
        return self._packed(self.speech.message(members))

    async def send_message(self, message: Any) -> None:
        """Send an event of the server's own protocol: an array with its name first."""
        await self.send_text(self._packed(message))

    def _packed(self, message: Any) -> bytes:
        if not isinstance(message, list) or not message or not isinstance(message[0], str):
            raise NotOffered(f"a message to Socket.IO is an array with a name first, and no {message!r}")
        ack = None
        if self.speech.target.socket_io.acknowledge:
            ack, self._acks = self._acks, self._acks + 1
        return encode(Packet(Engine.MESSAGE, Kind.EVENT, self._namespace, ack, message)).encode()

    def _read(self, message: Message) -> None:
        if message.opcode != Opcode.TEXT:
            self._note(Garbled(shorten(message.payload), "a binary attachment"))
            return
        try:
            packet = decode(message.text)
        except PacketError as error:
            self._note(Garbled(shorten(message.text), f"no packet: {error}"))
            return
        match packet.engine:
            case Engine.OPEN:
                # Here, in the pump, and not by who waits: the server ends a connection that does not join
                # within its time.
                auth = filled(self.speech.target.socket_io.auth, self.speech.captures) or None
                self._write_packet(Packet(Engine.MESSAGE, Kind.CONNECT, self._namespace, data=auth))
            case Engine.PING:
                self.pings.append(time.monotonic())
                if self.answers_pings:
                    self._write_packet(Packet(Engine.PONG, data=packet.data))
            case Engine.MESSAGE if packet.namespace == self._namespace:
                self._take_packet(packet)
            case _:
                pass

    def _take_packet(self, packet: Packet) -> None:
        match packet.kind:
            case Kind.CONNECT:
                self.joined = True
            case Kind.CONNECT_ERROR:
                # The WebSocket stays open after a refusal, but without the namespace nothing can come on it:
                # end it, or a case waits.
                self._writer.transport.abort()
                self._end(f"the server refused the namespace: {shorten(str(packet.data))}")
            case Kind.EVENT:
                if packet.ack is not None:
                    # A server that asked for an acknowledgement may wait for it before it sends on.
                    self._write_packet(Packet(Engine.MESSAGE, Kind.ACK, self._namespace, packet.ack, []))
                self._take_event(packet.data)
            case Kind.ACK:
                self._take_event([ACK, *packet.data])
            case _:
                pass

    def _take_event(self, data: list[Any]) -> None:
        for event in read_events(msgspec.json.encode(data), self.speech):
            self._note(event)

    def _write_packet(self, packet: Packet) -> None:
        self._write_own(Frame(Opcode.TEXT, encode(packet).encode(), mask=MASK))

    def answer_last_ping(self) -> None:
        """Send the pong of the latest ping now."""
        self._write_packet(Packet(Engine.PONG))
