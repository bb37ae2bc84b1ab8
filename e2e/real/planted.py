"""What an operator has in HOME and in the folders around the CLI, each with a mark that must never reach a request."""

from __future__ import annotations

import json
import re
from pathlib import Path

MARK = re.compile(r"MARK-[A-Z-]+")


def plant(home: Path, work: Path, ran: Path) -> None:
    """Write memory, settings, hooks, commands, skills, agents, styles and MCP servers.

    What runs leaves a file in ``ran``.
    """
    for folder, name in ((home / ".claude", "HOME"), (work / ".claude", "WORK")):
        _configuration(folder, name, ran)
    texts = {
        home / ".claude/CLAUDE.md": "MARK-HOME-MEMORY @./imported.md",
        home / ".claude/imported.md": "MARK-HOME-IMPORT",
        home / ".claude.json": json.dumps({"mcpServers": {"home": _program(ran, "home-mcp")}}),
        work / ".mcp.json": json.dumps({"mcpServers": {"work": _program(ran, "work-mcp")}}),
        work / "CLAUDE.md": "MARK-WORK-MEMORY",
        work / "CLAUDE.local.md": "MARK-WORK-LOCAL",
        work / "AGENTS.md": "MARK-WORK-AGENTS",
        work / "notes.txt": "MARK-WORK-FILE",
        work / "sub/MARK-WORK-ENTRY": "MARK-WORK-INSIDE",
        work.parent / "CLAUDE.md": "MARK-PARENT-MEMORY",
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (work / "link").symlink_to(work / "notes.txt")


def _configuration(folder: Path, name: str, ran: Path) -> None:
    hooks = {
        event: [
            {"hooks": [{"type": "command", "command": f"echo MARK-{name}-HOOK; touch {ran}/{name}-{event}"}]}
        ]
        for event in ("SessionStart", "UserPromptSubmit", "Stop")
    }
    settings = {"hooks": hooks, "language": f"MARK-{name}-LANGUAGE", "outputStyle": "Loud"}
    settings |= {"env": {"PLANTED": f"MARK-{name}-ENV"}, "permissions": {"allow": ["Bash", "Read", "Write"]}}
    texts = {
        "settings.json": json.dumps(settings),
        "settings.local.json": json.dumps(settings),
        "commands/greet.md": f"MARK-{name}-COMMAND $ARGUMENTS",
        "commands/shell.md": f"---\nallowed-tools: Bash\n---\n!`touch {ran}/{name}-shell` MARK-{name}-SHELL",
        "skills/planted/SKILL.md": f"---\nname: planted\ndescription: MARK-{name}-ABOUT\n---\nMARK-{name}-SKILL",
        "agents/planted.md": f"---\nname: planted\ndescription: MARK-{name}-ABOUT\n---\nMARK-{name}-AGENT",
        "output-styles/loud.md": f"---\nname: Loud\ndescription: loud\n---\nMARK-{name}-STYLE",
        "rules/planted.md": f"MARK-{name}-RULE",
    }
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def _program(ran: Path, name: str) -> dict[str, object]:
    return {"command": "touch", "args": [str(ran / name)]}


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, by its path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
