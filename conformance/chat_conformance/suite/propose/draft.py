"""The target file that a recorded session suggests."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from chat_conformance.errors import UsageError
from chat_conformance.suite.propose.answer import Found, find
from chat_conformance.suite.propose.leaves import is_random, is_time, leaves, path_to, replaced, tags
from chat_conformance.suite.propose.missing import nothing_sent, without_content
from chat_conformance.suite.propose.recording import Exchange, Frame, Recording, Socket, decoded, path_of

SPOKEN = ("prompt", "message", "text", "content", "query", "input", "question", "command", "data", "q", "msg")
"""Names under which pages send what people typed, likely ones first."""
SECRET = re.compile(r"token|auth|key|jwt|secret|session|sid", re.IGNORECASE)
"""Members of an address whose values a server has given to a user."""
RESERVED = ("id", "prompt", "user", "uuid", "after", "message_id", "connection_uuid", "conversation_uuid")
"""Placeholders that have a meaning of their own."""
NOISE = ("ping", "pong", "heartbeat", "keepalive")


@dataclass(slots=True)
class Draft:
    """What goes into the target file.

    Attributes:
        url: The origin.
        transport: By what frames travel.
        socket: The path of the connection.
        stream: The table ``stream``.
        socket_io: The table ``socket_io``.
        opening: The steps.
        chat_request: The template of a prompt.
        captures: What is kept of frames.
        members: Members of every event, by path.
        headers: What identifies the user.
        found: The answer.
        notes: What was seen, for people.
    """

    url: str
    transport: str = "websocket"
    socket: str = "/"
    stream: dict[str, Any] = field(default_factory=dict)
    socket_io: dict[str, Any] = field(default_factory=dict)
    opening: list[dict[str, Any]] = field(default_factory=list)
    chat_request: Any = None
    captures: dict[str, str] = field(default_factory=dict)
    members: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    found: Found | None = None
    notes: list[str] = field(default_factory=list)


def draft(recording: Recording, prompt: str = "") -> Draft:
    """What a recorded session suggests; ``prompt`` is what was typed, if that is known.

    Raises:
        UsageError: No prompt, or no answer to one, can be recognised.
    """
    # Pages have sockets beside the chat's, for presence or live reload. The one with the most frames is looked
    # at first; streamed answers only where no socket has a prompt.
    for socket in sorted(recording.sockets, key=lambda each: -len(each.frames)):
        asked = [
            place for place, each in enumerate(socket.frames) if each.sent and _spoken(each.value, prompt)
        ]
        if asked:
            return _of_socket(recording, socket, _chosen(socket.frames, asked, prompt), prompt)
    for exchange in recording.exchanges:
        if exchange.streams and _spoken(exchange.value, prompt):
            return _of_stream(recording, exchange, prompt)
    raise UsageError(nothing_sent(recording, prompt))


def _spoken(value: Any, prompt: str) -> str | None:
    """The text of a message that a user typed; with ``prompt`` only that."""
    if isinstance(value, str):
        return value if (value == prompt if prompt else value and not _is_noise(value)) else None
    # Which text of a message was typed: a name that pages use for it, in the order of SPOKEN; then the longest.
    # Ids are out. Example: {"type": "ask", "id": "9f3c…", "text": "hello"} gives hello.
    texts = [
        (path, each)
        for path, each in leaves(_last_turn(value))
        if isinstance(each, str) and each and (each == prompt if prompt else not is_random(each))
    ]
    if prompt:
        return texts[0][1] if texts else None
    named = [
        (SPOKEN.index(name), -len(each), each)
        for path, each in texts
        if (name := path.rpartition(".")[2].lower()) in SPOKEN
    ]
    # An array has its event first; a text with a space in it was typed by a user, whatever it is called.
    named += [
        (len(SPOKEN), -len(each), each) for path, each in texts if path not in ("0", "type") and " " in each
    ]
    return min(named)[2] if named else None


def _last_turn(value: Any) -> Any:
    """A message without what others have said: of a history with roles the last message of the user."""
    match value:
        case dict():
            return {name: _last_turn(each) for name, each in value.items()}
        case list() if any(isinstance(each, dict) and each.get("role") == "user" for each in value):
            return [each for each in value if isinstance(each, dict) and each.get("role") == "user"][-1:]
        case _:
            return value


def _has_history(value: Any) -> bool:
    """Whether a message has more than one turn of a user in it."""
    match value:
        case dict():
            return any(map(_has_history, value.values()))
        case list():
            users = [each for each in value if isinstance(each, dict) and each.get("role") == "user"]
            return len(users) > 1
        case _:
            return False


def _is_noise(text: str) -> bool:
    return any(word in text.lower() for word in NOISE)


def _chosen(frames: list[Frame], asked: list[int], prompt: str) -> list[int]:
    """The places of the prompts: of what looks like one, those that most frames follow, of the same shape."""
    if prompt:
        shape = {path for path, _ in leaves(frames[asked[0]].value)}
        alike = [
            place
            for place, each in enumerate(frames)
            if each.sent and place >= asked[0] and {path for path, _ in leaves(each.value)} == shape
        ]
        return alike if shape else asked

    later_than = dict(zip(asked, [*asked[1:], len(frames)], strict=True))

    def follow(place: int) -> int:
        later = later_than[place]
        return sum(not each.sent for each in frames[place + 1 : later])

    best = max(asked, key=follow)
    shape = {path for path, _ in leaves(frames[best].value)}
    same = [each for each in asked if {path for path, _ in leaves(frames[each].value)} >= shape]
    return [each for each in same if follow(each)] or [best]


def _of_socket(recording: Recording, socket: Socket, asked: list[int], prompt: str) -> Draft:
    first, frames = asked[0], socket.frames
    until = asked[1] if len(asked) > 1 else len(frames)
    received = [each for each in frames[first + 1 : until] if not each.sent]
    typed = _spoken(frames[first].value, prompt) or ""
    found = find(received, typed)
    if found is None:
        raise UsageError(f"no text answers {typed!r} in the recording: record until the answer is over")
    made = Draft(url=_origin(socket.url), found=found)
    names: dict[Any, str] = {typed: "prompt"}
    # Only earlier answers can have given what the address has; order in time is all that says so.
    before = [each for each in recording.exchanges if each.at <= socket.at]
    if socket.is_socket_io:
        made.transport, made.socket = "socket.io", ""
        made.socket_io = _joined(made, socket, before, names)
    else:
        made.socket = _addressed(made, path_of(socket.url), before, names)
    _opened(made, frames[:first], before, names)
    _templated(made, frames, asked, names, prompt=prompt)
    made.headers = _identity(socket.headers, before)
    return made


def _joined(made: Draft, socket: Socket, before: list[Exchange], names: dict[Any, str]) -> dict[str, Any]:
    """The table ``socket_io``: where it is served, and what goes along with joining."""
    parts = urlsplit(socket.url)
    found: dict[str, Any] = {} if parts.path == "/socket.io/" else {"path": parts.path}
    query = {
        name: value for name, value in parse_qsl(parts.query) if name not in ("EIO", "transport", "sid", "t")
    }
    found |= {"query": query} if query else {}
    auth = {name: value for name, value in socket.auth.items() if isinstance(value, str)}
    for value in auth.values():
        if is_random(value) and not _captured(made, value, before, names):
            names[value] = "connection_uuid"
    found |= {"auth": replaced(auth, names)} if auth else {}
    return found


def _of_stream(recording: Recording, exchange: Exchange, prompt: str) -> Draft:
    typed = _spoken(exchange.value, prompt) or ""
    answer = list(exchange.frames())
    found = find(answer, typed)
    if found is None:
        raise UsageError(
            f"no text answers {typed!r} in the recording: "
            + ("record until the answer is over" if exchange.answer.strip() else without_content(exchange))
        )
    made = Draft(url=_origin(exchange.url), transport=exchange.streams, socket="", found=found)
    names: dict[Any, str] = {typed: "prompt"}
    before = [each for each in recording.exchanges if each.at < exchange.at]
    path = _addressed(made, exchange.path, before, names)
    made.stream = {"send": f"{exchange.method} {path}"}
    if "form" in exchange.headers.get("content-type", ""):
        made.stream["encoding"] = "form"
    asked = [
        each
        for each in recording.exchanges
        if each.streams
        and each.method == exchange.method
        and _spoken(each.value, "")
        and each.at >= exchange.at
    ]
    frames: list[Frame] = []
    places = []
    for each in asked:
        places.append(len(frames))
        frames += [Frame(sent=True, text=each.body, value=each.value), *each.frames()]
    _templated(made, frames, places, names, prompt=prompt, before=before)
    made.headers = _identity(exchange.headers, before)
    return made


def _addressed(made: Draft, path: str, before: list[Exchange], names: dict[Any, str]) -> str:
    """A path with placeholders for what earlier answers had given, by steps that make the same requests again."""
    query = parse_qsl(urlsplit(path).query)
    # A JSON Web Token begins with "eyJ", which is `{"` in base64.
    secrets = {value for name, value in query if SECRET.search(name) or value.startswith("eyJ")}
    for piece in [*urlsplit(path).path.split("/"), *(value for _, value in query)]:
        # Short pieces, such as "v1" or "ws", stand in many answers by chance.
        if len(piece) < 4 or piece in names:
            continue
        if (name := _captured(made, piece, before, names)) is not None:
            path = path.replace(piece, f"{{{name}}}")
        elif piece in secrets:
            made.notes.append("the token in the address is the recorded user's: keep this file to yourself")
        elif is_random(piece):
            path = path.replace(piece, "{connection_uuid}")
            made.notes.append(
                f"{piece!r} in the address comes from nowhere in the recording: a fresh id each time"
            )
    return path


def _captured(made: Draft, value: Any, before: list[Exchange], names: dict[Any, str]) -> str | None:
    """The name under which an earlier answer's value is kept; None if none has it."""
    for each in before:
        place = path_to(_value(each), value)
        if place is None:
            continue
        name = _name(place, set(names.values()))
        step: dict[str, Any] = {"request": f"{each.method} {each.path}"}
        if each.body:
            body = replaced(each.value, names)
            step["form" if "form" in each.headers.get("content-type", "") else "json"] = body
        # One request may give several values: it is played once and captures all.
        same = next((old for old in made.opening if old.get("request") == step["request"]), None)
        if same is None:
            made.opening.append(step)
            same = step
        same.setdefault("capture", {})[name] = place
        names[value] = name
        return name
    return None


