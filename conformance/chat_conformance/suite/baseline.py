"""Known failures: a file beside the target file, in which every entry must still be true."""

from __future__ import annotations

import json
import os
import platform
import re
import tomllib
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from chat_conformance.errors import UsageError
from chat_conformance.results import CaseResult, Verdict
from chat_conformance.target.file import find


class KnownFailure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a case may fail, and until when.

    Attributes:
        reason: Why it fails and why that is accepted, in a sentence.
        expires: The last day on which it is accepted, at most `LONGEST` ahead.
        link: Where it is followed up.
        when: Where it may fail, elsewhere it must pass: patterns such as ``3.1[12]`` for any of ``target`` (its
            name), ``system``, ``machine``, ``python`` and ``env.NAME`` (of the suite's environment).
    """

    reason: str
    expires: date
    link: str = ""
    when: dict[str, str] = {}


Baseline = Mapping[str, KnownFailure]


TODAY = "CHATGATE_TODAY"
"""The day on which known failures are judged, if it is to be another than the day it is: ``2027-01-31``."""


def today() -> date:
    """The day on which known failures are judged.

    Raises:
        UsageError: The environment gives a day that is none.
    """
    given = os.environ.get(TODAY)
    try:
        return date.fromisoformat(given) if given else datetime.now(UTC).date()
    except ValueError as error:
        raise UsageError(f"{TODAY}: {error}") from None


def baseline_path(target_path: str) -> Path:
    """The file of a target's known failures, ``NAME.baseline.toml`` beside ``NAME.toml``, there or not."""
    place = find(target_path)
    return place.with_name(f"{place.stem}.baseline.toml")


def load(target_path: str, case_ids: Collection[str], *, target: str = "") -> Baseline:
    """The known failures of a target that apply where we are.

    Raises:
        UsageError: The file is no TOML, an entry does not fit, or no case has its id.
    """
    place = baseline_path(target_path)
    if not place.exists():
        return {}
    return applying(parse(place.read_bytes(), place, case_ids), target)


def parse(text: bytes, place: Path, case_ids: Collection[str]) -> Baseline:
    """The known failures of a text, those that apply elsewhere included.

    Raises:
        UsageError: It is no TOML, an entry does not fit, or no case has its id.
    """
    entries = _parse(text, place)
    # A misspelt id would accept nothing, and nobody would notice; so it is an error, even where its entry does
    # not apply.
    for unknown in entries.keys() - set(case_ids):
        near = get_close_matches(unknown, case_ids, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"{place}: no case has the id {unknown!r}{hint}")
    here = _here("")
    for case_id, entry in entries.items():
        if unknown_names := [name for name in entry.when if name not in here and not name.startswith("env.")]:
            raise UsageError(
                f"{place}: when of {case_id!r} has {unknown_names[0]!r}; known are {', '.join(here)} and env.NAME"
            )
    return entries


def applying(entries: Baseline, target: str) -> Baseline:
    """Those of a target of this name that apply where we are."""
    here = _here(target)
    return {case_id: entry for case_id, entry in entries.items() if _applies(entry, here)}


def _parse(text: bytes, place: Path) -> dict[str, KnownFailure]:
    try:
        return msgspec.convert(tomllib.loads(text.decode()), dict[str, KnownFailure])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{place}: {error}") from None


def _here(target: str) -> dict[str, str]:
    version = ".".join(platform.python_version_tuple()[:2])
    return {
        "target": target,
        "system": platform.system(),
        "machine": platform.machine(),
        "python": version,
    }


def _applies(entry: KnownFailure, here: Mapping[str, str]) -> bool:
    def value(name: str) -> str:
        return here[name] if name in here else os.environ.get(name.removeprefix("env."), "")

    # fnmatchcase, not fnmatch: on Windows that ignores case, and one file must mean the same everywhere.
    return all(fnmatchcase(value(name), pattern) for name, pattern in entry.when.items())


HEAD = "# Failures that are known and accepted for a time. An entry that is no longer true fails the run.\n"
ACCEPTED_FOR = timedelta(days=30)
# What is accepted for ever is never looked at again.
LONGEST = timedelta(days=366)
# The header of an entry, as `["turns/order"]  # why`. A table in an entry, as `["turns/order".when]`, matches
# too: its first key is the case, so its lines come and go with the entry.
_ENTRY = re.compile(r"\[([^\[\]\n]+)\][ \t]*(?:#.*)?$")


def updated(before: str, place: Path, results: Collection[CaseResult], today: date) -> str:
    """The text of a baseline file after a run without it: new failures in, entries that passed out.

    What else stands in the file stays as it is, comments included, so that a diff shows what changed and no more.

    Args:
        before: The text of the file; empty if there is none.
        place: Where it is, for errors.
        results: Of cases that were judged without the file.
        today: The new entries are accepted from this day on, for `ACCEPTED_FOR`.

    Raises:
        UsageError: The text is no baseline file.
    """
    known = _parse(before.encode(), place)
    passed = {each.case.id for each in results if each.verdict is Verdict.PASSED}
    # The text is cut at the headers, and blocks of cases that passed are left out; all others are put together
    # again byte by byte. A TOML writer would lose the comments. What stands before the first header belongs to
    # no case and stays.
    blocks: list[tuple[str | None, list[str]]] = [(None, [])]
    for line in before.splitlines(keepends=True) or [HEAD]:
        if found := _ENTRY.match(line.rstrip("\n")):
            # TOML itself reads the key, quoted or bare; a pattern of ours would get the escapes wrong.
            (case_id,) = tomllib.loads(f"{found[1]} = 0").keys()
            blocks.append((case_id, []))
        blocks[-1][1].append(line)
    kept = ["".join(lines) for case_id, lines in blocks if case_id not in passed]
    new = [each for each in results if each.verdict is Verdict.FAILED and each.case.id not in known]
    kept += ["\n" + _entry(each, today + ACCEPTED_FOR) for each in sorted(new, key=lambda each: each.case.id)]
    text = "".join(kept).rstrip("\n") + "\n"
    # What was put together from lines must still be a baseline file; else the user's file stays.
    _parse(text.encode(), place)
    return text


def _entry(result: CaseResult, expires: date) -> str:
    # One short line: what happened may be a trace of pages.
    happened = " ".join(result.happened.split())[:160]
    lines = [f"[{json.dumps(result.case.id)}]", f"reason = {_quoted(f'to be explained: {happened}')}"]
    return "\n".join([*lines, 'link = ""', f"expires = {expires}", ""])


def _quoted(text: str) -> str:
    """Text as a basic string of TOML."""
    # The escapes of JSON are those of TOML, but for DEL, which TOML forbids and JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def why_over(entry: KnownFailure, today: date) -> str:
    """Why an entry accepts nothing on a day; empty if it does."""
    if today > entry.expires:
        return f"accepted until {entry.expires}"
    if entry.expires > today + LONGEST:
        return f"an entry until {entry.expires} accepts nothing: {LONGEST.days} days ahead are the most"
    return ""


def apply(known: Baseline, result: CaseResult, today: date) -> CaseResult:
    """The result as it counts: an accepted failure is a known one; an entry that is no longer true fails."""
    entry = known.get(result.case.id)
    if entry is None:
        return result
    if result.verdict is Verdict.PASSED:
        happened = "the case passes; take its entry out of the baseline file"
        expected = f"the known failure to be still there ({entry.reason})"
        return msgspec.structs.replace(result, verdict=Verdict.FAILED, expected=expected, happened=happened)
    # Not offered, blocked or not tested: nothing was seen that the entry could be judged by.
    if result.verdict is not Verdict.FAILED:
        return result
    # It stays a failure; the sentence says that it was accepted once.
    if over := why_over(entry, today):
        return msgspec.structs.replace(result, happened=f"{result.happened} ({over}: {entry.reason})")
    return msgspec.structs.replace(
        result, verdict=Verdict.KNOWN_FAILURE, reason=entry.reason, link=entry.link
    )
