"""The control protocol between host and CLI (docs/claude-cli.md, control protocol)."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from fake_claude.tests.conftest import Fake, Message, control, kind, user
from fake_claude.tests.talk import Talk, talking

INITIALIZED = {
    "commands", "agents", "output_style", "available_output_styles", "models", "account", "pid",
    "claude_code_version", "current_permission_mode", "hook_on_failure_supported", "session_state", "capabilities",
}  # fmt: skip
NOTE = [{"type": "text", "text": "[Request interrupted by user]"}]
TOOL_NOTE = [{"type": "text", "text": "[Request interrupted by user for tool use]"}]


async def test_initialize_is_answered_before_any_message(fake: Fake) -> None:
    async with talking(fake) as talk:
        answer = await talk.ask("initialize", "req_1_abc", hooks=None)
        done = await talk.end()

    assert (answer["subtype"], answer["request_id"]) == ("success", "req_1_abc")
    assert set(answer["response"]) >= INITIALIZED
    assert answer["response"]["pid"] == talk.process.pid
    assert answer["response"]["claude_code_version"] == "2.1.330"
    assert answer["response"]["current_permission_mode"] == "default"
    assert [kind(message) for message in talk.messages] == ["control_response"]
    assert (done.out, done.code) == ("", 0)


async def test_initialize_may_come_after_a_turn(fake: Fake) -> None:
    async with talking(fake) as talk:
        await talk.say("hi")
        await talk.result()
        assert (await talk.ask("initialize"))["subtype"] == "success"
        await talk.say("again")
        assert "turn 2" in (await talk.result())["result"]


async def test_unknown_request_is_answered_and_harms_nothing(fake: Fake) -> None:
    async with talking(fake) as talk:
        answer = await talk.ask("no_such_thing", "u")
        await talk.say("hi")
        result = await talk.result()

    assert answer == {
        "subtype": "error",
        "request_id": "u",
        "error": "Unsupported control request subtype: no_such_thing",
        "error_code": "unsupported_request",
    }
    assert not result["is_error"]


@pytest.mark.parametrize("subtype", [["interrupt"], {}, 1, None])
async def test_subtype_may_be_anything(fake: Fake, subtype: Any) -> None:
    async with talking(fake) as talk:
        answer = await talk.ask(subtype, "u")
        await talk.say("hi")
        await talk.result()

    assert answer["error_code"] == "unsupported_request"


async def test_stopped_task_ends_alone(fake: Fake) -> None:
    call = "{ tool = 'Bash', input = { command = 'cat fifo', run_in_background = true } }"
    fake.script(f"[[turn]]\nmatch = 'go'\nsteps = [{call}]\n")
    os.mkfifo(fake.cwd / "fifo")
    async with talking(fake, "--allowedTools", "Bash") as talk:
        await talk.say("go")
        started = (await talk.until("task_started"))[-1]
        await talk.result()
        assert (await talk.ask("stop_task", task_id=started["task_id"]))["subtype"] == "success"
        ended = (await talk.until("task_notification"))[-1]
        await talk.say("hi")
        await talk.result()

    assert ended["task_id"] == started["task_id"]


UNUSABLE = [
    pytest.param(
        "initialize", {"hooks": {"Stop": [{"hookCallbackIds": ["x"], "timeout": "5s"}]}}, None, id="time"
    ),
    pytest.param(
        "register_repo_root",
        {"directory": "a\0b"},
        "register_repo_root: target path could not be resolved",
        id="path",
    ),
    pytest.param(
        "rewind_files", {"user_message_id": ["x"]}, "No file checkpoint found for this message.", id="id"
    ),
    pytest.param("read_file", {"path": "/proc/self/mem"}, "read denied: /proc/self/mem", id="file"),
]


@pytest.mark.parametrize(("subtype", "members", "error"), UNUSABLE)
async def test_unusable_value_is_answered(
    fake: Fake, subtype: str, members: dict[str, Any], error: str | None
) -> None:
    async with talking(fake, "--add-dir", "/proc", CLAUDE_CODE_ENABLE_SDK_FILE_CHECKPOINTING="1") as talk:
        answer = await talk.ask(subtype, **members)

    assert answer.get("error") == error


async def test_rewind_restores_a_removed_folder(fake: Fake) -> None:
    path = fake.cwd / "sub" / "note"
    path.parent.mkdir()
    path.write_text("before")
    fake.script(
        f"[[turn]]\nsteps = [{{ tool = 'Write', input = {{ file_path = '{path}', content = 'after' }} }}]\n"
    )
    async with talking(
        fake, "--allowedTools", "Write", CLAUDE_CODE_ENABLE_SDK_FILE_CHECKPOINTING="1"
    ) as talk:
        await talk.say("go", uuid="aaaaaaaa-0000-4000-8000-000000000001")
        await talk.result()
        shutil.rmtree(path.parent)
        answer = await talk.ask("rewind_files", user_message_id="aaaaaaaa-0000-4000-8000-000000000001")

    assert (answer["response"], path.read_text()) == ({"canRewind": True, "skippedLinks": 0}, "before")


ASKED = [
    pytest.param("mcp_status", {}, {"mcpServers": []}, id="mcp-status"),
    pytest.param("set_max_thinking_tokens", {"max_thinking_tokens": 1000}, None, id="thinking-tokens"),
]


@pytest.mark.parametrize(("subtype", "members", "response"), ASKED)
async def test_small_request_is_answered(
    fake: Fake, subtype: str, members: dict[str, Any], response: Message | None
) -> None:
    async with talking(fake) as talk:
        answer = await talk.ask(subtype, **members)

    assert (answer["subtype"], answer.get("response")) == ("success", response)


async def test_settings_are_printed(fake: Fake) -> None:
    async with talking(fake) as talk:
        answer = await talk.ask("get_settings")

    assert answer["response"]["effective"] == {}
    assert answer["response"]["applied"]["model"] == "claude-opus-5-5"


async def test_request_that_is_not_imitated_is_refused_by_name(fake: Fake) -> None:
    async with talking(fake) as talk:
        answer = await talk.ask("side_question")

    assert answer["error"] == "fake-claude does not imitate the control request side_question"


async def test_end_of_session_ends_the_process(fake: Fake) -> None:
    async with talking(fake) as talk:
        answer = await talk.ask("end_session")
        code = await talk.process.wait()  # the input is still open

    assert (answer["subtype"], code) == ("success", 0)


# Interrupts.


async def test_interrupt_ends_the_turn_and_not_the_process(fake: Fake) -> None:
    with fake.gate("middle") as gate:
        async with talking(fake) as talk:
            await talk.say("[[fake tokens=5 hold=middle@2]]")
            await gate.reached()
            await talk.until(lambda m: m.get("event", {}).get("delta", {}).get("text") == "t2 ")
            await talk.ask("interrupt")
            seen = await talk.until(lambda m: m["type"] == "result")
            await talk.say("after")
            after = await talk.result()
            done = await talk.end()

    assert [kind(message) for message in seen] == [
        "assistant",
        "user",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error_during_execution",
    ]
    assert (seen[0]["aborted"], seen[0]["message"]["content"]) == (True, [{"type": "text", "text": "t1 t2 "}])
    assert seen[1]["message"]["content"] == NOTE
    assert seen[4]["abandoned_blocks"]["from_block_index"] == 1
    result = seen[-1]
    assert (result["terminal_reason"], result["is_error"]) == ("aborted_streaming", True)
    assert "result" not in result
    assert result["errors"] == ["[ede_diagnostic] result_type=user last_content_type=n/a stop_reason=null"]
    assert result["usage"]["output_tokens"] == result["usage"]["input_tokens"] == 0
    assert result["total_cost_usd"] > 0
    assert (after["is_error"], done.code) == (False, 0)


async def test_interrupt_before_the_first_piece_leaves_no_assistant_line(fake: Fake) -> None:
    with fake.gate("start") as gate:
        async with talking(fake) as talk:
            await talk.say("[[fake tokens=5 hold=start@0]]")
            await gate.reached()
            await talk.ask("interrupt")
            seen = await talk.until(lambda m: m["type"] == "result")

    assert [m["message"]["content"] for m in seen if m["type"] == "user"] == [NOTE]
    assert "assistant" not in [message["type"] for message in talk.messages]


async def test_interrupt_is_the_exit_code_when_nothing_follows(fake: Fake) -> None:
    with fake.gate("middle") as gate:
        async with talking(fake) as talk:
            await talk.say("[[fake tokens=5 hold=middle@2]]")
            await gate.reached()
            await talk.ask("interrupt")
            done = await talk.end()

    assert done.code == 1


@pytest.mark.parametrize("turns", [0, 1], ids=["before-any-message", "after-a-turn"])
async def test_idle_interrupt_is_acknowledged_and_nothing_else(fake: Fake, turns: int) -> None:
    async with talking(fake) as talk:
        for _ in range(turns):
            await talk.say("hi")
            await talk.result()
        answer = await talk.ask("interrupt")
        done = await talk.end()

    assert answer["response"] == {"still_queued": []}
    assert (done.out, done.code) == ("", 0)


async def test_interrupted_command_is_carried_out(fake: Fake) -> None:
    async with talking(fake) as talk:
        await talk.send(user("/cost"), control("interrupt", "r"))
        seen = await talk.until(lambda m: m["type"] == "result")

    assert [kind(message) for message in seen] == ["control_response", "init", "assistant", "success"]


async def test_interrupt_keeps_what_is_queued(fake: Fake) -> None:
    uuid = "aaaaaaaa-0000-4000-8000-000000000002"
    with fake.gate("middle") as gate:
        async with talking(fake) as talk:
            await talk.say("[[fake tokens=5 hold=middle@2]]")
            await gate.reached()
            await talk.say("[[fake say=next]]", uuid=uuid)
            answer = await talk.ask("interrupt")
            first, second = await talk.result(), await talk.result()

    assert answer["response"] == {"still_queued": [uuid]}
    assert (first["subtype"], second["result"]) == ("error_during_execution", "next")


async def test_interrupt_during_a_tool_kills_the_tool(fake: Fake) -> None:
    fake.script("[[turn]]\nsteps = [{ tool = 'Bash', input = { command = 'echo $$ > pid; cat fifo' } }]\n")
    os.mkfifo(fake.cwd / "fifo")
    async with talking(fake, "--allowedTools", "Bash") as talk:
        await talk.say("go")
        fd = await opened(fake)
        pid = int((fake.cwd / "pid").read_text())
        await talk.ask("interrupt")
        seen = await talk.until(lambda m: m["type"] == "result")
        os.close(fd)

    printed = [m["message"]["content"] for m in seen if m["type"] == "user"]
    assert (printed[0][0]["type"], printed[0][0]["is_error"], printed[1]) == ("tool_result", True, TOOL_NOTE)
    assert (seen[-1]["terminal_reason"], seen[-1]["num_turns"]) == ("aborted_tools", 3)
    assert not exists(pid)


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def opened(fake: Fake) -> int:
    """Open the fifo that a command reads: so it has begun."""
    return await asyncio.to_thread(os.open, fake.cwd / "fifo", os.O_WRONLY)


async def test_interrupt_works_at_once_during_a_retry_wait(fake: Fake) -> None:
    fake.script("[[turn]]\nsteps = [{ error = 429, retry_after = 10000000 }]\n")
    async with talking(fake) as talk:
        await talk.say("go")
        await talk.until("api_retry")
        await talk.ask("interrupt")
        result = await talk.result()

    assert (result["subtype"], result["terminal_reason"]) == ("error_during_execution", "aborted_streaming")


async def test_queued_message_can_be_taken_back(fake: Fake) -> None:
    uuid = "aaaaaaaa-0000-4000-8000-000000000002"
    with fake.gate("middle") as gate:
        async with talking(fake) as talk:
            await talk.say("[[fake tokens=3 hold=middle@2]]")
            await gate.reached()
            await talk.say("never", uuid=uuid)
            answer = await talk.ask("cancel_async_message", message_uuid=uuid)
            gate.open()
            result = await talk.result()
            done = await talk.end()

    assert answer["response"] == {"cancelled": True, "message_uuid": uuid}
    printed = [m["state"] for m in talk.messages if m["type"] == "command_lifecycle"]
    assert printed == ["queued", "cancelled"]
    assert (result["result"], done.out) == ("t1 t2 t3 ", "")


# Model and mode.


async def test_model_is_changed_for_the_turns_that_follow(fake: Fake) -> None:
    async with talking(fake) as talk:
        before = await models(talk)
        answer = await talk.ask("set_model", model="claude-sonnet-5")
        after = await models(talk)
        await talk.ask("set_model", "r2", model="default")
        restored = await models(talk)

    assert answer["response"] == {"model": "claude-sonnet-5"}
    assert (before, after, restored) == ("claude-opus-5-5", "claude-sonnet-5", "claude-opus-5-5")
    printed = [m["message"]["content"] for m in talk.messages if m["type"] == "user"]
    assert printed == [
        f"<local-command-stdout>Set model to `{model}`</local-command-stdout>" for model in (after, restored)
    ]


async def test_null_model_is_noted_as_default(fake: Fake) -> None:
    async with talking(fake, "--model", "sonnet") as talk:
        await talk.say("hi")
        await talk.result()
        await talk.ask("apply_flag_settings", settings={"model": None})
        await talk.say("again")
        await talk.result()

    transcript = next(fake.home.glob(".claude/projects/*/*.jsonl")).read_text()
    assert "<command-args>default</command-args>" in transcript


async def models(talk: Talk) -> str:
    """Run a turn and return the model that its init line names."""
    await talk.say("hi")
    seen = await talk.until(lambda m: m["type"] == "result")
    return str(next(m["model"] for m in seen if m.get("subtype") == "init"))


async def test_unknown_model_is_refused(fake: Fake) -> None:
    async with talking(fake) as talk:
        answer = await talk.ask("set_model", model="x")

    assert (answer["subtype"], answer["error"], answer["error_code"]) == (
        "error",
        "Model 'x' not found",
        "not_found",
    )


async def test_permission_mode_is_in_the_next_init_line(fake: Fake) -> None:
    async with talking(fake) as talk:
        await talk.ask("set_permission_mode", mode="plan")
        await talk.say("hi")
        seen = await talk.until("init")

    assert (seen[0]["subtype"], seen[0]["status"], seen[0]["permissionMode"]) == ("status", None, "plan")
    assert seen[-1]["permissionMode"] == "plan"


# The host decides about tools.

TOUCH = "[[turn]]\nsteps = [{ tool = 'Bash', input = { command = 'touch made' } }, { text = 'Over.' }]\n"
HOST = ("--permission-prompt-tool", "stdio")


async def test_denied_tool_is_not_run_and_the_turn_goes_on(fake: Fake) -> None:
    fake.script(TOUCH)
    async with talking(fake, *HOST) as talk:
        await talk.say("go")
        question = (await talk.until("control_request"))[-1]
        response = {"behavior": "deny", "message": "The user said no"}
        await talk.send(answered(question, response))
        result = await talk.result()
        done = await talk.end()

    asked = question["request"]
    assert (asked["subtype"], asked["tool_name"], asked["input"]) == (
        "can_use_tool",
        "Bash",
        {"command": "touch made"},
    )
    assert not (fake.cwd / "made").exists()
    assert (result["result"], len(result["permission_denials"]), done.code) == ("Over.", 1, 0)
    (printed,) = [m["message"]["content"][0] for m in talk.messages if m["type"] == "user"]
    assert (printed["content"], printed["is_error"]) == ("The user said no", True)


async def test_interrupt_takes_an_open_question_back(fake: Fake) -> None:
    fake.script(TOUCH)
    async with talking(fake, *HOST) as talk:
        await talk.say("go")
        question = (await talk.until("control_request"))[-1]
        await talk.ask("interrupt")
        result = await talk.result()

    withdrawn = [m["request_id"] for m in talk.messages if m["type"] == "control_cancel_request"]
    assert withdrawn == [question["request_id"]]
    assert (result["terminal_reason"], result["num_turns"]) == ("aborted_tools", 3)


@pytest.mark.parametrize("answer", ["nonsense", "end of input"])
async def test_no_proper_answer_is_a_denial(fake: Fake, answer: str) -> None:
    fake.script(TOUCH)
    async with talking(fake, *HOST) as talk:
        await talk.say("go")
        question = (await talk.until("control_request"))[-1]
        if answer == "nonsense":
            await talk.send(answered(question, {"whatever": 1}))
        done = await talk.end()

    assert (len(done.result["permission_denials"]), done.code) == (1, 0)
    assert not (fake.cwd / "made").exists()


def answered(question: Message, response: Message) -> str:
    inner = {"subtype": "success", "request_id": question["request_id"], "response": response}
    return json.dumps({"type": "control_response", "response": inner}) + "\n"


async def test_sdk_gets_states_of_the_session(fake: Fake) -> None:
    async with talking(fake, CLAUDE_CODE_SDK_READS_SESSION_STATE="1") as talk:
        await talk.send(user("hi"))
        await talk.until("success")
        idle = (await talk.until("session_state_changed"))[-1]

    assert talk.messages[0]["subtype"] == "session_state_changed"
    assert (talk.messages[0]["state"], idle["state"]) == ("running", "idle")
