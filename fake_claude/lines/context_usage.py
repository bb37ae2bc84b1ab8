"""The answer to the control request ``get_context_usage``, loaded only when a host asks for it."""

from __future__ import annotations

from fake_claude.catalog import find_model
from fake_claude.lines.initialize import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_SYSTEM_PROMPT, _SKILLS = 1115, 2067  # tokens, by the CLI's own reckoning
_RESERVE = 33_000
_COLUMNS, _ROWS = 20, 10


def _category(id_: str, name: str, tokens: int, color: str, kind: str = "used") -> dict[str, Any]:
    return {"id": id_, "name": name, "tokens": tokens, "color": color, "kind": kind}


def _grid(categories: Sequence[dict[str, Any]], window: int) -> list[list[dict[str, Any]]]:
    """Return the window as squares: each category has as many as its part of it, but at least one."""
    size = window / (_COLUMNS * _ROWS)
    counts = {category["id"]: max(1, round(category["tokens"] / size)) for category in categories}
    counts["free_space"] = 0
    counts["free_space"] = _COLUMNS * _ROWS - sum(counts.values())
    squares: list[dict[str, Any]] = []
    for category in sorted(categories, key=lambda category: category["kind"] == "buffer"):
        parts = category["tokens"] / size
        squares += [
            {
                "color": category["color"],
                "isFilled": True,
                "categoryName": category["name"],
                "tokens": category["tokens"],
                "percentage": round(100 * category["tokens"] / window),
                "squareFullness": min(1, parts),
            }
            for _ in range(counts[category["id"]])
        ]
    return [squares[row * _COLUMNS : (row + 1) * _COLUMNS] for row in range(_ROWS)]


def context_usage(model: str, messages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return how full the window is; words count as tokens, as everywhere in the fake."""
    known = find_model(model)
    window = known.window if known else 1_000_000
    said = sum(len(str(message["content"]).split()) for message in messages)
    used = [
        _category("system_prompt", "System prompt", _SYSTEM_PROMPT, "promptBorder"),
        _category("skills", "Skills", _SKILLS, "warning"),
        _category("messages", "Messages", max(1, said), "purple_FOR_SUBAGENTS_ONLY"),
    ]
    total = sum(category["tokens"] for category in used)
    categories = [
        *used,
        _category("autocompact_buffer", "Autocompact buffer", _RESERVE, "inactive", "buffer"),
        _category("free_space", "Free space", window - total - _RESERVE, "promptBorder", "free"),
    ]
    return {
        "categories": categories,
        "totalTokens": total,
        "maxTokens": window,
        "rawMaxTokens": window,
        "autocompactSource": "model-default",
        "percentage": round(100 * total / window),
        "gridRows": _grid(categories, window),
        "model": model,
        "memoryFiles": [],
        "mcpTools": [],
        "mcpInstructions": [],
        "agents": [],
        "slashCommands": {"totalCommands": len(COMMANDS), "includedCommands": len(COMMANDS), "tokens": 1},
        "skills": {"totalSkills": 0, "includedSkills": 0, "tokens": _SKILLS, "skillFrontmatter": []},
        "autoCompactThreshold": window - _RESERVE,
        "isAutoCompactEnabled": True,
        "messageBreakdown": {
            "toolCallTokens": 0,
            "toolResultTokens": 0,
            "attachmentTokens": 0,
            "assistantMessageTokens": 0,
            "userMessageTokens": 0,
            "redirectedContextTokens": 0,
            "unattributedTokens": max(1, said),
            "toolCallsByType": [],
            "attachmentsByType": [],
        },
        "apiUsage": None,
    }
