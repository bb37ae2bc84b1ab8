"""Between the words of the protocol page and those of a server that differs from it only in naming."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

TYPES = frozenset(
    (
        *("chat_request", "subscribe", "cancel", "accepted", "token", "thinking"),
        *("tool", "status", "rewind", "complete", "error"),
    )
)
MEMBERS = frozenset(
    (
        *(
            "type",
            "message",
            "message_id",
            "conversation_id",
            "after",
            "seq",
            "token",
            "thinking",
            "id",
            "name",
        ),
        *(
            "state",
            "detail",
            "status",
            "to",
            "usage",
            "stop_reason",
            "code",
            "retry_after",
            "error",
            "response",
        ),
        *("conversations", "next", "title", "created_at", "updated_at", "messages", "role", "content"),
        *("input_tokens", "output_tokens", "before", "limit"),
    )
)
DOCUMENTS = frozenset(("form", "query", "post", "new", "list", "conversation", "error"))
WHOLE = "*"
SPEAKING = (
    "code",
    "status",
    "stop_reason",
    "role",
    "state",
    # Members whose values are words of the protocol.
)
Paths = Mapping[str, str]


class Dialect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a server names things; empty where it uses the words of docs/protocol.md.

    A member's place is a path: ``data.text`` is the member ``text`` of the member ``data``; a number is a place in an
    array, so that ``0`` for the type and ``1.text`` describe frames such as ``["delta", {"text": …}]``.

    Attributes:
        subprotocol: Of the WebSocket.
        types: The values of ``type``.
        members: Where members are, in frames, forms, queries and documents.
        frames: The same for frames of one type only, or for all frames (``*``). The member ``*`` is where all
            others lie: with ``data.*`` what `members` calls ``n`` is at ``data.n``.
        documents: The same for one kind of HTTP text only: see `DOCUMENTS`; its members may be paths, too, such as
            ``error.code``. A member at ``*`` is the document itself: an array, which has no other members.
        words: Values of ``code``, ``status``, ``stop_reason``, ``role`` and ``state``.
    """

    subprotocol: str = "chat-stream-v1"
    types: dict[str, str] = {}
    members: dict[str, str] = {}
    frames: dict[str, dict[str, str]] = {}
    documents: dict[str, dict[str, str]] = {}
    words: dict[str, str] = {}

    def unknown(self) -> str | None:
        """The first name that the protocol does not have, with the field it stands in; None if there is none."""
        fields: list[tuple[str, Paths, frozenset[str]]] = [
            ("types", self.types, TYPES),
            ("members", self.members, MEMBERS),
        ]
        fields += [(f"frames.{name}", paths, MEMBERS | {"*"}) for name, paths in self.frames.items()]
        fields += [(f"documents.{name}", paths, MEMBERS) for name, paths in self.documents.items()]
        for field, names, known in fields:
            if wrong := [name for name in names if not known.issuperset(name.split("."))]:
                return f"{field}.{wrong[0]}"
        wrong = [f"frames.{name}" for name in self.frames.keys() - TYPES - {"*"}]
        wrong += [f"documents.{name}" for name in self.documents.keys() - DOCUMENTS]
        return wrong[0] if wrong else None

    # To the server

    def frame(self, members: Mapping[str, Any]) -> Any:
        """A client's message as the server has it."""
        kind = members.get("type")
        paths, elsewhere = self._paths(str(kind))
        frame: dict[str, Any] = {}
        for name, value in members.items():
            known = self.types if name == "type" else self.words if name in SPEAKING else {}
            path = paths.get(name) or elsewhere.replace("*", name)
            _put(frame, path, known.get(value, value) if isinstance(value, str) else value)
        return _as_array(frame)

    def form(self, fields: Mapping[str, str]) -> dict[str, str]:
        """The fields of a form as the server has them."""
        paths = {**self.members, **self.documents.get("form", {})}
        return {paths.get(name, name): value for name, value in fields.items()}

    def query(self, **fields: str) -> str:
        """A query string as the server has it."""
        paths = {**self.members, **self.documents.get("query", {})}
        return urlencode({paths.get(name, name): value for name, value in fields.items()})

    # From the server

    def event(self, frame: Any) -> Any:
        """A server's message in the words of the protocol; what is no object, or has no type, as it is."""
        if self == _PLAIN:
            return frame
        if isinstance(frame, list):
            frame = {str(place): value for place, value in enumerate(frame)}
        if not isinstance(frame, dict):
            return frame
        kind = self._type(frame)
        paths, elsewhere = self._paths(kind)
        event = self._unpacked(frame, paths)
        inner, _, _ = elsewhere.rpartition(".")
        if inner and isinstance(others := _take(event, inner), dict):
            event = {**others, **event}
        return {**event, "type": kind} if kind else event

    def spoken(self, members: dict[str, Any]) -> dict[str, Any]:
        """Members whose values are words, in the words of the protocol."""
        return {name: self._word(name, value) for name, value in members.items()}

    def _paths(self, kind: str) -> tuple[dict[str, str], str]:
        """Where the members of such a frame are, and with ``*`` for the name where all others are."""
        # From weak to strong: `members`, what holds for all frames, what holds for frames of this type. With
        # `*` at "data.*" a `token` is at "data.token", or at "data.t" where `members` calls it "t"; a place
        # of its own has no such prefix.
        own = {**self.frames.get("*", {}), **self.frames.get(kind, {})}
        elsewhere = own.pop("*", "*")
        names = self.members if elsewhere == "*" else {name: self.members.get(name, name) for name in MEMBERS}
        return {**{name: elsewhere.replace("*", path) for name, path in names.items()}, **own}, elsewhere

    def _type(self, frame: dict[str, Any]) -> str:
        # Where the type stands may depend on the type. So each type with places of its own is tried at its
        # place, and holds only if the word found there means that type; then the common place, where any type
        # may be.
        for kind in (*self.frames, "*"):
            word = _get(frame, self._paths(kind)[0].get("type", "type"))
            if isinstance(word, str) and (found := _back(self.types, word)) and kind in (found, "*"):
                return found
        return ""

    def document(self, kind: str, value: Any) -> Any:
        """A JSON document in the words of the protocol; ``kind`` is one of `DOCUMENTS`."""
        whole = self.whole(kind)
        if whole and isinstance(value, list):
            value = {whole: value}
        if self == _PLAIN or not isinstance(value, dict):
            return value
        paths = {**self.members, **self.documents.get("error", {}), **self.documents.get(kind, {})}
        paths.pop(whole, None)
        return self._unpacked(value, paths, deep=True)

    def whole(self, kind: str) -> str:
        """The member that a document is itself, where it is an array; empty where documents are objects."""
        paths = self.documents.get(kind, {})
        return next((name for name, path in paths.items() if path == WHOLE), "")

    def _unpacked(self, value: dict[str, Any], paths: Paths, *, deep: bool = False) -> dict[str, Any]:
        # Taken out first, put in last: with names swapped, such as "id" for "name" and "name" for "id",
        # renaming one after the other would overwrite the second. It is a copy, as taking out empties nested
        # objects, and the caller's frame is to stay as it came.
        rest, found = copy.deepcopy(value), {}
        for name, path in paths.items():
            if name != path and (taken := _take(rest, path)) is not _NOTHING:
                found[name] = taken
        moved = {name.split(".")[0] for name, path in paths.items() if name != path and "." not in name}
        inside = self._inside if deep else _unchanged
        unpacked = {name: self._word(name, inside(each)) for name, each in rest.items() if name not in moved}
        # Put in last: this has the protocol's names already, and one of them may be a word of the server's for another.
        for name, each in found.items():
            _put(unpacked, name, self._word(name.rpartition(".")[2], inside(each)))
        return unpacked

    def _inside(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._inside(each) for each in value]
        return self._unpacked(value, self.members, deep=True) if isinstance(value, dict) else value

    def _word(self, name: str, value: Any) -> Any:
        return _back(self.words, value) if name in SPEAKING and isinstance(value, str) else value


