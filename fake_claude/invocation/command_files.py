"""Commands and skills in Markdown files, whose text replaces a prompt that starts with their name."""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from fake_claude.invocation.context import Context

_FRONT = re.compile(r"---\n(.*?\n)?---\n?", re.DOTALL)
_MEMBER = re.compile(r"^([\w-]+):[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_SHELL = re.compile(r"!`([^`]+)`")
_WORD = re.compile(r"\$(\d+)")


class Command:
    """One command: its name, its file, what stands above its text, and whether it is a skill."""

    __slots__ = ("folder", "members", "name", "path", "text")

    def __init__(self, name: str, path: str, *, folder: str | None = None) -> None:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        # No YAML reader: a run would pay for it at its start, and names, descriptions and models stand on one line.
        front = _FRONT.match(text)
        self.name = name
        self.path = path
        self.folder = folder  # a skill's
        self.members: dict[str, str] = dict(_MEMBER.findall(front[1] or "")) if front is not None else {}
        self.text = text[front.end() :] if front is not None else text

    @property
    def description(self) -> str | None:
        """Its description for the model; ``None`` if the model is not shown it."""
        if self.members.get("disable-model-invocation") == "true":
            return None
        return self.members.get("description")

    @property
    def shell(self) -> str | None:
        """The first shell command in the text, which the CLI would run."""
        found = _SHELL.search(self.text)
        return found[0] if found is not None else None

    def render(self, arguments: str) -> str:
        """Return the text with its arguments; a text that asks for none has them at its end."""
        import shlex  # few prompts need it

        try:
            words = shlex.split(arguments)
        except ValueError:
            words = arguments.split()

        def word(match: re.Match[str]) -> str:
            number = int(match[1])
            return words[number] if number < len(words) else match[0]

        text = self.text
        # `$ARGUMENTS` first, then `$0`: so a `$1` in what the user wrote is filled in as well.
        if "$ARGUMENTS" in text or _WORD.search(text):
            text = _WORD.sub(word, text.replace("$ARGUMENTS", arguments))
        elif arguments:
            text = f"{text}\n\nARGUMENTS: {arguments}"
        return text if self.folder is None else f"Base directory for this skill: {self.folder}\n\n{text}"


def commands(context: Context) -> list[Command]:
    """Read the commands of user and project; of two with one name the first counts."""
    if not context.customised or not context.has_commands:
        return []
    sources = context.configuration.sources
    # The order decides which of two with one name counts: skills before commands, the user's before the project's.
    folders = [context.config_dir] if "user" in sources else []
    if "project" in sources:
        folders.append(os.path.join(context.cwd, ".claude"))
    return [
        *(skill for folder in folders for skill in _skills(os.path.join(folder, "skills"))),
        *(command for folder in folders for command in _files(os.path.join(folder, "commands"), "")),
    ]


def _skills(folder: str) -> Iterator[Command]:
    for name in _names(folder):
        place = os.path.join(folder, name)
        path = os.path.join(place, "SKILL.md")
        if os.path.isfile(path):
            yield Command(name, path, folder=place)


def _files(folder: str, prefix: str) -> Iterator[Command]:
    for name in _names(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            # A folder is part of the name: `commands/git/push.md` is `/git:push`.
            yield from _files(path, f"{prefix}{name}:")
        elif name.endswith(".md"):
            yield Command(prefix + name.removesuffix(".md"), path)


def agents(context: Context) -> Iterator[tuple[str, str]]:
    """Yield name and description of the agents in files, which the model is shown."""
    if not context.customised:
        return
    folders = {"user": context.config_dir, "project": os.path.join(context.cwd, ".claude")}
    for source, folder in folders.items():
        if source in context.configuration.sources:
            for name in _names(os.path.join(folder, "agents")):
                if name.endswith(".md"):
                    members = Command(name, os.path.join(folder, "agents", name)).members
                    yield members.get("name", name), members.get("description", "")


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
