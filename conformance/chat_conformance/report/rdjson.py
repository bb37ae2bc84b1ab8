"""Reviewdog's diagnostic format (rdjson), for comments on a change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chat_conformance.report.text import json_text, place, printable
from chat_conformance.results import CaseResult, RunResult, Severity

SEVERITIES = {Severity.BLOCKER: "ERROR", Severity.MEDIUM: "WARNING", Severity.LOW: "INFO"}


def render(run: RunResult, _clauses: Mapping[str, str]) -> str:
    """One diagnostic for each finding."""
    worst = {"severity": SEVERITIES[run.findings[0].case.severity]} if run.findings else {}
    document = {
        "source": {"name": "chat-conformance"},
        **worst,
        "diagnostics": [_diagnostic(each) for each in run.findings],
    }
    return json_text(document) + "\n"


def _diagnostic(result: CaseResult) -> dict[str, Any]:
    path, line = place(result)
    case = result.case
    return {
        "message": printable(
            f"{case.title}. {case.means} Expected {result.expected}; happened: {result.happened}."
        )
        + f"\nAgain: {printable(result.replay)}",
        "location": {"path": path, "range": {"start": {"line": line}}},
        "severity": SEVERITIES[case.severity],
        "code": {"value": case.id},
    }
