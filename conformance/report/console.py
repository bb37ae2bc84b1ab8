"""What a person reads first."""

from __future__ import annotations

from collections.abc import Mapping

from conformance.results import Case, CaseResult, RunResult, Severity, TraceLine, Verdict

MARKS = {
    Verdict.PASSED: "ok  ",
    Verdict.FAILED: "FAIL",
    Verdict.COULD_NOT_TEST: "?   ",
    Verdict.NOT_OFFERED: "-   ",
    Verdict.KNOWN_FAILURE: "know",
    Verdict.BLOCKED_BY: "..  ",
}


def progress(result: CaseResult) -> str:
    """One line as a case ends."""
    case = result.case
    line = f"{MARKS[result.verdict]} {case.id:<34} {case.clause:<9} {result.seconds * 1000:6.0f} ms"
    match result.verdict:
        case Verdict.FAILED:
            return f"{line}  {case.severity}: {case.title}"
        case Verdict.BLOCKED_BY:
            return f"{line}  blocked by {result.happened}"
        case Verdict.COULD_NOT_TEST | Verdict.NOT_OFFERED | Verdict.KNOWN_FAILURE:
            return f"{line}  {result.verdict}: {_last_line(result.happened)}"
        case _:
            return line


def details(result: CaseResult, clauses: Mapping[str, str]) -> str:
    """All that is known about one case that is not green."""
    case = result.case
    finding = f", finding {case.finding}" if case.finding else ""
    lines = [f"{case.id}: {case.title} ({case.severity}{finding})"]
    lines += [f"  clause    {case.clause}: {clauses.get(case.clause, 'unknown')}"]
    lines += [f"  means     {case.means}"]
    lines += [f"  expected  {result.expected}"] if result.expected else []
    lines += _block("happened", result.happened.splitlines())
    lines += _block("trace", [_trace_line(line) for line in result.trace])
    lines += _block("claude", list(result.ledger))
    lines += _block("server", list(result.log))
    return "\n".join([*lines, f"  again     {result.replay}"])


def explain(case: Case, clauses: Mapping[str, str]) -> str:
    """What a case is about, for whoever meets its id in a report."""
    lines = [f"{case.id} ({case.severity}): {case.title}"]
    lines += [f"  clause    {case.clause}: {clauses.get(case.clause, 'unknown')}"]
    lines += [f"  means     {case.means}"]
    lines += [f"  finding   {case.finding}"] if case.finding else []
    lines += [f"  needs     {', '.join(case.needs)}"] if case.needs else []
    lines += ["  left out by --quick"] if case.slow else []
    return "\n".join([*lines, f"  again     chat-conformance run --target FILE --select {case.id}"])


def durations(run: RunResult, count: int) -> str:
    """The slowest cases; those marked with ~ were played side by side with others."""
    slowest = sorted(run.results, key=lambda each: -each.seconds)[:count]
    lines = [
        f"{each.seconds * 1000:7.0f} ms {'~' if each.case.waits else ' '} {each.case.id}" for each in slowest
    ]
    return "\n".join(["slowest cases (~ side by side with others):", *lines])


def summary(run: RunResult, clauses: Mapping[str, str]) -> str:
    """The failures with their evidence, then the verdict."""
    shown = [each for each in run.results if each.verdict is Verdict.FAILED or each.broken]
    parts = [details(each, clauses) for each in shown]
    parts += (
        ["\n".join(["trouble outside the cases:", *(f"  {each}" for each in run.trouble)])]
        if run.trouble
        else []
    )
    return "\n\n".join([*parts, verdict(run)])


def verdict(run: RunResult) -> str:
    """The verdict in two lines: what it is, and the count behind it."""
    failed = run.of(Verdict.FAILED)
    counts = [f"{len(run.of(each))} {each}" for each in Verdict if run.of(each)]
    where = f"{run.target} at {run.url}, seed {run.seed}, {run.seconds:.1f} s"
    if failed:
        by = [f"{n} {each}" for each in Severity if (n := sum(one.case.severity is each for one in failed))]
        sentence = f"NOT CONFORMANT: {len(failed)} failed ({', '.join(by)})"
    elif run.exit_status == 0:
        untested = run.of(Verdict.COULD_NOT_TEST)
        sentence = (
            "CONFORMANT"
            if not untested
            else f"CONFORMANT AS FAR AS TESTED: {len(untested)} could not be tested"
        )
    else:
        sentence = "NO VERDICT: the target or the harness broke, or nothing could be tested"
    return f"{sentence}\n{', '.join(counts) or 'nothing played'} ({where})"


def _block(name: str, lines: list[str]) -> list[str]:
    return [f"  {name if place == 0 else '':<9} {_printable(line)}" for place, line in enumerate(lines)]


def _trace_line(line: TraceLine) -> str:
    return f"{line.ms:8.1f} ms {line.who:<6} {line.direction} {line.text}"


def _last_line(text: str) -> str:
    return _printable(text.strip().splitlines()[-1] if text.strip() else "")


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
