"""The answer to the control request ``get_context_usage``, loaded only when a host asks for it."""

from __future__ import annotations

from fake_claude.catalog import find_model
from fake_claude.json_lines import dumps
from fake_claude.lines.initialize import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_SYSTEM_PROMPT, _SKILLS, _COMMANDS = 1115, 2067, 1102  # tokens, by the CLI's own reckoning
_ESTIMATED_PROMPT, _TOOLS, _DEFERRED = 2360, 8723, 10211  # the same for a summary, which asks no API
_RESERVE = 33_000
_COLUMNS, _ROWS = 20, 10


def _category(id_: str, name: str, tokens: int, color: str, kind: str = "used") -> dict[str, Any]:
    return {"id": id_, "name": name, "tokens": tokens, "color": color, "kind": kind}


def _grid(categories: Sequence[dict[str, Any]], window: int) -> list[list[dict[str, Any]]]:
    """Return the window as squares: each category has as many as its part of it, but at least one."""
    size = window / (_COLUMNS * _ROWS)
    counts = {category["id"]: max(1, round(category["tokens"] / size)) for category in categories}
    # Rounded counts need not add up to 200: the free space takes what is left. With 0 first it is not in its
    # own sum.
    counts["free_space"] = 0
    counts["free_space"] = _COLUMNS * _ROWS - sum(counts.values())
    squares: list[dict[str, Any]] = []
    # The buffer comes last, behind the free space: ``sorted`` is stable, and False sorts before True.
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


def _tokens(text: str) -> int:
    """Estimate tokens: four characters are one, and half of one counts."""
    return (len(text) + 2) // 4


def _breakdown(messages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the messages of a conversation come to, by kind."""
    counts = dict.fromkeys(("call", "result", "assistant", "user"), 0)
    tools: dict[str, list[int]] = {}
    names: dict[str, str] = {}
    for message in messages:
        content = message["content"]
        if isinstance(content, str):
            counts[message["role"]] += _tokens(content)
            continue
        for block in content:
            size = _tokens(
                str(block["text"]) if "text" in block and message["role"] == "user" else dumps(block)
            )
            if block["type"] == "tool_use":
                # A result only has its call's id; the name came with the call, earlier in the conversation.
                names[block["id"]] = block["name"]
                counts["call"] += size
                tools.setdefault(block["name"], [0, 0])[0] += size
            elif block["type"] == "tool_result":
                counts["result"] += size
                tools.setdefault(names.get(block["tool_use_id"], "unknown"), [0, 0])[1] += size
            else:
                counts[message["role"]] += size
    return {
        "toolCallTokens": counts["call"],
        "toolResultTokens": counts["result"],
        "attachmentTokens": 0,
        "assistantMessageTokens": counts["assistant"],
        "userMessageTokens": counts["user"],
        "redirectedContextTokens": 0,
        "unattributedTokens": 0 if messages else 1,
        "toolCallsByType": [
            {"name": name, "callTokens": call, "resultTokens": result}
            for name, (call, result) in tools.items()
        ],
        "attachmentsByType": [],
    }


def context_usage(
    model: str, messages: Sequence[dict[str, Any]], usage: dict[str, Any] | None, *, summary: bool = False
) -> dict[str, Any]:
    """Return how full the window is; ``usage`` is that of the last request, ``summary`` an estimate without any."""
    known = find_model(model)
    window = known.window if known else 1_000_000
    used = [
        _category(
            "system_prompt", "System prompt", _ESTIMATED_PROMPT if summary else _SYSTEM_PROMPT, "promptBorder"
        )
    ]
    deferred = []
    if summary:
        used.append(_category("system_tools", "System tools", _TOOLS, "inactive"))
        name = "System tools (deferred)"
        deferred = [
            {"id": "system_tools_deferred", "name": name, "tokens": _DEFERRED, "color": "inactive"}
            | {"isDeferred": True, "kind": "deferred"}
        ]
    skills = _category("skills", "Skills", _SKILLS, "warning")
    messages_said = [] if messages else [_category("messages", "Messages", 1, "purple_FOR_SUBAGENTS_ONLY")]
    shown = [*used, skills, *messages_said]
    # Deferred tools are listed, but are not in the window.
    total = sum(category["tokens"] for category in shown)
    ends = [
        _category("autocompact_buffer", "Autocompact buffer", _RESERVE, "inactive", "buffer"),
        _category("free_space", "Free space", window - total - _RESERVE, "promptBorder", "free"),
    ]
    counted = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return {
        "categories": [*used, *deferred, skills, *messages_said, *ends],
        "totalTokens": total,
        "maxTokens": window,
        "rawMaxTokens": window,
        "autocompactSource": "model-default",
        "percentage": round(100 * total / window),
        "gridRows": _grid([*shown, *ends], window),
        "model": model,
        "memoryFiles": [],
        "mcpTools": [],
        "mcpInstructions": [],
        "agents": [],
        "slashCommands": {
            "totalCommands": len(COMMANDS),
            "includedCommands": len(COMMANDS),
            "tokens": _COMMANDS if summary else 1,
        },
        "skills": {"totalSkills": 0, "includedSkills": 0, "tokens": _SKILLS, "skillFrontmatter": []},
        "autoCompactThreshold": window - _RESERVE,
        "isAutoCompactEnabled": True,
        "messageBreakdown": _breakdown(messages),
        "apiUsage": {name: usage.get(name) or 0 for name in counted} if usage is not None else None,
    }
