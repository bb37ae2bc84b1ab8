"""Every kind of step does what its one sentence says (docs/fake-claude.md)."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from fake_claude.script.steps import KINDS
from fake_claude.tests.conftest import ONE_SHOT, PATIENCE, PERSISTENT, Done, Fake, Message, user
from fake_claude.tests.talk import talking

Test = TypeVar("Test", bound=Callable[..., Any])
SHOWN: set[str] = set()


def shows(*kinds: str) -> Callable[[Test], Test]:
    """Note which kinds of steps a test is about."""

    def note(test: Test) -> Test:
        SHOWN.update(kinds)
        return test

    return note


def turn(*steps: str, more: str = "") -> str:
    return f"[[turn]]\n{more}steps = [{', '.join(steps)}]\n"


async def said(fake: Fake, *steps: str, more: str = "") -> Done:
    """Play these steps as one turn with partial messages."""
    fake.script(turn(*steps, more=more))
    return await fake.say("go")


def deltas(done: Done) -> list[Message]:
    events = [m["event"] for m in done.messages if m["type"] == "stream_event"]
    return [event["delta"] for event in events if event["type"] == "content_block_delta"]


# What the model says.

CUTS = [
    pytest.param("", ["Ünï ", "text"], id="words"),
    pytest.param(", cut = 'words'", ["Ünï ", "text"], id="words-by-name"),
    pytest.param(", cut = 'chars'", list("Ünï text"), id="characters"),
    pytest.param(", cut = 3", ["Ünï", " te", "xt"], id="runs-of-three"),
]


@shows("text")
@pytest.mark.parametrize(("cut", "pieces"), CUTS)
async def test_text_is_cut_into_pieces(fake: Fake, cut: str, pieces: list[str]) -> None:
    done = await said(fake, f"{{ text = 'Ünï text'{cut} }}")

    assert [delta["text"] for delta in deltas(done)] == pieces
    assert done.result["result"] == "Ünï text"


@shows("tokens")
async def test_tokens_are_numbered_on(fake: Fake) -> None:
    done = await said(fake, "{ tokens = 2 }", "{ tokens = 1 }")

    assert [delta["text"] for delta in deltas(done)] == ["t1 ", "t2 ", "t3 "]


@shows("blob")
async def test_blob_is_one_piece_in_one_line(fake: Fake) -> None:
    done = await said(fake, "{ blob = 200000 }")

    assert [len(delta["text"]) for delta in deltas(done)] == [200_000]
    assert sum(len(line) > 200_000 for line in done.out.split("\n")) == 3  # piece, whole message, result


@shows("thinking")
async def test_thinking_is_a_block_of_its_own(fake: Fake) -> None:
    done = await said(fake, "{ thinking = 'Let me see.' }", "{ text = 'Yes.' }")

    assert [delta["type"] for delta in deltas(done)] == [
        *["thinking_delta"] * 3,
        "signature_delta",
        "text_delta",
    ]
    blocks = [m["message"]["content"][0] for m in done.messages if m["type"] == "assistant"]
    assert [(block["type"], block.get("thinking")) for block in blocks] == [
        ("thinking", "Let me see."),
        ("text", None),
    ]
    assert done.kinds.count("thinking_tokens") == 3
    assert done.result["result"] == "Yes."


@shows("tool")
async def test_tool_without_a_body_has_the_scripts_result(fake: Fake) -> None:
    call = "{ tool = 'WebSearch', input = { query = 'x' }, result = 'Nothing.', is_error = true }"
    fake.script(turn(call, "{ text = 'Well.' }"))

    done = await fake.say("go", "--allowedTools", "WebSearch")

    (printed,) = [m["message"]["content"][0] for m in done.messages if m["type"] == "user"]
    assert (printed["content"], printed["is_error"]) == ("Nothing.", True)
    assert (done.result["result"], done.result["num_turns"], done.code) == ("Well.", 2, 0)


@shows("tool")
async def test_unknown_tool_is_an_error_and_no_denial(fake: Fake) -> None:
    done = await said(fake, "{ tool = 'NoSuchTool', input = { a = 1 } }", "{ text = 'Well.' }")

    (printed,) = [m["message"]["content"][0] for m in done.messages if m["type"] == "user"]
    assert printed["content"] == "<tool_use_error>Error: No such tool available: NoSuchTool</tool_use_error>"
    assert (done.result["permission_denials"], done.code) == ([], 0)


BASH = [
    pytest.param("echo hi", "hi", False, id="output"),
    pytest.param("true", "(Bash completed with no output)", False, id="silence"),
    pytest.param("echo out; echo err >&2; exit 3", "Exit code 3\nout\nerr", True, id="failure"),
]


@shows("tool")
@pytest.mark.parametrize(("command", "content", "is_error"), BASH)
async def test_bash_is_really_run(fake: Fake, command: str, content: str, is_error: bool) -> None:  # noqa: FBT001
    fake.script(turn(f"{{ tool = 'Bash', input = {{ command = '{command}' }} }}", "{ text = 'Well.' }"))

    done = await fake.say("go", "--allowedTools", "Bash")

    (printed,) = [m["message"]["content"][0] for m in done.messages if m["type"] == "user"]
    assert (printed["content"], printed["is_error"], done.code) == (content, is_error, 0)


@shows("stop")
async def test_message_ends_with_the_stop_reason(fake: Fake) -> None:
    done = await said(fake, "{ text = 'a' }", "{ stop = 'stop_sequence' }")

    assert done.result["stop_reason"] == "stop_sequence"
    (delta,) = [m["event"] for m in done.messages if m.get("event", {}).get("type") == "message_delta"]
    assert delta["delta"]["stop_reason"] == "stop_sequence"


@shows("stop")
async def test_output_limit_is_continued_behind_a_note(fake: Fake) -> None:
    done = await said(fake, "{ text = 'One, ' }", "{ stop = 'max_tokens' }", "{ text = 'two.' }")

    assert done.text == "One, two."
    assert done.result["result"] == "two."
    assert [m["isSynthetic"] for m in done.messages if m["type"] == "user"] == [True]


@shows("usage")
async def test_usage_is_reported_for_the_message(fake: Fake) -> None:
    counts = "{ input_tokens = 3, cache_read_input_tokens = 1000, output_tokens = 9 }"
    done = await said(fake, f"{{ usage = {counts} }}", "{ text = 'a b c' }")

    usage = done.result["usage"]
    assert [usage[f"{kind}_tokens"] for kind in ("input", "cache_read_input", "output")] == [3, 1000, 9]


# Time. Lower bounds only: a slow machine cannot break them.


@shows("gap")
async def test_gap_lies_between_pieces(fake: Fake) -> None:
    done = await said(fake, "{ gap = '60ms' }", "{ tokens = 6 }")

    assert done.result["duration_ms"] >= 5 * 60


@shows("delay")
async def test_delay_is_waited(fake: Fake) -> None:
    done = await said(fake, "{ delay = '300ms' }", "{ text = 'a' }")

    assert done.result["duration_ms"] >= 300


async def test_inline_first_and_gap_are_waited(fake: Fake) -> None:
    done = await fake.say("[[fake tokens=3 first=200ms gap=100ms]]")

    assert done.result["duration_ms"] >= 200 + 2 * 100


@shows("hold")
async def test_hold_waits_in_its_place(fake: Fake) -> None:
    fake.script(turn("{ text = 'a ' }", "{ hold = 'g' }", "{ text = 'b' }"))
    with fake.gate("g") as gate:
        async with talking(fake) as talk:
            await talk.say("go")
            await gate.reached()
            seen = await talk.until("content_block_delta")  # it was printed before the fake stood still
            await talk.ask("mcp_status")
            gate.open()
            result = await talk.result()

    assert seen[-1]["event"]["delta"]["text"] == "a "
    assert [m["type"] for m in talk.messages].count("assistant") == 1
    assert result["result"] == "a b"


@shows("stall")
async def test_stall_ends_by_an_interrupt_only(fake: Fake) -> None:
    fake.script(turn("{ text = 'a ' }", "{ stall = true }"))
    async with talking(fake) as talk:
        await talk.say("go")
        await talk.until("content_block_delta")
        await talk.ask("mcp_status")  # alive, and silent
        await talk.ask("interrupt")
        result = await talk.result()

    assert result["terminal_reason"] == "aborted_streaming"


@shows("ping")
async def test_pings_of_the_api_are_not_shown(fake: Fake) -> None:
    done = await said(fake, "{ ping = 3 }", "{ text = 'a' }")

    assert "ping" not in done.kinds
    assert done.result["result"] == "a"


# Trouble of the API.


@shows("error")
async def test_error_has_the_scripts_words(fake: Fake) -> None:
    done = await said(fake, "{ error = 403, type = 'permission_error', message = 'go away' }")

    assert done.result["result"] == "Failed to authenticate. API Error: 403 go away"
    assert (done.result["api_error_status"], done.result["api_error_type"]) == (403, "permission_error")
    assert (done.result["subtype"], done.code, done.err) == ("success", 1, "")


@shows("error")
async def test_error_that_should_not_be_retried_is_not(fake: Fake) -> None:
    done = await said(fake, "{ error = 429, should_retry = false }")

    assert "api_retry" not in done.kinds
    assert (done.result["is_error"], done.code) == (True, 1)


@shows("error")
async def test_retry_after_is_the_wait(fake: Fake) -> None:
    done = await said(fake, "{ error = 429, retry_after = 3, times = 1 }", "{ text = 'a' }")

    (retry,) = [m for m in done.messages if m.get("subtype") == "api_retry"]
    assert 3000 <= retry["retry_delay_ms"] <= 3750
    assert done.result["result"] == "a"


async def test_retries_end_after_as_many_as_the_environment_allows(fake: Fake) -> None:
    fake.script(turn("{ error = 500 }"))

    done = await fake.say("go", CLAUDE_CODE_MAX_RETRIES="2")

    printed = [(m["attempt"], m["max_retries"], m["error_status"]) for m in done.messages if "attempt" in m]
    assert printed == [(1, 2, 500), (2, 2, 500)]
    assert done.code == 1


async def test_waits_between_retries_double_up_to_32_seconds(fake: Fake) -> None:
    done = await said(fake, "{ error = 500 }")

    waits = [m["retry_delay_ms"] for m in done.messages if m.get("subtype") == "api_retry"]
    assert len(waits) == 10
    for number, wait in enumerate(waits):
        base = min(500 * 2**number, 32_000)
        assert base <= wait <= base * 1.25 + 1


@shows("cut_stream")
async def test_cut_stream_is_retried(fake: Fake) -> None:
    done = await said(fake, "{ text = 'Half ' }", "{ cut_stream = true, times = 1 }", "{ text = 'done' }")

    assert done.text == "Half Half done"
    assert [m["abandoned_blocks"]["from_block_index"] for m in done.messages if "abandoned_blocks" in m] == [
        0
    ]
    assert done.kinds.index("api_retry") > done.kinds.index("message_stop")
    assert done.result["result"] == "Half done"


@shows("stream_error")
async def test_error_in_the_stream_is_asked_again_without_streaming(fake: Fake) -> None:
    steps = ("{ text = 'Half ' }", "{ stream_error = 'overloaded_error' }", "{ text = 'done' }")
    done = await said(fake, *steps)

    assert "api_retry" not in done.kinds
    assert done.text == "Half "
    assert [m["message"]["stop_reason"] for m in done.messages if m["type"] == "assistant"] == ["end_turn"]
    assert done.result["result"] == "Half done"


@shows("reset")
async def test_reset_is_retried_without_a_status(fake: Fake) -> None:
    done = await said(fake, "{ reset = true, times = 1 }", "{ text = 'a' }")

    printed = [(m["error_status"], m["error"]) for m in done.messages if m.get("subtype") == "api_retry"]
    assert printed == [(None, "unknown")]
    assert done.result["result"] == "a"


@shows("logged_out")
async def test_logged_out_is_said(fake: Fake) -> None:
    done = await said(fake, "{ logged_out = true }")

    assert (done.result["result"], done.code) == ("Not logged in · Please run /login", 1)


# Misbehaviour of the process.

MOMENTS = [
    pytest.param("", "init", id="in-its-place"),
    pytest.param(", when = 'before_init'", None, id="before-init"),
    pytest.param(", when = 'after_result'", "result", id="after-the-result"),
]


@shows("exit")
@pytest.mark.parametrize(("when", "last"), MOMENTS)
async def test_exit_ends_the_process_at_its_moment(fake: Fake, when: str, last: str | None) -> None:
    fake.script(turn(f"{{ exit = 7{when} }}", "{ text = 'a' }"))

    done = await fake.run(*PERSISTENT, stdin=user("go") + user("again"))

    kinds = [kind for kind in done.kinds if kind in ("init", "success")]
    assert done.code == 7
    assert kinds == {None: [], "init": ["init"], "result": ["init", "success"]}[last]


@shows("kill")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT", "SIGTERM"])
async def test_kill_is_death_by_the_signal(fake: Fake, name: str) -> None:
    done = await said(fake, "{ text = 'a ' }", f"{{ kill = '{name}' }}", "{ text = 'b' }")

    assert done.code == -signal.Signals[name]
    assert done.text == "a "
    assert "success" not in done.kinds


@shows("stderr")
@pytest.mark.parametrize(("value", "written"), [("'oops'", "oops\n"), ("3", "ee\n")], ids=["text", "bytes"])
async def test_stderr_is_written(fake: Fake, value: str, written: str) -> None:
    done = await said(fake, f"{{ stderr = {value} }}", "{ text = 'a' }")

    assert (done.err, done.result["result"], done.code) == (written, "a", 0)


async def test_stderr_that_nobody_reads_does_not_stop_the_answer(fake: Fake) -> None:
    async with talking(fake) as talk:
        await talk.say("[[fake stderr=60000 say=done]]")
        result = await talk.result()

    assert result["result"] == "done"


@shows("noise", "event")
async def test_noise_and_foreign_events_stand_where_they_were_put(fake: Fake) -> None:
    done = await said(
        fake,
        "{ noise = 'not {json', when = 'before_init' }",
        "{ event = { type = 'from_the_future', n = 1 } }",
        "{ text = 'a' }",
        "{ noise = '', when = 'after_result' }",
    )

    lines = done.out.split("\n")
    assert lines[0] == "not {json"
    assert json.loads(lines[1])["subtype"] == "init"
    assert '{"type":"from_the_future","n":1}' in lines[2:5]
    assert lines[-2:] == ["", ""]


@shows("bytes")
async def test_bytes_are_written_as_they_are(fake: Fake) -> None:
    done = await said(fake, "{ bytes = '61 c3a9 0a' }", "{ text = 'a' }")

    assert "aé" in done.out.split("\n")


@shows("ignore")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
async def test_ignored_signal_changes_nothing(fake: Fake, name: str) -> None:
    fake.script(turn(f"{{ ignore = '{name}' }}", "{ text = 'a ' }", "{ hold = 'g' }", "{ text = 'b' }"))
    with fake.gate("g") as gate:
        async with talking(fake) as talk:
            await talk.say("go")
            await gate.reached()
            talk.process.send_signal(signal.Signals[name])
            await talk.ask("mcp_status")  # answered: the signal is seen before the gate opens
            gate.open()
            result = await talk.result()
            done = await talk.end()

    assert (result["result"], done.code) == ("a b", 0)
    assert fake.runs[0].signals == [name]


@shows("ignore")
async def test_ignored_interrupt_is_answered_and_not_obeyed(fake: Fake) -> None:
    fake.script(turn("{ ignore = 'interrupt' }", "{ hold = 'g' }", "{ text = 'a' }"))
    with fake.gate("g") as gate:
        async with talking(fake) as talk:
            await talk.say("go")
            await gate.reached()
            answer = await talk.ask("interrupt")
            gate.open()
            result = await talk.result()

    assert (answer["subtype"], result["result"]) == ("success", "a")


LINES = {
    "init": ["init"],
    "partial": ["message_start", "content_block_delta"],
    "full": ["assistant"],
    "result": ["success"],
}


@shows("omit")
@pytest.mark.parametrize("what", LINES)
async def test_omitted_lines_are_missing_and_no_others(fake: Fake, what: str) -> None:
    done = await said(fake, f"{{ omit = '{what}' }}", "{ text = 'a' }")

    missing = {name for name, kinds in LINES.items() if not set(kinds) & set(done.kinds)}
    assert missing == {what} - {"init"}  # a step of the answer comes after the init line
    assert done.code == 0


@shows("duplicate")
@pytest.mark.parametrize("what", ["partial", "full", "result"])
async def test_duplicated_lines_come_twice_and_no_others(fake: Fake, what: str) -> None:
    done = await said(fake, f"{{ duplicate = '{what}' }}", "{ text = 'a' }")

    twice = {name for name, kinds in LINES.items() if done.kinds.count(kinds[-1]) == 2}
    assert twice == {what}


@shows("dribble")
async def test_dribbled_output_comes_in_small_pieces(fake: Fake) -> None:
    fake.script(turn("{ dribble = 7, gap = '1ms' }", "{ text = 'täst' }"))
    sizes = [len(piece) for piece in await _pieces(fake)]

    dribbled = sizes[sizes.index(7) :]
    assert len(dribbled) > 50
    assert set(dribbled[:-1]) == {7}


async def _pieces(fake: Fake) -> list[bytes]:
    """What a run writes, write by write: the pipe keeps them apart, however late it is read (pipe(2), O_DIRECT)."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_DIRECT)
    process = await asyncio.create_subprocess_exec(
        fake.launcher, *ONE_SHOT, "go",
        stdin=asyncio.subprocess.DEVNULL, stdout=write, cwd=fake.cwd, env=fake.env(),
    )  # fmt: skip
    os.close(write)
    async with asyncio.timeout(PATIENCE):
        pieces = await _reads(read)
        assert await process.wait() == 0
    return pieces


