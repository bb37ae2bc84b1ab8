"""What is wrong with the description of a protocol: each fault is one sentence that names its field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from chat_conformance.target import forms
from chat_conformance.target.dialect import MEMBERS, TYPES
from chat_conformance.target.matching import Rule
from chat_conformance.target.opening import METHODS, Step
from chat_conformance.target.roles import ROLES
from chat_conformance.target.templates import names_in

SENT = ("chat_request", "cancel", "subscribe", "pong")
GIVEN = {
    "chat_request": (
        "prompt",
        "message_id",
        "conversation_id",
        "conversation_uuid",
        "connection_uuid",
        "uuid",
    ),
    "cancel": ("message_id", "conversation_id", "connection_uuid", "uuid"),
    "subscribe": ("message_id", "conversation_id", "after", "connection_uuid", "uuid"),
    "pong": ("connection_uuid", "uuid"),
}
"""The placeholders of each message, besides what is captured and what the users have."""
BEFORE = ("user", "connection_uuid", "uuid")
"""The placeholders of opening steps, besides the same."""
RECEIVED = TYPES - {"chat_request", "subscribe", "cancel"} | {"ping"}


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a target file says of its server's protocol; the fields are those of the target file.

    Attributes:
        values: The names that every user has a value for.
        paths: The fields that may have placeholders, with what stands in them.
    """

    messages: dict[str, Any]
    events: Sequence[Rule]
    opening: Sequence[Step]
    captures: dict[str, str]
    cli_lines: str
    lacks: Sequence[str]
    values: set[str]
    paths: dict[str, str]


def faults(given: Description) -> Iterator[str]:
    """What is wrong."""
    yield from (_unknown("lacks", each, ROLES) for each in given.lacks if each not in ROLES)
    yield from _of_events(given.events)
    yield from forms.of_captures("captures", given.captures)
    if given.messages:
        yield from _of_messages(given)
    else:
        yield from (
            f"{name} describes a protocol of the server's own, but messages.chat_request is missing"
            for name in ("events", "cli_lines", "captures")
            if getattr(given, name)
        )
    yield from _of_opening(given.opening, given.values)
    # A path is used when all of the opening is over, so every capture counts; within the opening only earlier
    # ones do.
    captured = {name for step in given.opening for name in step.capture}
    known = {*BEFORE, *given.values, *given.captures, *captured, *GIVEN["chat_request"], "after"}
    for field, path in given.paths.items():
        yield from (
            f"{field} has {{{name}}}, which no opening step captures{_near(name, known)}"
            for name in names_in(path)
            if name not in known
        )


def _of_messages(given: Description) -> Iterator[str]:
    messages = given.messages
    yield from (_unknown("messages", each, SENT) for each in messages if each not in SENT)
    if "chat_request" not in messages:
        yield "messages.chat_request is missing: how a prompt is sent"
    elif "prompt" not in set(names_in(messages["chat_request"])):
        yield "messages.chat_request has no {prompt}"
    captured = {
        *given.captures,
        *(name for step in given.opening for name in step.capture),
        *given.values,
        "user",
    }
    for kind in messages.keys() & GIVEN.keys():
        known = {*GIVEN[kind], *captured}
        yield from (
            f"messages.{kind} has {{{name}}}, which nothing gives{_near(name, known)}"
            for name in names_in(messages[kind])
            if name not in known
        )
        yield from forms.of_braces(f"messages.{kind}", messages[kind], known)
    tokens = any(each.kind == "token" for each in given.events)
    if not given.cli_lines and not tokens:
        yield "no event with is = 'token': where the text of an answer is"
    if given.cli_lines and tokens:
        yield "cli_lines and an event with is = 'token' both give the text of an answer: it would be there twice"


def _of_events(events: Sequence[Rule]) -> Iterator[str]:
    # A rule without a condition takes what is left over, so a second one would never be looked at.
    free = [place for place, each in enumerate(events) if not each.conditional]
    if len(free) > 1:
        yield f"events[{free[1]}] has no condition, as events[{free[0]}]: only one can take what no other takes"
    for place, each in enumerate(events):
        where = f"events[{place}]"
        if each.kind not in RECEIVED:
            yield _unknown(f"{where}.is", each.kind, RECEIVED)
        if each.kind in ("token", "thinking") and not each.text:
            yield f"{where} is a {each.kind} and has no text: the path of its text"
        if each.text and each.kind not in ("token", "thinking"):
            yield f"{where} has a text, but is a {each.kind}; one frame may fit two events"
        yield from (
            _unknown(f"{where}.members", name, MEMBERS)
            for name in [*each.members, *each.constants]
            if name not in MEMBERS
        )
        yield from forms.of_paths(where, {"text": each.text})
        yield from forms.of_paths(f"{where}.members", each.members)
        yield from _of_conditions(where, each)
        same = next((at for at, other in enumerate(events[:place]) if other == each), None)
        if same is not None:
            yield f"{where} is events[{same}] once more: what it says would be there twice"


def _of_conditions(where: str, rule: Rule) -> Iterator[str]:
    """Conditions that no frame can meet."""
    when = rule.when if isinstance(rule.when, dict) else {}
    for path in [*when, *rule.has, *rule.lacks]:
        yield from forms.of_paths(where, {"when, has or lacks": path})
    if never := set(rule.lacks) & {*when, *rule.has}:
        yield f"{where} takes no frame: it lacks {min(never)!r}, and is known by it"
    if empty := [path for path, wanted in when.items() if wanted == []]:
        yield f"{where} takes no frame: when has no value for {empty[0]!r}"


def _of_opening(opening: Sequence[Step], values: set[str]) -> Iterator[str]:
    known = {*BEFORE, *values}
    connected = False
    for place, step in enumerate(opening):
        where = f"opening[{place}]"
        if len(step.kinds) != 1:
            claims = " and ".join(step.kinds) or "none"
            yield f"{where} must have one of request, connect, send and wait; it has {claims}"
        if step.connect and connected:
            yield f"{where} connects, but the connection is made before: by connect, or the first send or wait"
        # A `send` or `wait` needs a connection, and makes it if none did before.
        connected = connected or not step.request
        method, _, path = step.request.partition(" ")
        if step.request and (method not in METHODS or not path.startswith("/")):
            yield f"{where}.request is {step.request!r}; it must be like POST /api/sessions"
        yield from forms.of_step(where, step)
        # A step sees only what earlier steps captured: they are played in order, and a later answer is not
        # there yet.
        used = [step.request, step.connect, step.send, step.json, step.form, step.body, step.headers]
        yield from (
            f"{where} has {{{name}}}, which no step before it captures{_near(name, known)}"
            for each in used
            for name in names_in(each)
            if name not in known
        )
        known |= step.capture.keys()


def _unknown(where: str, name: str, known: Any) -> str:
    return f"{where} has {name!r}, which is none of {', '.join(sorted(known))}{_near(name, known)}"


def _near(name: str, known: Any) -> str:
    # Sorted, because sets have no order: of two names as near, the same one is named in every run.
    near = get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