_PLAIN = Dialect()
_NOTHING = object()


def _back(names: Paths, word: str) -> str:
    """The protocol's word for a server's: the word itself, unless the server has another for that."""
    # A server that says "done" for `complete`, and "complete" for something else, must not be taken to say
    # `complete`.
    theirs = {their: ours for ours, their in names.items()}
    return theirs.get(word, f"{word} (not in the dialect)" if word in names else word)


def _unchanged(value: Any) -> Any:
    return value


def _get(value: Any, path: str) -> Any:
    for name in path.split("."):
        if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        elif isinstance(value, dict) and name in value:
            value = value[name]
        else:
            return _NOTHING
    return value


def _take(value: dict[str, Any], path: str) -> Any:
    """Remove what is at a path and return it, with the objects that are empty then."""
    name, _, rest = path.partition(".")
    if not rest or not isinstance(value.get(name), dict):
        return value.pop(name, _NOTHING) if not rest else _get(value, path)
    taken = _take(value[name], rest)
    if not value[name]:
        del value[name]
    return taken


def _put(value: dict[str, Any], path: str, leaf: Any) -> None:
    name, _, rest = path.partition(".")
    if not rest:
        value[name] = leaf
        return
    inner = value.setdefault(name, {})
    if isinstance(inner, dict):
        _put(inner, rest, leaf)


def _as_array(value: Any) -> Any:
    """Objects whose members are numbers as arrays, with null in the places that nothing is for."""
    if not isinstance(value, dict):
        return value
    # The opposite of paths with numbers: {"0": "ask", "1": {"text": "hi"}} becomes ["ask", {"text": "hi"}].
    inner = {name: _as_array(each) for name, each in value.items()}
    if not inner or not all(name.isdecimal() for name in inner):
        return inner
    return [inner.get(str(place)) for place in range(max(map(int, inner)) + 1)]
