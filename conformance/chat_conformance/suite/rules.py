"""The rules of a review, which come from what a change is based on: target file and known failures.

Of two versions of a rule the stricter counts, so that a change cannot allow itself what its base forbids.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from chat_conformance.errors import UsageError
from chat_conformance.results import Case, CaseResult, RunResult, Severity, Verdict
from chat_conformance.suite import baseline
from chat_conformance.suite.baseline import Baseline, KnownFailure
from chat_conformance.suite.case import all_cases, baseline_ids
from chat_conformance.target import file
from chat_conformance.target.file import Target

OWN_RULES = Case(
    id="gate/own-rules",
    title="A change does not alter the rules by which it is judged",
    clause="GATE-1",
    severity=Severity.BLOCKER,
    means="The change vouches for itself: what its own rules allow, no reviewer has allowed.",
)
"""Not a case to be selected: under this id the gate reports what a change does to its rules."""

CLAUSES = {
    "GATE-1": "Target file, known failures and claims are those of the base; a person looks at changes of them."
}

# The file comes from a change that is not trusted yet: a gigabyte must not take the memory of the judge.
MAX_BYTES = 1 << 20
# Fields that say nothing of what is asked of the server.
_ELSEWHERE = ("name", "anchor", "routes", "load")


class Source(StrEnum):
    """Whose rules judge."""

    BASE = "base"
    HEAD = "head"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What judges one side.

    Attributes:
        target: The target.
        known: The known failures, those that apply elsewhere included.
    """

    target: Target
    known: Baseline = {}


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between the rules of base and head.

    Attributes:
        what: The sentence.
        stops: Whether it may let something through that the base's rules would not.
        case_id: The case that a known failure is about; empty for other rules.
    """

    what: str
    stops: bool
    case_id: str = ""


class Sides(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of base and head.

    Attributes:
        base: The target file of the base; None if it has none.
        rules: What judges the head.
        head: The head's own.
        edits: Where the head's own differ.
    """

    base: Path | None
    rules: Rules
    head: Rules
    edits: tuple[Edit, ...]


def sides_of(target: str, top: Path, folder: Path) -> Sides:
    """The rules of base and head.

    Args:
        target: The target file, as it was given.
        top: The checkout.
        folder: The files of the base.

    Raises:
        UsageError: The base's target file is wrong, or there is none at all.
    """
    # Where the base's target file comes from, in this order: the base itself; a file that comes with the suite,
    # or one outside of the checkout; none, where the change adds the file. In the last case nothing has been
    # reviewed yet, so the new file is itself an edit that stops.
    ids = baseline_ids(all_cases())
    inside = _inside(target, top)
    ours = None if inside is None else top / inside
    theirs = None if inside is None else folder / inside
    if theirs is None or not os.path.lexists(theirs):
        shipped = file.SHIPPED / target
        if ours is not None and os.path.lexists(ours) and not shipped.is_file():
            head = _with_start(read(ours, top, target, ours.parent, ids))
            new = Edit(
                what="the base has no target file: that of the change says how it is judged", stops=True
            )
            # Its known failures are named one by one, and accept nothing.
            added = [
                Edit(what=f"{each} is to be a known failure", stops=True, case_id=each) for each in head.known
            ]
            alone = Rules(target=head.target)
            return Sides(base=None, rules=alone, head=head, edits=(new, *added))
        place = shipped if ours is not None and shipped.is_file() else file.find(target)
        base = _with_start(read(place, place.resolve().parent, target, place.parent, ids))
        theirs = place.absolute()
    else:
        assert ours is not None
        base = _with_start(read(theirs, folder, target, ours.parent, ids))
    # Both sides use one file that the change cannot reach: there is nothing to compare.
    if ours is None or (not os.path.lexists(ours) and file.SHIPPED / target == theirs):
        return Sides(base=theirs, rules=base, head=base, edits=())
    try:
        # A change that breaks its rules is judged by those of the base, and the break is reported.
        head = read(ours, top, target, ours.parent, ids)
    except UsageError as error:
        broken = Edit(what=f"the rules of the change cannot be used: {error}", stops=True)
        return Sides(base=theirs, rules=base, head=base, edits=(broken,))
    rules, edits = stricter(base, head)
    return Sides(base=theirs, rules=rules, head=head, edits=edits)


def _with_start(rules: Rules) -> Rules:
    if not rules.target.starts:
        raise UsageError(
            "the target file has no start command: base and head would be one and the same server"
        )
    return rules


def _inside(target: str, top: Path) -> Path | None:
    """Where in the checkout a target file is by its name, whatever links there are; None if it is elsewhere."""
    named = Path(os.path.abspath(target))  # noqa: PTH100 - resolve() would follow a link out of the checkout
    # The checkout may be reached through a link (`/tmp` on macOS): the folder is resolved, the file's own name
    # is not, as a link there might lead out of the checkout.
    for place in (named, named.parent.resolve() / named.name):
        if place.is_relative_to(top):
            return place.relative_to(top)
    return None


