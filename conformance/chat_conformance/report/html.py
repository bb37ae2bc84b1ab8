"""One HTML file with everything, for people; it needs no network."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from html import escape
from pathlib import Path

from chat_conformance.report.text import counts, decision_reason, hangs, headline, levels, line, printable
from chat_conformance.results import CaseResult, RunResult, Severity, TraceLine, Verdict

STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
SCRIPT = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")

# The one script of the page; another one that got into it does not run.
SCRIPT_HASH = f"sha256-{b64encode(sha256(f'{chr(10)}{SCRIPT}'.encode()).digest()).decode()}"

WIDTH, LEFT, RIGHT, LANE, TOP = 920, 90, 34, 34, 22
"""Of a drawing, in pixels: the whole width, the names of the lanes, the space after the end, the height of a lane, and
the scale above."""

MARKS = {
    Verdict.PASSED: "✓",
    Verdict.FAILED: "✗",
    Verdict.COULD_NOT_TEST: "?",
    Verdict.NOT_OFFERED: "-",
    Verdict.KNOWN_FAILURE: "!",
    Verdict.BLOCKED_BY: "…",
}


def render(run: RunResult, clauses: Mapping[str, str]) -> str:
    """Verdict, table of areas by severity, and every case, the findings first, each with its trace as a time line."""
    title = f"{run.target}: {headline(run)}"
    tone = {"APPROVE": "good", "DISCUSS": "unsure", "REQUEST_CHANGES": "bad"}[run.decision]
    # A blocked case stands under its root cause and nowhere else: one fault with forty cases behind it is one
    # entry.
    folded = {each.case.id for root in run.findings for each in run.hanging(root)}
    known = [
        each for each in run.results if each.verdict is not Verdict.FAILED and each.case.id not in folded
    ]
    facts = (
        f"{run.url} · seed {run.seed} · {run.seconds:.1f} s · chatgate {run.version or '?'}"
        f"{f' · {run.began}' if run.began else ''}"
    )
    trouble = "".join(f"<li>{_text(each)}</li>" for each in run.trouble)
    shown = Counter(each.verdict for each in (*run.findings, *known))
    # Verdicts that no case has get no button: it would do nothing.
    buttons = "".join(
        f'<label><input type="checkbox" value="{_slug(each)}" checked> {each} ({shown[each]})</label>'
        for each in Verdict
        if shown[each]
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src '{SCRIPT_HASH}'">
<title>{_text(title)}</title>
<style>
{STYLE}</style>
</head>
<body>
<header class="{tone}">
<p class="target">{_text(run.target)}</p>
<h1>{_text(headline(run))}</h1>
<p>{_text(decision_reason(run) if run.findings else counts(run))}</p>
{f"<p>Levels: {_text(levels(run))}</p>" if run.levels else ""}<p class="facts">{_text(facts)}</p>
</header>
<main>
{
        f'<section class="trouble"><h2>Trouble outside the cases</h2><ul>{trouble}</ul></section>'
        if trouble
        else ""
    }
{_roots(run)}{_changes(run)}{_areas(run) if run.results else "<p>No case was played.</p>"}
<form id="filter" hidden><input type="search" placeholder="Filter by id, clause or word" aria-label="Filter">
{buttons}</form>
<section aria-label="Cases" id="cases">
{"".join(_case(each, clauses, run.hanging(each)) for each in run.findings)}{
        "".join(_case(each, clauses) for each in known)
    }</section>
</main>
<script>
{SCRIPT}</script>
</body>
</html>
"""


def _roots(run: RunResult) -> str:
    """The root causes, each with a link to its evidence."""
    if not run.findings:
        return ""
    rows = "".join(
        f'<li><span class="severity {run.harm(each)}">{run.harm(each)}</span>'
        f'<a href="#{_text(each.case.id)}"><code>{_text(each.case.id)}</code></a> {_text(each.case.means)}'
        f"{f' ({hangs(len(hanging))})' if (hanging := run.hanging(each)) else ''}</li>\n"
        for each in run.findings
    )
    return f'<section class="roots"><h2>Root causes</h2><ol>{rows}</ol></section>\n'


