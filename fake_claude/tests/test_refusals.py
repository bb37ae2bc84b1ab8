"""What the CLI refuses, in its own words (docs/claude-cli.md, starting)."""

from __future__ import annotations

import os

import pytest

from fake_claude.tests.conftest import Fake

NO_PROMPT = "Error: Input must be provided either through stdin or as a prompt argument when using --print\n"
ONLY_SPACE = (
    "Error: Input contained only whitespace. Provide a prompt with text through stdin or as a prompt argument when"
    " using --print\n"
)
FORMATS = "Allowed choices are text, json, stream-json."
REPLAY = "Error: --replay-user-messages requires both --input-format=stream-json and --output-format=stream-json.\n"
PARTIAL = "Error: --include-partial-messages requires --print and --output-format=stream-json.\n"
STREAM = ["--output-format", "stream-json", "--verbose"]


def swallowed(word: str, option: str) -> str:
    return f'"{word}" was read as a value of {option}, not as a prompt · put a prompt before {option} or after --\n'


REFUSED = [
    pytest.param(
        ["--no-such-flag", "hello"], "error: unknown option '--no-such-flag'\n", id="unknown-option"
    ),
    pytest.param(
        ["--output-fromat", "json", "hi"],
        "error: unknown option '--output-fromat'\n(Did you mean --output-format?)\n",
        id="misspelt-option",
    ),
    pytest.param(
        ["--output-format", "xml", "hello"],
        f"error: option '--output-format <format>' argument 'xml' is invalid. {FORMATS}\n",
        id="bad-choice",
    ),
    pytest.param(
        ["--output-format=xml", "hello"],
        f"error: option '--output-format <format>' argument 'xml' is invalid. {FORMATS}\n",
        id="bad-choice-with-equals",
    ),
    pytest.param(
        ["--permission-mode", "nonsense", "hi"],
        "error: option '--permission-mode <mode>' argument 'nonsense' is invalid."
        " Allowed choices are acceptEdits, auto, bypassPermissions, manual, dontAsk, plan.\n",
        id="bad-mode",
    ),
    pytest.param(
        ["--max-turns=abc", "hi"],
        "error: option '--max-turns <turns>' argument 'abc' is invalid. must be a number\n",
        id="bad-number",
    ),
    pytest.param(
        ["hi", "--output-format"],
        "error: option '--output-format <format>' argument missing\n",
        id="value-missing",
    ),
    pytest.param(
        ["hi", "--output-format", "stream-json"],
        "Error: When using --print, --output-format=stream-json requires --verbose\n",
        id="stream-json-without-verbose",
    ),
    pytest.param(["hi", "--include-partial-messages"], PARTIAL, id="partial-without-stream-json"),
    pytest.param(
        ["hi", "--include-partial-messages", "--output-format", "json"], PARTIAL, id="partial-with-json"
    ),
    pytest.param(
        ["--input-format", "stream-json"],
        "Error: --input-format=stream-json requires output-format=stream-json.\n",
        id="stream-input-with-text-output",
    ),
    pytest.param([*STREAM, "--replay-user-messages", "hi"], REPLAY, id="replay-without-stream-input"),
    pytest.param([], NO_PROMPT, id="no-prompt"),
    pytest.param([""], NO_PROMPT, id="empty-prompt"),
    pytest.param([*STREAM, "   \n "], ONLY_SPACE, id="space-prompt"),
    pytest.param(
        ["--output-format", "json", "--allowedTools", "Read", "ECHO hi"],
        swallowed("ECHO hi", "--allowedTools") + NO_PROMPT,
        id="prompt-swallowed-by-allowed-tools",
    ),
    pytest.param(
        [*STREAM, "--tools", "", "ECHO x"],
        swallowed("ECHO x", "--tools") + NO_PROMPT,
        id="prompt-swallowed-by-tools",
    ),
    pytest.param(["-hello dash"], "error: unknown option '-hello dash'\n", id="prompt-beginning-with-a-dash"),
    pytest.param(
        ["--session-id", "my-session", "hi"],
        "Error: Invalid session ID. Must be a valid UUID.\n",
        id="session-id-that-is-no-uuid",
    ),
    pytest.param(
        ["--mcp-config", "/no/such/file", "--", "hi"],
        "Error: Invalid MCP configuration:\nMCP config file not found: /no/such/file\n",
        id="mcp-configuration-that-is-not-there",
    ),
]


@pytest.mark.parametrize(("argv", "text"), REFUSED)
async def test_refusal_is_on_stderr_only(fake: Fake, argv: list[str], text: str) -> None:
    done = await fake.run("-p", *argv)

    assert (done.err, done.out, done.code) == (text, "", 1)


async def test_whitespace_on_stdin_is_no_prompt(fake: Fake) -> None:
    done = await fake.run("-p", stdin=" \n\t\n")

    assert (done.err, done.out, done.code) == (ONLY_SPACE, "", 1)


async def test_more_than_10_megabytes_on_stdin_are_refused(fake: Fake) -> None:
    done = await fake.run("-p", stdin="a" * 11_000_000)

    assert done.err == (
        "Error: piped stdin input exceeds 10MB. Pass large content as a file path in your prompt instead.\n"
    )
    assert (done.out, done.code) == ("", 1)


BYPASSES = [
    pytest.param(["--dangerously-skip-permissions"], id="flag"),
    pytest.param(["--permission-mode", "bypassPermissions"], id="mode"),
]
ROOT = "--dangerously-skip-permissions cannot be used with root/sudo privileges for security reasons\n"


