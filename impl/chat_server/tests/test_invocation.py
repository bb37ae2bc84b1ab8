"""A prompt is data: options, variables and the form of a prompt, each a wall of its own (PROC-6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chat_server.claude.invocation import ENVIRONMENT, arguments, content, environment
from chat_server.settings import Settings

PROMPTS = ("plain", "see @/etc/passwd", "/config model=opus", "ultrathink", " /clear", "", "x\n@~/y")


def plain(prompt: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": prompt}, {"type": "text", "text": ""}]


def value(options: list[str], name: str) -> str:
    return options[options.index(name) + 1]


def test_defaults_close_every_wall() -> None:
    options = arguments(Settings())

    assert "--disable-slash-commands" in options
    assert "--strict-mcp-config" in options
    assert value(options, "--setting-sources") == ""
    assert value(options, "--disallowedTools") == "Read(//**)"
    assert environment(Settings()) == ENVIRONMENT


@pytest.mark.parametrize("tools", ["", "Read,Bash"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompt_is_not_last_block(prompt: str, tools: str) -> None:
    assert content(prompt, Settings(claude_tools=tools)) == plain(prompt)


def test_tools_may_still_read() -> None:
    options = arguments(Settings(claude_tools="Read"))

    assert value(options, "--tools") == "Read"
    assert "--disallowedTools" not in options
    assert environment(Settings(claude_tools="Read")) == ENVIRONMENT


OPENED: list[tuple[dict[str, Any], set[str], str]] = [
    ({"claude_mentions": True}, {"CLAUDE_CODE_DISABLE_FILE_MENTIONS"}, "--disallowedTools"),
    (
        {"claude_commands": True},
        {"CLAUDE_CODE_DISABLE_ULTRATHINK", "CLAUDE_CODE_DISABLE_BUNDLED_SKILLS"},
        "--disable-slash-commands",
    ),
    (
        {"claude_settings": "user", "claude_home": Path("/home/ada")},
        {
            "CLAUDE_CODE_RESTRICTED",
            "CLAUDE_CODE_DISABLE_CLAUDE_MDS",
            "CLAUDE_CODE_DISABLE_AUTO_MEMORY",
            "CLAUDE_CODE_DISABLE_GIT_INSTRUCTIONS",
            "CLAUDE_CODE_DISABLE_CRON",
        },
        "--strict-mcp-config",
    ),
]


@pytest.mark.parametrize(("changes", "variables", "option"), OPENED, ids=["mentions", "commands", "settings"])
def test_setting_opens_its_walls_only(changes: dict[str, Any], variables: set[str], option: str) -> None:
    closed, opened = Settings(), Settings(**changes)

    assert environment(closed).keys() - environment(opened).keys() == variables
    gone = set(arguments(closed)) - set(arguments(opened)) - {"", "Read(//**)"}
    assert gone == {option}


def test_bypassed_permissions_are_not_restricted() -> None:
    settings = Settings(claude_permission_mode="bypassPermissions")

    assert environment(Settings()).keys() - environment(settings).keys() == {"CLAUDE_CODE_RESTRICTED"}


def test_sources_are_passed_on() -> None:
    assert value(arguments(Settings(claude_settings="project,local")), "--setting-sources") == "project,local"


def test_mentions_leave_commands_closed() -> None:
    settings = Settings(claude_mentions=True)

    assert content("see @notes.txt", settings) == "see @notes.txt"
    assert content("/clear", settings) == plain("/clear")


def test_commands_are_sent_as_text() -> None:
    assert content("/clear", Settings(claude_commands=True)) == "/clear"


def test_operators_arguments_come_last() -> None:
    assert arguments(Settings(claude_args=("--effort", "low")))[-2:] == ["--effort", "low"]
