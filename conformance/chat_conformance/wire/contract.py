"""Whether all that servers send in a run is valid by the schema of chat-stream-v1, whatever its cases look at.

The notes of a run are gathered by kind of message and place in it, such as ``$.messages[…].created_at``: a fault is one
finding, however often it is sent.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from chat_conformance.errors import SuiteError
from chat_conformance.protocol.validity import MISSING, wrong_in_document, wrong_in_event, wrong_in_request
from chat_conformance.target.file import Target
from chat_conformance.wire.trace import shorten

_PLACE = re.compile(r"\[\d+\]")
MOST = 10
"""How many different faults a finding names."""
EXAMPLE = " (such as "
"""What stands between the kinds of faults and one of them as it came."""


@dataclass(frozen=True, slots=True)
class Breach:
    """What was wrong with a message or document.

    Attributes:
        case_id: The case in which it came first.
        what: What the message is, such as ``token`` or ``GET /chat/history/{id}``.
        wrong: What is wrong, and where.
        value: The message, shortened.
    """

    case_id: str
    what: str
    wrong: str
    value: str

    def __str__(self) -> str:
        return f"{self.what}: {self.wrong}, in {self.case_id}: {self.value}"


class Contract:
    """The notes of one run.

    Attributes:
        breaches: What was wrong, the first of each kind.
        looked_at: How many messages and documents were held to the schema, by what they are.
    """

    def __init__(self) -> None:
        self.breaches: dict[tuple[str, str], Breach] = {}
        self.looked_at: Counter[str] = Counter()
        self._in: dict[str, dict[tuple[str, str], Breach]] = {}

    def note(self, case_id: str, what: str, wrong: str | None, value: object) -> None:
        """Count a message, and keep what is wrong with it."""
        self.looked_at[what] += 1
        if wrong is None:
            return
        # msgspec says "Expected `str`, got `int` - at `$.messages[3].id`": what follows is the place. Without
        # its number the same fault in a thousand messages is one.
        key = what, _PLACE.sub("[…]", wrong.rpartition(" - at ")[2])
        here = self._in.setdefault(case_id, {})
        if key not in here:
            here[key] = Breach(case_id, what, wrong, shorten(str(value)))
            # Of the cases that had it, the same one is named in whatever order they are played.
            if key not in self.breaches or case_id < self.breaches[key].case_id:
                self.breaches[key] = here[key]

    def breaches_of(self, case_id: str) -> list[Breach]:
        """What was wrong in one case, each kind once."""
        return list(self._in.get(case_id, {}).values())

    @property
    def kinds(self) -> tuple[str, ...]:
        """What was wrong, without the messages: a line for each kind."""
        return tuple(
            f"{each.what}: {_PLACE.sub('[…]', each.wrong)}" for _, each in sorted(self.breaches.items())
        )

    @property
    def summary(self) -> str:
        """The breaches in words, the kinds first; empty if there are none."""
        if not self.breaches:
            return ""
        kinds, (_, first) = self.kinds, min(self.breaches.items())
        more = [f"and {len(kinds) - MOST} more"] if len(kinds) > MOST else []
        return f"{'; '.join([*kinds[:MOST], *more])}{EXAMPLE}{first.value} in {first.case_id})"


ODD = frozenset(
    (
        *(
            "framing/two-mib",
            "limits/free",
            "messages/unknown-type",
            "messages/refused",
            "messages/malformed",
            "messages/schema",
        ),
        *(
            "messages/error-is-local",
            "messages/empty",
            "messages/misshapen-conversation",
            "messages/id-misshapen",
        ),
    )
)
"""The cases that send on purpose what the schema forbids a client to send."""

WHEN = "2026-01-31T12:00:00Z"
BESIDE = {"id": "0" * 12, "title": "", "created_at": WHEN, "updated_at": WHEN, "next": None}
"""What a document that is an array cannot have."""

_current: ContextVar[tuple[Contract, str] | None] = ContextVar("contract", default=None)


@contextmanager
def holding(contract: Contract, case_id: str) -> Iterator[None]:
    """Hold to the schema what comes inside the block, in the tasks begun there, too."""
    token = _current.set((contract, case_id))
    try:
        yield
    finally:
        _current.reset(token)


def current_breaches() -> list[Breach]:
    """What was wrong so far with what the case that runs now was sent, each kind once."""
    noted = _current.get()
    return [] if noted is None else noted[0].breaches_of(noted[1])


def look_at_event(event: dict[str, Any], target: Target) -> None:
    """Hold a server's message, in the words of docs/protocol.md, to the schema."""
    if (noted := _of(target)) is not None:
        contract, case_id = noted
        contract.note(case_id, event["type"], _claimed(wrong_in_event(event), target), event)


def check_request(members: dict[str, Any], target: Target) -> None:
    """Hold a message of ours to the schema, unless its case sends such on purpose.

    Raises:
        SuiteError: No client may send it.
    """
    if (noted := _of(target)) is None or noted[1] in ODD:
        return
    if (wrong := wrong_in_request(members)) is not None:
        raise SuiteError(f"the suite sent {shorten(str(members))}: {wrong}")


def look_at_no_message(wrong: str, text: str, target: Target) -> None:
    """Note a data message that is no message at all."""
    if (noted := _of(target)) is not None:
        contract, case_id = noted
        contract.note(case_id, "a text frame", wrong, text)


def look_at_document(kind: str, document: Any, target: Target, what: str) -> None:
    """Hold the document of an HTTP answer, in the words of docs/protocol.md, to the schema.

    ``kind`` is one of `wrong_in_document`, ``what`` names the request.
    """
    if (noted := _of(target)) is not None:
        contract, case_id = noted
        # A server whose document is a bare array has no room for the other members, so these are filled in as
        # valid ones.
        if target.dialect.whole(kind) and isinstance(document, dict):
            document = {**BESIDE, **document}
        contract.note(case_id, what, _claimed(wrong_in_document(kind, document), target), document)


def _of(target: Target) -> tuple[Contract, str] | None:
    """The contract and the case that is played; None where the protocol is the server's own."""
    return None if target.described else _current.get()


def _claimed(wrong: str | None, target: Target) -> str | None:
    """What is wrong, unless the target file says that parts are missing and this may be one."""
    # Which part a missing member belongs to is not known here, so with `lacks` no missing member is held
    # against it.
    return None if wrong is not None and target.lacks and wrong.startswith(MISSING) else wrong
