"""Plays the table, compares, and prints what came of it."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fake_claude.fidelity import recordings
from fake_claude.fidelity.allowed import allowed_by
from fake_claude.fidelity.compare import Difference, Normal, differences, normal
from fake_claude.fidelity.invocation import Invocation
from fake_claude.fidelity.rows import ROWS
from fake_claude.fidelity.run import RowTimeout, Sandbox
from fake_claude.terminal import Counter

AT_ONCE = 4
"""Runs at the same time: the real CLI takes most of a core for itself, but some rows mostly wait."""

STRETCH = 8.0
"""How much longer the pauses are for the real CLI's second chance."""


@dataclass
class RowVerdict:
    """One row's comparison."""

    row: Invocation
    different: list[Difference] = field(default_factory=list)
    allowed: list[Difference] = field(default_factory=list)
    stuck: str = ""
    again: bool = False  # the real CLI had a second run

    @property
    def word(self) -> str:
        """``same``, ``allowed`` or ``different``."""
        if self.stuck or self.different:
            return "different"
        return "allowed" if self.allowed else "same"


def chosen(names: Sequence[str]) -> list[Invocation]:
    """Return the rows of these groups or names (beginnings count); all of them for none."""
    return [
        row
        for row in ROWS
        if not names or any(row.group == name or row.name.startswith(name) for name in names)
    ]


async def play_rows(
    rows: Sequence[Invocation], sandbox: Sandbox, *, at_once: int = AT_ONCE
) -> dict[str, Normal | str]:
    """Play rows, some at a time; a row that got stuck has its message instead of an outcome."""
    gate = asyncio.Semaphore(at_once)
    counter = Counter(len(rows))
    played: dict[str, Normal | str] = {}

    async def one(row: Invocation) -> None:
        async with gate:
            # A row that got stuck must not end the others: a run of hundreds of rows takes minutes.
            try:
                outcome, names = await sandbox.play(row)
                played[row.name] = recordings.compact(normal(outcome, names))
            except* RowTimeout as stuck:
                played[row.name] = str(stuck.exceptions[0])
            progress = counter.next()
            # A CI log would keep every one of these lines.
            if sys.stderr.isatty():
                end = "" if len(played) < len(rows) else "\n"
                sys.stderr.write(f"\r{progress:<24}{end}")
                sys.stderr.flush()

    async with asyncio.TaskGroup() as group:
        for row in rows:
            group.create_task(one(row))
    return played


def compare_rows(
    rows: Sequence[Invocation], real: dict[str, Normal | str], fake: dict[str, Normal | str]
) -> list[RowVerdict]:
    """Judge each row."""
    verdicts = []
    for row in rows:
        verdict = RowVerdict(row)
        want, got = real.get(row.name, "not recorded"), fake.get(row.name, "not played")
        if isinstance(want, str) or isinstance(got, str):
            verdict.stuck = f"real: {want}" if isinstance(want, str) else f"fake: {got}"
        else:
            for difference in differences(want, got):
                (verdict.allowed if allowed_by(row.name, difference) else verdict.different).append(
                    difference
                )
        verdicts.append(verdict)
    return verdicts


def table(verdicts: Sequence[RowVerdict], against: str) -> str:
    """Return the differences and the counts by group."""
    lines = [
        f"{verdict.row.group}/{verdict.row.name}: the real CLI was slow and had a second run"
        for verdict in verdicts
        if verdict.again
    ]
    for verdict in verdicts:
        if verdict.word == "different":
            lines.append(f"{verdict.row.group}/{verdict.row.name}: {verdict.stuck}".rstrip(": "))
            lines += [f"    {difference}"[:600] for difference in verdict.different[:8]]
    lines += [
        "",
        f"{'group':<12} {'same':>5} {'allowed':>8} {'different':>10}   against {against}",
    ]
    groups = dict.fromkeys(verdict.row.group for verdict in verdicts)
    for group in [*groups, ""]:
        words = [verdict.word for verdict in verdicts if group in ("", verdict.row.group)]
        counts = [words.count(word) for word in ("same", "allowed", "different")]
        lines.append(f"{group or 'all':<12} {counts[0]:>5} {counts[1]:>8} {counts[2]:>10}")
    return "\n".join(lines)


