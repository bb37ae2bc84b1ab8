"""Plays generated cases through both CLIs, shrinks what differs, and keeps it as a row with its recording."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fake_claude.fidelity import recordings
from fake_claude.fidelity.case import GROUP, Case
from fake_claude.fidelity.compare import Difference, Normal, differences
from fake_claude.fidelity.generator import generate, said
from fake_claude.fidelity.kept import KEPT
from fake_claude.fidelity.run import Sandbox
from fake_claude.fidelity.suite import STRETCH, play_rows

ATTEMPTS = 20
"""How often a case is made smaller at most."""


@dataclass
class Found:
    """A case that differs, as small as it could be made, and where it differs."""

    case: Case
    different: list[Difference] = field(default_factory=list)
    stuck: str = ""
    real: Normal | None = None


class Player:
    """Plays cases through the real CLI and the fake, each time in fresh folders."""

    def __init__(self, folder: Path, claude: Path) -> None:
        self._folder = folder
        self._claude = claude
        self._round = 0

    async def compare(self, cases: Sequence[Case], *, slowly: bool = False) -> list[Found]:
        """Play cases and return those that differ."""
        # Fresh folders for each round: the names of cases repeat while one is made smaller.
        self._round += 1
        place, stretch = self._folder / str(self._round), STRETCH if slowly else 1.0
        wanted = [case.row() for case in cases]
        # The real CLI first and then the fake: side by side they would take the processor from each other.
        at_once = 1 if slowly else 4
        real = await play_rows(
            wanted, Sandbox(place / "real", claude=self._claude, stretch=stretch), at_once=at_once
        )
        fake = await play_rows(
            wanted, Sandbox(place / "fake", claude=None, retry_scale=0.01), at_once=at_once
        )
        return [
            found for case in cases if (found := _judged(case, real[case.name], fake[case.name])) is not None
        ]

    async def shrink(self, found: Found) -> Found:
        """Leave out parts as long as the first difference stays where it is."""
        # Theory: leave out one part at a time; if the case still differs in the same place, go on from the
        # smaller one and begin again, else try the next part. Another place would be another difference, which
        # hides this one.
        where, tries = _where(found), 0
        smallest = found
        progress = True
        while progress and tries < ATTEMPTS:
            progress = False
            for case in smallest.case.smaller():
                tries += 1
                again = await self.compare([case])
                if again and _where(again[0]) == where:
                    smallest, progress = again[0], True
                    break
                if tries >= ATTEMPTS:
                    break
        return smallest


def _where(found: Found) -> str:
    return found.stuck.partition(":")[0] or found.different[0].where


def _judged(case: Case, real: Normal | str, fake: Normal | str) -> Found | None:
    # Both got stuck: they behave the same, and the case itself asks for what never comes.
    if isinstance(real, str) and isinstance(fake, str):
        return None
    if isinstance(real, str):
        return Found(case, stuck=f"real: {real}")
    if isinstance(fake, str):
        return Found(case, stuck=f"fake: {fake}", real=real)
    different = differences(real, fake)
    return Found(case, different, real=real) if different else None


async def play(count: int, seed: int, claude: Path, *, shrunk: int = 5, keep: bool = False) -> list[Found]:
    """Play ``count`` cases of a seed; return what differs, the first few of them shrunk, and keep those if asked to."""
    cases = [generate(seed, number) for number in range(count)]
    with tempfile.TemporaryDirectory(prefix="generated-") as folder:
        player = Player(Path(folder), claude)
        found = await player.compare(cases)
        if found:  # once more, with longer pauses: what was slow on a busy machine is none
            found = await player.compare([each.case for each in found], slowly=True)
        small = [await player.shrink(each) for each in found[:shrunk]]
    if keep:
        _keep(small)
    return [*small, *found[shrunk:]]


def _keep(found: Sequence[Found]) -> None:
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    names = {data["name"] for data in kept}
    # Without an outcome of the real CLI there is nothing to hold the fake to.
    fresh = [each for each in found if each.real is not None and each.case.name not in names]
    lines = [
        json.dumps(data, ensure_ascii=False) for data in (*kept, *(each.case.to_json() for each in fresh))
    ]
    KEPT.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    recordings.add(GROUP, {each.case.name: each.real for each in fresh if each.real is not None})


def report(found: Sequence[Found], count: int, seed: int) -> str:
    """Return the differences and the share of cases that are equal."""
    lines = []
    for each in found:
        lines.append(said(each.case))
        lines += [f"    {each.stuck}"[:600]] if each.stuck else []
        lines += [f"    {difference}"[:500] for difference in each.different[:5]]
    equal = count - len(found)
    lines.append(f"seed {seed}: {equal} of {count} equal, {100 * equal / count:.1f} %")
    return "\n".join(lines)
