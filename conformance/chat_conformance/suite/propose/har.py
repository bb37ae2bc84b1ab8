"""A HAR as browsers, Playwright and mitmproxy write it.

They differ in what they leave out: members are missing or null, bodies and binary messages are in Base64, messages of
a WebSocket are joined by its control frames and errors, and an event stream is in ``_eventSourceMessages`` only.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import urlsplit

from chat_conformance.errors import UsageError
from chat_conformance.suite.propose.recording import Exchange, Recording, Socket, add

BINARY = 2
"""The opcode of a message in bytes, which is in Base64."""


def of_har(log: Any, name: str) -> Recording:
    """What the member ``log`` of a HAR has.

    Raises:
        UsageError: It has no entries, or one of them is none.
    """
    entries = log.get("entries") if isinstance(log, dict) else None
    if not isinstance(entries, list):
        raise UsageError(f"{name} is no HAR and no recorded session: its log.entries is no array")
    for place, entry in enumerate(entries):
        request = entry.get("request") if isinstance(entry, dict) else None
        if not isinstance(request, dict) or not _is_address(request.get("url")):
            raise UsageError(f"{name}: log.entries[{place}].request.url is no address")
    found = Recording()
    for entry in sorted(entries, key=lambda each: str(each.get("startedDateTime") or "")):
        request = entry["request"]
        if entry.get("_webSocketMessages") is not None or request["url"].startswith(("ws://", "wss://")):
            found.sockets.append(_socket(entry))
        else:
            found.exchanges.append(_exchange(entry))
    return found


def _is_address(url: Any) -> bool:
    try:
        return isinstance(url, str) and bool(urlsplit(url).scheme)
    except ValueError:
        return False


def _socket(entry: dict[str, Any]) -> Socket:
    request = entry["request"]
    found = Socket(request["url"], dict(_headers(request)), at=str(entry.get("startedDateTime") or ""))
    for each in _objects(entry, "_webSocketMessages"):
        kind, opcode, data = each.get("type"), each.get("opcode", 1), str(each.get("data") or "")
        # Control frames, and what Chromium says of a connection that has failed, are no messages.
        if kind not in ("send", "receive") or opcode not in (0, 1, BINARY):
            continue
        text = _plain(data) if opcode == BINARY else data
        # Bytes that are no text are not the answer.
        if text and (opcode != BINARY or "\ufffd" not in text):
            add(found, text, sent=kind == "send")
    return found


def _exchange(entry: dict[str, Any]) -> Exchange:
    request, response = entry["request"], _object(entry, "response")
    content, status = _object(response, "content"), response.get("status")
    return Exchange(
        str(request.get("method") or "GET"),
        request["url"],
        dict(_headers(request)),
        _posted(_object(request, "postData")),
        status if isinstance(status, int) else 0,
        str(content.get("mimeType") or ""),
        _text(content) or _events(entry),
        tuple(_headers(response)),
        str(entry.get("startedDateTime") or ""),
    )


def _object(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _objects(value: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = value.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _headers(message: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (str(each.get("name", "")).lower(), str(each.get("value", "")))
        for each in _objects(message, "headers")
    ]


def _posted(data: dict[str, Any]) -> str:
    if data.get("text"):
        return _text(data)
    return "&".join(f"{each.get('name', '')}={each.get('value', '')}" for each in _objects(data, "params"))


def _text(content: dict[str, Any]) -> str:
    text = str(content.get("text") or "")
    return _plain(text) if content.get("encoding") == "base64" else text


def _plain(text: str) -> str:
    """What is in Base64, as text; what is not, as it is."""
    try:
        return base64.b64decode(text, validate=True).decode(errors="replace")
    except (binascii.Error, ValueError):
        return text


def _events(entry: dict[str, Any]) -> str:
    """The event stream that Chromium keeps apart from the answer's content."""
    events = []
    for each in _objects(entry, "_eventSourceMessages"):
        kind = str(each.get("eventName") or "message")
        lines = [f"event: {kind}", *(f"data: {line}" for line in str(each.get("data") or "").split("\n"))]
        events.append("\n".join(lines) + "\n\n")
    return "".join(events)
