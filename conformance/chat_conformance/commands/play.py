"""``run``, ``baseline`` and ``selfcheck``: play cases against a target."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from difflib import unified_diff
from random import Random
from secrets import randbelow

import msgspec

from chat_conformance.commands.progress import ProgressLines
from chat_conformance.commands.reports import all_clauses, open_report, report_result, reports_of
from chat_conformance.errors import TargetError, UsageError
from chat_conformance.report import console, document
from chat_conformance.report.formats import forget
from chat_conformance.report.text import line, lines, printable
from chat_conformance.results import Case, CaseResult, RunResult, Severity
from chat_conformance.suite import baseline
from chat_conformance.suite.case import all_cases, baseline_ids, select
from chat_conformance.suite.compare import compare
from chat_conformance.suite.levels import at_level
from chat_conformance.target.file import Target, load
from fake_claude.terminal import Unread


def run(options: argparse.Namespace) -> int:
    """Play the selected cases, and report what they found."""
    previous = document.read(options.previous) if options.previous else None
    forget(reports_of(options))
    result = play_selected(
        options,
        jsonl=[path for name, path in reports_of(options) if name == "jsonl"],
        without_baseline=options.no_baseline,
    )
    if previous is not None:
        result = msgspec.structs.replace(result, changes=compare(previous, result))
    if options.durations:
        print(f"\n{console.durations(result, options.durations)}")
    return report_result(options, result)


def update_baseline(options: argparse.Namespace) -> int:
    """Play the selected cases, write the known failures, and show what changed."""
    place = baseline.baseline_path(options.target)
    before = place.read_text(encoding="utf-8") if place.exists() else ""
    result = play_selected(options, without_baseline=True)
    if result.is_broken:
        print(f"\n{console.summary(result, all_clauses())}", flush=True)
        raise TargetError("a run without a verdict changes no baseline")
    after = baseline.updated(before, place, result.results, baseline.today())
    lines = (before.splitlines(keepends=True), after.splitlines(keepends=True))
    changed = "".join(unified_diff(*lines, fromfile=str(place), tofile=str(place))) if before != after else ""
    print("\n" + "\n".join(map(printable, (changed or "nothing to change").split("\n"))))
    if changed and not options.dry_run:
        place.write_text(after, encoding="utf-8")
        print(f"{place} is written; give each new entry its reason, its link and its last day")
    return 0


def run_selfcheck(options: argparse.Namespace) -> int:
    """Play the same cases alone, in other orders and in parallel; 1 if verdicts differ."""
    from chat_conformance.suite.selfcheck import selfcheck  # noqa: PLC0415 - `list` does without

    target = load(options.target)
    selected = selected_cases(options, target)
    seed = randbelow(1_000_000) if options.seed is None else options.seed
    differences = selfcheck(
        target,
        selected,
        seed=seed,
        orders=options.orders,
        processes=options.jobs,
        on_played=lambda text: print(line(text), flush=True),
    )
    for each in differences:
        print(f"\n{lines(str(each))}")
    played = f"{len(selected)} cases alone, in {options.orders + 1} orders and two at a time, seed {seed}"
    said = f"{len(differences)} differences" if differences else "the same verdicts and sentences"
    print(f"\n{said}: {played}")
    return 1 if differences else 0


def selected_cases(options: argparse.Namespace, target: Target) -> tuple[Case, ...]:
    """The cases that the options select."""
    known = all_cases()
    for route in target.routes:
        select(known, (route,))
    selected = select(known, tuple(options.select))
    selected = at_level(selected, options.level)
    selected = tuple(each for each in selected if not (options.quick and each.slow))
    if not selected:
        raise UsageError(f"nothing is selected: --quick and --level {options.level} leave out all of it")
    return selected


def play_selected(
    options: argparse.Namespace,
    jsonl: Sequence[str] = (),
    *,
    target: Target | None = None,
    seed: int | None = None,
    without_baseline: bool = False,
) -> RunResult:
    """Play what the options select, and print each result as it comes.

    Raises:
        TargetError: pytest is not installed, or the target broke.
        UsageError: Nothing is selected, or a file is wrong.
    """
    try:
        from chat_conformance.suite.runner import run  # noqa: PLC0415  (pytest is heavy, and `list` does without)
    except ModuleNotFoundError as error:
        raise TargetError(
            f"{error.name} is not installed; the cases are played by pytest: pip install pytest"
        ) from None

    target = load(options.target) if target is None else target
    known = all_cases()
    selected = selected_cases(options, target)
    seed = options.seed if seed is None else seed
    seed = randbelow(1_000_000) if seed is None else seed
    if options.shuffle:
        selected = tuple(Random(seed).sample(selected, len(selected)))  # noqa: S311 - to be repeatable

    def replay(case: Case) -> str:
        words = ["run", "--target", options.target, "--select", case.id, "--seed", str(seed)]
        words += [word for folder in getattr(options, "cases", []) for word in ("--cases", folder)]
        return shlex.join(["chat-conformance", *words])

    begun = RunResult(target=target.name, url=target.url, seed=seed, seconds=0, results=())
    with ExitStack() as stack:
        opened = [Unread(stack.enter_context(open_report(path))) for path in jsonl]
        lines = [document.JsonLinesWriter(each, begun, selected) for each in opened]

        shown = ProgressLines(selected, verbose=getattr(options, "verbose", False))

        def on_result(result: CaseResult) -> None:
            shown.add(result)
            for each in lines:
                each.result(result)

        result = run(
            target,
            selected,
            seed=seed,
            side_by_side=options.jobs,
            stop_early=options.stop_early,
            streams=getattr(options, "load", 0),
            replay=replay,
            known={}
            if without_baseline
            else baseline.load(options.target, baseline_ids(known), target=target.name),
            fail_on=options.fail_on or Severity.MEDIUM,
            on_result=on_result,
        )
        shown.end()
        for each in lines:
            each.end(result)
    return result
