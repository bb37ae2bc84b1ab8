"""Reviewdog's diagnostic format (rdjson), for comments on a change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chat_conformance.report.limits import DIAGNOSTICS, TEXT, left_out
from chat_conformance.report.text import clipped, json_text, location_of, printable
from chat_conformance.results import CaseResult, RunResult, Severity

SEVERITIES = {Severity.BLOCKER: "ERROR", Severity.MEDIUM: "WARNING", Severity.LOW: "INFO"}


def render(run: RunResult, _clauses: Mapping[str, str]) -> str:
    """One diagnostic for each finding, the worst first."""
    diagnostics = [_diagnostic(each) for each in run.findings[:DIAGNOSTICS]]
    if more := len(run.findings) - len(diagnostics):
        diagnostics.append(
            {
                **diagnostics[-1],
                "message": left_out(more, "findings"),
                "severity": "INFO",
                "code": {"value": "left-out"},
            }
        )
    worst = {"severity": SEVERITIES[run.findings[0].case.severity]} if run.findings else {}
    document = {
        "source": {"name": "chat-conformance"},
        **worst,
        "diagnostics": diagnostics,
    }
    return json_text(document) + "\n"


def _diagnostic(result: CaseResult) -> dict[str, Any]:
    path, line = location_of(result)
    case = result.case
    said = f"{case.title}. {case.means} Expected {result.expected}; happened: {result.happened}."
    return {
        "message": printable(clipped(said, 2 * TEXT)) + f"\nAgain: {printable(clipped(result.replay, TEXT))}",
        "location": {"path": path, "range": {"start": {"line": line}}},
        "severity": SEVERITIES[case.severity],
        "code": {"value": case.id},
    }
