"""A recorded session of a chat: what its page asked by HTTP, and what went over its sockets.

A HAR as browsers write it has frames of WebSockets in ``_webSocketMessages``. What was recorded otherwise is JSON
Lines::

    {"request": "POST /api/session", "json": {"name": "ada"}, "status": 200, "answer": {"id": "s1"}}
    {"connect": "ws://127.0.0.1:8000/ws/s1"}
    {"send": {"type": "ask", "text": "hello"}}
    {"receive": {"type": "delta", "text": "Hi"}}
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from chat_conformance.errors import UsageError
from chat_conformance.wire.event_stream import EventStreamParser

PACKET = re.compile(r"4[0-6]\d*-?(?:/[^,]*,)?\d*(?=[\[{]|$)")
"""What stands before the JSON of a Socket.IO packet."""


def decoded(text: str) -> Any:
    """A text as JSON, if it is an object or an array; else as it is."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text
    return value if isinstance(value, dict | list) else text


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
        return "json-lines" if "ndjson" in self.kind or "jsonl" in self.kind else ""

    def frames(self) -> Iterator[Frame]:
        """The messages of a streamed answer, with what SSE has beside them as ``@event``."""
        if self.streams == "sse":
            for event in EventStreamParser().feed(self.answer.encode() + b"\n\n"):
                if event.data:
                    value = decoded(event.data)
                    beside = {"@event": event.event} if event.event not in ("", "message") else {}
                    enclosed = {**beside, **value} if isinstance(value, dict) else value
                    yield Frame(sent=False, text=event.data, value=enclosed)
            return
        for line in self.answer.splitlines():
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


def read(data: bytes, name: str) -> Recording:
    """The recording of a file.

    Raises:
        UsageError: It is neither a HAR nor JSON Lines as above.
    """
    try:
        document = msgspec.json.decode(data)
    except msgspec.DecodeError:
        document = None
    try:
        if isinstance(document, dict) and "log" in document:
            return _of_har(document["log"]["entries"])
        return _of_lines(data.decode())
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{name} is no HAR and no recorded session in JSON Lines: {type(error).__name__}: {error}"
        ) from None


def _of_har(entries: list[Any]) -> Recording:
    found = Recording()
    for entry in sorted(entries, key=lambda each: str(each.get("startedDateTime", ""))):
        request, response, at = entry["request"], entry["response"], str(entry.get("startedDateTime", ""))
        headers = {str(each["name"]).lower(): str(each["value"]) for each in request.get("headers", [])}
        messages = entry.get("_webSocketMessages")
        if messages is not None or str(request["url"]).startswith(("ws://", "wss://")):
            socket = Socket(str(request["url"]), headers, at=at)
            for each in messages or []:
                _add(socket, str(each.get("data", "")), sent=each.get("type") == "send")
            found.sockets.append(socket)
            continue
        content = response.get("content", {})
        found.exchanges.append(
            Exchange(
                str(request["method"]),
                str(request["url"]),
                headers,
                _posted(request.get("postData") or {}),
                int(response.get("status", 0)),
                str(content.get("mimeType", "")),
                _content(content),
                tuple(
                    (str(each["name"]).lower(), str(each["value"])) for each in response.get("headers", [])
                ),
                at,
            )
        )
    return found


def _posted(data: dict[str, Any]) -> str:
    if data.get("text"):
        return str(data["text"])
    return "&".join(f"{each['name']}={each.get('value', '')}" for each in data.get("params", []))


def _content(content: dict[str, Any]) -> str:
    text = str(content.get("text") or "")
    if content.get("encoding") != "base64":
        return text
    try:
        return base64.b64decode(text).decode(errors="replace")
    except binascii.Error:
        return text


def _of_lines(text: str) -> Recording:
    found = Recording()
    for number, line in enumerate(text.splitlines()):
        if not line.strip():
            continue
        entry, at = msgspec.json.decode(line), f"{number:09}"
        if "connect" in entry:
            headers = {name.lower(): value for name, value in entry.get("headers", {}).items()}
            found.sockets.append(Socket(entry["connect"], headers, at=at))
        elif "request" in entry:
            found.exchanges.append(_exchange(entry, at))
        else:
            if not found.sockets:
                found.sockets.append(Socket("ws://127.0.0.1/"))
            sent = "send" in entry
            said = entry["send"] if sent else entry["receive"]
            _add(found.sockets[-1], said if isinstance(said, str) else _json(said), sent=sent)
    return found


def _exchange(entry: dict[str, Any], at: str) -> Exchange:
    method, _, url = entry["request"].partition(" ")
    answer = entry.get("answer", "")
    body = entry.get("json", entry.get("body", ""))
    return Exchange(
        method,
        url,
        {name.lower(): value for name, value in entry.get("headers", {}).items()},
        body if isinstance(body, str) else _json(body),
        entry.get("status", 200),
        entry.get("kind", "application/json"),
        answer if isinstance(answer, str) else _json(answer),
        tuple((name.lower(), value) for name, value in entry.get("answer_headers", {}).items()),
        at,
    )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _add(socket: Socket, text: str, *, sent: bool) -> None:
    """Add a frame; packets of Socket.IO that carry no event are left out."""
    if not socket.is_socket_io:
        socket.frames.append(Frame(sent, text, decoded(text)))
        return
    value = decoded(PACKET.sub("", text, count=1))
    if sent and text.startswith("40") and isinstance(value, dict):
        socket.auth.update(value)
    if text.startswith("42") and isinstance(value, list):
        socket.frames.append(Frame(sent, text, value))
