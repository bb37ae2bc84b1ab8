"""What a person reads first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from chat_conformance.report.text import changes, clipped, counts, hangs, headline, levels, line, printable
from chat_conformance.results import Case, CaseResult, ChangeKind, RunResult, TraceLine, Verdict

RED, GREEN, YELLOW, PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
_COLOURS = (
    (re.compile(r"^(?P<begin>(?:\[[^\]]*\] )?)(?P<word>FAIL)(?= )", re.MULTILINE), RED),
    (re.compile(r"^(?P<begin>(?:\[[^\]]*\] )?)(?P<word>ok  )(?= )", re.MULTILINE), GREEN),
    (re.compile(r"^(?P<begin>(?:\[[^\]]*\] )?)(?P<word>\?   |know)(?= )", re.MULTILINE), YELLOW),
    (re.compile(r"^(?P<begin>)(?P<word>NOT CONFORMANT|  REGRESSION|  NEW)(?=[: ])", re.MULTILINE), RED),
    (re.compile(r"^(?P<begin>)(?P<word>CONFORMANT|  FIXED)(?=$| )", re.MULTILINE), GREEN),
    (re.compile(r"^(?P<begin>)(?P<word>NO VERDICT)(?=:)", re.MULTILINE), YELLOW),
)

MARKS = {
    Verdict.PASSED: "ok  ",
    Verdict.FAILED: "FAIL",
    Verdict.COULD_NOT_TEST: "?   ",
    Verdict.NOT_OFFERED: "-   ",
    Verdict.KNOWN_FAILURE: "know",
    Verdict.BLOCKED_BY: "..  ",
}

# Characters of one line of what was expected, or happened.
SENTENCE = 2_000
# How much of what happened is shown in the list of root causes.
ROOT_CHARS = 160


def progress(result: CaseResult, *, saw: bool = False) -> str:
    """One line as a case ends; with ``saw`` more of them, for what a case that passed has seen."""
    shown = [f"       saw  {each}" for each in result.saw] if saw else []
    return _lines([_ended(result), *shown])


def _ended(result: CaseResult) -> str:
    case = result.case
    begin = f"{MARKS[result.verdict]} {case.id:<34} {case.clause:<9} {result.seconds * 1000:6.0f} ms"
    match result.verdict:
        case Verdict.FAILED:
            return f"{begin}  {case.severity}: {case.title}"
        case Verdict.BLOCKED_BY:
            return f"{begin}  blocked by {result.happened}"
        case Verdict.COULD_NOT_TEST | Verdict.NOT_OFFERED | Verdict.KNOWN_FAILURE:
            return f"{begin}  {result.verdict}: {_last_line(result.why)}"
        case _:
            return begin


def coloured(text: str) -> str:
    """What is printed, with the words that decide in colour; lines begin with own words, never with foreign ones."""
    for pattern, colour in _COLOURS:
        text = pattern.sub(rf"\g<begin>{colour}\g<word>{PLAIN}", text)
    return text


def roots(run: RunResult) -> str:
    """A line for each root cause, with what happened and how much hangs on it; empty without any."""
    if not run.findings:
        return ""
    lines = []
    for each in run.findings:
        hanging = run.hanging(each)
        more = f" ({hangs(len(hanging))})" if hanging else ""
        lines.append(f"  {run.harm(each):<8} {each.case.id}: {_first_line(each.happened)}{more}")
    return _lines(["root causes:", *lines])


def details(result: CaseResult, clauses: Mapping[str, str], hanging: Sequence[CaseResult] = ()) -> str:
    """All that is known about one case that is not green, and what is blocked by it."""
    case = result.case
    finding = f", finding {result.finding}" if result.finding else ""
    lines = [f"{case.id}: {case.title} ({case.severity}{finding})"]
    lines += [f"  clause    {case.clause}: {clauses.get(case.clause, 'unknown')}"]
    lines += [f"  means     {case.means}"]
    lines += [f"  expected  {clipped(result.expected, SENTENCE)}"] if result.expected else []
    lines += [f"  where     {result.location}"] if result.location else []
    happened = [clipped(each, SENTENCE) for each in result.happened.splitlines()]
    lines += _block("happened", happened, mark=True)
    lines += (
        [f"  blocks    {hangs(len(hanging))}: {', '.join(each.case.id for each in hanging)}"]
        if hanging
        else []
    )
    lines += _block("trace", [_trace_line(line) for line in result.trace])
    lines += _block("claude", [clipped(each) for each in result.ledger])
    lines += _block("server", [clipped(each) for each in result.log], mark=True)
    return _lines([*lines, f"  again     {result.replay}"])


def explain(case: Case, clauses: Mapping[str, str]) -> str:
    """What a case is about, for a reader of its id in a report."""
    lines = [f"{case.id} ({case.severity}): {case.title}"]
    lines += [f"  clause    {case.clause}: {clauses.get(case.clause, 'unknown')}"]
    lines += [f"  means     {case.means}", f"  level     {case.level}"]
    lines += [f"  finding   {case.finding}"] if case.finding else []
    lines += [f"  needs     {', '.join(case.needs)}"] if case.needs else []
    lines += ["  left out by --quick"] if case.slow else []
    return _lines([*lines, f"  again     chat-conformance run --target FILE --select {case.id}"])


def durations(run: RunResult, count: int) -> str:
    """The slowest cases; those marked with ~ were played side by side with others."""
    slowest = sorted(run.results, key=lambda each: -each.seconds)[:count]
    lines = [
        f"{each.seconds * 1000:7.0f} ms {'~' if each.case.waits else ' '} {each.case.id}" for each in slowest
    ]
    return _lines(["slowest cases (~ side by side with others):", *lines])


def render(run: RunResult, clauses: Mapping[str, str]) -> str:
    """All that a run prints: a line for each case, then the summary."""
    return "\n".join([*(progress(each) for each in run.results), "", summary(run, clauses)]) + "\n"


def summary(run: RunResult, clauses: Mapping[str, str]) -> str:
    """The root causes, each with its evidence and what hangs on it, then the verdict."""
    shown = [*run.findings, *(each for each in run.results if each.broken)]
    parts = [roots(run)] if run.findings else []
    parts += [details(each, clauses, run.hanging(each)) for each in shown]
    parts += (
        [_lines(["trouble outside the cases:", *(f"  | {each}" for each in run.trouble)])]
        if run.trouble
        else []
    )
    if run.changes:
        lines = [f"  {each.kind:<12} {each.case.id:<34} {each.case.title}" for each in run.changes]
        parts += [_lines([f"since the previous run: {changes(run)}", *lines])]
    return "\n\n".join([*parts, verdict(run)])


def comparison(old: RunResult, new: RunResult) -> str:
    """The cases that ended otherwise in the two runs, or failed for another cause, and the verdicts of both."""
    before = {each.case.id: str(each.verdict) for each in old.results}
    after = {each.case.id: str(each.verdict) for each in new.results}
    causes = {
        each.case.id
        for each in new.changes
        if each.before and each.after and each.kind is ChangeKind.REGRESSION
    }
    rows = []
    for each in dict.fromkeys([*before, *after]):
        if before.get(each) != after.get(each):
            rows.append(f"{each:<34} {before.get(each, '-'):<15} {after.get(each, '-')}")
        elif each in causes:
            rows.append(f"{each:<34} {before[each]:<15} {after[each]}, for another cause")
    head = f"{'case':<34} {'old':<15} new"
    shown = [f"{each.kind:<12} {each.case.id:<34} {each.case.title}" for each in new.changes]
    parts = [_lines([head, *rows]) if rows else "every case ended alike"]
    parts += [_lines(shown)] if shown else []
    return "\n\n".join([*parts, f"old: {verdict(old)}", f"new: {verdict(new)}"])


def verdict(run: RunResult) -> str:
    """The verdict in two lines: what it is, and the count behind it."""
    where = f"{run.target} at {run.url}, seed {run.seed}, {run.seconds:.1f} s"
    reached = levels(run)
    return _lines([headline(run), *([f"levels: {reached}"] if reached else []), f"{counts(run)} ({where})"])


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(map(line, lines))


def _block(name: str, lines: Sequence[str], *, mark: bool = False) -> list[str]:
    """Lines under a name; a mark before each says that it was written by others, where there are several."""
    before = "| " if mark and len(lines) > 1 else ""
    return [f"  {name if place == 0 else '':<9} {before}{each}" for place, each in enumerate(lines)]


def _trace_line(moment: TraceLine) -> str:
    return f"{moment.ms:8.1f} ms {moment.who:<6} {moment.direction} {moment.text}"


def _first_line(text: str) -> str:
    return clipped(printable(text.strip().partition("\n")[0]), ROOT_CHARS)


def _last_line(text: str) -> str:
    return printable(text.strip().splitlines()[-1] if text.strip() else "")
