"""One process, many turns: stream-json on stdin (docs/claude-cli.md, persistent process)."""

from __future__ import annotations

import asyncio
import json
import os

import pytest

from fake_claude.tests.conftest import PERSISTENT, Fake, user
from fake_claude.tests.talk import talking

UUIDS = [f"aaaaaaaa-0000-4000-8000-00000000000{n}" for n in range(4)]
ECHO = "[[turn]]\nsteps = [{ text = '''{prompt}''' }]\n"


def answer(prompt: str, turn: int) -> str:
    return f'You said: "{prompt}". This is turn {turn} of our conversation.'


async def test_nothing_is_printed_before_the_first_message(fake: Fake) -> None:
    async with talking(fake) as talk:
        done = await talk.end()

    assert (done.out, done.err, done.code) == ("", "", 0)


async def test_every_turn_begins_with_init_and_ends_with_one_result(fake: Fake) -> None:
    async with talking(fake) as talk:
        for number in (1, 2, 3):
            await talk.say("hi")
            seen = await talk.until("success")

            assert [m.get("subtype") for m in seen[:2]] == ["init", "status"]
            assert seen[-1]["result"] == answer("hi", number)
            assert seen[-1]["result_index"] == number - 1
        done = await talk.end()

    assert (done.out, done.code) == ("", 0)
    assert len({message["session_id"] for message in talk.messages}) == 1


async def test_print_flag_is_not_needed(fake: Fake) -> None:
    done = await fake.run(*PERSISTENT[1:], stdin=user("hi"))

    assert done.result["result"] == answer("hi", 1)


async def test_end_of_input_lets_the_answer_finish(fake: Fake) -> None:
    with fake.gate("middle") as gate:
        async with talking(fake) as talk:
            await talk.say("[[fake tokens=4 hold=middle@2]]")
            talk.stdin.write_eof()
            await gate.reached()
            gate.open()
            done = await talk.end()

    assert (done.result["result"], done.code) == ("t1 t2 t3 t4 ", 0)


async def test_last_line_needs_no_newline(fake: Fake) -> None:
    done = await fake.run(*PERSISTENT, stdin=user("hi").rstrip("\n"))

    assert done.result["result"] == answer("hi", 1)


async def test_prompt_argument_is_ignored(fake: Fake) -> None:
    done = await fake.run(*PERSISTENT, "not this", stdin=user("this"))

    assert [m["result"] for m in done.messages if m["type"] == "result"] == [answer("this", 1)]


HARMLESS = [
    pytest.param("\n\n  \n", id="blank-lines"),
    pytest.param('{"type":"nonsense","x":1}\n', id="unknown-type"),
    pytest.param('{"type":"keep_alive"}\n', id="keep-alive"),
    pytest.param('"hello"\n', id="string"),
    pytest.param("[1, 2]\n", id="array"),
    pytest.param("7\n", id="number"),
    pytest.param('{"type":"control_response","response":{"request_id":"x"}}\n', id="stray-answer"),
    pytest.param(user(5), id="content-that-is-a-number"),
]


@pytest.mark.parametrize("line", HARMLESS)
async def test_harmless_line_is_passed_over(fake: Fake, line: str) -> None:
    done = await fake.run(*PERSISTENT, stdin=line + user("after"))

    assert [m["result"] for m in done.messages if m["type"] == "result"] == [answer("after", 1)]
    assert (done.err, done.code) == ("", 0)


DEADLY = [
    pytest.param(
        "{this is not json\n",
        "Error parsing streaming input line (type=unknown, 17 chars): SyntaxError\n",
        id="not-json",
    ),
    pytest.param(
        "not json at all\n",
        "Error parsing streaming input line (type=unknown, 15 chars): SyntaxError\n",
        id="words",
    ),
    pytest.param(
        '{"type":"user","message":{"role":"assistant","content":"hello"}}\n',
        "Error: Expected message role 'user', got 'assistant'\n",
        id="other-role",
    ),
    pytest.param(
        '{"type":"user"}\n', "Error: Expected message role 'user', got 'undefined'\n", id="no-message"
    ),
    pytest.param(
        '{"type":"control_request","request_id":"v"}\n',
        "Error: Missing request on control_request\n",
        id="control-request-without-request",
    ),
]


