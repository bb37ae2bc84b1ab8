from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_claude.engine.transcript import encode_cwd
from fake_claude.gates import Arrival, Gate
from fake_claude.ids import fresh_uuid, is_uuid
from fake_claude.ledger import read
from fake_claude.script.ask import EMPTY_NOTE, INTERRUPTED, read_messages
from fake_claude.script.model import Step, TurnScript, words
from fake_claude.tests.conftest import PATIENCE, Fake

ENCODED = [
    pytest.param("/srv/a_b.c d", "-srv-a-b-c-d", id="punctuation"),
    pytest.param("/srv/ünï", "-srv--n-", id="letters-beyond-ascii"),
    pytest.param("/srv/UPPER-case", "-srv-UPPER-case", id="case-is-kept"),
    pytest.param("/srv/😀", "-srv---", id="two-units-for-one-character"),
]


@pytest.mark.parametrize(("path", "name"), ENCODED)
def test_folder_name_of_a_working_directory(path: str, name: str) -> None:
    assert encode_cwd(path) == name


def test_long_folder_names_end_in_a_hash() -> None:
    name = encode_cwd("/work/" + "y" * 300)

    assert name[:200] == "-work-" + "y" * 194
    assert name[200] == "-"
    assert name[201:].isalnum()


def test_uuids_are_uuids_and_differ() -> None:
    made = {fresh_uuid() for _ in range(1000)}

    assert len(made) == 1000
    assert all(is_uuid(uuid) for uuid in made)


def test_words_joined_are_the_text() -> None:
    text = "  a b\n\nc  "

    assert "".join(words(text)) == text


def test_a_prompt_behind_an_interruption_is_one_though_a_tool_is_answered_with_it() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": "x"}
    note, later = {"type": "text", "text": INTERRUPTED}, {"type": "text", "text": "two"}
    asked = messages(("user", "one"), ("assistant", "a"), ("user", [result, note, later]))

    assert (read_messages(asked).prompt, read_messages(asked).turn, read_messages(asked).reply) == (
        "two",
        2,
        0,
    )
    alone = messages(("user", "one"), ("assistant", "a"), ("user", [result, note]))
    assert (read_messages(alone).prompt, read_messages(alone).turn) == ("one", 1)


def messages(*said: tuple[str, object]) -> list[dict[str, object]]:
    return [{"role": role, "content": content} for role, content in said]


def test_prompts_are_counted_and_the_clis_own_texts_are_not() -> None:
    note = {"type": "text", "text": INTERRUPTED}
    reminder = {"type": "text", "text": "<system-reminder>\nbe good\n</system-reminder>"}
    ask = read_messages(
        messages(
            ("user", [reminder, {"type": "text", "text": "one"}]),
            ("assistant", "half"),
            ("user", [note, {"type": "text", "text": "two"}]),
            ("system", "whatever"),
        )
    )

    assert (ask.prompt, ask.turn, ask.reply) == ("two", 2, 0)


def test_tool_results_go_on_with_the_same_turn() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": "ok"}
    ask = read_messages(messages(("user", "one"), ("assistant", "x"), ("user", [result])))

    assert (ask.prompt, ask.turn, ask.reply) == ("one", 1, 1)


def test_being_asked_again_for_want_of_an_answer_counts_as_a_reply() -> None:
    again = {"type": "text", "text": EMPTY_NOTE}
    ask = read_messages(messages(("user", [{"type": "text", "text": "one"}, again])))

    assert (ask.prompt, ask.turn, ask.reply) == ("one", 1, 1)


def kinds(play: TurnScript, index: int) -> list[str]:
    return [step.kind for step in play.reply(index)]


def test_a_message_ends_after_its_last_tool() -> None:
    play = TurnScript([Step("text", "a"), Step("tool", "T"), Step("tool", "U"), Step("text", "b")])

    assert [kinds(play, index) for index in range(3)] == [["text", "tool", "tool"], ["text"], ["text"]]


def test_after_a_tool_something_is_always_said() -> None:
    assert kinds(TurnScript([Step("tool", "T")]), 1) == ["pieces"]


def test_steps_for_another_moment_belong_to_no_message() -> None:
    play = TurnScript([Step("text", "a"), Step("exit", 1, more={"when": "after_result"})])

    assert kinds(play, 0) == ["text"]
    assert [step.kind for step in play.at("after_result")] == ["exit"]


async def test_gate_sees_a_fake_that_came_first(tmp_path: Path) -> None:
    arrival = Arrival(str(tmp_path), "g")
    with Gate(tmp_path, "g") as gate:
        async with asyncio.timeout(PATIENCE):
            await gate.reached()
        before = arrival.passed()
        gate.open()
        after = arrival.passed()
    arrival.close()

    assert (before, after) == (False, True)


def test_one_opening_is_one_passage(tmp_path: Path) -> None:
    one, two = Arrival(str(tmp_path), "g"), Arrival(str(tmp_path), "g")
    with Gate(tmp_path, "g") as gate:
        gate.open()
        passed = [one.passed(), two.passed()]
    one.close()
    two.close()

    assert passed == [True, False]


async def test_gate_is_opened_from_a_shell(fake: Fake) -> None:
    process = await fake.start("-p", "[[fake tokens=1 hold=g@0]]")
    assert process.stdin is not None
    process.stdin.close()
    gates = fake.folder / "bin" / "gates"
    opener = await asyncio.create_subprocess_exec(sys.executable, "-m", "fake_claude", "gate", gates, "g")
    async with asyncio.timeout(PATIENCE):
        out, _ = await process.communicate()
        await opener.wait()

    assert out == b"t1 \n"


def test_ledger_of_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "nowhere") == []


async def test_ledger_knows_who_is_alive(fake: Fake, tool: Callable[..., tuple[int, str, str]]) -> None:
    with fake.gate("g") as gate:
        process = await fake.start("-p", "[[fake tokens=1 hold=g@0]]")
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(PATIENCE):
            await gate.reached()
        (run,) = fake.runs
        alive, facts = run.alive, (run.pid, run.pgid, run.cwd, run.argv)
        _, shown, _ = tool("ledger", fake.folder / "bin" / "ledger")
        process.kill()
        await process.communicate()
    (run,) = fake.runs

    assert alive
    assert not run.alive
    assert facts == (process.pid, os.getpgrp(), str(fake.cwd), ["-p", "[[fake tokens=1 hold=g@0]]"])
    assert "alive" in shown
    assert run.exit_code is None


def test_a_reused_pid_is_not_alive(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    path.write_text(
        f'{{"event":"start","time":1.0,"pid":{os.getpid()},"pgid":1,"sid":1,"ppid":1,"proc_start":1,"argv":[],"cwd":"/"}}\n'
    )

    (run,) = read(tmp_path)
    assert not run.alive


async def test_launcher_needs_nothing_from_its_environment(fake: Fake) -> None:
    process = await asyncio.create_subprocess_exec(
        fake.launcher, "-p", "hi", env={}, cwd=fake.cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()

    assert out.startswith(b'You said: "hi"')
    assert len(fake.runs) == 1


async def test_a_start_imports_little() -> None:
    """A fake run must cost a small part of the real one: asyncio, argparse, typing and their like stay out."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r});"
        "import fake_claude.cli, fake_claude.engine.loop, fake_claude.engine.transcript;"
        "print(*sorted(sys.modules))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", code, stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()

    loaded = set(out.decode().split())
    heavy = {
        "asyncio",
        "argparse",
        "dataclasses",
        "inspect",
        "typing",
        "subprocess",
        "pathlib",
        "random",
        "aiohttp",
        "tomllib",
    }
    assert loaded & heavy == set()
