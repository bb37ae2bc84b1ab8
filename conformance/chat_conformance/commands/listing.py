"""``list`` and ``explain``: the cases and what they are judged by."""

from __future__ import annotations

import argparse

from chat_conformance.commands.reports import all_clauses
from chat_conformance.report import console
from chat_conformance.suite.case import all_cases, select
from chat_conformance.suite.clauses import clauses
from chat_conformance.suite.levels import at_level


def list_cases(options: argparse.Namespace) -> int:
    """Print the cases, or the clauses with the cases that cite them."""
    known = at_level(select(all_cases(), tuple(options.select)), options.level)
    if not options.clauses:
        for each in known:
            finding = f" [{each.finding}]" if each.finding else ""
            print(f"{each.id:<34} {each.clause:<9} {each.severity:<8} {each.title}{finding}")
        return 0
    for clause, words in clauses().items():
        citing = ", ".join(each.id for each in known if each.clause == clause)
        print(f"{clause:<9} {citing or 'NO CASE: ' + words}")
    return 0


def explain(options: argparse.Namespace) -> int:
    """Print all about the cases that an id, clause or finding selects."""
    print("\n\n".join(console.explain(each, all_clauses()) for each in select(all_cases(), (options.id,))))
    return 0
