"""Which of a server's own frames means what: conditions on members, and places by path.

A path names a place in a frame: ``event.delta.text`` is a member of a member of a member, a number is a place in an
array, and ``*`` is each element of an array, so that ``message.content.*.text`` is the text of all blocks. ``*``
alone is the frame itself; where that is no JSON, its text. ``@event`` and ``@id`` are what a transport has beside
the frame (SSE).

One frame may mean several things: ``{"type": "result", "result": "…"}`` may be a text and an end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

WHOLE = "*"
NOTHING = object()
Scalar = str | int | float | bool | None


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one kind of frame means.

    Attributes:
        kind: The event of docs/protocol.md that it is, such as ``token`` or ``complete``; in the file ``is``. Or
            ``ping``, which says that the server lives, and is answered by ``messages.pong`` where there is one.
        when: What its members must be, by path: a value, or a list of values of which it is one. A text instead of a
            table is the whole frame. Without ``when`` the rule is for frames that no rule before it took.
        has: Paths that must be there.
        lacks: Paths that must not be there.
        text: Where the text of a ``token`` or ``thinking`` is.
        cumulative: Whether that text is the whole answer so far, not its next part.
        members: Where other members of the event are.
        constants: Members that the frame does not have, and that every frame of this kind means.
    """

    kind: str = msgspec.field(name="is")
    when: str | dict[str, Scalar | list[Scalar]] = {}
    has: list[str] = []
    lacks: list[str] = []
    text: str = ""
    cumulative: bool = False
    members: dict[str, str] = {}
    constants: dict[str, Scalar] = {}

    @property
    def conditional(self) -> bool:
        """Whether it takes some frames only."""
        return bool(self.when or self.has or self.lacks)

    @property
    def takes_text(self) -> bool:
        """Whether it can take a frame that is no JSON."""
        return isinstance(self.when, str) or self.text == WHOLE

    def takes(self, frame: Any, text: str) -> bool:
        """Whether a frame is of this kind; ``text`` is the frame as it was sent."""
        if isinstance(self.when, str):
            return text.strip() == self.when.strip()
        # A bare text has no members, so each `lacks` would hold for it.
        if not isinstance(frame, dict | list) and self.conditional:
            return False
        return (
            all(_is_one(frame, path, wanted) for path, wanted in self.when.items())
            and all(value_at(frame, path) is not NOTHING for path in self.has)
            and all(value_at(frame, path) is NOTHING for path in self.lacks)
        )


def taken(rules: list[Rule], frame: Any, text: str) -> list[Rule]:
    """The rules that a frame fits, in order."""
    # All that fit, not the first: one frame may be the last text and the end. The rule without a condition is
    # for the rest.
    found = [each for each in rules if each.conditional and each.takes(frame, text)]
    return found or [each for each in rules if not each.conditional][:1]


def enclosed(frame: Any, envelope: Mapping[str, str]) -> Any:
    """A frame with what its transport has beside it, as members ``@event`` and ``@id``."""
    beside = {f"@{name}": value for name, value in envelope.items()}
    if not beside:
        return frame
    return {**beside, **frame} if isinstance(frame, dict) else {**beside, WHOLE: frame}


def value_at(frame: Any, path: str) -> Any:
    """The first value at a path, `NOTHING` if there is none."""
    return next(values_at(frame, path), NOTHING)


def values_at(frame: Any, path: str) -> Iterator[Any]:
    """All values at a path."""
    if path in (WHOLE, ""):
        yield frame
        return
    # One step, then the same from each place it led to. With `content.*.text` and {"content": [{"text": "a"},
    # {}]} the steps lead to the list, to its two elements, and to "a": what has no such member drops out.
    name, _, rest = path.partition(".")
    if isinstance(frame, list):
        inner = frame if name == WHOLE else frame[int(name) :][:1] if name.isdecimal() else []
    elif isinstance(frame, dict):
        inner = [frame[name]] if name in frame else []
    else:
        inner = []
    for each in inner:
        if rest:
            yield from values_at(each, rest)
        else:
            yield each


def text_at(frame: Any, path: str, text: str) -> str | None:
    """The texts at a path, joined; None if there is none."""
    if path == WHOLE:
        return text
    found = [each for each in values_at(frame, path) if isinstance(each, str)]
    return "".join(found) if found else None


def _is_one(frame: Any, path: str, wanted: Scalar | list[Scalar]) -> bool:
    choices = wanted if isinstance(wanted, list) else [wanted]
    # 1 == True and 1 == 1.0 in Python; to a server they are different values.
    return any(
        type(value) is type(each) and value == each for value in values_at(frame, path) for each in choices
    )
