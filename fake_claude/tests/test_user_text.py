"""What the CLI does with user text before the model sees it: mentions, settings, and what the ledger tells of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fake_claude.mentions import mentions

from .conftest import JSON_ONLY, Fake


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


@pytest.mark.parametrize("name", ["CLAUDE_CODE_DISABLE_FILE_MENTIONS", "CLAUDE_CODE_DISABLE_ATTACHMENTS"])
async def test_variable_turns_mentions_off(fake: Fake, name: str) -> None:
    (fake.cwd / "note.txt").write_text("one")

    await fake.say("see @note.txt", **{name: "1"})

    assert sent(fake) == ["see @note.txt"]
    assert fake.runs[-1].read == []


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


async def test_environment_is_told_by_name(fake: Fake) -> None:
    await fake.say("x", SECRET_OF_TEST="not told")

    start: dict[str, Any] = fake.runs[-1].events[0]
    assert "SECRET_OF_TEST" in fake.runs[-1].environment
    assert "not told" not in json.dumps(start)