async def _reads(fd: int) -> list[bytes]:
    pieces: list[bytes] = []
    ready = asyncio.Event()
    asyncio.get_running_loop().add_reader(fd, ready.set)
    while True:
        await ready.wait()
        ready.clear()
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:  # woken twice for one piece
            continue
        if not data:
            asyncio.get_running_loop().remove_reader(fd)
            os.close(fd)
            return pieces
        pieces.append(data)


@shows("split")
async def test_split_cuts_a_character_in_two(fake: Fake) -> None:
    fake.script(turn("{ split = '1ms' }", "{ text = 'täst' }"))
    pieces = await _pieces(fake)

    data, cuts = b"".join(pieces), list(itertools.accumulate(map(len, pieces)))
    assert data.index("ä".encode()) + 1 in cuts
    assert "täst" in data.decode()


@shows("grandchild")
async def test_grandchild_holds_stdout_open_after_the_end(fake: Fake) -> None:
    fake.script(turn("{ text = 'a' }", "{ grandchild = '60s', when = 'after_result' }"))
    async with talking(fake, "go", mode=ONE_SHOT) as talk:
        talk.stdin.close()
        await talk.result()
        pid = await _grandchild(fake)
        open_still = not talk.stdout.at_eof()
        session, parent = os.getsid(pid), talk.process.pid
        os.kill(pid, signal.SIGKILL)
        done = await talk.end()

    assert open_still
    assert session == pid != parent
    assert (done.out, done.code) == ("", 0)


