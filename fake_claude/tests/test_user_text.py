"""What the CLI does with user text before the model sees it: mentions, settings, and what the ledger says of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fake_claude.prompt.mentions import mentions
from fake_claude.tests.conftest import JSON_ONLY, PERSISTENT, Fake, user


def sent(fake: Fake) -> list[str]:
    """Return the texts of the newest run's last request."""
    return list(fake.runs[-1].requests[-1]["texts"])


async def test_mentioned_file_is_read(fake: Fake) -> None:
    (fake.cwd / "note.txt").write_text("one\ntwo\n")

    await fake.say("see @note.txt please")

    path = fake.cwd / "note.txt"
    called = json.dumps({"file_path": str(path)}, separators=(",", ":"))
    assert sent(fake) == [
        f"<system-reminder>\nCalled the Read tool with the following input: {called}\n</system-reminder>",
        "<system-reminder>\nResult of calling the Read tool:\n1\tone\n2\ttwo\n3\t\n</system-reminder>",
        "see @note.txt please",
    ]
    assert fake.runs[-1].read == [str(path)]


async def test_mentioned_folder_is_listed(fake: Fake) -> None:
    (fake.home / "secret").touch()

    await fake.say(f"list @{fake.home}/ now, and not @~/")

    assert sent(fake)[1] == "<system-reminder>\nResult of calling the Bash tool:\nsecret\n</system-reminder>"
    assert fake.runs[-1].read == [str(fake.home)]


async def test_variable_turns_attachments_off(fake: Fake) -> None:
    (fake.cwd / "note.txt").write_text("one")

    await fake.say("see @note.txt", CLAUDE_CODE_DISABLE_ATTACHMENTS="1")

    assert sent(fake) == ["see @note.txt"]
    assert fake.runs[-1].read == []


async def test_mentions_turned_off_reach_the_model(fake: Fake) -> None:
    (fake.cwd / "note.txt").write_text("planted")

    await fake.say("see @note.txt", CLAUDE_CODE_DISABLE_FILE_MENTIONS="1")

    prompt, remark = sent(fake)
    assert (prompt, remark[:33]) == ("see @note.txt", "The user @-mentioned note.txt. Fi")
    assert "planted" not in remark
    assert fake.runs[-1].read == []


async def test_rule_keeps_folder_from_being_listed(fake: Fake) -> None:
    (fake.cwd / "sub").mkdir()
    (fake.cwd / "sub" / "planted").touch()

    await fake.run(*JSON_ONLY, "--disallowedTools", "Read(./sub/**)", "--", "list @sub and @sub/planted")

    assert sent(fake) == ["list @sub and @sub/planted"]


async def test_memory_is_sent_once_and_noted(fake: Fake) -> None:
    (fake.cwd / "CLAUDE.md").write_text("Be kind. @more.md")
    (fake.cwd / "more.md").write_text("Be short.")

    await fake.run(*PERSISTENT, stdin=user("one") + user("two"))

    run = fake.runs[-1]
    texts = [text for request in run.requests for text in request["texts"]]
    assert sum("Be short." in text for text in texts) == 1
    assert run.read == [str(fake.cwd / "CLAUDE.md"), str(fake.cwd / "more.md")]


async def test_setting_sources_turn_memory_off(fake: Fake) -> None:
    (fake.cwd / "CLAUDE.md").write_text("Be kind.")

    await fake.run(*JSON_ONLY, "--setting-sources", "", "--", "x")

    assert sent(fake) == ["x"]


async def test_custom_command_becomes_its_text(fake: Fake) -> None:
    folder = fake.home / ".claude" / "commands"
    folder.mkdir(parents=True)
    (folder / "greet.md").write_text("---\nmodel: haiku\n---\nHello $ARGUMENTS!")

    done = await fake.run(*JSON_ONLY, "/greet Bob")

    assert sent(fake)[-1] == "Hello Bob!"
    assert fake.runs[-1].commands[0]["path"] == str(folder / "greet.md")
    assert "claude-haiku-5-5" in done.result["modelUsage"]


async def test_shell_in_command_does_not_run(fake: Fake) -> None:
    folder = fake.cwd / ".claude" / "commands"
    folder.mkdir(parents=True)
    (folder / "sh.md").write_text("Out: !`touch made`")

    done = await fake.run(*JSON_ONLY, "/sh")

    assert done.result["result"].startswith("fake-claude does not imitate")
    assert not (fake.cwd / "made").exists()


