"""Markdown, for a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chat_conformance.report.limits import COMMENT, TEXT, ends, fitting, left_out
from chat_conformance.report.text import (
    clipped,
    code,
    counts,
    decision_reason,
    evidence,
    hangs,
    headline,
    levels,
    link,
    location_of,
    markdown,
)
from chat_conformance.results import CaseResult, Change, ChangeKind, RunResult, Severity, Verdict


def render(run: RunResult, clauses: Mapping[str, str]) -> str:
    """Verdict, root causes, table of areas, the evidence, and what was not tested; as long as a comment may be."""
    where = f"seed {run.seed}, {run.seconds:.1f} s, chatgate {run.version}, {run.began}"
    tail = f"{_text(run.url)}, {_text(where)}"
    head = [f"# {_text(run.target)}: {markdown(headline(run))}", markdown(counts(run)) + "."]
    head += [f"Levels: {markdown(levels(run))}."] if levels(run) else []
    page = _Page([*head], COMMENT - len(tail))
    page.add("## Root causes", [_root(run, each) for each in run.findings], "findings", share=0.5)
    page.add("## Since the previous run", changed(run), "changes", share=0.3)
    page.add("", areas(run) if run.results else [], "areas", share=0.4)
    page.add_evidence(run.findings, clauses)
    for title, some in (
        ("Known failures", run.of(Verdict.KNOWN_FAILURE)),
        ("Could not be tested", run.of(Verdict.COULD_NOT_TEST)),
        ("Not offered", run.of(Verdict.NOT_OFFERED)),
        ("Blocked by a known failure", run.blocked_elsewhere),
    ):
        page.add(
            f"## {title}", [f"- {code(each.case.id)}: {_reason(each)}" for each in some], "cases", share=0.4
        )
    page.add("## Trouble outside the cases", [f"- {_text(each)}" for each in run.trouble], "lines", share=0.9)
    return "\n\n".join([*page.parts, tail]) + "\n"


def review(run: RunResult) -> str:
    """The body of a review: the root causes, each with what hangs on it, and what is known already."""
    said, why, worst = headline(run), decision_reason(run), run.worst_change
    if worst is not None:
        text = f"{worst.case.title}: {evidence(run, worst.case.id)}. {worst.case.means} {said}."
        begin = f"**{worst.kind}** in {code(worst.case.id)}: {_text(text, 2 * TEXT)}"
    else:
        begin = f"**chat-conformance:** {markdown(said)}{'' if why == said else f' ({_text(why)})'}"
    page = _Page([begin], COMMENT)
    page.add("", [_root(run, each) for each in run.findings], "findings", share=0.6)
    page.add("", changed(run), "changes", share=0.4)
    page.add("", [f"- **trouble**: {_text(each)}" for each in run.trouble], "lines", share=0.5)
    debt = [f"- {code(each.case.id)}: {_reason(each)}" for each in run.of(Verdict.KNOWN_FAILURE)]
    page.add("Debt, known before this change:", debt, "known failures", share=0.7)
    if untested := run.of(Verdict.COULD_NOT_TEST):
        named, more = fitting([code(each.case.id) for each in untested], page.room // 2, ", ")
        rest = f", {left_out(more, 'cases')}" if more else ""
        page.parts.append(f"Could not be tested: {', '.join(named)}{rest}.")
    return "\n\n".join(page.parts).rstrip() + "\n"


class _Page:
    """Parts of a page, as far as there is room for them.

    Args:
        parts: What it begins with.
        limit: How many characters it may have.
    """

    def __init__(self, parts: list[str], limit: int) -> None:
        self.parts = parts
        self.room = limit - sum(len(each) + 2 for each in parts)

    def add(self, title: str, blocks: Sequence[str], what: str, *, share: float) -> None:
        """Add a list under a title, which may take this share of the room that is left."""
        if not blocks:
            return
        taken, more = fitting(blocks, int(self.room * share))
        rest = [f"\n{left_out(more, what)}." if taken else f"{left_out(more, what)}."] if more else []
        self._put([*([title, ""] if title else []), *taken, *rest])

    def add_evidence(self, findings: Sequence[CaseResult], clauses: Mapping[str, str]) -> None:
        """Add the evidence of each finding, whole, or else in brief, or else not at all."""
        if not findings:
            return
        room, shown = int(self.room * 0.7), []
        for number, each in enumerate(findings):
            texts = (_evidence(each, clauses, brief=brief) for brief in (False, True))
            fits = next((one for one in texts if len(one) + 2 <= room), None)
            if fits is None:
                shown.append(f"{left_out(len(findings) - number, 'findings')}.")
                break
            shown.append(fits)
            room -= len(fits) + 2
        self._put(["\n\n".join(["## Evidence", *shown])])

    def _put(self, lines: list[str]) -> None:
        part = "\n".join(lines)
        self.parts.append(part)
        self.room -= len(part) + 2


def _text(text: str, chars: int = TEXT) -> str:
    return markdown(clipped(text, chars))


def _root(run: RunResult, each: CaseResult) -> str:
    """A line for a root cause, and folded under it the cases that are blocked by it."""
    return f"{finding(each)}{_hanging(run.hanging(each))}"


def _hanging(results: tuple[CaseResult, ...]) -> str:
    if not results:
        return ""
    named = ", ".join(code(each.case.id) for each in results)
    return f"\n  <details><summary>{hangs(len(results))}</summary>\n\n  {named}\n\n  </details>"


def finding(result: CaseResult) -> str:
    """One line: severity, location, what is wrong, the evidence, and what to do."""
    path, line = location_of(result)
    where = f"{path}:{line}" if ":" in result.location else path
    return (
        f"- **{result.case.severity}** {code(clipped(where))}: {_text(result.case.means)}"
        f" Evidence: {_text(result.happened)} ({code(clipped(result.case.id))}, {_text(result.case.clause)})."
        f" Expected {_text(result.expected)}; try again with {code(clipped(result.replay))}"
    )


def changed(run: RunResult) -> list[str]:
    """What became of each earlier finding, and what is new, a line each."""
    return [
        f"- **{each.kind}** {code(each.case.id)}: {_text(each.case.title)}"
        + (f" ({text})" if (text := _in_words(each)) else "")
        for each in run.changes
    ]


def _in_words(change: Change) -> str:
    if change.before and change.after and change.kind in (ChangeKind.REGRESSION, ChangeKind.PARTIAL):
        return f"before: {_text(change.before)}; now: {_text(change.after)}"
    return _text(change.after)


def areas(run: RunResult) -> list[str]:
    """A table of areas, row by row: failures by severity, and the other ends."""
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
    return rows


def _evidence(result: CaseResult, clauses: Mapping[str, str], *, brief: bool = False) -> str:
    case = result.case
    lines = [f"### {code(clipped(case.id))}", "", _text(case.title) + ".", ""]
    lines += [f"- clause {_text(case.clause)}: {markdown(clauses.get(case.clause, 'unknown'))}"]
    lines += [f"- expected: {_text(result.expected)}", f"- happened: {_text(result.happened)}"]
    lines += [f"- again: {code(clipped(result.replay))}"]
    if brief:
        return "\n".join(lines)
    trace = [f"{each.ms:.1f} ms {each.who} {each.direction} {each.text}" for each in result.trace]
    for title, some in (("trace", trace), ("claude", result.ledger), ("server", result.log)):
        if some:
            lines += ["", f"<details><summary>{title}</summary>", ""]
            first, more, last = ends(some)
            gap = [f"- … {more:,} lines left out …"] if more else []
            lines += [f"- {code(clipped(each))}" for each in first]
            lines += [*gap, *(f"- {code(clipped(each))}" for each in last), "", "</details>"]
    return "\n".join(lines)


def _reason(result: CaseResult) -> str:
    where = f" ({link(result.link)})" if result.link else ""
    last = (result.why.strip().splitlines() or [""])[-1]
    return _text(last) + where
