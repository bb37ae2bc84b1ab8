"""Memory files: instructions of operator and project that the CLI puts before every conversation."""

from __future__ import annotations

import os
import re

from fake_claude.invocation.path_rules import denied
from fake_claude.prompt.attachments import reminder, truthy
from fake_claude.prompt.mentions import SPACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fake_claude.invocation.context import Context

MANAGED = "/etc/claude-code/CLAUDE.md"
HEAD = (
    "Codebase and user instructions are shown below. Be sure to adhere to these instructions."
    " IMPORTANT: These instructions OVERRIDE any default behavior and you MUST follow them exactly as written."
)
NOTES = {
    "managed": "organization-managed policy instructions",
    "user": "user's private global instructions for all projects",
    "project": "project instructions, checked into the codebase",
    "local": "user's private project instructions, not checked in",
}
DEPTH = 5
"""How deep imports go."""

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_IMPORT = re.compile(rf"(?:^|[{SPACE}])@((?:[^{SPACE}\\]|\\ )+)")
_FRONT = re.compile(r"---\n(.*?\n)?---\n", re.DOTALL)


class Memory:
    """One file that is part of every conversation: its path, whose it is, and its text."""

    __slots__ = ("path", "source", "text")

    def __init__(self, path: str, source: str, text: str) -> None:
        self.path = path
        self.source = source
        self.text = text


def memory(context: Context) -> list[Memory]:
    """Read the memory files of all sources that count, in the order in which the model is shown them."""
    if not context.customised or truthy(context.env.get("CLAUDE_CODE_DISABLE_CLAUDE_MDS")):
        return []
    found: dict[str, Memory] = {}
    for path, source in _places(context):
        _add(found, path, source, context, depth=0)
    return list(found.values())


def shown(files: list[Memory]) -> str:
    """Return the text that the model is shown before the first prompt."""
    parts = [f"Contents of {file.path} ({NOTES[file.source]}):\n\n{file.text}" for file in files]
    return reminder("\n\n".join([HEAD, *parts]))


def nested(path: str, context: Context, seen: set[str]) -> Iterator[Memory]:
    """Read memory files that lie between the working directory and a file that was mentioned."""
    if not context.customised or "project" not in context.configuration.sources:
        return
    folder = os.path.dirname(path)
    between: list[str] = []
    # From the outside in, so that the nearest file has the last word. The working directory's own file is not among
    # them: it is part of every conversation anyway.
    while folder.startswith(context.cwd + os.sep):
        between.insert(0, folder)
        folder = os.path.dirname(folder)
    for place in between:
        name = os.path.join(place, "CLAUDE.md")
        text = None if name in seen else _text(name)
        if text:
            seen.add(name)
            yield Memory(name, "project", text)


def _places(context: Context) -> Iterator[tuple[str, str]]:
    sources = context.configuration.sources
    yield MANAGED, "managed"
    if "user" in sources:
        yield os.path.join(context.config_dir, "CLAUDE.md"), "user"
        yield from ((path, "user") for path in _rules(os.path.join(context.config_dir, "rules")))
    folders = [context.cwd]
    while os.path.dirname(folders[0]) != folders[0]:
        folders.insert(0, os.path.dirname(folders[0]))
    # The root folder itself has no say; then from the outside in, project before local in each.
    for folder in folders[1:]:
        if "project" in sources:
            yield os.path.join(folder, "CLAUDE.md"), "project"
            yield os.path.join(folder, ".claude", "CLAUDE.md"), "project"
            yield from ((path, "project") for path in _rules(os.path.join(folder, ".claude", "rules")))
        if "local" in sources:
            yield os.path.join(folder, "CLAUDE.local.md"), "local"


def _rules(folder: str) -> Iterator[str]:
    """Yield rule files in the order of the folder; those for some paths only are left out."""
    try:
        # Unsorted on purpose: the CLI takes the order of the folder, too.
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir():
            yield from _rules(entry.path)
        elif entry.name.endswith(".md"):
            yield entry.path


def _add(found: dict[str, Memory], path: str, source: str, context: Context, *, depth: int) -> None:
    """Add a file and what it imports; a project's files import only what lies in the working directory."""
    # ``found`` also ends circles of imports. Deny rules for Read do not reach a user's own files.
    if path in found or depth > DEPTH or (source != "user" and denied(path, context)):
        return
    raw = _text(path)
    if raw is None:
        return
    front = _FRONT.match(raw)
    if front is not None and re.search(r"^paths:", front[1] or "", re.MULTILINE):
        return
    text = raw[front.end() :].strip() if front is not None else raw.strip()
    if not text:
        return
    # Before its imports: the importing file stands first, and a file that imports itself is found already.
    found[path] = Memory(path, source, text)
    # Code is blanked and not taken out, so that text before and after it does not become one word.
    for name in _IMPORT.findall(_CODE.sub(" ", text)):
        home = context.home + name[1:] if name.startswith("~/") else name
        target = os.path.normpath(os.path.join(os.path.dirname(path), home.replace("\\ ", " ")))
        if source == "user" or target.startswith(context.cwd + os.sep):
            _add(found, target, source, context, depth=depth + 1)


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None