@pytest.mark.parametrize("argv", BYPASSES)
async def test_root_may_not_bypass_permissions(fake: Fake, argv: list[str]) -> None:
    done = await fake.run("-p", *argv, "hi")

    refused = (ROOT, "", 1) if os.geteuid() == 0 else ("", done.out, 0)  # anybody else may
    assert (done.err, done.out, done.code) == refused


async def test_root_in_a_sandbox_may_bypass_permissions(fake: Fake) -> None:
    done = await fake.run("-p", "--dangerously-skip-permissions", "hi", IS_SANDBOX="1")

    assert (done.err, done.code) == ("", 0)


async def test_broken_configuration_stops_every_start(fake: Fake) -> None:
    path = fake.home / ".claude.json"
    path.write_text("{broken")

    done = await fake.run("-p", "hi")

    assert (done.out, done.code) == ("", 1)
    assert done.err.startswith(
        f"\nClaude configuration file at {path} is corrupted: JSON Parse error: Expected '}}'\n"
    )


async def test_broken_settings_stop_nothing(fake: Fake) -> None:
    (fake.home / ".claude").mkdir()
    (fake.home / ".claude" / "settings.json").write_text("{broken")

    done = await fake.run("-p", "hi")

    assert (done.err, done.code) == ("", 0)


async def test_first_of_two_mistakes_is_reported(fake: Fake) -> None:
    done = await fake.run("-p", "--output-format", "xml", "--no-such-flag")

    assert done.err.count("\n") == 1


# Forms of options.

ECHO = "[[turn]]\nsteps = [{ text = '''{prompt}''' }]\n"


async def test_version_is_one_line(fake: Fake) -> None:
    for flag in ("--version", "-v"):
        done = await fake.run(flag)

        assert (done.out, done.err, done.code) == ("2.1.330 (Claude Code)\n", "", 0)


SAID = [
    pytest.param(["-p", "--output-format=text", "hi"], "hi\n", id="value-after-equals"),
    pytest.param(
        ["-p", "--output-format", "json", "--output-format", "text", "hi"], "hi\n", id="last-of-two-wins"
    ),
    pytest.param(["-p", "--", "x", "--output-format", "json"], "x\n", id="nothing-is-an-option-after-dashes"),
    pytest.param(["-p", "--", "-x dash"], "-x dash\n", id="dash-prompt-after-dashes"),
    pytest.param(["-p", "first", "second"], "first\n", id="second-word-is-dropped"),
    pytest.param(["-p", "--allowedTools", "Read", "Bash", "--", "hi"], "hi\n", id="dashes-end-a-list"),
    pytest.param(["--allowedTools", "Read", "Bash", "-p", "hi"], "hi\n", id="an-option-ends-a-list"),
    pytest.param(["-p", "--tools", "", "--", "hi"], "hi\n", id="empty-list-of-tools"),
    pytest.param(["-p", "doctor"], "doctor\n", id="name-of-a-command"),
    pytest.param(["hi"], "hi\n", id="print-mode-without-a-terminal"),
    pytest.param(["-p", "--max-turns=0", "hi"], "hi\n", id="no-limit-of-turns"),
    pytest.param(["-p", "--permission-mode", "default", "hi"], "hi\n", id="mode-that-is-not-listed"),
    pytest.param(["-p", "ünï 🙂 \u2028 \x01"], "ünï 🙂 \u2028 \x01\n", id="any-characters"),
    pytest.param(["-p", "!ls"], "!ls\n", id="exclamation-mark"),
    pytest.param(["-p", "/usr/bin is a folder"], "/usr/bin is a folder\n", id="path-is-no-command"),
]


@pytest.mark.parametrize(("argv", "text"), SAID)
async def test_prompt_is_what_is_left_of_the_arguments(fake: Fake, argv: list[str], text: str) -> None:
    fake.script(ECHO)

    done = await fake.run(*argv)

    assert (done.out, done.err, done.code) == (text, "", 0)


PIPED = [
    pytest.param([], "from stdin\n", "from stdin\n\n", id="alone-with-its-newline"),
    pytest.param(["argument"], "from stdin\n", "argument\nfrom stdin\n\n", id="after-the-argument"),
    pytest.param(["-"], "piped", "-\npiped\n", id="a-dash-is-a-prompt"),
    pytest.param([], "a\x00b", "a\x00b\n", id="nul"),
]


@pytest.mark.parametrize(("argv", "stdin", "text"), PIPED)
async def test_stdin_belongs_to_the_prompt(fake: Fake, argv: list[str], stdin: str, text: str) -> None:
    fake.script(ECHO)

    assert (await fake.run("-p", *argv, stdin=stdin)).out == text


async def test_invalid_utf8_on_stdin_is_replaced_byte_by_byte(fake: Fake) -> None:
    fake.script(ECHO)

    process = await fake.start("-p")
    out, _ = await process.communicate(b"a\xff\xfeb")

    assert out.decode() == "a��b\n"


async def test_silent_stdin_is_given_up_with_a_warning(fake: Fake) -> None:
    process = await fake.start("-p", "hi")
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = await process.stdout.read(), await process.stderr.read()

    assert out.decode() == 'You said: "hi". This is turn 1 of our conversation.\n'
    assert err.decode() == (
        "Warning: no stdin data received in 3s, proceeding without it. If piping from a slow command, redirect stdin"
        " explicitly: < /dev/null to skip, or wait longer.\n"
    )
    assert await process.wait() == 0
