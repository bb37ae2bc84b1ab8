"""The mark that makes a test function a case."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Collection, Iterable
from difflib import get_close_matches
from functools import cache
from typing import TypeVar

import msgspec

from chat_conformance.errors import UsageError
from chat_conformance.results import Case, Severity, matches
from chat_conformance.suite.levels import level_of
from chat_conformance.suite.needs import needs_of
from chat_conformance.suite.role_marks import relied_roles

CaseFunction = TypeVar("CaseFunction", bound=Callable[..., Awaitable[None]])

OWN_BYTES = Case(
    id="suite/own-bytes",
    title="What the suite sends is what RFC 6455 lets a client send, unless a case breaks it on purpose",
    clause="FRAME-3",
    severity=Severity.BLOCKER,
    means="The suite is wrong, not the server: what it says of the server cannot be trusted.",
)
"""Not a case to be selected: under this id the suite blames itself."""

TRAFFIC = Case(
    id="traffic/schema",
    title="All that the server sends in a run is valid by the protocol's schema",
    clause="MSG-7",
    severity=Severity.MEDIUM,
    means="A client that is generated from the schema fails on a member that no case looks at.",
)
"""Not a case to be selected: it has a result only where something sent to another case was not valid."""

SCHEMA = "messages/schema"
"""The case that looks at the same in its own messages."""
SURVIVES = "survives/"


def survival_id(case_id: str) -> str:
    """The id of what stands for the server's life after a case."""
    return f"{SURVIVES}{case_id}"


def baseline_ids(known: Iterable[Case]) -> set[str]:
    """The ids of what may be a known failure: cases, that a server does not survive one, and what it sends."""
    ids = {each.id for each in known}
    return ids | {survival_id(each) for each in ids} | {TRAFFIC.id}


def survival(case: Case) -> Case:
    """The server's survival of a case; it cannot be selected, and has a result only where it fails."""
    return Case(
        id=survival_id(case.id),
        title=f"The server lives and answers after {case.id}",
        clause="TURN-10",
        severity=Severity.BLOCKER,
        means="One request ends the chat for all users, until the server is restarted.",
    )


def culprit(case: Case) -> Case:
    """The case by which a server did not survive, in place of what stands for that; any other as it is."""
    return _registry.get(case.id.removeprefix(SURVIVES), case)


# Modules of cases register at import, so a process has one registry.
_registry: dict[str, Case] = {}
_functions: dict[str, Callable[..., Awaitable[None]]] = {}


def case(
    case_id: str,
    *,
    title: str,
    clause: str,
    severity: Severity,
    means: str,
    finding: str | None = None,
    evidence: str = "",
    needs: tuple[str, ...] = (),
    waits: bool = False,
    slow: bool = False,
) -> Callable[[CaseFunction], CaseFunction]:
    """Make an async test function a case; the arguments are the fields of `Case`.

    Raises:
        ValueError: The id is taken, or has no area.
    """
    if "/" not in case_id or case_id in _registry:
        raise ValueError(f"case id {case_id!r} is taken already or is not of the form area/name")
    made = Case(
        id=case_id,
        title=title,
        clause=clause,
        severity=severity,
        means=means,
        finding=finding,
        evidence=evidence,
        needs=needs,
        waits=waits,
        slow=slow,
    )
    _registry[case_id] = made

    def mark(function: CaseFunction) -> CaseFunction:
        _functions[case_id] = function
        function.case = made  # type: ignore[attr-defined]  # read by the plugin
        return function

    return mark


def all_cases() -> tuple[Case, ...]:
    """Every case, those first that others need: the roots, then what hangs on them."""
    # Imported by name: cases stand above the suite.
    cases = importlib.import_module("chat_conformance.cases")
    for module in pkgutil.iter_modules(cases.__path__, f"{cases.__name__}."):
        importlib.import_module(module.name)
    return _sorted_cases(tuple(_registry))


# What a case needs is read off its source, which takes time; the key is the ids, so that cases of one's own
# that come or go make it new.
@cache
def _sorted_cases(ids: tuple[str, ...]) -> tuple[Case, ...]:
    for case_id in ids:
        each = _registry[case_id]
        function = _functions[case_id]
        # Needs that are read off come first: they are sorted with the deepest first, and the first that failed
        # is named as the root.
        needs = tuple(dict.fromkeys([*needs_of(case_id, function), *each.needs]))
        level = level_of(case_id, relied_roles(case_id, function))
        _registry[case_id] = function.case = msgspec.structs.replace(each, needs=needs, level=level)  # type: ignore[attr-defined]
    return tuple(sorted(_registry.values(), key=lambda each: _depth(each.id)))


def _depth(case_id: str, above: tuple[str, ...] = ()) -> int:
    """How many cases stand below a case, one needing the next.

    Raises:
        ValueError: It needs itself.
    """
    # The way down is carried along: a circle would else end in a RecursionError that names no case.
    if case_id in above:
        raise ValueError(f"cases that need each other: {' needs '.join([*above, case_id])}")
    return max((1 + _depth(need, (*above, case_id)) for need in _registry[case_id].needs), default=0)


def ids() -> list[str]:
    """The ids of the cases that are registered so far."""
    return list(_registry)


def needs(case_id: str) -> tuple[str, ...]:
    """The ids that a case names as what it needs."""
    return _registry[case_id].needs


def forget(case_ids: Collection[str]) -> None:
    """Take cases out again."""
    for case_id in case_ids:
        del _registry[case_id], _functions[case_id]
    _sorted_cases.cache_clear()


def case_function(case_id: str) -> Callable[..., Awaitable[None]]:
    """The test function of a case that `all_cases` has read; it takes a ``CaseContext``."""
    return _functions[case_id]


def select(known: tuple[Case, ...], selections: tuple[str, ...]) -> tuple[Case, ...]:
    """The cases whose id begins with a selection, or whose clause or finding is one; all without selections.

    Raises:
        UsageError: A selection matches no case.
    """
    # Each word must select something: a misspelt one beside a right one would leave cases out in silence.
    for selection in selections:
        if not any(matches(each, selection) for each in known):
            words = {each.id for each in known} | {each.clause for each in known}
            words |= {each.finding for each in known if each.finding} | {
                each.id.split("/")[0] for each in known
            }
            near = get_close_matches(selection, sorted(words), n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else "`chat-conformance list` shows them all"
            raise UsageError(f"no case is selected by {selection!r}; {hint}")
    return tuple(each for each in known if not selections or any(matches(each, word) for word in selections))