def _changes(run: RunResult) -> str:
    if not run.changes:
        return ""
    rows = "".join(
        f'<tr class="{each.kind.slug}"><th scope=row>{each.kind}</th><td><a href="#{_text(each.case.id)}">'
        f"<code>{_text(each.case.id)}</code></a></td><td>{_text(each.case.title)}</td></tr>\n"
        for each in run.changes
    )
    return f'<h2>Since the previous run</h2><div class="wide"><table class="changes">{rows}</table></div>\n'


def _areas(run: RunResult) -> str:
    names = sorted({_area(each) for each in run.results})
    severities = list(Severity)
    others = [each for each in Verdict if each is not Verdict.FAILED and run.of(each)]
    head = "".join(f"<th scope=col>{each}</th>" for each in (*severities, *others))
    rows = []
    for name in names:
        mine = [each for each in run.results if _area(each) == name]
        failed = [each.case.severity for each in mine if each.verdict is Verdict.FAILED]
        cells = [(failed.count(each), f"failed {each}") for each in severities]
        cells += [(sum(each.verdict is one for each in mine), _slug(one)) for one in others]
        row = "".join(
            f'<td class="{kind}">{count or ""}</td>' if count else "<td></td>" for count, kind in cells
        )
        rows.append(f"<tr><th scope=row>{_text(name)}</th>{row}</tr>\n")
    return (
        f'<div class="wide"><table><thead><tr><th scope=col>area</th>{head}</tr></thead>\n'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _case(result: CaseResult, clauses: Mapping[str, str], hanging: Sequence[CaseResult] = ()) -> str:
    """One case with all that is known about it, and folded under it the cases that it blocks."""
    case = result.case
    opened = " open" if result.verdict is Verdict.FAILED else ""
    severity = f'<span class="severity {case.severity}">{case.severity}</span>' if opened else ""
    # What the filter of the page looks at. The cases under this one belong to it: a blocked case must be found
    # by its id, though it is folded away.
    words = f"{case.id} {case.title} {case.clause} {result.finding} {case.severity} {result.happened}"
    words = " ".join([words, *(each.case.id for each in hanging)])
    under = "".join(_case(each, clauses) for each in hanging)
    if under:
        under = f"<details class=hanging><summary>{hangs(len(hanging))}</summary>\n{under}</details>\n"
    facts = [
        ("clause", f"{case.clause}: {clauses.get(case.clause, 'unknown')}"),
        ("means", case.means),
        ("finding", result.finding),
        ("where", result.location),
        ("expected", result.expected),
        ("happened", result.happened),
        ("known", result.reason),
        ("link", result.link),
    ]
    rows = "".join(f"<dt>{name}</dt><dd>{_text(text)}</dd>" for name, text in facts if text)
    if result.replay:
        rows += f"<dt>again</dt><dd><code>{_text(result.replay)}</code></dd>"
    return (
        f'<details class="case {_slug(result.verdict)}" data-verdict="{_slug(result.verdict)}"'
        f' data-words="{_text(words.lower())}" id="{_text(case.id)}"{opened}>\n'
        f'<summary><span class="mark">{MARKS[result.verdict]}</span> <code>{_text(case.id)}</code>'
        f" {_text(case.title)} {severity}<span class=verdict>{result.verdict}</span></summary>\n"
        f"<dl>{rows}</dl>\n{_timeline(result.trace)}"
        f"{_lines('trace', [_line_text(each) for each in result.trace])}"
        f"{_lines('claude', list(result.ledger))}{_lines('server', list(result.log))}{under}</details>\n"
    )


def _timeline(trace: tuple[TraceLine, ...]) -> str:
    """The trace as a drawing: a lane for each connection and process, frames below and above its line."""
    if len(trace) < 2:
        return ""
    lanes = list(dict.fromkeys(each.who or "case" for each in trace))
    # The drawing: time runs from left to right over the whole width, each connection or process has a lane.
    # Example: a trace of 200 ms on two connections has two lanes, and a frame at 50 ms stands at a quarter. The
    # shortest span is 1 ms, or a trace of one moment would divide by zero.
    first, last = trace[0].ms, max(each.ms for each in trace)
    span = max(last - first, 1.0)
    digits = 0 if span > 40 else 1
    height = TOP + LANE * len(lanes) + 8

    def x(ms: float) -> float:
        return LEFT + (ms - first) / span * (WIDTH - LEFT - RIGHT)

    parts = []
    for step in range(5):
        ms = first + span * step / 4
        parts.append(f'<path class="grid" d="M{x(ms):.1f} {TOP}V{height - 8}"/>')
        parts.append(f'<text class="scale" x="{x(ms):.1f}" y="14">{ms - first:.{digits}f} ms</text>')
    for number, lane in enumerate(lanes):
        y = TOP + LANE * number + LANE / 2
        mine = [each for each in trace if (each.who or "case") == lane]
        parts.append(f'<text class="lane" x="4" y="{y + 4:.1f}">{_text(lane[:12])}</text>')
        # The life of a lane is from its first moment to its last; a pixel at least, so that it is seen.
        begin, end = x(mine[0].ms), x(max(each.ms for each in mine))
        parts.append(f'<path class="life" d="M{begin:.1f} {y:.1f}H{max(end, begin + 1):.1f}"/>')
        parts += [_mark(each, x(each.ms), y) for each in mine]
    label = f"{len(trace)} moments of {', '.join(lanes)} within {span:.0f} ms"
    return (
        f'<div class="wide"><svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img"'
        f' aria-label="{_text(label)}">{"".join(parts)}</svg></div>\n'
        '<p class="legend"><span class="sent">▲ sent</span> <span class="got">▼ received</span>'
        ' <span class="ping">● ping, pong</span> <span class="cut">✕ closed, cut, ended</span>'
        ' <span class="state">◆ other</span></p>\n'
    )


def _mark(line: TraceLine, x: float, y: float) -> str:
    tip = f"<title>{_text(_line_text(line))}</title>"
    word = line.text.split(" ", 1)[0].upper()
    if word in {"PING", "PONG"}:
        # What the client sends stands above the line, what it receives below.
        shift = -7 if line.direction == ">" else 7
        return f'<circle class="ping" cx="{x:.1f}" cy="{y + shift:.1f}" r="3.2">{tip}</circle>'
    if word == "CLOSE" or any(
        each in line.text.lower() for each in ("closed", "cut", "ended", "abort", "reset")
    ):
        return f'<path class="cut" d="M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8">{tip}</path>'
    match line.direction:
        case ">":
            return f'<path class="sent" d="M{x:.1f} {y - 11:.1f}l4.5 8h-9z">{tip}</path>'
        case "<":
            return f'<path class="got" d="M{x:.1f} {y + 11:.1f}l4.5 -8h-9z">{tip}</path>'
        case _:
            return f'<path class="state" d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z">{tip}</path>'


def _lines(title: str, lines: list[str]) -> str:
    if not lines:
        return ""
    body = "\n".join(escape(line(each)) for each in lines)
    return f"<details class=lines><summary>{title}, {len(lines)} lines</summary><pre>{body}</pre></details>\n"


def _line_text(line: TraceLine) -> str:
    return f"{line.ms:.1f} ms {line.who} {line.direction} {line.text}"


def _area(result: CaseResult) -> str:
    return result.case.id.partition("/")[0]


def _slug(verdict: Verdict) -> str:
    return verdict.replace(" ", "-")


def _text(text: str) -> str:
    # In this order: what is made visible may itself have brackets or ampersands. All text of a server goes
    # through here or `_lines`.
    return escape(printable(text))
