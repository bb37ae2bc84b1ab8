"""What the CLI makes of a prompt before the model sees it (docs/claude-cli.md, what the CLI does with user text)."""

from __future__ import annotations

import os
import re

from fake_claude.catalog import PROMPT_COMMANDS, resolve_model
from fake_claude.invocation.command_files import Command, agents, commands
from fake_claude.prompt.attachments import mentioned, reminder, said
from fake_claude.prompt.config_command import STYLES
from fake_claude.prompt.memory import memory, nested, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from fake_claude.invocation.context import Context
    from fake_claude.ledger_writer import LedgerWriter

    Message = dict[str, Any]

NAME = re.compile(r"/([A-Za-z0-9:_-]+)(?:\s+|$)")
LISTED = (
    "dataviz", "update-config", "code-review", "simplify", "fewer-permission-prompts", "loop", "claude-api",
    "workflow-authoring", "run", "plugin-authoring", "init", "security-review",
)  # fmt: skip
"""Commands of the CLI that it lists to the model."""

ULTRATHINK = (
    'The user included the keyword "ultrathink", requesting deeper reasoning on this turn.'
    " Reason as thoroughly as the task warrants."
)


class NotImitated(Exception):
    """A prompt is a command that the CLI carries out and the fake does not."""


class UserText:
    """A prompt as the CLI sends it: the user's lines, and what is attached to them."""

    def __init__(self, context: Context, record: LedgerWriter, content: object) -> None:
        self.context = context
        self.record = record
        self.content = content
        self.model: str | None = None  # what a command asks for
        self.lines: list[object] = [content]
        self._unknown = ""
        self._listed = commands(self.context)
        self._become_command(said(content))

    def _become_command(self, text: str) -> None:
        found = NAME.match(text)
        if found is None or (self.context.bare and not self._own(found[1])):
            return
        name, arguments = found[1], text[found.end() :].strip()
        # A command of a file goes before the CLI's own of the same name, so it is looked for first.
        command = next((command for command in self._listed if command.name == name), None)
        if command is None and not self._own(name):
            self._unknown = name
            return
        self.record.note("command", why=f"the prompt says /{name}", path=command.path if command else None)
        tags = f"<command-message>{name}</command-message>\n<command-name>/{name}</command-name>"
        if arguments:
            tags += f"\n<command-args>{arguments}</command-args>"
        # Refused and not left out: a test that thinks the command was carried out would pass for a wrong reason.
        if command is not None and command.shell:
            raise NotImitated(
                f"fake-claude does not imitate the shell command {command.shell} in {command.path}"
            )
        body = f"[the CLI's own text of /{name}]\n\n{arguments}".strip()
        if command is not None:
            body = command.render(arguments)
            if command.members.get("model"):
                self.model = resolve_model(command.members["model"])
        # The command's name stood in the last block; images before it are sent along with its text.
        rest = self.content[:-1] if isinstance(self.content, list) else []
        self.lines = [tags, [*rest, {"type": "text", "text": body}]]

    def _own(self, name: str) -> bool:
        return name in PROMPT_COMMANDS and self.context.has_commands

    def attachments(self, shown_before: set[str], seen_files: set[str]) -> Iterator[Message]:
        """Yield what is attached.

        What the model is shown once in a conversation, and the files that it was shown, are added to the sets.
        """
        context = self.context
        # Of a command, its own text: mentions in it are read (docs/claude-cli.md, commands).
        text = self.lines[-1]
        # The order of what follows is the CLI's, and the transcript shows it: mentions, the operator's settings,
        # remarks on this prompt, memory beside mentioned files, and the memory files last.
        files = list(mentioned(context, text, seen_files))
        yield from files
        if "instructions" not in shown_before:
            yield from self._standing()
        if re.search(r"\bultrathink\b", said(self.content), re.IGNORECASE) and isinstance(self.content, str):
            yield _system("ultrathink_effort", ULTRATHINK)
        for file in files:
            if file["type"] == "file":
                for found in nested(file["filename"], context, seen_files):
                    yield {
                        "type": "nested_memory",
                        "path": found.path,
                        "displayPath": os.path.relpath(found.path, context.cwd),
                        "rendered": [{"content": reminder(f"Contents of {found.path}:\n\n{found.text}")}],
                    }
        if context.output_style != "default":
            yield _system("output_style", _style_note(context.output_style), style=context.output_style)
        if self._unknown and not context.bare:
            yield self._unknown_command()
        instructions = [] if "instructions" in shown_before else memory(context)
        if instructions:
            listed_files = [
                {"path": file.path, "type": file.source.capitalize(), "content": file.text}
                for file in instructions
            ]
            yield {
                "type": "instructions",
                "files": listed_files,
                "rendered": [{"content": shown(instructions)}],
            }
        # Last, since two of the blocks above ask for it.
        shown_before.add("instructions")

    def _standing(self) -> Iterator[Message]:
        """Yield what follows from the operator's settings, once in a conversation."""
        context = self.context
        style = _style(context)
        if style is not None:
            yield _system("output_style_instructions", f"# Output Style: {context.output_style}\n{style}")
        if context.language is not None:
            yield language_note(context.language)
        listed = [f"- {name}: {about} (Tools: All tools)" for name, about in agents(context)]
        if listed:
            yield _system("agent_listing_delta", "\n".join(listed))
        listed = [
            f"- {command.name}: {command.description}" for command in self._listed if command.description
        ]
        if listed:
            yield _system("skill_listing", "\n".join(listed))

    def _unknown_command(self) -> Message:
        names = [command.name for command in self._listed]
        names += [name for name in LISTED if self.context.has_commands]
        text = (
            f"The user's message starts with the slash command /{self._unknown}, but no command with that name is"
            " available in this session, so it did not run. "
        )
        if names:
            text += f"Slash commands available in this session: {', '.join('/' + name for name in names)}, and more."
        else:
            text += "No slash commands are available in this session."
        text += (
            " Treat the message as a plain request and do the task with the tools you have. If the task needs that"
            " command, tell the user it is not installed in this session. The user can add it as an organization plugin"
            " or a project skill. Do not give installation steps you are not sure of. Do not say the command ran."
        )
        return {
            "type": "unknown_command_fallback",
            "commandName": self._unknown,
            "availableCommandNames": names,
            "rendered": [{"content": reminder(text)}],
        }