@pytest.mark.parametrize(("line", "text"), DEADLY)
async def test_broken_line_ends_the_process_and_the_running_answer(fake: Fake, line: str, text: str) -> None:
    with fake.gate("middle") as gate:
        async with talking(fake) as talk:
            await talk.say("[[fake tokens=4 hold=middle@2]]")
            await gate.reached()
            await talk.send(line)
            done = await talk.end()

    assert (done.err, done.code) == (text, 1)
    assert '"type":"result"' not in done.out


async def test_lines_may_be_cut_anywhere_and_end_in_crlf(fake: Fake) -> None:
    line = user("ünï 🙂").replace("\n", "\r\n").encode()
    raw = json.dumps({"type": "user", "message": {"role": "user", "content": "ü🙂"}}, ensure_ascii=False)

    async with talking(fake) as talk:
        for data in (line, raw.encode() + b"\n"):
            for byte in data:
                talk.stdin.write(bytes([byte]))
                await talk.stdin.drain()
            assert '🙂". This' in (await talk.result())["result"]


async def test_line_separators_inside_a_line_are_text(fake: Fake) -> None:
    fake.script(ECHO)
    message = {"type": "user", "message": {"role": "user", "content": "a\u2028b\u0085c"}}

    done = await fake.run(*PERSISTENT, stdin=json.dumps(message, ensure_ascii=False) + "\n")

    assert done.result["result"] == "a\u2028b\u0085c"
    assert "a\u2028b\u0085c" in done.out.split("\n")[-2]  # unescaped on the way out, too


async def test_all_text_blocks_are_said(fake: Fake) -> None:
    blocks = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]

    done = await fake.run(*PERSISTENT, stdin=user(blocks))

    assert done.code == 0
    assert done.result["usage"]["input_tokens"] == 2  # a word is a token


async def test_image_does_not_hinder_the_answer(fake: Fake) -> None:
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": pixel}}

    done = await fake.run(*PERSISTENT, stdin=user([{"type": "text", "text": "look"}, image]))

    assert done.result["result"] == answer("look", 1)


@pytest.mark.parametrize("content", ["", []], ids=["string", "list"])
async def test_empty_content_is_a_turn_all_the_same(fake: Fake, content: object) -> None:
    done = await fake.run(*PERSISTENT, stdin=user(content))

    assert (done.result["subtype"], done.result["is_error"], done.code) == ("success", False, 0)


async def test_foreign_session_id_is_ignored(fake: Fake) -> None:
    done = await fake.run(*PERSISTENT, stdin=user("hi", session_id=UUIDS[0]))

    assert done.result["session_id"] != UUIDS[0]


async def test_line_of_a_megabyte_is_read_whole(fake: Fake) -> None:
    fake.script(ECHO)
    prompt = "word " * 200_000

    done = await fake.run(*PERSISTENT, stdin=user(prompt))

    assert done.result["result"] == prompt


# Messages that come while an answer runs.


async def test_waiting_messages_become_one_turn(fake: Fake) -> None:
    fake.script(
        "[[turn]]\nmatch = 'first'\nsteps = [{ text = 'a ' }, { hold = 'middle' }, { text = 'b' }]\n" + ECHO
    )
    with fake.gate("middle") as gate:
        async with talking(fake) as talk:
            await talk.say("first")
            await gate.reached()
            await talk.send(user("two"), user("three"))
            await talk.ask("mcp_status")  # answered, so the two were read
            gate.open()
            first, second = await talk.result(), await talk.result()
            done = await talk.end()

    assert (first["result"], second["result"]) == ("a b", "two\nthree")
    assert done.out == ""


async def test_first_of_several_messages_starts_alone(fake: Fake) -> None:
    fake.script(ECHO)

    done = await fake.run(*PERSISTENT, stdin=user("one") + user("two") + user("three"))

    assert [m["result"] for m in done.messages if m["type"] == "result"] == ["one", "two\nthree"]


