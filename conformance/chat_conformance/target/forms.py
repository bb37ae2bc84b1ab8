"""Whether what a target file has in its fields has the form of a path, a request, a capture or a placeholder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from chat_conformance.target.opening import METHODS, Step
from chat_conformance.target.templates import texts_in

NAME = re.compile(r"[a-z][a-z0-9_]*")
OTHER_BRACES = re.compile(r"\{([A-Za-z][\w-]*)\}")
FOREIGN_PATH = re.compile(r"\$\.|.*(?:\[\S*\]|\.\.)|\.|.*\.$")
"""Paths of other languages: ``$.a``, ``a[0]``, ``..a``."""
OURS = ("prompt", "uuid", "connection_uuid", "conversation_uuid", "after")
"""Placeholders that the suite fills in itself."""
BODIES = ("json", "form", "body")


def of_paths(field: str, paths: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with paths into a frame, by the name of each."""
    for name, path in paths.items():
        if FOREIGN_PATH.match(path):
            yield f"{field}.{name} is {path!r}; a path is like message.content.0.text, with * for each element"


def of_captures(field: str, captures: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with what is kept of frames and answers."""
    for name, path in captures.items():
        if not NAME.fullmatch(name):
            yield f"{field} has {name!r}; a name is of small letters, digits and _, as in {{session_id}}"
        if name in OURS:
            yield f"{field} has {name!r}, which the suite gives itself: give it another name"
        if not path:
            yield f"{field}.{name} is empty; it must be the path of what is kept"
        if not path.startswith(("header:", "cookie:", "regex:")):
            yield from of_paths(field, {name: path})
            if OTHER_BRACES.search(path):
                yield f"{field}.{name} is {path!r}; a path has no placeholders"


def of_step(where: str, step: Step) -> Iterator[str]:
    """What is wrong with the parts of an opening step."""
    yield from of_captures(f"{where}.capture", step.capture)
    for name, path in step.capture.items():
        kind, _, rest = path.partition(":")
        if kind in ("header", "cookie", "regex") and rest and not step.request:
            yield f"{where}.capture.{name} is {path!r}, which is for the answer of a request"
        elif kind == "regex":
            yield from _of_regex(f"{where}.capture.{name}", rest)
    bodies = [name for name in BODIES if getattr(step, name)]
    if len(bodies) > 1:
        yield f"{where} has {' and '.join(bodies)}; a request has one body"
    if bodies and step.kinds and not step.request:
        yield f"{where} has {bodies[0]}, which is for a request, and it is a {step.kinds[0]}"
    if step.connect:
        yield from of_address(f"{where}.connect", step.connect)


def _of_regex(field: str, pattern: str) -> Iterator[str]:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        yield f"{field} is no regular expression: {error}"
    else:
        if not groups:
            yield f"{field} is {pattern!r}; what is kept must stand in a group, as in token=(\\w+)"


def of_address(field: str, path: str) -> Iterator[str]:
    """What is wrong with the path of a connection; empty is none."""
    if path and not path.startswith(("/", "{")):
        hint = "; the origin is in url" if "://" in path else ""
        yield f"{field} is {path!r}; it must be a path that begins with /{hint}"


def of_request(field: str, request: str) -> Iterator[str]:
    """What is wrong with a request that streams or sends; empty is none."""
    method, _, path = request.partition(" ")
    if request and (method not in METHODS or not path.startswith(("/", "{"))):
        yield f"{field} is {request!r}; it must be like POST /chat"


def of_braces(field: str, template: Any, known: set[str]) -> Iterator[str]:
    """Names in braces that are text as they are written, but nearly a placeholder."""
    for text in texts_in(template):
        for name in OTHER_BRACES.findall(text):
            if NAME.fullmatch(name):
                continue
            snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|-", "_", name).lower()
            if near := get_close_matches(snake, sorted(known), n=1, cutoff=0.8):
                yield f"{field} has {{{name}}}, which is no placeholder; did you mean {{{near[0]}}}?"


def is_origin(url: str) -> bool:
    """Whether an address is an origin and no more."""
    try:
        parts = urlsplit(url.replace("{port}", "1"))
        # Reading the port says whether it is one.
        fits = parts.port is None or parts.port > 0
    except ValueError:
        return False
    more = parts.path.strip("/") or parts.query or parts.fragment
    return fits and parts.scheme in ("http", "https") and bool(parts.hostname) and not more
