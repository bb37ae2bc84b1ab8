"""``chat-conformance``: parse the command line, run the sub-command, map errors to exit statuses."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from chat_conformance.commands import gate, listing, measure, mutants, play, reports, setup
from chat_conformance.errors import TargetError, UsageError
from chat_conformance.options import make_parser
from chat_conformance.report.text import line, lines
from chat_conformance.suite.own_cases import own_cases
from fake_claude.terminal import print_leniently

COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": play.run,
    "baseline": play.update_baseline,
    "gate": gate.run_gate,
    "report": reports.report,
    "compare": reports.compare_reports,
    "schema": reports.print_schema,
    "list": listing.list_cases,
    "explain": listing.explain,
    "doctor": setup.doctor,
    "selfcheck": play.run_selfcheck,
    "init": setup.init,
    "mutants": mutants.judge_mutants,
    "load": measure.load,
    "fuzz": measure.fuzz,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    # It is this process's own command.
    if argv is None:
        print_leniently()
    options = make_parser().parse_args(argv)
    # Who ends us ends our servers, too: TERM unwinds as an interrupt does.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with own_cases(options.cases) if hasattr(options, "cases") else nullcontext():
            return COMMANDS[options.command](options)
    except UsageError as error:
        print(lines(f"chat-conformance: {error}"), file=sys.stderr)
        return 2
    except TargetError as error:
        print(lines(f"chat-conformance: {error}"), file=sys.stderr)
        for each in error.log[-20:]:
            print(line(f"  | {each}"), file=sys.stderr)
        return 3
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
