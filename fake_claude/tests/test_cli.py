from __future__ import annotations

import asyncio
import json
import signal

import pytest

from fake_claude.tests.conftest import ONE_SHOT, PATIENCE, PERSISTENT, Fake, control, user
from fake_claude.tests.talk import gone

SID = "11111111-2222-4333-8444-55555555aaaa"


async def test_default_answer_quotes_the_prompt_and_counts_turns(fake: Fake) -> None:
    first = await fake.run("-p", "--session-id", SID, "hello")
    second = await fake.run("-p", "--resume", SID, "again")

    assert first.out == 'You said: "hello". This is turn 1 of our conversation.\n'
    assert second.out == 'You said: "again". This is turn 2 of our conversation.\n'


async def test_a_turn_has_the_lines_of_the_cli_in_their_order(fake: Fake) -> None:
    done = await fake.say("[[fake tokens=2]]")

    assert done.kinds == [
        "init",
        "status",
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "assistant",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "success",
    ]
    assert done.text == done.result["result"] == "t1 t2 "
    assert done.code == 0


async def test_init_comes_with_every_turn_and_never_before_a_message(fake: Fake) -> None:
    quiet = await fake.run(*PERSISTENT)
    done = await fake.run(*PERSISTENT, stdin=user("one") + user("two"))

    assert (quiet.out, quiet.code) == ("", 0)
    assert done.kinds.count("init") == done.kinds.count("success") == 2


async def test_messages_that_wait_are_merged_into_one_turn(fake: Fake) -> None:
    done = await fake.run(*PERSISTENT, stdin=user("one") + user("two") + user("three"))

    results = [message["result"] for message in done.messages if message["type"] == "result"]
    assert results[1] == 'You said: "two\nthree". This is turn 2 of our conversation.'


async def test_interrupt_at_a_gate_keeps_the_partial_answer(fake: Fake) -> None:
    with fake.gate("g") as gate:
        process = await fake.start(*PERSISTENT)
        assert process.stdin is not None
        process.stdin.write(user("[[fake tokens=5 hold=g@2]]").encode())
        async with asyncio.timeout(PATIENCE):
            await gate.reached()
            out, _ = await process.communicate(control("interrupt").encode())

    messages = [json.loads(line) for line in out.decode().splitlines()]
    aborted = next(message for message in messages if message.get("aborted"))
    assert aborted["message"]["content"] == [{"type": "text", "text": "t1 t2 "}]
    assert messages[-1]["subtype"] == "error_during_execution"
    assert process.returncode == 1


async def test_gate_lets_the_answer_go_on(fake: Fake) -> None:
    with fake.gate("g") as gate:
        gate.open()
        done = await fake.say("[[fake tokens=3 hold=g@1]]")

    assert done.result["result"] == "t1 t2 t3 "


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
)
async def test_signal_while_answering_ends_with_its_exit_code(
    fake: Fake, number: signal.Signals, code: int
) -> None:
    with fake.gate("g") as gate:
        process = await fake.start(*ONE_SHOT, "[[fake tokens=5 hold=g@2]]")
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(PATIENCE):
            await gate.reached()
            process.send_signal(number)
            out, _ = await process.communicate()

    assert process.returncode == code
    assert (b'"type":"result"' in out) == (number == signal.SIGINT)
    (run,) = fake.runs
    assert run.signals == ([] if number == signal.SIGKILL else [number.name])
    assert run.exit_code == (None if number == signal.SIGKILL else code)
    assert run.gone


async def test_exit_in_a_script_leaves_no_result(fake: Fake) -> None:
    done = await fake.say("[[fake tokens=2 exit=3]]")

    assert done.code == 3
    assert done.text == "t1 t2 "
    assert "success" not in done.kinds


async def test_stderr_in_a_script_is_drained_beside_the_answer(fake: Fake) -> None:
    done = await fake.say("[[fake stderr=200000 say=done]]")

    assert len(done.err) == 200_000
    assert done.result["result"] == "done"


async def test_a_wrong_inline_script_is_an_api_error_with_the_reason(fake: Fake) -> None:
    done = await fake.say("[[fake tokins=4]]")

    assert done.code == 1
    assert done.result["is_error"]
    assert "unknown key 'tokins'" in done.result["result"]
    assert "tokens" in done.result["result"]


async def test_a_bad_choice_is_refused_before_stdin_is_read(fake: Fake) -> None:
    process = await fake.start("-p", "--output-format", "xml", "x")
    _, err = await process.communicate()

    assert process.returncode == 1
    assert b"Allowed choices are text, json, stream-json." in err


async def test_transcript_lies_where_the_cli_keeps_it(fake: Fake) -> None:
    await fake.run("-p", "--session-id", SID, "hello")

    name = str(fake.cwd.resolve()).translate({ord(c): "-" for c in "/._"})
    path = fake.home / ".claude" / "projects" / name / f"{SID}.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    types = [json.loads(line)["type"] for line in path.read_text().splitlines()]
    assert [t for t in types if t in ("user", "assistant")] == ["user", "assistant"]


async def test_unwritable_home_is_passed_over(fake: Fake) -> None:
    (fake.home / ".claude").write_text("in the way")

    done = await fake.say("hello")

    assert done.code == 0
    assert done.err == ""


async def test_bash_runs_in_a_session_of_its_own_and_dies_with_term(fake: Fake) -> None:
    fake.script('[[turn]]\nsteps = [{ tool = "Bash", input = { command = "echo $$ > pid; cat fifo" } }]\n')
    pid_file, fifo = fake.cwd / "pid", fake.cwd / "fifo"
    import os

    os.mkfifo(fifo)
    process = await fake.start(*ONE_SHOT, "--allowedTools", "Bash", "--", "go")
    assert process.stdin is not None
    process.stdin.close()
    async with asyncio.timeout(PATIENCE):
        fd = await asyncio.to_thread(os.open, fifo, os.O_WRONLY)  # opens when the command reads
        pid = int(await asyncio.to_thread(pid_file.read_text))
        session = os.getsid(pid)
        process.terminate()
        await process.communicate()
        await gone(pid)
    os.close(fd)

    assert session == pid
    assert process.returncode == 143


async def test_a_reader_that_goes_away_changes_nothing(fake: Fake) -> None:
    with fake.gate("g") as gate:
        process = await fake.start(*ONE_SHOT, "[[fake tokens=20000 hold=g@2]]")
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(PATIENCE):
            await gate.reached()
            process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
            gate.open()
            await process.wait()

    assert process.returncode == 0


async def test_can_use_tool_is_asked_and_obeyed(fake: Fake) -> None:
    fake.script(
        '[[turn]]\nsteps = [{ tool = "Bash", input = { command = "touch made" } }, { text = "Over." }]\n'
    )
    process = await fake.start(*PERSISTENT, "--permission-prompt-tool", "stdio")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(user("go").encode())
    async with asyncio.timeout(PATIENCE):
        while (line := json.loads(await process.stdout.readline()))["type"] != "control_request":
            pass
        response = {"behavior": "allow", "updatedInput": {"command": "touch changed"}}
        answer = {"subtype": "success", "request_id": line["request_id"], "response": response}
        out, _ = await process.communicate(
            (json.dumps({"type": "control_response", "response": answer}) + "\n").encode()
        )

    assert b'"result":"Over."' in out
    assert (fake.cwd / "changed").exists()
    assert not (fake.cwd / "made").exists()
