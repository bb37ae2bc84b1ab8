"""``chat-conformance load``: measure, show, and compare with bounds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from chat_conformance.errors import UsageError
from chat_conformance.load import bounds, page, table
from chat_conformance.load.plan import PLANS
from chat_conformance.load.results import LoadResult
from chat_conformance.load.run import check, run, selected
from chat_conformance.report.text import lines
from chat_conformance.target.file import load
from fake_claude.terminal import Counter


def command(options: argparse.Namespace) -> int:
    """Run the command and return its exit status.

    Raises:
        UsageError: An option or a target file is wrong.
        TargetError: The generator cannot be set up.
    """
    targets = [load(each) for each in options.target]
    check(targets, beyond_loopback=options.beyond_loopback)
    if options.plan not in PLANS:
        raise UsageError(f"there is no plan {options.plan}; there are {', '.join(PLANS)}")
    plan = PLANS[options.plan]
    if options.rounds:
        plan = msgspec.structs.replace(plan, rounds=options.rounds)
    limits = bounds.load(options.bounds, [each.name for each in targets]) if options.bounds else ()
    counter = Counter(len(targets) * plan.rounds * len(selected(plan, options.only)))
    result = run(
        targets,
        plan,
        options.plan,
        only=options.only,
        pin=not options.no_pin,
        on_measured=lambda each: print(
            f"{counter.next()} {lines(table.progress(each))}", file=sys.stderr, flush=True
        ),
    )
    print(f"\n{lines(table.text(result))}", flush=True)
    _write(options.json, lambda: msgspec.json.format(msgspec.json.encode(result), indent=1).decode() + "\n")
    _write(options.markdown, lambda: table.markdown(result) + "\n")
    _write(options.html, lambda: page.render(result))
    # Everything is written by now: a run that fails is the one whose figures are wanted most.
    if not any(each.figures for each in result.measured if each.target == result.targets[0]):
        return 3
    broken = [sentence for each in limits if (sentence := each.broken(result))]
    for sentence in broken:
        print(sentence)
    return 1 if broken or _lost(result) else 0


def _lost(result: LoadResult) -> bool:
    """Whether the first target failed in a measurement that was not left out."""
    # "Left out" is what this machine or the target file does not allow; that is no failure of the target.
    return any(
        each.trouble and not each.trouble.startswith("left out")
        for each in result.measured
        if each.target == result.targets[0]
    )


def _write(path: str | None, text: Callable[[], str]) -> None:
    if path == "-":
        sys.stdout.write(text())
    elif path:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text(), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error}") from None
