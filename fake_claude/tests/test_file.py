from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fake_claude.script.ask import ApiRequest
from fake_claude.script.file import FileError, ScriptFile
from fake_claude.script.finder import ScriptFinder
from fake_claude.tests.conftest import Fake

HEAD = "version = 1\n"

WRONG = [
    pytest.param("[[turn]]\nsteps = []\n", 1, "version = 1 is missing", id="version"),
    pytest.param(HEAD + "[[turn]]\nmatch = 'x'\n", 2, "turn 1 has no steps", id="no-steps"),
    pytest.param(
        HEAD + "[[turn]]\nsteps = [\n  { text = 'a' },\n  { txt = 'b' },\n]\n",
        5,
        "Did you mean text",
        id="kind",
    ),
    pytest.param(HEAD + "[[turn]]\nsteps = [\n  { text = 3 },\n]\n", 4, "3 is not a text", id="value"),
    pytest.param(
        HEAD + "[[turn]]\nsteps = [{ text = 'a', gab = '1s' }]\n", 3, "Did you mean gap", id="member"
    ),
    pytest.param(
        HEAD + "[[turn]]\nsteps = []\n[[turn]]\nonturn = 2\nsteps = []\n",
        5,
        "Did you mean on_turn",
        id="turn",
    ),
    pytest.param(HEAD + "[[turn]]\nmatch = '('\nsteps = []\n", 3, "not a pattern", id="pattern"),
    pytest.param(HEAD + "[[turn]]\nsteps = [{ delay = 'soon' }]\n", 3, "not a duration", id="duration"),
    pytest.param(HEAD + "[[turn]]\nsteps = [{ error = 200 }]\n", 3, "not an HTTP status", id="status"),
    pytest.param(HEAD + "[[turn]]\nsteps = [{ ignore = 'SIGPIPE' }]\n", 3, "none of SIGINT", id="signal"),
    pytest.param(HEAD + "[[turn]\n", 2, "not TOML", id="toml"),
    pytest.param(HEAD + "strikt = true\n", 2, "Did you mean strict", id="top"),
    pytest.param(HEAD + "[start]\nrefuse_session = 'maybe'\n", 3, "none of in_use, unknown", id="start"),
]


@pytest.mark.parametrize(("source", "line", "said"), WRONG)
def test_a_wrong_file_names_the_line_and_the_nearest_word(source: str, line: int, said: str) -> None:
    with pytest.raises(FileError) as wrong:
        ScriptFile("s.toml", source)

    assert str(wrong.value).startswith(f"s.toml:{line}: ")
    assert said in str(wrong.value)


def test_lint_names_every_file(tmp_path: Path, tool: Callable[..., tuple[int, str, str]]) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(HEAD + "[[turn]]\nsteps = [{ text = 'a' }]\n")
    bad.write_text("[[turn]]\n")

    code, out, err = tool("lint", good, bad)

    assert code == 1
    assert out == f"{good}: 1 turns, 1 steps\n"
    assert err.startswith(f"{bad}:1: version")


def entry_for(source: str, prompt: str, turn: int = 1) -> str:
    scripts = ScriptFinder()
    scripts.script = ScriptFile("s.toml", HEAD + source)
    play, entry = scripts.find(ApiRequest(prompt, turn, 0, 1))
    return entry.name if entry is not None else play.name


def test_first_entry_that_matches_answers() -> None:
    source = "[[turn]]\nname='a'\nmatch='x'\nsteps=[]\n[[turn]]\nname='b'\nsteps=[]\n"

    assert entry_for(source, "has x") == "a"
    assert entry_for(source, "has y") == "b"


def test_entry_may_be_for_one_turn_of_the_conversation() -> None:
    source = "[[turn]]\nname='second'\non_turn=2\nsteps=[]\n[[turn]]\nname='rest'\nsteps=[]\n"

    assert [entry_for(source, "p", turn) for turn in (1, 2, 3)] == ["rest", "second", "rest"]


async def test_times_are_counted_over_processes(fake: Fake) -> None:
    fake.script('[[turn]]\ntimes = 1\nsteps = [{ exit = 9 }]\n[[turn]]\nsteps = [{ text = "Recovered." }]\n')

    first, second = await fake.say("go"), await fake.say("go")

    assert (first.code, second.result["result"]) == (9, "Recovered.")


async def test_groups_of_the_pattern_are_filled_in(fake: Fake) -> None:
    fake.script("[[turn]]\nmatch = 'repeat (.+)'\nsteps = [{ text = '{1}, turn {turn}' }]\n")

    assert (await fake.say("repeat after me")).result["result"] == "after me, turn 1"


async def test_strict_script_fails_on_an_unexpected_prompt(fake: Fake) -> None:
    fake.script("strict = true\n[[turn]]\nmatch = 'expected'\nsteps = []\n")

    done = await fake.say("surprise")

    assert done.code == 1
    assert "no turn of" in done.result["result"]


async def test_coverage_names_steps_never_reached(
    fake: Fake, tool: Callable[..., tuple[int, str, str]]
) -> None:
    fake.script(
        "[[turn]]\nmatch = 'a'\nsteps = [\n { text = 'x' },\n]\n[[turn]]\nsteps = [\n { text = 'y' },\n]\n"
    )
    await fake.say("a")

    script = fake.folder / "script.toml"
    code, out, _ = tool("coverage", script, "--ledger", fake.folder / "bin" / "ledger")

    assert code == 1
    assert out == f"{script}:9: step turn2.1 (text) was never reached\n1 of 2 steps reached\n"
