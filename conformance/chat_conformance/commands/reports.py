"""``report``, ``compare`` and ``schema``: reports of what was found."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import IO

import msgspec

from chat_conformance.commands.progress import print_text
from chat_conformance.errors import UsageError
from chat_conformance.report import console, document
from chat_conformance.report.formats import parse, write
from chat_conformance.results import RunResult
from chat_conformance.suite.clauses import clauses
from chat_conformance.suite.compare import compare


def report(options: argparse.Namespace) -> int:
    """Write reports of a run from its json or jsonl report."""
    result = document.read(options.file)
    # Without the option it stays what the run was judged by; the report has it.
    if options.fail_on:
        result = msgspec.structs.replace(result, fail_on=options.fail_on)
    if options.previous:
        result = msgspec.structs.replace(result, changes=compare(document.read(options.previous), result))
    write(result, all_clauses(), reports_of(options) or [("console", "-")])
    return result.exit_status


def compare_reports(options: argparse.Namespace) -> int:
    """Print two runs side by side, and write reports of the changes."""
    old, new = document.read(options.old), document.read(options.new)
    result = msgspec.structs.replace(new, changes=compare(old, new), fail_on=options.fail_on or new.fail_on)
    print(console.comparison(old, result))
    write(result, all_clauses(), reports_of(options))
    return result.exit_status


def print_schema(_options: argparse.Namespace) -> int:
    """Print the JSON Schema of the json report."""
    print(json.dumps(document.schema(), indent=1))
    return 0


def report_result(options: argparse.Namespace, result: RunResult) -> int:
    """Print the summary, write the reports, and return the exit status."""
    print_text(f"\n{console.summary(result, all_clauses())}")
    streamed = ("jsonl",) if options.command == "run" else ()
    write(result, all_clauses(), [each for each in reports_of(options) if each[0] not in streamed])
    return result.exit_status


def all_clauses() -> dict[str, str]:
    """The clauses that a report may cite: those of the protocol page and the gate's own."""
    from chat_conformance.suite.rules import CLAUSES  # noqa: PLC0415 - `list` does without

    return {**clauses(), **CLAUSES}


def reports_of(options: argparse.Namespace) -> list[tuple[str, str]]:
    """The reports asked for: format and path, ``-`` for standard output."""
    return [parse(word) for word in options.report]


def open_report(path: str) -> IO[str]:
    """Open a report for writing.

    Raises:
        UsageError: It cannot be written.
    """
    if path == "-":
        return os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return Path(path).open("w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the jsonl report cannot be written: {error}") from None
