"""What an operator has in HOME and in the folders around the CLI, each with a mark that must never reach a request."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

MARK = re.compile(r"MARK-[A-Z-]+")
ACCOUNT = {
    "accountUuid": "00000000-0000-4000-8000-000000000001",
    "organizationUuid": "00000000-0000-4000-8000-000000000002",
    "emailAddress": "MARK-HOME-EMAIL@example.com",
    "displayName": "MARK-HOME-NAME",
}
LOGIN = {
    "accessToken": "sk-ant-oat01-planted",
    "refreshToken": "sk-ant-ort01-planted",
    "expiresAt": int((time.time() + 86_400) * 1000),
    "scopes": ["user:inference"],
    "subscriptionType": "max",
}
"""A login of the CLI's own, of nobody: no service knows it."""

CELL: dict[str, object] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
NOTEBOOK = {"metadata": {}, "nbformat": 4, "nbformat_minor": 5}
PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c02"
    "0000000b4944415478da6364f8cf500f0003860180b3f3c6b50000000049454e44ae426082"
)
"""A picture of one point."""


def plant(home: Path, work: Path, ran: Path) -> None:
    """Write memory, settings, hooks, commands, skills, agents, styles and MCP servers.

    What runs leaves a file in ``ran``.
    """
    for folder, name in ((home / ".claude", "HOME"), (work / ".claude", "WORK")):
        _configuration(folder, name, ran)
    texts = {
        home / ".claude/CLAUDE.md": "MARK-HOME-MEMORY @./imported.md",
        home / ".claude/imported.md": "MARK-HOME-IMPORT",
        home / ".claude.json": json.dumps(
            {"mcpServers": {"home": _program(ran, "home-mcp")}, "oauthAccount": ACCOUNT}
        ),
        home / ".claude/.credentials.json": json.dumps({"claudeAiOauth": LOGIN}),
        work / ".mcp.json": json.dumps({"mcpServers": {"work": _program(ran, "work-mcp")}}),
        work / "CLAUDE.md": "MARK-WORK-MEMORY",
        work / "CLAUDE.local.md": "MARK-WORK-LOCAL",
        work / "AGENTS.md": "MARK-WORK-AGENTS",
        work / "notes.txt": "MARK-WORK-FILE",
        work / "two words.txt": "MARK-WORK-WORDS",
        work / "notebook.ipynb": json.dumps({**NOTEBOOK, "cells": [{**CELL, "source": "MARK-WORK-CELL"}]}),
        work / "sub/MARK-WORK-ENTRY": "MARK-WORK-INSIDE",
        work.parent / "CLAUDE.md": "MARK-PARENT-MEMORY",
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (work / "picture.png").write_bytes(PICTURE)
    (work / "link").symlink_to(work / "notes.txt")
    _repository(work)


def _repository(work: Path) -> None:
    """Make the working folder a repository with a user, a commit, and a file that is not in it yet."""
    own = ("-c", "user.name=MARK-GIT-AUTHOR", "-c", "user.email=author@example.com")
    for words in (
        ("init", "-q"),
        ("config", "user.name", "MARK-GIT-USER"),
        ("add", "notes.txt"),
        (*own, "commit", "-q", "-m", "MARK-GIT-COMMIT"),
    ):
        subprocess.run(["git", *words], cwd=work, check=True)
    (work / "MARK-GIT-STATUS").touch()


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
