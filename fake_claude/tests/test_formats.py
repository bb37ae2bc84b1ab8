"""The three output formats (docs/claude-cli.md, output formats and messages)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fake_claude.tests.conftest import Fake

JSON = ["-p", "--output-format", "json"]
STREAM = ["-p", "--output-format", "stream-json", "--verbose"]
TOOLS = "[[turn]]\nsteps = [{ tool = 'Bash', input = { command = 'touch made' } }, { text = 'Over.' }]\n"


async def test_text_is_the_last_answer_and_one_newline(fake: Fake) -> None:
    fake.script(
        "[[turn]]\nsteps = [{ text = 'First, ' }, { tool = 'Bash', input = { command = 'echo hi' } },"
        ' { text = "last.\\n" }]\n'
    )

    done = await fake.run("-p", "go")

    assert (done.out, done.err) == ("last.\n\n", "")


async def test_denial_is_invisible_in_text(fake: Fake) -> None:
    fake.script(TOOLS)

    done = await fake.run("-p", "go")

    assert (done.out, done.err, done.code) == ("Over.\n", "", 0)


ERRORS = [
    pytest.param(
        "{ error = 403, message = 'no' }", [], "Failed to authenticate. API Error: 403 no\n", id="api-error"
    ),
    pytest.param(
        "{ tool = 'Bash', input = { command = 'echo hi' } }",
        ["--max-turns", "1"],
        "Error: Reached max turns (1)\n",
        id="turn-limit",
    ),
]


@pytest.mark.parametrize(("step", "argv", "text"), ERRORS)
async def test_error_is_text_on_stdout(fake: Fake, step: str, argv: list[str], text: str) -> None:
    fake.script(f"[[turn]]\nloop = true\nsteps = [{step}]\n")

    done = await fake.run("-p", "go", *argv)

    assert (done.out, done.err, done.code) == (text, "", 1)


async def test_json_is_one_line_with_the_result(fake: Fake) -> None:
    done = await fake.run(*JSON, "hi")

    (line,) = done.out.removesuffix("\n").split("\n")
    result = json.loads(line)
    assert (result["type"], result["subtype"], result["num_turns"]) == ("result", "success", 1)


async def test_verbose_json_is_one_list_of_all_messages(fake: Fake) -> None:
    done = await fake.run(*JSON, "--verbose", "hi")

    (line,) = done.out.removesuffix("\n").split("\n")
    assert [message["type"] for message in json.loads(line)] == ["system", "assistant", "result"]


async def test_stream_json_is_unescaped_utf8(fake: Fake) -> None:
    done = await fake.run(*STREAM, "ünï 🙂")

    assert "ünï 🙂" in done.out
    assert "\\u" not in done.out


async def test_ids_are_fresh_and_the_session_is_one(fake: Fake) -> None:
    done = await fake.say("[[fake tokens=20]]")

    uuids = [message["uuid"] for message in done.messages]
    assert len(set(uuids)) == len(uuids)
    assert len({message["session_id"] for message in done.messages}) == 1


async def test_blocks_of_one_message_are_lines_of_their_own(fake: Fake) -> None:
    fake.script("[[turn]]\nsteps = [{ thinking = 'Hm.' }, { text = 'Yes.' }]\n")

    done = await fake.run(*STREAM, "go")

    printed = [message["message"] for message in done.messages if message["type"] == "assistant"]
    assert [len(message["content"]) for message in printed] == [1, 1]
    assert len({message["id"] for message in printed}) == 1


async def test_usage_of_a_turn_is_the_sum_of_its_calls(fake: Fake) -> None:
    fake.script(
        "[[turn]]\nusage = { input_tokens = 12, output_tokens = 9 }\n" + TOOLS.removeprefix("[[turn]]\n")
    )

    done = await fake.run(*STREAM, "go")

    usage = done.result["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], done.result["num_turns"]) == (24, 18, 2)


LIMITS: list[Any] = [
    pytest.param(
        ["--max-turns", "2"],
        "error_max_turns",
        "Reached maximum number of turns (2)",
        "max_turns",
        id="turns",
    ),
    pytest.param(
        ["--max-budget-usd", "0.0003"],
        "error_max_budget_usd",
        "Reached maximum budget ($0.0003)",
        "budget_exhausted",
        id="budget",
    ),
]


@pytest.mark.parametrize(("argv", "subtype", "text", "reason"), LIMITS)
async def test_limit_ends_the_turn_with_its_error(
    fake: Fake, argv: list[str], subtype: str, text: str, reason: str
) -> None:
    fake.script(
        "[[turn]]\nloop = true\nusage = { input_tokens = 12, output_tokens = 9 }\n"
        "steps = [{ tool = 'Bash', input = { command = 'echo hi' } }]\n"
    )

    done = await fake.run(*STREAM, *argv, "--", "go")

    result = done.result
    assert (result["subtype"], result["errors"], result["terminal_reason"]) == (subtype, [text], reason)
    assert ("result" in result, result["is_error"], done.code) == (False, True, 1)


async def test_slash_command_is_carried_out_without_the_model(fake: Fake) -> None:
    done = await fake.run(*STREAM, "/cost")

    (printed,) = [message for message in done.messages if message["type"] == "assistant"]
    assert printed["message"]["model"] == "<synthetic>"
    assert done.result["num_turns"] == 0
    assert "terminal_reason" not in done.result
    assert done.result["result"].startswith("Estimated cost:        $0.0000\n")


async def test_init_says_where_the_key_came_from(fake: Fake) -> None:
    sources = [
        (await fake.run(*STREAM, "hi", ANTHROPIC_API_KEY=key)).messages[0]["apiKeySource"]
        for key in ("sk-dummy", "")
    ]

    assert sources == ["ANTHROPIC_API_KEY", "none"]
