"""Markdown, for a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Mapping

from chat_conformance.report.text import (
    clipped,
    code,
    counts,
    decision_reason,
    evidence,
    hangs,
    headline,
    link,
    markdown,
    place,
)
from chat_conformance.results import CaseResult, Change, Kind, RunResult, Severity, Verdict


def render(run: RunResult, clauses: Mapping[str, str]) -> str:
    """Verdict, root causes, table of areas, the evidence, and what was not tested."""
    parts = [f"# {markdown(run.target)}: {markdown(headline(run))}", markdown(counts(run)) + "."]
    parts += ["## Root causes", roots(run)] if run.findings else []
    parts += ["## Since the previous run", changed(run)] if run.changes else []
    parts += [areas(run)] if run.results else []
    parts += ["## Evidence", *(_evidence(each, clauses) for each in run.findings)] if run.findings else []
    for title, some in (
        ("Known failures", run.of(Verdict.KNOWN_FAILURE)),
        ("Could not be tested", run.of(Verdict.COULD_NOT_TEST)),
        ("Not offered", run.of(Verdict.NOT_OFFERED)),
        ("Blocked by a known failure", run.blocked_elsewhere),
    ):
        if some:
            parts += [f"## {title}", "\n".join(f"- {code(each.case.id)}: {_reason(each)}" for each in some)]
    parts += (
        ["## Trouble outside the cases", "\n".join(f"- {markdown(each)}" for each in run.trouble)]
        if run.trouble
        else []
    )
    where = f"seed {run.seed}, {run.seconds:.1f} s, chatgate {run.version}, {run.began}"
    return "\n\n".join([*parts, f"{markdown(run.url)}, {markdown(where)}"]) + "\n"


def review(run: RunResult) -> str:
    """The body of a review: the root causes, each with what hangs on it, and what is known already."""
    said, why, worst = headline(run), decision_reason(run), run.worst_change
    if worst is not None:
        told = f"{worst.case.title}: {evidence(run, worst.case.id)}. {worst.case.means} {said}."
        lines = [f"**{worst.kind}** in {code(worst.case.id)}: {markdown(told)}", ""]
    else:
        lines = [f"**chat-conformance:** {markdown(said)}{'' if why == said else f' ({markdown(why)})'}", ""]
    lines += [roots(run)] if run.findings else []
    lines += ["", changed(run), ""] if run.changes else []
    lines += [f"- **trouble**: {markdown(each)}" for each in run.trouble]
    if debt := run.of(Verdict.KNOWN_FAILURE):
        lines += ["", "Debt, known before this change:", ""]
        lines += [f"- {code(each.case.id)}: {_reason(each)}" for each in debt]
    if untested := run.of(Verdict.COULD_NOT_TEST):
        named = ", ".join(code(each.case.id) for each in untested)
        lines += ["", f"Could not be tested: {named}."]
    return "\n".join(lines).rstrip() + "\n"


def roots(run: RunResult) -> str:
    """A line for each root cause, and folded under it the cases that are blocked by it."""
    return "\n".join(f"{finding(each)}{_hanging(run.hanging(each))}" for each in run.findings)


def _hanging(results: tuple[CaseResult, ...]) -> str:
    if not results:
        return ""
    named = ", ".join(code(each.case.id) for each in results)
    return f"\n  <details><summary>{hangs(len(results))}</summary>\n\n  {named}\n\n  </details>"


def finding(result: CaseResult) -> str:
    """One line: severity, location, what is wrong, the evidence, and what to do."""
    path, line = place(result)
    where = f"{path}:{line}" if ":" in result.location else path
    return (
        f"- **{result.case.severity}** {code(where)}: {markdown(result.case.means)}"
        f" Evidence: {markdown(result.happened)} ({code(result.case.id)}, {markdown(result.case.clause)})."
        f" Fix: expected {markdown(result.expected)}; try again with {code(result.replay)}"
    )


def changed(run: RunResult) -> str:
    """What became of each earlier finding, and what is new."""
    return "\n".join(
        f"- **{each.kind}** {code(each.case.id)}: {markdown(each.case.title)}"
        + (f" ({told})" if (told := _told(each)) else "")
        for each in run.changes
    )


def _told(change: Change) -> str:
    if change.before and change.after and change.kind in (Kind.REGRESSION, Kind.PARTIAL):
        return f"before: {markdown(change.before)}; now: {markdown(change.after)}"
    return markdown(change.after)


def areas(run: RunResult) -> str:
    """A table of areas: failures by severity, and the other ends."""
    names = sorted({each.case.id.partition("/")[0] for each in run.results})
    severities = [str(each) for each in Severity]
    others = [each for each in Verdict if each is not Verdict.FAILED and run.of(each)]
    head = ["area", *severities, *(str(each) for each in others)]
    rows = [f"| {' | '.join(head)} |", f"|---|{'--:|' * (len(head) - 1)}"]
    for name in names:
        mine = [each for each in run.results if each.case.id.partition("/")[0] == name]
        failed = [each.case.severity for each in mine if each.verdict is Verdict.FAILED]
        cells = [failed.count(each) for each in Severity]
        cells += [sum(each.verdict is verdict for each in mine) for verdict in others]
        rows.append(f"| {markdown(name)} | {' | '.join(str(each or '') for each in cells)} |")
    return "\n".join(rows)


def _evidence(result: CaseResult, clauses: Mapping[str, str]) -> str:
    case = result.case
    lines = [f"### {code(case.id)}", "", markdown(case.title) + ".", ""]
    lines += [f"- clause {markdown(case.clause)}: {markdown(clauses.get(case.clause, 'unknown'))}"]
    lines += [f"- expected: {markdown(result.expected)}", f"- happened: {markdown(result.happened)}"]
    lines += [f"- again: {code(result.replay)}"]
    told = [f"{each.ms:.1f} ms {each.who} {each.direction} {each.text}" for each in result.trace]
    log = [clipped(line) for line in result.log]
    for title, some in (("trace", told), ("claude", result.ledger), ("server", log)):
        if some:
            lines += ["", f"<details><summary>{title}</summary>", ""]
            lines += [f"- {code(each)}" for each in some] + ["", "</details>"]
    return "\n".join(lines)


def _reason(result: CaseResult) -> str:
    where = f" ({link(result.link)})" if result.link else ""
    last = (result.why.strip().splitlines() or [""])[-1]
    return markdown(last) + where