async def test_uuid_seen_before_is_dropped(fake: Fake) -> None:
    async with talking(fake) as talk:
        await talk.say("one", uuid=UUIDS[1])
        await talk.result()
        await talk.send(user("one", uuid=UUIDS[1]), user("two", uuid=UUIDS[2]))
        second = await talk.result()
        await talk.end()

    assert second["result"] == answer("two", 2)


async def test_message_with_a_uuid_has_states(fake: Fake) -> None:
    done = await fake.run(*PERSISTENT, stdin=user("hi", uuid=UUIDS[1]))

    printed = [(m["command_uuid"], m["state"]) for m in done.messages if m["type"] == "command_lifecycle"]
    assert printed == [(UUIDS[1], state) for state in ("queued", "started", "completed")]


async def test_message_without_a_uuid_has_no_states(fake: Fake) -> None:
    done = await fake.run(*PERSISTENT, stdin=user("hi"))

    assert "command_lifecycle" not in done.kinds


async def test_echo_comes_when_the_answer_begins(fake: Fake) -> None:
    done = await fake.run(*PERSISTENT, "--replay-user-messages", stdin=user("hi", uuid=UUIDS[1]))

    kinds = done.kinds
    assert kinds.index("user") == kinds.index("message_start") - 1
    echo = done.messages[kinds.index("user")]
    assert (echo["isReplay"], echo["uuid"], echo["message"]["content"]) == (True, UUIDS[1], "hi")


async def test_message_sent_while_a_tool_runs_belongs_to_the_running_turn(fake: Fake) -> None:
    fake.script(
        "[[turn]]\nsteps = [{ tool = 'Bash', input = { command = 'cat fifo' } }, { text = 'Read.' }]\n"
    )
    os.mkfifo(fake.cwd / "fifo")
    async with talking(fake, "--allowedTools", "Bash") as talk:
        await talk.say("go", uuid=UUIDS[1])
        await talk.until(lambda m: m["type"] == "assistant")
        await talk.say("also", uuid=UUIDS[2])
        await talk.until(lambda m: m.get("command_uuid") == UUIDS[2] and m["state"] == "queued")
        await asyncio.to_thread((fake.cwd / "fifo").write_bytes, b"slept\n")  # waits for the command to read
        result = await talk.result()
        done = await talk.end()

    assert result["result"] == "Read."
    assert [m["type"] for m in done.messages] == ["command_lifecycle"]
    assert done.messages[0]["command_uuid"] == UUIDS[1]


# What a failed turn leaves.


async def test_exit_code_is_that_of_the_last_result(fake: Fake) -> None:
    fake.script("[[turn]]\nmatch = 'bad$'\nsteps = [{ error = 403 }]\n" + ECHO)

    good = await fake.run(*PERSISTENT, stdin=user("bad") + user("good"))
    bad = await fake.run(*PERSISTENT, stdin=user("good") + user("bad"))

    assert [done.code for done in (good, bad)] == [0, 1]
    assert (good.err, bad.err) == ("", "")


async def test_failed_prompt_is_sent_again_with_the_next(fake: Fake) -> None:
    fake.script("[[turn]]\nmatch = 'bad$'\nsteps = [{ error = 403 }]\n" + ECHO)

    async with talking(fake) as talk:
        await talk.say("bad")
        failed = await talk.result()
        await talk.say("good")
        again = await talk.result()

    assert (failed["subtype"], failed["is_error"]) == ("success", True)
    assert failed["result"].startswith("Failed to authenticate. API Error: 403")
    assert again["usage"]["input_tokens"] == len(["bad", "good"])  # a word is a token


async def test_clear_begins_a_new_session(fake: Fake) -> None:
    async with talking(fake) as talk:
        await talk.say("one")
        before = (await talk.result())["session_id"]
        await talk.say("/clear")
        seen = await talk.until(lambda m: m["type"] == "result")
        await talk.say("two")
        after = await talk.result()

    assert [m["type"] for m in seen if m["type"] in ("conversation_reset", "result")] == [
        "conversation_reset",
        "result",
    ]
    assert (seen[-1]["result"], seen[-1]["num_turns"]) == ("", 0)
    assert after["session_id"] == seen[-1]["session_id"] != before
    assert after["result"] == answer("two", 1)
