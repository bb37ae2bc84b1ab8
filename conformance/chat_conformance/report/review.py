"""A review as bots post it: a decision, its reason, and Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from chat_conformance.report.limits import TEXT
from chat_conformance.report.markdown import review
from chat_conformance.report.text import clipped, decision_reason, json_text
from chat_conformance.results import RunResult


def render(run: RunResult, _clauses: Mapping[str, str]) -> str:
    """``{"verdict": APPROVE | REQUEST_CHANGES | DISCUSS, "verdict_reason", "review_markdown"}``."""
    document = {
        "verdict": run.decision,
        "verdict_reason": clipped(decision_reason(run), TEXT),
        "review_markdown": review(run),
    }
    return json_text(document) + "\n"