def _system(kind: str, text: str, **members: object) -> Message:
    return {"type": kind, **members, "rendered": [{"content": reminder(text)}], "renderedRole": "system"}


def language_note(name: str) -> Message:
    """Return the instruction for a language that settings name."""
    text = (
        f"# Language\nAlways respond in {name}. Use {name} for all explanations, comments, and communications with the"
        " user. Technical terms and code identifiers should remain in their original form.\nMaintain full orthographic"
        f" correctness for {name}, including all required diacritical marks, accents, and special characters. Never"
        ' substitute accented characters with their ASCII equivalents (e.g., never write "nao" for "não", "fur" for'
        ' "für", or "loeschen" for "löschen").'
    )
    return _system("language", text, language=name)


def _style_note(name: str) -> str:
    if name == "Concise":
        return (
            "Concise output style is active. Be concise: lead with the result, skip preamble and narration,"
            " keep only what the user needs."
        )
    return f"{name} output style is active. Remember to follow the specific guidelines for this style."


def _style(context: Context) -> str | None:
    """Return the text of the output style in force; the CLI's own have a placeholder."""
    if context.output_style == "default":
        return None
    if context.output_style in STYLES:
        return f"[the CLI's own text of the style {context.output_style}]"
    for folder in (context.config_dir, os.path.join(context.cwd, ".claude")):
        place = os.path.join(folder, "output-styles")
        for name in sorted(os.listdir(place)) if os.path.isdir(place) else ():
            style = Command(name.removesuffix(".md"), os.path.join(place, name))
            if style.members.get("name", style.name) == context.output_style:
                return style.text.strip()
    return None
