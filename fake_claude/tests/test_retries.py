from __future__ import annotations

import json

import pytest

from fake_claude.tests.conftest import PATIENCE, PERSISTENT, Fake, user

STEPS = [
    pytest.param('{ noise = "not json" }, { text = "a" }', "not json", id="noise"),
    pytest.param(
        '{ event = { type = "from_the_future" } }, { text = "a" }', '{"type":"from_the_future"}', id="event"
    ),
]


@pytest.mark.parametrize(("steps", "line"), STEPS)
async def test_strange_line_stands_among_the_others(fake: Fake, steps: str, line: str) -> None:
    fake.script(f"[[turn]]\nsteps = [{steps}]\n")

    done = await fake.say("go")

    assert line in done.out.split("\n")
    assert done.code == 0


async def test_omitted_result_is_missing_and_the_exit_is_fine(fake: Fake) -> None:
    fake.script('[[turn]]\nsteps = [{ omit = ["result", "partial"] }, { text = "a" }]\n')

    done = await fake.say("go")

    assert done.kinds == ["init", "status", "assistant"]
    assert done.code == 0


async def test_duplicated_lines_come_twice(fake: Fake) -> None:
    fake.script('[[turn]]\nsteps = [{ duplicate = "result" }, { text = "a" }]\n')

    assert (await fake.say("go")).kinds.count("success") == 2


async def test_dribbled_bytes_are_the_same_bytes(fake: Fake) -> None:
    fake.script('[[turn]]\nsteps = [{ dribble = 1 }, { text = "täst" }]\n')

    assert (await fake.say("go")).result["result"] == "täst"


async def test_split_character_arrives_whole(fake: Fake) -> None:
    fake.script('[[turn]]\nsteps = [{ split = "10ms" }, { text = "täst" }]\n')

    assert (await fake.say("go")).text == "täst"


async def test_blob_is_one_long_line(fake: Fake) -> None:
    fake.script("[[turn]]\nsteps = [{ blob = 300000 }]\n")

    done = await fake.say("go")

    assert done.result["result"] == "x" * 300_000


async def test_exit_after_the_result(fake: Fake) -> None:
    fake.script('[[turn]]\nsteps = [{ text = "a" }, { exit = 7, when = "after_result" }]\n')

    done = await fake.run(*PERSISTENT, stdin=user("go") + user("never answered"))

    assert done.code == 7
    assert done.kinds.count("success") == 1


async def test_exit_before_init(fake: Fake) -> None:
    fake.script('[[turn]]\nsteps = [{ exit = 7, when = "before_init" }]\n')

    done = await fake.say("go")

    assert (done.code, done.out) == (7, "")


async def test_grandchild_holds_stdout_after_the_end(fake: Fake) -> None:
    fake.script('[[turn]]\nsteps = [{ text = "a" }, { grandchild = "300ms", when = "after_result" }]\n')

    done = await fake.say("go")

    (run,) = fake.runs
    assert done.code == 0
    assert [event["event"] for event in run.events].count("grandchild") == 1


async def test_session_is_refused_once(fake: Fake) -> None:
    fake.script('[start]\ntimes = 1\nrefuse_session = "unknown"\n')
    sid = "11111111-2222-4333-8444-55555555aaaa"

    first, second = [await fake.run("-p", "--resume", sid, "x") for _ in range(2)]
    await fake.run("-p", "--session-id", sid, "x")
    third = await fake.run("-p", "--resume", sid, "x")

    assert first.err == second.err == f"No conversation found with session ID: {sid}\n"
    assert third.code == 0


async def test_ignored_term_leaves_only_kill(fake: Fake) -> None:
    import asyncio
    import signal

    fake.script(
        '[[turn]]\nsteps = [{ ignore = "SIGTERM" }, { text = "a " }, { hold = "g" }, { text = "b" }]\n'
    )
    with fake.gate("g") as gate:
        process = await fake.start(*PERSISTENT)
        assert process.stdin is not None
        process.stdin.write(user("go").encode())
        async with asyncio.timeout(PATIENCE):
            await gate.reached()
            process.send_signal(signal.SIGTERM)
            gate.open()
            out, _ = await process.communicate(b"")

    assert b'"result":"a b"' in out
    assert process.returncode == 0
    assert fake.runs[0].signals == ["SIGTERM"]


async def test_retries_are_printed_and_counted(fake: Fake) -> None:
    fake.script('[[turn]]\nsteps = [{ error = 500, times = 2 }, { text = "Fine." }]\n')

    done = await fake.say("go")

    retries = [message for message in done.messages if message.get("subtype") == "api_retry"]
    assert [(retry["attempt"], retry["error_status"]) for retry in retries] == [(1, 500), (2, 500)]
    assert done.result["result"] == "Fine."


async def test_broken_stream_is_retried(fake: Fake) -> None:
    fake.script(
        '[[turn]]\nsteps = [{ text = "Hello " }, { cut_stream = true, times = 1 }, { text = "world" }]\n'
    )

    done = await fake.say("go")

    assert done.text == "Hello Hello world"
    assert done.result["result"] == "Hello world"
    stop = next(m for m in done.messages if "abandoned_blocks" in m)
    assert stop["abandoned_blocks"]["from_block_index"] == 0


async def test_mistake_in_a_script_file_is_said_at_once(fake: Fake) -> None:
    fake.script("[[turn]]\nsteps = []\n")
    (fake.folder / "script.toml").write_text("version = 1\n[[turn]]\nsteps = [{ txt = 'x' }]\n")

    done = await fake.say("go")

    assert done.code == 1
    assert "script.toml:3: unknown word 'txt'" in done.err


async def test_flood_is_whole(fake: Fake) -> None:
    done = await fake.say("[[fake tokens=20000]]")

    assert done.result["result"].split() == [f"t{n}" for n in range(1, 20001)]
    assert done.text == done.result["result"]
    assert json.loads(done.out.splitlines()[-1])["usage"]["output_tokens"] == 20000
