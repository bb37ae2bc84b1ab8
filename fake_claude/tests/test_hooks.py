"""Hooks over the control protocol: the host is asked, and what it answers is obeyed."""

from __future__ import annotations

import pytest

from fake_claude.engine.hook_outcome import HookOutcome
from fake_claude.engine.hooks import covers


@pytest.mark.parametrize(
    ("matcher", "subject", "covered"),
    [
        (None, "Bash", True),
        ("*", "Bash", True),
        ("Bash", "Bash", True),
        ("Bash", "BashOutput", False),
        ("Write|Bash", "Bash", True),
        ("Ba.*", "Bash", True),
        ("mcp__.*", "Bash", False),
        ("(", "Bash", False),
        ("Bash", None, True),
    ],
)
def test_matcher_covers_its_tools(matcher: str | None, subject: str | None, covered: bool) -> None:  # noqa: FBT001
    assert covers(matcher, subject) is covered


def test_gravest_decision_counts() -> None:
    outcome = HookOutcome()
    for decision in ("allow", "deny", "ask", "allow", "nonsense"):
        outcome.take(
            {"hookSpecificOutput": {"permissionDecision": decision, "permissionDecisionReason": decision}}
        )

    assert (outcome.decision, outcome.reason) == ("deny", "deny")


@pytest.mark.parametrize(
    "answer", [{}, {"hookSpecificOutput": None}, {"hookSpecificOutput": []}, {"continue": True}]
)
def test_empty_answer_decides_nothing(answer: dict[str, object]) -> None:
    outcome = HookOutcome()
    outcome.take(answer)

    assert (outcome.decision, outcome.blocked, outcome.stopped, outcome.updated_input) == (
        "",
        None,
        None,
        None,
    )
