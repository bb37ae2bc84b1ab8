"""``mutants``: let the suite judge servers that are broken on purpose."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType

from chat_conformance.errors import UsageError
from chat_conformance.report.text import line
from fake_claude.terminal import Counter

EXTRA = ("idna", "prometheus_client", "sqlalchemy", "uvloop")
"""What the server needs and the suite does not."""


def judge_mutants(options: argparse.Namespace) -> int:
    """Judge the selected mutants, or combinations of them; 1 if one is not caught as it should be."""
    # Looked up and not imported: an import of all four would take longer than the answer.
    if missing := [name for name in EXTRA if find_spec(name) is None]:
        raise UsageError(
            f"mutants need the server: pip install 'chatgate[server]' (there is no {missing[0]})"
        )
    from chat_conformance.mutants.expectations import COMBINATIONS  # noqa: PLC0415 - `list` does without
    from chat_conformance.mutants.judge import judge, names  # noqa: PLC0415 - same

    if options.combine or options.combinations:
        kept = list(COMBINATIONS) if options.combinations else []
        return _judge_combinations([*kept, *(tuple(each.split(",")) for each in options.combine)], options)
    page = _page_mutants() if options.e2e else None
    selected = tuple(options.select)
    wanted, of_page = names(selected), page.names(selected) if page else []
    if not wanted and not of_page:
        known = ", ".join([*names(), *(page.names() if page else [])])
        raise UsageError(f"no mutant is selected by {', '.join(options.select)}; known are {known}")
    rows = judge(
        wanted,
        quick=options.quick,
        whole=options.whole,
        seed=options.seed,
        on_row=_counted(len(wanted)),
        on_row_alone=lambda row: print(f"again, alone: {line(str(row))}", flush=True),
        side_by_side=options.jobs,
    )
    wrong = sum(bool(row.wrong) for row in rows)
    untested = sum(row.untested for row in rows)
    if rows:
        print(
            f"\n{len(rows) - wrong - untested} of {len(rows)} mutants caught by their case, for their cause, "
            f"and named first{f'; {untested} could not be tested here' if untested else ''}"
        )
    if page and of_page:
        wrong += _judge_page(page, of_page, options.jobs)
    return 1 if wrong else 0


def _judge_combinations(combinations: list[tuple[str, ...]], options: argparse.Namespace) -> int:
    from chat_conformance.mutants.expectations import REFERENCE  # noqa: PLC0415 - `list` does without
    from chat_conformance.mutants.judge import judge_combinations  # noqa: PLC0415 - same

    if unknown := {each for names in combinations for each in names} - REFERENCE.keys():
        raise UsageError(f"mutants of the reference are combined, and these are none: {', '.join(unknown)}")
    rows = judge_combinations(
        combinations,
        seed=options.seed,
        on_row=lambda row: print(f"{row}\n      findings: {', '.join(row.findings)}", flush=True),
        side_by_side=options.jobs,
    )
    wrong = sum(bool(row.wrong) for row in rows)
    print(f"\nin {len(rows) - wrong} of {len(rows)} every cause is named, and none invented")
    return 1 if wrong else 0


def _counted(total: int) -> Callable[[object], None]:
    """A callback that prints each row, with how many there are and how long the rest may take."""
    counter = Counter(total)
    return lambda row: print(f"{counter.next()} {line(str(row))}", flush=True)


def _page_mutants() -> ModuleType:
    try:
        from e2e import mutants  # noqa: PLC0415 - the suite does without the page's tests
    except ImportError as error:
        raise UsageError(f"--e2e needs the browser tests and what they need: {error}") from None
    return mutants


def _judge_page(page: ModuleType, wanted: list[str], side_by_side: int) -> int:
    rows = page.judge(wanted, on_row=_counted(len(wanted)), side_by_side=side_by_side)
    wrong = sum(bool(row.wrong) for row in rows)
    print(
        f"\n{len(rows) - wrong} of {len(rows)} as they should be: the page's mutants, and the page without one"
    )
    return wrong