async def test_hook_runs_and_reaches_the_model(fake: Fake) -> None:
    settings = fake.home / ".claude" / "settings.json"
    settings.parent.mkdir()
    hook = {"hooks": [{"type": "command", "command": "echo planted; touch ran"}]}
    settings.write_text(json.dumps({"hooks": {"UserPromptSubmit": [hook], "PreCompact": [hook]}}))

    await fake.say("x")

    run = fake.runs[-1]
    assert sent(fake) == ["x", "UserPromptSubmit hook success: planted"]
    assert (fake.cwd / "ran").exists()
    assert [command["why"] for command in run.commands] == ["hook UserPromptSubmit"]
    assert [what["what"] for what in run.unimitated] == ["hook PreCompact"]
    assert run.configured == [str(settings)]


async def test_server_of_project_starts(fake: Fake) -> None:
    (fake.cwd / ".mcp.json").write_text('{"mcpServers":{"planted":{"command":"touch","args":["ran"]}}}')

    await fake.say("x")
    started = (fake.cwd / "ran").exists()
    (fake.cwd / "ran").unlink()
    await fake.say("x", "--strict-mcp-config")

    assert started
    assert not (fake.cwd / "ran").exists()


async def test_refusal_stands_in_ledger(fake: Fake) -> None:
    await fake.run("-p", "--brief", "x")

    assert [event["text"] for event in fake.runs[-1].events if event["event"] == "refusal"] == [
        "fake-claude does not imitate --brief: there is no SendUserMessage tool"
    ]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("see @a.txt, or @b/", ["a.txt", "b"]),
        ("x@a.txt (@b.txt)", []),
        ('@"a b.txt" @c', ["a b.txt", "c"]),
        ("。@a.txt\n@b.txt", ["a.txt", "b.txt"]),
        ("/etc/x @a.txt", []),
        ("/word @a.txt", ["a.txt"]),
        ("@a.txt @a.txt!", ["a.txt"]),
        ("@ a.txt @", []),
    ],
)
def test_paths_are_found(text: str, paths: list[str]) -> None:
    assert [mention.path for mention in mentions(text, before_332=True)] == paths


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("@a#L2", (2, 1)),
        ("@a#L2-4.", (2, 3)),
        ("@a#heading", (None, None)),
        ("@a#L2-L3", (None, None)),
        ("@a#7", (7, 1)),
    ],
)
def test_lines_are_found(text: str, lines: tuple[int | None, int | None]) -> None:
    (mention,) = mentions(text, before_332=False)

    assert (mention.path, mention.first, mention.count) == ("a", *lines)


async def test_config_writes_settings(fake: Fake) -> None:
    done = await fake.say("/config language=klingon theme=DARK")

    settings = json.loads((fake.home / ".claude" / "settings.json").read_text())
    assert settings == {"language": "Klingon", "theme": "dark"}
    assert done.result["result"] == "Set Language to Klingon\nSet Theme to dark"
    assert [(change["member"], change["value"]) for change in fake.runs[-1].settings] == [
        ("language", "Klingon"),
        ("theme", "dark"),
    ]
    assert fake.runs[-1].requests == []


async def test_config_keeps_other_members(fake: Fake) -> None:
    path = fake.home / ".claude" / "settings.json"
    path.parent.mkdir()
    path.write_text('{"permissions": {"allow": ["Bash"]}, "theme": "dark"}')

    await fake.say("/config permissionMode=plan")

    assert json.loads(path.read_text()) == {
        "permissions": {"allow": ["Bash"], "defaultMode": "plan"},
        "theme": "dark",
    }


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ("nonsense=1", "nonsense isn't a /config setting. Run /config to see what's available."),
        ("language", 'Expected key=value, got "language". Run /config to see what\'s available.'),
        ("verbose=maybe", 'Verbose output takes true or false, not "maybe".'),
        ("editor=ed", "Editor mode takes one of: normal, vim."),
    ],
)
async def test_wrong_config_writes_nothing(fake: Fake, arguments: str, answer: str) -> None:
    done = await fake.run(*JSON_ONLY, f"/config {arguments}")

    assert done.result["result"] == answer
    assert not (fake.home / ".claude" / "settings.json").exists()


async def test_config_does_not_run_without_slash_commands(fake: Fake) -> None:
    done = await fake.run(*JSON_ONLY, "--disable-slash-commands", "/config language=x")

    assert done.result["result"] == "/config isn't available in this environment."
    assert not (fake.home / ".claude" / "settings.json").exists()


async def test_environment_is_noted_by_name(fake: Fake) -> None:
    await fake.say("x", SECRET_OF_TEST="not noted")

    start: dict[str, Any] = fake.runs[-1].events[0]
    assert "SECRET_OF_TEST" in fake.runs[-1].environment
    assert "not noted" not in json.dumps(start)
