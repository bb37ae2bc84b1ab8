"""Words that several reports share, and text made harmless."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from chat_conformance.results import CaseResult, ChangeKind, Decision, RunResult, Severity, Verdict

LINE_CHARS = 500
"""How much of one line is shown; a server may write megabytes in one."""

_RUNNER = re.compile(
    r"##(?=\w{0,20}\[)"
    # [error], ##vso[, ##teamcity[: a CI runner obeys it anywhere in a line.
)
# ::error::, or a fold of Buildkite's.
_COMMAND = re.compile(r"[ \t]*::|(?:---|\+\+\+|~~~|\^\^\^) ")
_LIVE = re.compile(
    r"@|://|www\.|#\d|GH-\d",
    re.IGNORECASE,
    # What makes a mention, a link or a reference of a word.
)
_ADDRESS = re.compile(r"https?://[A-Za-z0-9./?=&%+:-]+(?:#[A-Za-z0-9-]+)?")
_MARKDOWN = re.compile(r"([\\`*_\[\]#|<>~])")


def printable(text: str) -> str:
    """Text with every character that is not printable written as an escape, line ends included.

    So is what a CI runner would obey wherever it stands.
    """
    return _RUNNER.sub(r"#\\x23", "".join(char if char.isprintable() else repr(char)[1:-1] for char in text))


def line(text: str) -> str:
    """One line for a terminal or the log of a CI job, whatever is in it; a runner obeys nothing of it."""
    text = printable(text)
    return f"| {text}" if _COMMAND.match(text) else text


def lines(text: str) -> str:
    """Several lines, each as `line` makes it."""
    return "\n".join(map(line, text.split("\n")))


def clipped(text: str, chars: int = LINE_CHARS) -> str:
    """A line as people can read it: of a very long one the beginning, and how much of it was cut."""
    more = len(text) - chars
    return f"{text[:chars]} … ({more:,} characters more)" if more > 0 else text


def hangs(count: int) -> str:
    """How many cases hang on a root cause."""
    return f"{count} {'case hangs' if count == 1 else 'cases hang'} on it"


def markdown(text: str) -> str:
    """Text that Markdown shows as it is, on one line: it mentions no account, and nothing is a link."""
    text = printable(text)
    words = text.split(" ")
    escaped = " ".join(code(each) if _LIVE.search(each) else _MARKDOWN.sub(r"\\\1", each) for each in words)
    return f"\\{escaped.lstrip()}" if _COMMAND.match(escaped) else escaped


def link(url: str) -> str:
    """Where a known failure is followed up, as a link of Markdown; what is no plain address is shown as text."""
    return url if _ADDRESS.fullmatch(url) else markdown(url)


def code(text: str) -> str:
    """Text as a code span of Markdown, whatever backticks it has."""
    text = printable(text)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest or not text.strip() else ""
    return f"{fence}{pad}{text or ' '}{pad}{fence}"


def json_text(value: Any, indent: int | None = 1) -> str:
    """A value as JSON of which the runner of a CI job obeys nothing, if it is printed there."""
    return _RUNNER.sub(r"\\u0023#", json.dumps(value, indent=indent))


def location_of(result: CaseResult) -> tuple[str, int]:
    """The path and the line to look at; line 1 where none is known, and the case's id where no path is."""
    path, _, line = result.location.rpartition(":")
    if path and line.isdigit():
        return path, int(line)
    return result.location or result.case.id, 1


def fingerprint(result: CaseResult) -> str:
    """What stays the same for one finding over runs, lines and words: it is the case that names it."""
    return hashlib.sha256(f"chatgate/{result.case.id}".encode(errors="backslashreplace")).hexdigest()[:32]


def counts(run: RunResult) -> str:
    """How many cases ended how, such as ``3 passed, 1 failed``."""
    return ", ".join(f"{len(run.of(each))} {each}" for each in Verdict if run.of(each)) or "nothing played"


def levels(run: RunResult) -> str:
    """What the run says of each level, on a line; empty if it says nothing."""
    return "; ".join(
        f"{each.level} {each.verdict} ({each.passed} passed{f', {each.failed} failed' if each.failed else ''})"
        for each in run.levels
        if each.verdict != "not tested"
    )


def headline(run: RunResult) -> str:
    """The verdict in one sentence."""
    failed = run.findings
    by = [f"{n} {each}" for each in Severity if (n := sum(run.harm(one) is each for one in failed))]
    if run.blocking or (failed and not run.is_broken):
        below = "" if run.blocking else f", none of them {run.fail_on} or worse, so the gate lets it through"
        sentence = f"NOT CONFORMANT: {len(failed)} failed ({', '.join(by)}){below}"
    elif run.broke_off:
        return "NO VERDICT: the run broke off"
    elif run.exit_status:
        sentence = "NO VERDICT: the target or the harness broke, or nothing could be tested"
    elif untested := run.of(Verdict.COULD_NOT_TEST):
        sentence = f"CONFORMANT AS FAR AS TESTED: {len(untested)} could not be tested"
    else:
        sentence = "CONFORMANT"
    return f"{sentence} (of a run that broke off)" if run.broke_off else sentence


def changes(run: RunResult) -> str:
    """What is different from the earlier run, counted."""
    return ", ".join(
        f"{n} {each}" for each in ChangeKind if (n := sum(one.kind is each for one in run.changes))
    )


def evidence(run: RunResult, case_id: str) -> str:
    """What was expected of a case that failed and what happened, on a line of bounded length."""
    result = next(each for each in run.findings if each.case.id == case_id)
    return clipped(printable(f"expected {result.expected}; {result.happened}"))


def decision_reason(run: RunResult) -> str:
    """Why the gate decides as it does, in a sentence for people."""
    match run.decision:
        case Decision.REQUEST_CHANGES:
            blocking = len(run.blocking)
            failing = (
                f"{blocking} {'case fails' if blocking == 1 else 'cases fail'} at {run.fail_on} or worse"
            )
            if (worst := run.worst_change) is None:
                return failing
            text = f"{printable(worst.case.title)}: {evidence(run, worst.case.id)}"
            return f"{worst.kind} in {worst.case.id}: {text}; {failing}"
        case Decision.DISCUSS if run.findings:
            return f"only failures below {run.fail_on}: {len(run.findings)}"
        case Decision.DISCUSS if not run.exit_status:
            count = sum(each.kind is ChangeKind.NEWLY_VISIBLE for each in run.changes)
            return f"what hid {count} {'failure' if count == 1 else 'failures'} is mended"
        case Decision.DISCUSS:
            return headline(run)
        case _:
            return counts(run)
