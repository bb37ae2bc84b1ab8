"""A recorded session of a chat: what its page asked by HTTP, and what went over its sockets.

A HAR as browsers write it has frames of WebSockets in ``_webSocketMessages``. What was recorded otherwise is JSON
Lines::

    {"request": "POST /api/session", "json": {"name": "ada"}, "status": 200, "answer": {"id": "s1"}}
    {"connect": "ws://127.0.0.1:8000/ws/s1"}
    {"send": {"type": "ask", "text": "hello"}}
    {"receive": {"type": "delta", "text": "Hi"}}
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from chat_conformance.wire.event_stream import EventStreamParser

# Examples: `42["msg",…]` an event; `42/chat,7["msg",…]` one of a namespace with an id; `451-[…]` one with an
# attachment; `40{"token":…}` joins.
PACKET = re.compile(r"4[0-6]\d*-?(?:/[^,]*,)?\d*(?=[\[{]|$)")
"""What stands before the JSON of a Socket.IO packet."""


def decoded(text: str) -> Any:
    """A text as JSON, if it is an object or an array; else as it is."""
    try:
        # Only objects and arrays: a bare 12 or true is more likely text than JSON, and a delta may be just
        # that.
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text
    return value if isinstance(value, dict | list) else text


def _is_object(line: str) -> bool:
    return line.lstrip().startswith("{") and isinstance(decoded(line), dict)


@dataclass(frozen=True, slots=True)
class Frame:
    """One message.

    Attributes:
        sent: Whether the page sent it.
        text: As it went over the wire.
        value: Its JSON; of Socket.IO the array of the event.
    """

    sent: bool
    text: str
    value: Any


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP request with its answer.

    Attributes:
        method: Of the request.
        url: The whole address.
        headers: Of the request, in lower case.
        body: Of the request.
        status: Of the answer.
        kind: The media type of the answer.
        answer: Its text.
        answer_headers: Name, in lower case, and value.
        at: A key for the order of all that was recorded.
    """

    method: str
    url: str
    headers: dict[str, str]
    body: str
    status: int
    kind: str
    answer: str
    answer_headers: tuple[tuple[str, str], ...] = ()
    at: str = ""

    @property
    def path(self) -> str:
        """Path and query."""
        return path_of(self.url)

    @property
    def value(self) -> Any:
        """The body of the request as JSON, or the fields of a form as an object."""
        value = decoded(self.body)
        if isinstance(value, str) and "=" in value and "form" in self.headers.get("content-type", ""):
            return dict(parse_qsl(value, keep_blank_values=True))
        return value

    @property
    def streams(self) -> str:
        """The transport of a streamed answer; empty if it is none."""
        if self.kind.startswith("text/event-stream"):
            return "sse"
        if "ndjson" in self.kind or "jsonl" in self.kind:
            return "json-lines"
        # Many servers do not say what they stream: two lines of JSON are no document.
        lines = [each for each in self.answer.split("\n") if each.strip()]
        return "json-lines" if len(lines) > 1 and all(_is_object(each) for each in lines) else ""

    def frames(self) -> Iterator[Frame]:
        """The messages of a streamed answer, with what SSE has beside them as ``@event``."""
        if self.streams == "sse":
            # An empty line ends an event; a recording that was cut may lack the last one.
            for event in EventStreamParser().feed(self.answer.encode() + b"\n\n"):
                if event.data:
                    value = decoded(event.data)
                    beside = {"@event": event.event} if event.event not in ("", "message") else {}
                    enclosed = {**beside, **value} if isinstance(value, dict) else value
                    yield Frame(sent=False, text=event.data, value=enclosed)
            return
        for line in self.answer.split("\n"):
            if line.strip():
                yield Frame(sent=False, text=line, value=decoded(line))


@dataclass(frozen=True, slots=True)
class Socket:
    """One WebSocket.

    Attributes:
        url: The whole address.
        headers: Of its handshake, in lower case.
        frames: What was sent and received, in order.
        at: As `Exchange.at`.
        auth: What was sent with the packet that joins a namespace of Socket.IO.
    """

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    at: str = ""
    auth: dict[str, Any] = field(default_factory=dict)

    @property
    def is_socket_io(self) -> bool:
        """Whether its frames are packets of Socket.IO."""
        return "EIO=" in self.url


@dataclass(frozen=True, slots=True)
class Recording:
    """All that was recorded, in order.

    Attributes:
        exchanges: The HTTP requests.
        sockets: The WebSockets.
    """

    exchanges: list[Exchange] = field(default_factory=list)
    sockets: list[Socket] = field(default_factory=list)


def path_of(url: str) -> str:
    """Path and query of an address."""
    parts = urlsplit(url)
    return f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"


def add(socket: Socket, text: str, *, sent: bool) -> None:
    """Add a frame; packets of Socket.IO that carry no event are left out."""
    if not socket.is_socket_io:
        socket.frames.append(Frame(sent, text, decoded(text)))
        return
    value = decoded(PACKET.sub("", text, count=1))
    if sent and text.startswith("40") and isinstance(value, dict):
        socket.auth.update(value)
    if text.startswith("42") and isinstance(value, list):
        socket.frames.append(Frame(sent, text, value))
