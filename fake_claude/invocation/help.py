"""What ``--help`` prints: the option table, in short words of our own."""

from __future__ import annotations

from fake_claude.command_names import COMMANDS
from fake_claude.invocation.options import OPTIONS


def help_text() -> str:
    """Return the help; hidden options are left out, as in the CLI."""
    lines = [
        "Usage: claude [options] [command] [prompt]",
        "",
        "A stand-in for the claude command-line tool (fake-claude).",
        "",
        "Arguments:",
        "  prompt  Your prompt",
        "",
        "Options:",
    ]
    shown = [option for option in OPTIONS if not option.hidden]
    width = max(len(option.flags) for option in shown)
    for option in shown:
        note = f"not imitated: {option.refused}" if option.refused else ""
        note = note or (f"no effect: {option.ignored}" if option.ignored else "")
        if option.choices:
            note = f"{note} (choices: {', '.join(option.choices)})".strip()
        lines.append(f"  {option.flags.ljust(width)}  {note}".rstrip())
    lines += ["", f"Tools of fake-claude itself: {', '.join(COMMANDS)}; each has a --help."]
    return "\n".join(lines) + "\n"
