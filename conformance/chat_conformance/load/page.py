"""The figures of a run as one HTML page with curves over load; it needs no network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from pathlib import Path

from chat_conformance.load.figures import format_figure, ratio, rows
from chat_conformance.load.results import LoadResult
from chat_conformance.load.table import notes

STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 300, 78, 22, 14, 40
"""Of a drawing, in pixels: the whole, and the margins around the curves."""
# page.css has this number of colours.
COLOURS = 8
MOST_TICKS = 7

Curve = list[tuple[float, float]]


def render(result: LoadResult) -> str:
    """Curves of latency and cost over the number of streams, the whole table, and how it was measured."""
    title = f"{result.targets[0]} under load"
    facts = f"plan {result.plan_name} · {result.seconds:.0f} s · chatgate {result.version or '?'} · {result.began}"
    # Only figures of `streams/N`, which one plan measures at several N: a curve needs at least two points.
    charts = [
        _chart(result, "p50_us", "Added latency, p50", "from the CLI's write to the client's read"),
        _chart(result, "p99_us", "Added latency, p99", "from the CLI's write to the client's read"),
        _chart(result, "cpu_us", "Processor per token", "of the server"),
        _chart(result, "stream_bytes", "Memory per live stream", "of the server"),
    ]
    drawn = "".join(charts)
    legend = "".join(
        f'<span class="c{place % COLOURS}"><svg width="22" height="10" aria-hidden="true"><path d="M0 5H22"/></svg>'
        f"{_text(target)}</span> "
        for place, target in enumerate(result.targets)
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{_text(title)}</title>
<style>
{STYLE}</style>
</head>
<body>
<header><h1>{_text(title)}</h1><p class="facts">{_text(facts)}</p></header>
<main>
{f'<p class="legend">{legend}</p><div class="charts">{drawn}</div>' if drawn else ""}
{_table(result)}
<h2>How it was measured</h2>
<ul>{"".join(f"<li>{_text(each)}</li>" for each in notes(result))}</ul>
</main>
</body>
</html>
"""


def _table(result: LoadResult) -> str:
    first, *others = result.targets
    head = "".join(f"<th scope=col>{_text(each)}</th>" for each in result.targets)
    body = []
    for row in rows(result):
        cells = []
        for target in (first, *others):
            value = result.figure(target, row.measure, row.name)
            if value is None:
                why = result.trouble(target, row.measure)
                cells.append(f'<td class="none" title="{_text(why)}">{"failed" if why else ""}</td>')
                continue
            mark = "*" if result.by_generator(target, row.measure) else ""
            times = ratio(result, row, target, first) if target != first else None
            ahead = times is not None and (times < 1 if row.more_is_better else times > 1)
            part = f' <small class="{"ahead" if ahead else "behind"}">{times:.2f}x</small>' if times else ""
            cells.append(f"<td>{mark}{_text(format_figure(row.name, value))}{part}</td>")
        body.append(f"<tr><th scope=row>{_text(row.title)}</th>{''.join(cells)}</tr>\n")
    return (
        f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead>\n'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _chart(result: LoadResult, name: str, title: str, what: str) -> str:
    """A drawing of one figure over the number of streams, both axes logarithmic; empty without two points."""
    curves = [_curve(result, target, name) for target in result.targets]
    points = [point for curve in curves for point in curve]
    numbers = sorted({x for x, _ in points})
    if len(numbers) < 2:
        return ""
    ticks = _ticks([y for _, y in points], binary=name.endswith("_bytes"))
    low, high = ticks[0], ticks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        across = math.log(x / numbers[0]) / math.log(numbers[-1] / numbers[0])
        up = math.log10(y / low) / math.log10(high / low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in ticks:
        _, y = place(numbers[0], tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(
            f'<text class="y" x="{LEFT - 8}" y="{y + 4:.1f}">{_text(format_figure(name, tick))}</text>'
        )
    for number in numbers:
        x, _ = place(number, low)
        parts.append(f'<text class="x" x="{x:.1f}" y="{HEIGHT - 20}">{number:,.0f}</text>')
    parts.append(f'<text class="x" x="{(LEFT + WIDTH) / 2:.0f}" y="{HEIGHT - 4}">streams</text>')
    for order, (target, curve) in enumerate(zip(result.targets, curves, strict=True)):
        spots = [place(*point) for point in curve]
        lines = "".join(f"M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}" for (a, b), (c, d) in pairwise(spots))
        dots = "".join(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>'
            f"{_text(f'{target}, {number:,.0f} streams: {format_figure(name, value)}')}</title></circle>"
            for (x, y), (number, value) in zip(spots, curve, strict=True)
        )
        parts.append(f'<g class="c{order % COLOURS}"><path d="{lines}"/>{dots}</g>')
    label = f"{title} over the number of streams, for {', '.join(result.targets)}"
    return (
        f"<figure><figcaption>{_text(title)} <small>{_text(what)}</small></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_text(label)}">{"".join(parts)}</svg></figure>\n'
    )


def _curve(result: LoadResult, target: str, name: str) -> Curve:
    found = []
    for number in sorted(result.plan.streams):
        value = result.figure(target, f"streams/{number}", name)
        # A logarithm has no place for the others.
        if value is not None and value > 0:
            found.append((float(number), value))
    return found


def _ticks(values: Sequence[float], *, binary: bool) -> list[float]:
    """Round values from below the lowest to above the highest: 1, 2, 5 of each decade, or powers of two, if few."""
    steps = [2.0**n for n in range(64)] if binary else [m * 10.0**n for n in range(-6, 16) for m in (1, 2, 5)]
    # From the step at or below the lowest value to the one at or above the highest, never the same one: the
    # axis divides by their distance. If there are more than fit, only powers of ten stay (of 1, 2, 5 every
    # third), or every other power of two.
    first = max(place for place, step in enumerate(steps) if step <= max(min(values), steps[0]))
    last = min(place for place, step in enumerate(steps) if step >= max(values) and place > first)
    if last - first <= MOST_TICKS:
        return steps[first : last + 1]
    every = 3 if not binary else 2
    return steps[first - first % every : last + every : every]


def _text(words: str) -> str:
    return escape(words)
