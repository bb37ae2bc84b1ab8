"""Permission rules such as ``Bash(git *)``: split a list of them, and match a tool call."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def split_rules(values: Iterable[str]) -> list[str]:
    """Split ``--allowedTools`` values at commas and spaces outside parentheses."""
    rules: list[str] = []
    for value in values:
        # `Bash(git log),Read Write` is three rules: a comma or a blank in parentheses belongs to its rule.
        rules += [rule for rule in re.findall(r"[^\s,(]+(?:\([^)]*\))?", value) if rule]
    return rules


def matches(rule: str, tool: str, given: dict[str, Any]) -> bool:
    """Return whether a rule such as ``Bash``, ``Bash(git *)`` or ``Bash(ls:*)`` covers this call."""
    name, parenthesis, pattern = rule.rstrip(")").partition("(")
    if name != tool or (parenthesis and not rule.endswith(")")):
        return False
    # An empty pattern covers the whole tool, as none does.
    if not parenthesis or pattern in ("", "*"):
        return True
    subject = str(given.get("command") or given.get("file_path") or "")
    pattern = pattern.replace(":*", " *") if pattern.endswith(":*") else pattern
    # `git *` covers `git` alone as well.
    if pattern.endswith(" *") and subject == pattern[:-2]:
        return True
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), subject, re.DOTALL) is not None
