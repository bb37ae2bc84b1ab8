"""What stands where in a frame: its leaves by path, which of them name its kind, and which look like ids."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

IDENTIFIER = re.compile(r"[\w.:/@-]{1,48}")
TAGS = re.compile(
    r"(@event|type|kind|event|op|action|cmd|command|method|subtype|t|msg_?type|status|state|role)",
    re.IGNORECASE,
)
"""Names of members whose values say what kind of frame it is."""
RANDOM = re.compile(
    r"(?=[^ ]*\d)(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{18,}|[0-9a-f]{8,}|[A-Za-z0-9_-]{16,}"
    r"|[A-Za-z]{1,6}[-_][A-Za-z0-9_-]{4,}|\d{6,})"
)
"""Values that no user types: ids, tokens, times."""
WORD = re.compile(r"[A-Za-z][A-Za-z_.-]*")
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d.*")


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All values that are no object or array, with their paths; an element of an inner array is ``*``."""
    match value:
        case dict():
            for name, each in value.items():
                if "." not in name:
                    yield from leaves(each, f"{path}.{name}" if path else name)
        case list():
            for place, each in enumerate(value):
                yield from leaves(each, f"{path}.*" if path else str(place))
        case _:
            yield path, value


def tags(value: Any) -> dict[str, Any]:
    """The leaves that say what kind of frame it is: words under such names, the first element of an array, flags."""
    found: dict[str, Any] = {}
    # As ["topic", "event", {…}] has its event.
    leads = isinstance(value, list) and bool(value) and isinstance(value[-1], dict)
    for path, each in leaves(value):
        name = path.rpartition(".")[2]
        is_word = isinstance(each, str) and bool(IDENTIFIER.fullmatch(each)) and not is_random(each)
        named = bool(TAGS.fullmatch(name)) and "*" not in path
        if (
            is_word and (named or path == "0" or (leads and path.isdecimal() and WORD.fullmatch(each)))
        ) or isinstance(each, bool):
            found[path] = each
    return found


def is_random(value: Any) -> bool:
    """Whether a value is an id, a token or a time."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return abs(value) >= 1_000_000
    if not isinstance(value, str) or not value.strip("0-"):
        # An id of zeros says that there is none.
        return False
    return bool(RANDOM.fullmatch(value) or STAMP.fullmatch(value))


def is_time(value: Any) -> bool:
    """Whether a value may be a time: then a fresh id is no substitute for it."""
    return not isinstance(value, str) or bool(STAMP.fullmatch(value) or value.isdecimal())


def path_to(value: Any, wanted: Any) -> str | None:
    """The path of the first leaf that is this value."""
    return next((path for path, each in leaves(value) if type(each) is type(wanted) and each == wanted), None)


def replaced(value: Any, names: dict[Any, str]) -> Any:
    """A message with placeholders for some of its leaves: ``{"abc": "token"}`` makes ``{token}`` of ``abc``."""
    match value:
        case dict():
            return {name: replaced(each, names) for name, each in value.items()}
        case list():
            return [replaced(each, names) for each in value]
        case bool() | None:
            return value
        case _:
            return f"{{{names[value]}}}" if value in names else value
