"""A client's message, or a request, from a template: ``{prompt}`` and other placeholders in JSON or in plain text.

``{"type": "user", "text": "{prompt}", "session": "{conversation_id}"}`` becomes a message with that prompt. A
member whose value is nothing but a placeholder takes the value's own type. A member is left out where one of its
placeholders has no value: the first message of a conversation has no ``session``. Braces around anything but a known
name are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_MISSING = object()


def names_in(template: Any) -> Iterator[str]:
    """The placeholders of a template, in order, with repetitions."""
    for each in texts_in(template):
        yield from PLACEHOLDER.findall(each)


def texts_in(template: Any) -> Iterator[str]:
    """The texts of a template, names of members included, in order."""
    match template:
        case str():
            yield template
        case dict():
            for name, each in template.items():
                yield name
                yield from texts_in(each)
        case list():
            for each in template:
                yield from texts_in(each)
        case _:
            pass


def filled(template: Any, values: Mapping[str, Any]) -> Any:
    """The template with its values; an object that has lost all members to missing values stays, empty.

    Raises:
        KeyError: A placeholder within a longer text, which is no member of an object, has no value.
    """
    found = _filled(template, values)
    return None if found is _MISSING else found


def text(template: str, values: Mapping[str, Any]) -> str:
    """A text with its values in it.

    Raises:
        KeyError: A placeholder has no value.
    """
    return PLACEHOLDER.sub(lambda found: str(_known(found[1], values)), template)


def _known(name: str, values: Mapping[str, Any]) -> Any:
    if values.get(name) is None:
        raise KeyError(name)
    return values[name]


def _member(template: Any, values: Mapping[str, Any]) -> Any:
    try:
        return _filled(template, values)
    except KeyError:
        if isinstance(template, str):
            return _MISSING
        raise


def _filled(template: Any, values: Mapping[str, Any]) -> Any:
    match template:
        case str():
            # "{after}" alone stays a number, and its member goes where it has no value. "after {after}" is a
            # text, and needs one.
            alone = PLACEHOLDER.fullmatch(template)
            if alone is None:
                return text(template, values)
            value = values.get(alone[1])
            return _MISSING if value is None else value
        case dict():
            inner = {name: _member(each, values) for name, each in template.items()}
            return {name: each for name, each in inner.items() if each is not _MISSING}
        case list():
            # In an array places have a meaning: a missing value leaves a null, or those behind it would move.
            return [None if (each := _filled(one, values)) is _MISSING else each for one in template]
        case _:
            return template
