"""GitLab's code quality report, for the widget of a merge request."""

from __future__ import annotations

from collections.abc import Mapping

from chat_conformance.report.text import fingerprint, json_text, place, printable
from chat_conformance.results import RunResult, Severity

SEVERITIES = {Severity.BLOCKER: "blocker", Severity.MEDIUM: "major", Severity.LOW: "minor"}


def render(run: RunResult, _clauses: Mapping[str, str]) -> str:
    """One entry for each finding."""
    entries = []
    for each in run.findings:
        path, line = place(each)
        entries.append(
            {
                "description": printable(f"{each.case.title}: {each.happened}"),
                "check_name": printable(each.case.id),
                "fingerprint": fingerprint(each),
                "severity": SEVERITIES[each.case.severity],
                "location": {"path": path, "lines": {"begin": line}},
            }
        )
    return json_text(entries) + "\n"
