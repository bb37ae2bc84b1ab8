"""``gate``: what a change does, this checkout against a base."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from chat_conformance.commands.play import play_selected
from chat_conformance.commands.reports import report_result, reports_of
from chat_conformance.report.formats import forget
from chat_conformance.report.text import line
from chat_conformance.results import RunResult
from chat_conformance.target.file import Target


def run_gate(options: argparse.Namespace) -> int:
    """Judge this checkout against a base, and report what the change does."""
    from chat_conformance.suite.gate import Asked, cores_for_both, gate  # noqa: PLC0415 - `list` does without
    from chat_conformance.suite.kept import Kept, usual_folder  # noqa: PLC0415
    from chat_conformance.suite.rules import Source  # noqa: PLC0415

    forget(reports_of(options))
    # The base runs in a process of its own, so what is selected goes there as words of a command line.
    chosen = [word for each in options.select for word in ("--select", each)]
    chosen += ["--level", options.level] if options.level != "full" else []
    chosen += ["--quick"] if options.quick else []
    chosen += ["--shuffle"] if options.shuffle else []
    asked = Asked(
        base=options.base,
        target=options.target,
        options=(*chosen, "-n", str(options.jobs)),
        seed=options.seed,
        prepare=options.prepare,
        source=Source(options.rules),
        together=cores_for_both(),
    )

    def play(target: Target, seed: int | None, ids: Sequence[str]) -> RunResult:
        # Single cases are played as they are: --quick might leave out the very ones that are asked for.
        chosen = {"select": list(ids), "quick": False, "shuffle": False} if ids else {}
        these = argparse.Namespace(**{**vars(options), **chosen})
        # The gate judges against the base; known failures come in afterwards, by its rules.
        return play_selected(these, target=target, seed=seed, without_baseline=True)

    folder = None if options.no_cache else Path(options.cache) if options.cache else usual_folder()
    return report_result(
        options, gate(asked, play, kept=Kept(folder), on_note=lambda text: print(line(text), flush=True))
    )