async def fidelity(
    rows: Sequence[Invocation], claude: Path | None, *, version: str | None = None
) -> list[RowVerdict]:
    """Compare the fake, as that version, with the real CLI, or with its recordings where there is none."""
    with tempfile.TemporaryDirectory(prefix="fidelity-") as folder:
        sandbox = Sandbox(Path(folder) / "fake", claude=None, retry_scale=0.01, version=version)
        fake = await play_rows(rows, sandbox)
        if claude is None:
            return compare_rows(rows, dict(recordings.load()), fake)
        real = await play_rows(rows, Sandbox(Path(folder) / "real", claude=claude))
        verdicts = compare_rows(rows, real, fake)
        # Only what differs has a second run, and of the real CLI alone: the fake does nothing silently.
        doubtful = [verdict.row for verdict in verdicts if verdict.word == "different"]
        again = await play_slowly(doubtful, Path(folder) / "again", claude)
    second = {verdict.row.name: verdict for verdict in compare_rows(doubtful, again, fake)}
    for verdict in second.values():
        verdict.again = True
    return [second.get(verdict.row.name, verdict) for verdict in verdicts]


async def play_slowly(rows: Sequence[Invocation], folder: Path, claude: Path) -> dict[str, Normal | str]:
    """Play rows one by one, with longer pauses.

    The real CLI does some things silently, and a row waits a moment for them; on a busy machine the moment may
    have been too short. The fake needs no such second chance.
    """
    return await play_rows(rows, Sandbox(folder, claude=claude, stretch=STRETCH), at_once=1)


async def record(rows: Sequence[Invocation], claude: Path, out: Path) -> list[str]:
    """Record the real CLI; return the rows that got stuck."""
    with tempfile.TemporaryDirectory(prefix="fidelity-") as folder:
        played = await play_rows(rows, Sandbox(Path(folder) / "real", claude=claude))
    recordings.save({name: played[name] for name in played if isinstance(played[name], Normal)}, out)  # type: ignore[misc]
    return [found for found in played.values() if isinstance(found, str)]


SEVERITIES = ("blocker", "medium", "low")


def severity(difference: Difference) -> str:
    """Say how much a change in the CLI matters to a server that reads its output."""
    # A server decides by these: when a turn is over, whether it failed, and where sessions are.
    if difference.where in ("exit", "sequence", "files"):
        return "blocker"
    if difference.got == "absent" or difference.where in ("stderr", "transcript"):
        return "medium"
    return "low"


def drift_table(verdicts: Sequence[RowVerdict]) -> str:
    """Return what changed between the recorded version and another, gravest first, each change once."""
    seen: dict[tuple[str, str], list[str]] = {}
    for verdict in verdicts:
        if verdict.stuck:
            # A change in the CLI shows in many rows at once; by text, it is one entry that names them.
            seen.setdefault(("blocker", verdict.stuck), []).append(verdict.row.name)
        for difference in [*verdict.different, *verdict.allowed]:
            key = (
                severity(difference),
                f"{difference.where}: {difference.want[:200]} -> {difference.got[:200]}",
            )
            seen.setdefault(key, []).append(verdict.row.name)
    lines = []
    for word in SEVERITIES:
        found = {text: rows for (kind, text), rows in seen.items() if kind == word}
        lines.append(f"{word}: {len(found)}")
        for text, rows in sorted(found.items(), key=lambda item: -len(item[1])):
            more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
            lines.append(f"  {text}\n      in {', '.join(rows[:3])}{more}")
    return "\n".join(lines)


async def drift(rows: Sequence[Invocation], claude: Path) -> list[RowVerdict]:
    """Compare another CLI version with the recordings."""
    known: dict[str, Normal | str] = dict(recordings.load())
    with tempfile.TemporaryDirectory(prefix="fidelity-") as folder:
        new = await play_rows(rows, Sandbox(Path(folder) / "new", claude=claude))
        verdicts = compare_rows(rows, known, new)
        # Lesser differences do not come from slowness, and a row by itself with long pauses takes its time.
        doubtful = [v.row for v in verdicts if v.stuck or any(severity(d) == "blocker" for d in v.different)]
        new |= await play_slowly(doubtful, Path(folder) / "again", claude)
    return compare_rows(rows, known, new)
