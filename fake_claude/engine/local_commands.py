"""Slash commands with one answer each, which the CLI gives without asking the model."""

from __future__ import annotations

import os

from fake_claude.catalog import find_model
from fake_claude.prompt.config_command import STYLES, Change, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fake_claude.engine.run import Run

AGENTS = (
    'The /agents wizard has been removed.\n\nAsk Claude to create or update subagents for you (e.g. "create a'
    ' code-reviewer subagent that ..."),\nor edit the files directly:\n  • .claude/agents/       (this project)\n'
    "  • ~/.claude/agents/     (all projects)\n\nDocs: https://code.claude.com/docs/en/sub-agents"
)
COLORS = ("red", "blue", "green", "yellow", "purple", "orange", "pink", "cyan", "default")
EFFORTS = {"high": "Comprehensive implementation with extensive testing and documentation"}


def _agents(_run: Run, _arguments: str) -> str:
    return AGENTS


def _color(_run: Run, color: str) -> str:
    if color not in COLORS:
        return f'"{color}" isn\'t an available color. Options: {", ".join(COLORS)}'
    return f"Session color set to: {color}"


def _fast(_run: Run, arguments: str) -> str:
    if arguments not in ("", "on", "off"):
        return f'Unknown argument "{arguments}". Use: /fast [on|off]'
    return "Fast mode unavailable: Fast mode is not available in the Agent SDK"


def _focus(_run: Run, _arguments: str) -> str:
    return "/focus isn't available here yet"


def _output_style(run: Run, style: str) -> str:
    context = run.context
    # Taken in any case, kept as listed. It goes into the working directory's settings, for all later
    # processes (docs/claude-cli.md, commands).
    known = {name.lower(): name for name in STYLES}
    if style.lower() not in known:
        return f'Unknown output style "{style}". Available styles: {", ".join(STYLES)}'
    context.output_style = known[style.lower()]
    path = os.path.join(context.cwd, ".claude", "settings.local.json")
    write(path, "outputStyle", context.output_style)
    run.note_setting(Change("outputStyle", path, "outputStyle", context.output_style))
    return f"Output style set to {context.output_style}"


def _autocompact(run: Run, tokens: str) -> str:
    # Three spellings of one number: 200k, 200000, and 200 as shorthand for thousands.
    number = tokens.lower().removesuffix("k")
    count = (
        int(number) * (1000 if tokens.lower().endswith("k") or int(number) < 1000 else 1)
        if number.isdigit()
        else 0
    )
    if count < 100_000:
        expected = "Expected 'auto' or at least 100k tokens (e.g. 500k, 200000, or 200 as shorthand)"
        return f"Couldn't parse '{tokens}'. {expected}"
    context = run.context
    path = os.path.join(context.config_dir, "settings.json")
    # Kept per model: windows differ in size, and another model keeps its own.
    member = f"modelSettings.{context.model}.autoCompactWindow"
    write(path, member, count)
    run.note_setting(Change("autoCompactWindow", path, member, count))
    known = find_model(context.model)
    title = known.title if known else context.model
    return f"Auto-compact window for {title} set to {count // 1000}k tokens"


def _workflow_launch_exec(_run: Run, _arguments: str) -> str:
    return (
        "workflow-launch-exec: no pending launch handoff for this invocation"
        " (expected when a restored session replays the dispatch turn); nothing executed."
    )


def _remote_workflow(_run: Run, _arguments: str) -> str:
    return (
        "remote-workflow: error[not-remote-session]: this command only runs inside a remote (CCR) session"
        " (CLAUDE_CODE_REMOTE is not set). Use the Workflow tool locally."
    )


ANSWERS = {
    "agents": _agents,
    "autocompact": _autocompact,
    "color": _color,
    "fast": _fast,
    "focus": _focus,
    "output-style": _output_style,
    "workflow-launch-exec": _workflow_launch_exec,
    "__remote-workflow": _remote_workflow,
}
"""What carries each command out, given its arguments; ``str`` is the answer."""

WITH_ARGUMENTS = frozenset(["autocompact", "color", "output-style"])
"""Commands that are not imitated without arguments: their answer shows the CLI's own state."""
