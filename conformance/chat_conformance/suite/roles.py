"""Which cases a target can be judged by: those all of whose roles it has."""

from __future__ import annotations

from collections.abc import Iterable

from chat_conformance.results import Case
from chat_conformance.suite.case import case_function
from chat_conformance.suite.role_marks import relied_roles
from chat_conformance.target.file import Target
from chat_conformance.target.roles import ROLES


def roles_of(case: Case) -> frozenset[str]:
    """The roles that a case relies on."""
    return relied_roles(case.id, case_function(case.id))


def absent(case: Case, target: Target) -> str | None:
    """Why a case is not offered by a target, in words; None where all roles that it relies on are there."""
    missing = sorted(roles_of(case) - target.roles, key=list(ROLES).index)
    return ROLES[missing[0]] if missing else None


def playable(cases: Iterable[Case], target: Target) -> list[Case]:
    """The cases all of whose roles a target has."""
    return [each for each in cases if roles_of(each) <= target.roles]