async def _grandchild(fake: Fake) -> int:
    """Wait until the ledger names the grandchild."""
    while True:
        (run,) = fake.runs
        pids = [event["pid"] for event in run.events if event["event"] == "grandchild"]
        if run.exit_code is not None:
            return int(pids[0])
        await asyncio.sleep(0)


@shows("close")
async def test_closed_stdout_ends_the_output_and_not_the_process(fake: Fake) -> None:
    fake.script(turn("{ text = 'a ' }", "{ close = 'stdout' }", "{ hold = 'g' }", "{ text = 'b' }"))
    with fake.gate("g") as gate:
        async with talking(fake, "go", mode=ONE_SHOT) as talk:
            talk.stdin.close()
            out = await talk.stdout.read()
            running = talk.process.returncode is None
            gate.open()
            done = await talk.end()

    assert b'"a "' in out
    assert b'"result"' not in out
    assert running
    assert done.code == 0


def test_every_kind_of_step_is_shown() -> None:
    assert set(KINDS) - {"pieces"} == SHOWN


# Before everything.


async def test_start_is_played_before_anything_is_checked(fake: Fake) -> None:
    fake.script("[start]\nsteps = [{ stderr = 'warming up' }, { exit = 4 }]\n")

    done = await fake.run("-p", "--output-format", "stream-json", "hi")

    assert (done.out, done.err, done.code) == ("", "warming up\n", 4)


