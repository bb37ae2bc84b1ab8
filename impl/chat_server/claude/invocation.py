"""How the CLI is started, and how a prompt is handed to it, so that a prompt is data (PROC-6).

In print mode, too, the CLI acts on a user's text before the model sees it: it attaches files and folders named after
``@``, runs commands that begin with ``/``, obeys the keyword ``ultrathink``, and reads the memory, settings, hooks,
commands and MCP servers of its user and of its working folder. A chat's users have no right to any of that.
docs/decisions/0012-a-prompt-is-data.md says which wall stops what.
"""

from __future__ import annotations

from collections.abc import Sequence

from chat_server.settings import Settings

Content = str | Sequence[dict[str, str]]
"""The content of a ``user`` message: a text, or a list of text blocks."""

ENVIRONMENT = {
    # No settings, memory, hooks, commands or MCP servers of user and folder; file tools and mentions stay in the
    # working folder; and no socket by which any process of the same user could send a prompt to this conversation.
    "CLAUDE_CODE_RESTRICTED": "1",
    "CLAUDE_CODE_DISABLE_FILE_MENTIONS": "1",  # no file or folder after @
    "CLAUDE_CODE_DISABLE_ULTRATHINK": "1",  # no keyword that changes the effort
    # No CLAUDE.md, of the user, the folder, or those above it.
    "CLAUDE_CODE_DISABLE_CLAUDE_MDS": "1",
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",  # no notes that the CLI keeps by itself
    "CLAUDE_CODE_DISABLE_BUNDLED_SKILLS": "1",  # none of the commands that are prompts
    # No user, status or commits of the working folder's repository.
    "CLAUDE_CODE_DISABLE_GIT_INSTRUCTIONS": "1",
    # No scheduled tasks of the working folder while the CLI waits for a prompt.
    "CLAUDE_CODE_DISABLE_CRON": "1",
}
"""Variables of the CLI (seen in 2.1.330 and 2.1.332) that switch off what acts on a prompt, or adds to it."""


def arguments(settings: Settings) -> list[str]:
    """The options of the CLI, after its path; a session's own are added to them."""
    return [
        *("-p", "--input-format", "stream-json", "--output-format", "stream-json"),
        *("--verbose", "--include-partial-messages"),  # PROC-2: stream-json needs --verbose
        *("--tools", settings.claude_tools),
        *(() if settings.claude_commands else ("--disable-slash-commands",)),
        *("--setting-sources", settings.claude_settings),
        *(() if settings.claude_settings else ("--strict-mcp-config",)),
        *(() if settings.claude_mentions or settings.claude_tools else ("--disallowedTools", "Read(//**)")),
        *(("--permission-mode", mode) if (mode := settings.claude_permission_mode) else ()),
        *(("--model", settings.claude_model) if settings.claude_model else ()),
        *settings.claude_args,
    ]


def environment(settings: Settings) -> dict[str, str]:
    """The variables that are set for the CLI, whatever the server's own environment has."""
    allowed = set()
    if settings.claude_mentions:
        allowed |= {"CLAUDE_CODE_DISABLE_FILE_MENTIONS"}
    if settings.claude_commands:
        allowed |= {"CLAUDE_CODE_DISABLE_ULTRATHINK", "CLAUDE_CODE_DISABLE_BUNDLED_SKILLS"}
    if settings.claude_settings or settings.claude_permission_mode == "bypassPermissions":
        allowed |= {"CLAUDE_CODE_RESTRICTED"}  # the CLI refuses to start with both
    if settings.claude_settings:
        allowed |= {
            "CLAUDE_CODE_DISABLE_CLAUDE_MDS",
            "CLAUDE_CODE_DISABLE_AUTO_MEMORY",
            "CLAUDE_CODE_DISABLE_GIT_INSTRUCTIONS",
            "CLAUDE_CODE_DISABLE_CRON",
        }
    return {name: value for name, value in ENVIRONMENT.items() if name not in allowed}


def content(prompt: str, settings: Settings) -> Content:
    """The content of the ``user`` message for a prompt.

    The CLI looks for commands, mentions and keywords in the last text block only, and leaves empty blocks out of the
    request. So an empty block after the prompt makes every prompt plain text, and the model gets it as it was typed.
    Without this wall a built-in command, ``/clear`` say, would be refused by the CLI instead of answered by the model.
    """
    acts = (
        settings.claude_commands
        if prompt.startswith("/")
        else settings.claude_mentions or settings.claude_commands
    )
    return prompt if acts else [{"type": "text", "text": prompt}, {"type": "text", "text": ""}]
