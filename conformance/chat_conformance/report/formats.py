"""The formats of reports by name, and where each goes."""

from __future__ import annotations

import importlib
import stat
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path

from chat_conformance.errors import UsageError
from chat_conformance.results import RunResult

Render = Callable[[RunResult, Mapping[str, str]], str]

FORMATS = {
    "console": "what a person reads first",
    "json": "everything, see `chat-conformance schema`",
    "jsonl": "the same, a line for each case as it ends",
    "junit": "JUnit XML",
    "sarif": "SARIF 2.1.0 for code scanning",
    "rdjson": "reviewdog's diagnostics",
    "codequality": "GitLab's code quality",
    "review": "a decision and Markdown for a review bot",
    "markdown": "a page of Markdown",
    "html": "one page for people, with time lines",
}
MODULES = {"json": "document", "jsonl": "document"}


def parse(word: str) -> tuple[str, str]:
    """The format and the path of ``FORMAT=PATH``.

    Raises:
        UsageError: The format is unknown, or one of the two is missing.
    """
    name, equals, path = word.partition("=")
    if name not in FORMATS:
        near = get_close_matches(name, FORMATS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(FORMATS)}"
        raise UsageError(f"there is no report format {name!r}; {hint}")
    if not equals or not path:
        raise UsageError(f"--report {word}: write {name}=PATH, or {name}=- for standard output")
    return name, path


def renderer(name: str) -> Render:
    """What makes a report of this format; only its own module is read."""
    module = importlib.import_module(f"chat_conformance.report.{MODULES.get(name, name)}")
    render: Render = module.render_lines if name == "jsonl" else module.render
    return render


def forget(reports: list[tuple[str, str]]) -> None:
    """Take away what stands where reports will be written: what broke off must not leave the report of another run.

    A link is taken away itself, so that a report is not written to where it leads.
    """
    for _, path in reports:
        place = Path(path).absolute()
        if path == "-" or place.is_relative_to("/dev") or place.is_relative_to("/proc"):
            continue
        try:
            mode = place.lstat().st_mode
            if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
                place.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(f"the report {path} cannot be written: {error}") from None


def write(run: RunResult, clauses: Mapping[str, str], reports: list[tuple[str, str]]) -> None:
    """Write each report to its path, ``-`` being standard output.

    Raises:
        UsageError: A file cannot be written.
    """
    for name, path in reports:
        text = renderer(name)(run, clauses)
        if path == "-":
            sys.stdout.write(text)
            continue
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"the {name} report cannot be written: {error}") from None
