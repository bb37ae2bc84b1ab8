"""SARIF 2.1.0, for code scanning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from chat_conformance.report.text import fingerprint, json_text, place, printable
from chat_conformance.results import CaseResult, RunResult, Severity, Verdict

LEVELS = {Severity.BLOCKER: "error", Severity.MEDIUM: "warning", Severity.LOW: "note"}
SHOWN = {Verdict.FAILED, Verdict.KNOWN_FAILURE}


def render(run: RunResult, clauses: Mapping[str, str]) -> str:
    """One result for each failure; a known one is there too, suppressed by the baseline file."""
    shown = [each for each in run.results if each.verdict in SHOWN]
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
                "invocations": [_invocation(run)],
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
        "shortDescription": {"text": printable(case.title)},
        "fullDescription": {"text": printable(case.means)},
        "help": {"text": printable(clause)},
        "defaultConfiguration": {"level": LEVELS[case.severity]},
        "properties": {"tags": [each for each in (case.clause, result.finding) if each]},
    }


def _result(result: CaseResult, index: int) -> dict[str, Any]:
    path, line = place(result)
    known = result.verdict is Verdict.KNOWN_FAILURE
    reason = {"kind": "external", "status": "accepted", "justification": printable(result.why)}
    said = f"{result.case.title}. Expected {result.expected}; happened: {result.happened}"
    return {
        "ruleId": result.case.id,
        "ruleIndex": index,
        "level": LEVELS[result.case.severity],
        "message": {"text": printable(result.case.means if known else said)},
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


def _invocation(run: RunResult) -> dict[str, Any]:
    times = {"startTimeUtc": run.began.replace("+00:00", "Z")} if run.began else {}
    told = [{"level": "error", "message": {"text": printable(each)}} for each in run.trouble]
    return {
        "executionSuccessful": not run.is_broken,
        "exitCode": run.exit_status,
        **times,
        **({"toolExecutionNotifications": told} if told else {}),
    }