def read(place: Path, root: Path, name: str, here: Path, case_ids: Collection[str]) -> Rules:
    """The rules of one side.

    Args:
        place: The target file.
        root: What the files have to be inside of: a link out of it is not followed.
        name: What reports call the file.
        here: What ``{here}`` means.
        case_ids: All that there are.

    Raises:
        UsageError: A file is missing, is no regular file, is too long, or does not fit.
    """
    target = file.parse(text_of(place, root), place, name, here=here)
    beside = place.with_name(f"{place.stem}.baseline.toml")
    if not os.path.lexists(beside):
        return Rules(target=target)
    known = baseline.parse(text_of(beside, root), beside, case_ids)
    return Rules(target=target, known=known)


def text_of(place: Path, root: Path) -> bytes:
    """The bytes of a regular file of bounded size that is inside of a folder.

    Raises:
        UsageError: It is not.
    """
    try:
        real = place.resolve(strict=True)
        if not real.is_relative_to(root.resolve()):
            raise UsageError(f"{place} is a link to {real}, outside of the checkout")
        # Opening a FIFO would wait for ever.
        if not stat.S_ISREG(real.stat().st_mode):
            raise UsageError(f"{place} is no regular file")
        with real.open("rb") as opened:
            # One byte more than allowed is enough to know that there are too many.
            text = opened.read(MAX_BYTES + 1)
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{place} cannot be read: {error}") from None
    if len(text) > MAX_BYTES:
        raise UsageError(f"{place} has more than {MAX_BYTES:,} bytes")
    return text


def stricter(base: Rules, head: Rules) -> tuple[Rules, tuple[Edit, ...]]:
    """What judges the head, and where its own rules differ."""
    target, edits = _stricter_target(base.target, head.target)
    known, more = _stricter_known(base.known, head.known)
    return Rules(target=target, known=known), (*edits, *more)


def _stricter_target(base: Target, head: Target) -> tuple[Target, list[Edit]]:
    edits = []
    added: dict[str, Any] = {}
    # Field by field, the base's value stays. Only paths and variants may grow: a claim that the head adds is
    # taken over and tested at once. Example: variants.limited new in the head is played; variants.limited gone
    # from the head is played still, and stops.
    for name in Target.__struct_fields__:
        old, new = getattr(base, name), getattr(head, name)
        if name in ("paths", "variants"):
            taken = {}
            for inner in old.__struct_fields__:
                was, now = getattr(old, inner), getattr(new, inner)
                # A claim that is added is tested at once.
                if was != now and not was:
                    taken[inner] = now
                if was != now:
                    edits.append(_edit(f"{name}.{inner}", was, now, stops=bool(was)))
            added[name] = msgspec.structs.replace(old, **taken)
        elif old != new:
            edits.append(_edit(name, old, new, stops=name not in _ELSEWHERE))
    # Where the head's sources are.
    places = {name: getattr(head, name) for name in ("anchor", "routes")}
    return msgspec.structs.replace(base, **added, **places), edits


def _edit(name: str, old: object, new: object, *, stops: bool) -> Edit:
    if not old:
        return Edit(what=f"{name} is claimed now: {_short(new)}", stops=stops)
    if not new:
        return Edit(what=f"{name} is claimed no more; it was {_short(old)}", stops=stops)
    return Edit(what=f"{name} was {_short(old)} and is {_short(new)}", stops=stops)


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 200 else f"{text[:200]}…"


def _stricter_known(
    base: Mapping[str, KnownFailure], head: Mapping[str, KnownFailure]
) -> tuple[Baseline, list[Edit]]:
    edits, known = [], {}
    for case_id, new in head.items():
        old = base.get(case_id)
        if old is None:
            what = f"{case_id} is to be a known failure until {new.expires}: {new.reason}"
            edits.append(Edit(what=what, stops=True, case_id=case_id))
            continue
        # The reason and the place stay the base's; of the two days the earlier one.
        known[case_id] = msgspec.structs.replace(old, expires=min(old.expires, new.expires))
        if new.expires != old.expires:
            what = f"the known failure {case_id} was accepted until {old.expires}, and is to be until {new.expires}"
            edits.append(Edit(what=what, stops=new.expires > old.expires, case_id=case_id))
        if new.when != old.when:
            what = f"the known failure {case_id} applied where {_short(old.when)}, and is to where {_short(new.when)}"
            edits.append(Edit(what=what, stops=True, case_id=case_id))
    # An entry that is taken out accepts nothing more: that is stricter, so it does not stop.
    gone = sorted(base.keys() - head.keys())
    edits += [Edit(what=f"{each} is a known failure no more", stops=False, case_id=each) for each in gone]
    return known, edits


def judged(run: RunResult, edits: Collection[Edit], source: Source) -> CaseResult | None:
    """What the gate says of a change's own rules; None if it changes none."""
    if not edits:
        return None
    ends = {each.case.id: each.verdict for each in run.results}

    def in_words(edit: Edit) -> str:
        end = f" (here: {ends[edit.case_id]})" if edit.case_id in ends else ""
        return f"{edit.what}{end}"

    ordered = sorted(edits, key=lambda each: not each.stops)
    stops = any(each.stops for each in edits) and source is Source.BASE
    accepted = "" if source is Source.BASE else "; accepted by --rules head"
    return CaseResult(
        case=OWN_RULES,
        verdict=Verdict.FAILED if stops else Verdict.PASSED,
        expected="the rules of the base, or stricter ones" if stops else "",
        happened="; ".join(in_words(each) for each in ordered) + accepted,
    )
