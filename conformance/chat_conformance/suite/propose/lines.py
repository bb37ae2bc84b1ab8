"""A recorded session in JSON Lines, as people write it by hand; a line that cannot be read is named by its number."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

import msgspec

from chat_conformance.errors import UsageError
from chat_conformance.suite.propose.recording import Exchange, Recording, Socket, add

KINDS = ("connect", "request", "send", "receive")
"""Of these each line has one."""
OF_REQUEST = ("request", "headers", "json", "body", "status", "kind", "answer", "answer_headers")
TYPES: dict[str, type | tuple[type, ...]] = {
    "connect": str,
    "request": str,
    "headers": dict,
    "answer_headers": dict,
    "status": int,
    "kind": str,
}
"""What members must be that cannot be just anything."""


def of_lines(text: str, name: str) -> Recording:
    """What the lines of a text have; blank ones, and those that begin with ``#`` or ``//``, have nothing.

    Raises:
        UsageError: A line is none of a recorded session.
    """
    found = Recording()
    # Not `splitlines`: JSON may have U+2028 and its like within a text.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith(("#", "//")):
            continue
        entry, at = _entry(line, f"{name}, line {number}"), f"{number:09}"
        if "connect" in entry:
            found.sockets.append(Socket(entry["connect"], _headers(entry, "headers"), at=at))
        elif "request" in entry:
            found.exchanges.append(_exchange(entry, at))
        else:
            if not found.sockets:
                found.sockets.append(Socket("ws://127.0.0.1/"))
            sent = "send" in entry
            add(found.sockets[-1], _text(entry["send"] if sent else entry["receive"]), sent=sent)
    return found


def _entry(line: str, where: str) -> dict[str, Any]:
    """One line as an object of a known kind."""
    try:
        entry = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise UsageError(f"{where} is no JSON: {error}") from None
    if not isinstance(entry, dict):
        raise UsageError(f'{where} is no object; it must be like {{"send": …}}')
    kinds = [each for each in KINDS if each in entry]
    if len(kinds) != 1:
        near = [each for name in entry for each in get_close_matches(name, KINDS, n=1)]
        has = " and ".join(kinds) or ", ".join(map(repr, entry)) or "no member"
        hint = f"; did you mean {near[0]!r}?" if near and not kinds else ""
        hint = "; what answers a request is its member answer" if "request" in kinds else hint
        raise UsageError(f"{where} must have one of {', '.join(KINDS)}; it has {has}{hint}")
    if "request" in entry and (unknown := [each for each in entry if each not in OF_REQUEST]):
        # Such as "response": without its answer a request proposes nothing.
        raise UsageError(f"{where}: a request has no {unknown[0]!r}; it has {', '.join(OF_REQUEST[1:])}")
    for name, kind in TYPES.items():
        if name in entry and not isinstance(entry[name], kind):
            raise UsageError(f"{where}: {name} is {entry[name]!r}, of the wrong type")
    if "request" in entry and not _is_request(entry["request"]):
        raise UsageError(f"{where}: request is {entry['request']!r}; it must be like POST /api/sessions")
    if "connect" in entry and not _is_socket(entry["connect"]):
        raise UsageError(
            f"{where}: connect is {entry['connect']!r}; it must be like ws://127.0.0.1:8000/ws, or a path"
        )
    return entry


def _is_request(text: str) -> bool:
    method, _, url = text.partition(" ")
    return method.isupper() and _begins(url, "http", "https")


def _is_socket(url: str) -> bool:
    return _begins(url, "ws", "wss", "http", "https")


def _begins(url: str, *schemes: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return (parts.scheme in schemes and bool(parts.netloc)) or (not parts.scheme and url.startswith("/"))


def _exchange(entry: dict[str, Any], at: str) -> Exchange:
    method, _, url = entry["request"].partition(" ")
    return Exchange(
        method,
        url,
        _headers(entry, "headers"),
        _text(entry.get("json", entry.get("body", ""))),
        entry.get("status", 200),
        entry.get("kind", "application/json"),
        _text(entry.get("answer", "")),
        tuple(_headers(entry, "answer_headers").items()),
        at,
    )


def _headers(entry: dict[str, Any], name: str) -> dict[str, str]:
    return {key.lower(): str(value) for key, value in entry.get(name, {}).items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