def _name(place: str, taken: set[str]) -> str:
    """What a captured member is called: its own name, unless that has a meaning or is taken."""
    last = place.rpartition(".")[2]
    name = "".join(char if char.isalnum() and char.isascii() else "_" for char in last.lower())
    if name in RESERVED or not name[:1].isalpha():
        name = f"session_{name}".rstrip("_")
    first, number = name, 2
    while name in taken:
        name, number = f"{first}{number}", number + 1
    return name


def _value(exchange: Exchange) -> Any:
    return decoded(exchange.answer)


def _opened(made: Draft, frames: list[Frame], before: list[Exchange], names: dict[Any, str]) -> None:
    """Steps for what was sent before the prompt, and for the greeting after it."""
    greeting = [each for each in frames if not each.sent and not _is_noise(each.text)]
    for each in frames:
        if not each.sent or _is_noise(each.text):
            continue
        for _, value in leaves(each.value):
            if isinstance(value, str) and is_random(value):
                _captured(made, value, before, names)
        made.opening.append({"send": replaced(each.value, names)})
    if greeting:
        # Only the last message of a greeting is waited for: all others have come before it.
        kept = tags(greeting[-1].value)
        made.opening.append(
            {"wait": {path: each for path, each in kept.items() if not isinstance(each, bool)}}
        )


