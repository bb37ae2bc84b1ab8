"""The figures of a run as a table in text or Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from chat_conformance.load.figures import Figure, format_figure, ratio, rows
from chat_conformance.load.results import BUSY, NEAR, LoadResult, Measured


def text(result: LoadResult) -> str:
    """The table for a terminal, and what is to be known about it."""
    head, body = _cells(result)
    widths = [max(len(line[place]) for line in (head, *body)) for place in range(len(head))]
    lines = [
        "  ".join(_aligned(line, widths)).rstrip() for line in (head, ["-" * each for each in widths], *body)
    ]
    return "\n".join([*lines, "", *notes(result)])


def markdown(result: LoadResult) -> str:
    """The same for a page."""
    head, body = _cells(result)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join(
        [*(f"| {' | '.join(line)} |" for line in lines), "", *(f"- {each}" for each in notes(result))]
    )


def progress(measured: Measured) -> str:
    """A line about a measurement that has just been made."""
    figures = ", ".join(
        f"{name} {format_figure(name, value)}"
        for name, value in measured.figures.items()
        if name != "generator"
    )
    return f"{measured.round}  {measured.measure:<18} {measured.target:<16} {figures or measured.trouble}"


def _cells(result: LoadResult) -> tuple[list[str], list[list[str]]]:
    first, *others = result.targets
    head = ["", first, *others]
    return head, [_line(result, row, first, others) for row in rows(result)]


def _line(result: LoadResult, row: Figure, first: str, others: Sequence[str]) -> list[str]:
    # An empty cell was not measured, "failed" is one that should have figures; the star is explained in the
    # notes.
    cells = [row.title]
    for target in (first, *others):
        value = result.figure(target, row.measure, row.name)
        if value is None:
            cells.append("failed" if result.trouble(target, row.measure) else "")
            continue
        cell = format_figure(row.name, value)
        if result.by_generator(target, row.measure):
            cell = f"*{cell}"
        part = ratio(result, row, target, first) if target != first else None
        cells.append(f"{cell} ({part:.2f}x)" if part else cell)
    return cells


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *others = line
    return [
        first.ljust(widths[0]),
        *(each.rjust(width) for each, width in zip(others, widths[1:], strict=True)),
    ]


def notes(result: LoadResult) -> list[str]:
    """What a reader has to know besides the figures."""
    # The notes are part of the result: a figure without its machine and its generator's limit cannot be
    # compared.
    machine = ", ".join(f"{name}: {what}" for name, what in result.machine.items())
    found = [
        f"In brackets: times the figure of {result.targets[0]}." if len(result.targets) > 1 else "",
        f"Medians of {result.plan.rounds} rounds, plan {result.plan_name}." if result.plan.rounds > 1 else "",
        machine,
        f"The generator reads {result.limit:,.0f} tokens/s from a bare pipe.",
    ]
    limited = sorted(
        {each.measure for each in result.measured if result.by_generator(each.target, each.measure)}
    )
    if limited:
        found.append(
            f"* The generator was the limit, or near it (busier than {BUSY:.0%} of a processor, or above {NEAR:.0%} of "
            f"what it reads from a bare pipe), in {', '.join(limited)}: the server may hold more than is shown."
        )
    measures = dict.fromkeys(each.measure for each in result.measured)
    found += [
        f"{target}, {measure}: {trouble.splitlines()[0]}"
        for target in result.targets
        for measure in measures
        if (trouble := result.trouble(target, measure))
    ]
    return [each for each in found if each]
