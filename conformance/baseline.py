"""Known failures: a file beside the target file, in which every entry must still be true."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from datetime import date
from difflib import get_close_matches

import msgspec

from conformance.errors import UsageError
from conformance.results import CaseResult, Verdict
from conformance.target import find


class Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a case may fail, and until when.

    Attributes:
        reason: Why it fails and why that is accepted, in a sentence.
        expires: The last day on which it is accepted.
        link: Where it is followed up.
    """

    reason: str
    expires: date
    link: str = ""


Baseline = Mapping[str, Known]


def load(target_path: str, case_ids: Collection[str]) -> Baseline:
    """The known failures of a target: the file ``NAME.baseline.toml`` beside ``NAME.toml``, if it is there.

    Raises:
        UsageError: It is no TOML, an entry does not fit, or no case has its id.
    """
    place = find(target_path)
    place = place.with_name(f"{place.stem}.baseline.toml")
    if not place.exists():
        return {}
    try:
        entries = msgspec.convert(tomllib.loads(place.read_text(encoding="utf-8")), dict[str, Known])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{place}: {error}") from None
    for unknown in entries.keys() - set(case_ids):
        near = get_close_matches(unknown, case_ids, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"{place}: no case has the id {unknown!r}{hint}")
    return entries


def apply(known: Baseline, result: CaseResult, today: date) -> CaseResult:
    """The result as it counts: an accepted failure is a known one; an entry that is no longer true fails."""
    entry = known.get(result.case.id)
    if entry is None:
        return result
    if result.verdict is Verdict.PASSED:
        happened = "the case passes; take its entry out of the baseline file"
        expected = f"the known failure to be still there ({entry.reason})"
        return msgspec.structs.replace(result, verdict=Verdict.FAILED, expected=expected, happened=happened)
    if result.verdict is not Verdict.FAILED:
        return result
    if today > entry.expires:
        happened = f"{result.happened} (accepted until {entry.expires}: {entry.reason})"
        return msgspec.structs.replace(result, happened=happened)
    return msgspec.structs.replace(
        result, verdict=Verdict.KNOWN_FAILURE, happened=entry.reason, link=entry.link
    )