def _templated(
    made: Draft,
    frames: list[Frame],
    asked: list[int],
    names: dict[Any, str],
    *,
    prompt: str,
    before: list[Exchange] | None = None,
) -> None:
    """The template of a prompt: what an answer says before it is asked again is captured, what it repeats is our id."""
    asked = _alone(made, frames, asked)
    message = frames[asked[-1]].value
    first = frames[asked[0]].value
    typed = _same_place(first, _spoken(first, prompt) or "", message)
    names[typed] = "prompt"
    mine = [each for each in frames[asked[-1] + 1 :] if not each.sent and _is_told(made.found, each.value)]
    earlier = [each for each in frames[: asked[-1]] if not each.sent]
    for path, value in leaves(message):
        if value in names or not is_random(value):
            continue
        if (
            place := next((found for each in earlier if (found := path_to(each.value, value))), None)
        ) is not None:
            names[value] = "conversation_id"
            made.captures["conversation_id"] = place
        elif before and _captured(made, value, before, names):
            pass
        elif (
            place := next((found for each in mine if (found := path_to(each.value, value))), None)
        ) is not None:
            repeated = any(path_to(frames[one].value, value) for one in asked[:-1])
            names[value] = "conversation_uuid" if repeated else "message_id"
            made.members["conversation_id" if repeated else "message_id"] = place
        elif any(path_to(frames[one].value, value) for one in asked[:-1]):
            names[value] = "conversation_uuid"
        elif not is_time(value):
            names[value] = "uuid"
            made.notes.append(f"{path} of the message is new each time: {{uuid}}")
    made.chat_request = replaced(message, names)
    if isinstance(message, str):
        made.chat_request = message.replace(typed, "{prompt}")
    if len(asked) == 1:
        made.notes.append(
            "one prompt was recorded; with a second one the id of the conversation would be recognised"
        )


def _alone(made: Draft, frames: list[Frame], asked: list[int]) -> list[int]:
    """The prompts to make a template of: where each has those before it, only the first is what it says."""
    if not _has_history(frames[asked[-1]].value):
        return asked
    made.notes.append('each prompt carries those before it; this one stands alone: lacks = ["conversation"]')
    return asked[:1]


def _is_told(found: Found | None, value: Any) -> bool:
    """Whether a frame has a part of the answer."""
    return found is None or found.token.items() <= tags(value).items()


def _same_place(message: Any, typed: str, other: Any) -> str:
    """What stands in another message where this one has what was typed."""
    if not isinstance(message, dict | list):
        return str(other)
    place = path_to(_last_turn(message), typed)
    return next((str(each) for path, each in leaves(_last_turn(other)) if path == place), typed)


def _identity(headers: dict[str, str], before: list[Exchange]) -> dict[str, str]:
    """The headers that say who the user is, unless the steps before make the server set such a cookie."""
    # The recorded cookie would end with its session; where a step sets a fresh one, that is used.
    sets = any(name == "set-cookie" for each in before for name, _ in each.answer_headers)
    kept = {"authorization": "Authorization"} | ({} if sets else {"cookie": "Cookie"})
    return {name: headers[low] for low, name in kept.items() if headers.get(low)}


def _origin(url: str) -> str:
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme or "http")
    return f"{scheme}://{parts.netloc or '127.0.0.1:8000'}"
