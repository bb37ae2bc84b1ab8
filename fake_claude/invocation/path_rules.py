"""Rules such as ``Read(//etc/**)`` that are about paths; ``Edit`` stands for every tool that writes files."""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fake_claude.invocation.context import Context


def denied(path: str, context: Context) -> bool:
    """Return whether a rule forbids to read this absolute path; a rule for the whole tool does not reach mentions."""
    return covered(path, "Read", context.deny_rules, context)


def covered(path: str, tool: str, rules: list[str], context: Context) -> bool:
    """Return whether one of the rules with a path covers this absolute path; ``tool`` is Read or Edit."""
    # Theory: `//etc/**` is the root's /etc, `~/x` is home's, `sub/x` is below the working directory, and a bare
    # `*.env` means any depth below it. `**` crosses folders, `*` does not.
    found = (re.fullmatch(rf"{tool}\((.+)\)", rule) for rule in rules)
    return any(_pattern(rule[1], context).fullmatch(path) for rule in found if rule is not None)


def _pattern(rule: str, context: Context) -> re.Pattern[str]:
    """Return what a rule covers: ``//`` starts at the root, ``~/`` at home, all else in the working directory."""
    if rule.startswith("//"):
        rule = rule[1:]
    elif rule.startswith("~/"):
        rule = context.home + rule[1:]
    # As in .gitignore: a slash in the middle ties a rule to its folder, none lets it match at any depth.
    elif "/" in rule.rstrip("/"):
        rule = os.path.join(context.cwd, rule.removeprefix("./").removeprefix("/"))
    else:
        rule = os.path.join(context.cwd, "**", rule)
    rule = rule.removesuffix("/**")  # a folder is covered with all that is in it
    # Longest first: `/**/` also stands for a single slash, so that `a/**/b` covers `a/b`.
    pieces = re.split(r"(/\*\*/|\*\*|\*)", rule)
    known = {"/**/": "/(?:.*/)?", "**": ".*", "*": "[^/]*"}
    return re.compile("".join(known.get(piece, re.escape(piece)) for piece in pieces) + "(?:/.*)?")