@pytest.mark.parametrize(
    ("how", "argv", "text"),
    [
        ("in_use", "--session-id", "Error: Session ID {} is already in use.\n"),
        ("unknown", "--resume", "No conversation found with session ID: {}\n"),
    ],
    ids=["in-use", "unknown"],
)
async def test_session_is_refused_as_often_as_the_script_says(
    fake: Fake, how: str, argv: str, text: str
) -> None:
    sid = "11111111-2222-4333-8444-55555555aaaa"
    if argv == "--resume":
        await fake.run("-p", "--session-id", sid, "hi")
    fake.script(f"[start]\ntimes = 1\nrefuse_session = '{how}'\n")

    first, second = [await fake.run("-p", argv, sid, "hi") for _ in range(2)]

    assert (first.err, first.code) == (text.format(sid), 1)
    assert (second.err, second.code) == ("", 0)


# Chance.


async def test_seed_is_noted_in_the_ledger(fake: Fake) -> None:
    fake.script("seed = 7\n" + turn("{ delay = '1ms..20ms' }", "{ text = 'a' }"))
    await fake.say("go")

    (run,) = fake.runs
    assert [event["seed"] for event in run.events if event["event"] == "seed"] == [7]


async def test_more_stderr_than_the_pipe_holds_waits_for_a_reader(fake: Fake) -> None:
    done = await asyncio.create_subprocess_exec(
        fake.launcher,
        *("-p", "[[fake stderr=400000 say=done]]"),
        cwd=fake.cwd,
        env=fake.env(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1,  # asyncio reads one pipeful ahead of us, no more
    )
    assert done.stdout is not None
    assert done.stderr is not None
    answer = asyncio.create_task(done.stdout.read())
    early, _ = await asyncio.wait([answer], timeout=0.5)
    printed = await done.stderr.read()

    assert not early
    assert len(printed) == 400_000
    assert await answer == b"done\n"
    assert await done.wait() == 0
