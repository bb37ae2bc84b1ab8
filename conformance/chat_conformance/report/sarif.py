"""SARIF 2.1.0, for code scanning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from chat_conformance.report.limits import DIAGNOSTICS, SARIF_RESULTS, TEXT, left_out
from chat_conformance.report.text import clipped, fingerprint, json_text, location_of, printable
from chat_conformance.results import CaseResult, RunResult, Severity, Verdict

LEVELS = {Severity.BLOCKER: "error", Severity.MEDIUM: "warning", Severity.LOW: "note"}


def render(run: RunResult, clauses: Mapping[str, str]) -> str:
    """One result for each failure, the worst first; a known one is there too, suppressed by the baseline file."""
    failures = [*run.findings, *run.of(Verdict.KNOWN_FAILURE)]
    shown = failures[:SARIF_RESULTS]
    document = {
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "chat-conformance",
                        "semanticVersion": run.version or "0.0.0",
                        "rules": [_rule(each, clauses) for each in shown],
                    }
                },
                "automationDetails": {"id": f"chat-conformance/{printable(run.target)}/"},
                "invocations": [_invocation(run, len(failures) - len(shown))],
                "columnKind": "unicodeCodePoints",
                "results": [_result(each, index) for index, each in enumerate(shown)],
            }
        ],
    }
    return json_text(document) + "\n"


def _rule(result: CaseResult, clauses: Mapping[str, str]) -> dict[str, Any]:
    case = result.case
    clause = f"{case.clause}: {clauses.get(case.clause, 'unknown')}"
    return {
        "id": case.id,
        "shortDescription": {"text": _text(case.title)},
        "fullDescription": {"text": _text(case.means)},
        "help": {"text": _text(clause)},
        "defaultConfiguration": {"level": LEVELS[case.severity]},
        "properties": {"tags": [each for each in (case.clause, result.finding) if each]},
    }


def _result(result: CaseResult, index: int) -> dict[str, Any]:
    path, line = location_of(result)
    known = result.verdict is Verdict.KNOWN_FAILURE
    reason = {"kind": "external", "status": "accepted", "justification": _text(result.why)}
    said = f"{result.case.title}. Expected {result.expected}; happened: {result.happened}"
    return {
        "ruleId": result.case.id,
        "ruleIndex": index,
        "level": LEVELS[result.case.severity],
        "message": {"text": _text(result.case.means if known else said)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(printable(path))},
                    "region": {"startLine": line},
                }
            }
        ],
        "partialFingerprints": {"chatgateCase/v1": fingerprint(result)},
        "suppressions": [reason] if known else [],
        "properties": {"replay": printable(result.replay)},
    }


def _text(text: str) -> str:
    return printable(clipped(text, TEXT))


def _invocation(run: RunResult, more: int) -> dict[str, Any]:
    times = {"startTimeUtc": run.began.replace("+00:00", "Z")} if run.began else {}
    notes = [{"level": "error", "message": {"text": _text(each)}} for each in run.trouble[:DIAGNOSTICS]]
    notes += [{"level": "warning", "message": {"text": left_out(more, "failures")}}] if more else []
    return {
        "executionSuccessful": not run.is_broken,
        "exitCode": run.exit_status,
        **times,
        **({"toolExecutionNotifications": notes} if notes else {}),
    }
