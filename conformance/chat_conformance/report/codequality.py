"""GitLab's code quality report, for the widget of a merge request."""

from __future__ import annotations

from collections.abc import Mapping

from chat_conformance.report.limits import DIAGNOSTICS, TEXT, left_out
from chat_conformance.report.text import clipped, fingerprint, json_text, location_of, printable
from chat_conformance.results import RunResult, Severity

SEVERITIES = {Severity.BLOCKER: "blocker", Severity.MEDIUM: "major", Severity.LOW: "minor"}


def render(run: RunResult, _clauses: Mapping[str, str]) -> str:
    """One entry for each finding, the worst first."""
    entries = []
    for each in run.findings[:DIAGNOSTICS]:
        path, line = location_of(each)
        entries.append(
            {
                "description": printable(
                    clipped(f"{each.case.title}: {each.happened}. {each.case.means}", TEXT)
                ),
                "check_name": printable(each.case.id),
                "fingerprint": fingerprint(each),
                "severity": SEVERITIES[each.case.severity],
                "location": {"path": path, "lines": {"begin": line}},
            }
        )
    if more := len(run.findings) - len(entries):
        rest = {"description": left_out(more, "findings"), "check_name": "left-out", "severity": "info"}
        entries.append({**entries[-1], **rest, "fingerprint": "0" * 32})
    return json_text(entries) + "\n"
