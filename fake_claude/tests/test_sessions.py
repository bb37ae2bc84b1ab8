"""Session ids, transcripts, and what a later process knows (docs/claude-cli.md, sessions)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from uuid import UUID

import pytest

from fake_claude.engine.transcript import encode_cwd
from fake_claude.tests.conftest import ONE_SHOT, PATIENCE, PERSISTENT, Fake, control
from fake_claude.tests.talk import talking

SID = "11111111-2222-4333-8444-55555555aaaa"
OTHER = "99999999-2222-4333-8444-55555555bbbb"
STREAM = ["-p", "--output-format", "stream-json", "--verbose"]
USAGE = (
    "Error: --resume requires a valid session ID or session title when used with --print."
    " Usage: claude -p --resume <session-id|title>"
)


def files(fake: Fake) -> list[Path]:
    """Every transcript there is, in the order of their names."""
    return sorted(fake.home.glob(".claude/projects/*/*.jsonl"))


def said(path: Path) -> list[tuple[str, str]]:
    """Who said what in a transcript."""
    printed: list[tuple[str, str]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event["type"] in ("user", "assistant"):
            content = event["message"]["content"]
            text = content if isinstance(content, str) else "".join(block["text"] for block in content)
            printed.append((event["type"], text))
    return printed


def answer(prompt: str, turn: int) -> str:
    return f'You said: "{prompt}". This is turn {turn} of our conversation.\n'


async def hold(fake: Fake, prompt: str, *argv: str) -> None:
    """Begin a session and stop it, killed, in the middle of its answer, when its prompt is on disk."""
    with fake.gate("middle") as gate:
        process = await fake.start(*ONE_SHOT, *argv, "--", prompt)
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(PATIENCE):
            await gate.reached()
            process.kill()
            await process.communicate()


CRASH = (
    "[[turn]]\nmatch = 'crash'\n"  # the delay is longer than the CLI keeps lines to itself
    "steps = [{ text = 'Half ' }, { delay = '150ms' }, { hold = 'middle' }, { text = 'an answer.' }]\n"
)


# Ids.


@pytest.mark.parametrize("given", [SID, SID.upper()], ids=["lower-case", "upper-case"])
async def test_given_id_is_used_as_it_is_written(fake: Fake, given: str) -> None:
    done = await fake.run(*STREAM, "--session-id", given, "hi")

    assert {message["session_id"] for message in done.messages} == {given}
    assert [path.name for path in files(fake)] == [f"{given}.jsonl"]


async def test_without_an_id_every_run_is_a_session_of_its_own(fake: Fake) -> None:
    first, second = await fake.run(*STREAM, "hi"), await fake.run(*STREAM, "hi")

    ids = {done.result["session_id"] for done in (first, second)}
    assert len(ids) == 2
    assert {path.stem for path in files(fake)} == {str(UUID(name)) for name in ids}


async def test_id_in_use_is_refused_even_in_stream_json(fake: Fake) -> None:
    await fake.run("-p", "--session-id", SID, "hi")

    done = await fake.run(*STREAM, "--session-id", SID, "again")

    assert (done.err, done.out, done.code) == (f"Error: Session ID {SID} is already in use.\n", "", 1)


async def test_id_stays_used_after_its_owner_was_killed(fake: Fake) -> None:
    fake.script(CRASH)
    await hold(fake, "crash", "--session-id", SID)

    done = await fake.run("-p", "--session-id", SID, "again")

    assert (done.err, done.code) == (f"Error: Session ID {SID} is already in use.\n", 1)


async def test_id_is_free_in_another_directory(fake: Fake) -> None:
    await fake.run("-p", "--session-id", SID, "hi")
    fake.cwd = fake.folder / "elsewhere"
    fake.cwd.mkdir()

    done = await fake.run("-p", "--session-id", SID, "hi")

    assert (done.out, done.code) == (answer("hi", 1), 0)
    assert len(files(fake)) == 2


# Resuming.


@pytest.mark.parametrize(
    "form", [["--resume", SID], ["-r", SID], [f"--resume={SID}"]], ids=["long", "short", "equals"]
)
async def test_resumed_session_goes_on_in_its_file(fake: Fake, form: list[str]) -> None:
    await fake.run("-p", "--session-id", SID, "one")

    done = await fake.run(*STREAM, *form, "--", "two")

    assert done.result["result"] + "\n" == answer("two", 2)
    assert done.result["session_id"] == SID
    (path,) = files(fake)
    assert [text for _, text in said(path)] == [
        "one",
        answer("one", 1)[:-1],
        "two",
        answer("two", 2)[:-1],
    ]


async def test_costs_go_on_and_usage_is_the_turns_own(fake: Fake) -> None:
    fake.script("[[turn]]\nusage = { input_tokens = 12, output_tokens = 9 }\nsteps = [{ text = 'a' }]\n")
    first = await fake.run(*STREAM, "--session-id", SID, "one")
    second = await fake.run(*STREAM, "--resume", SID, "two")

    costs = [done.result["total_cost_usd"] for done in (first, second)]
    assert costs == pytest.approx([0.000228, 0.000456])
    assert second.result["modelUsage"]["claude-opus-5-5"]["outputTokens"] == 18
    assert second.result["model_usage_since_last_result"]["claude-opus-5-5"]["outputTokens"] == 9
    assert second.result["usage"]["output_tokens"] == 9


async def test_session_of_another_directory_is_found_and_kept_where_it_is(fake: Fake) -> None:
    await fake.run("-p", "--session-id", SID, "one")
    fake.cwd = fake.folder / "elsewhere"
    fake.cwd.mkdir()

    done = await fake.run(*STREAM, "--resume", SID, "two")

    assert done.messages[0]["cwd"] == str(fake.cwd)
    (path,) = files(fake)
    assert len(said(path)) == 4


async def test_session_of_this_directory_goes_before_one_of_another(fake: Fake) -> None:
    await fake.run("-p", "--session-id", SID, "one")
    fake.cwd = fake.folder / "a"  # sorts before the first, so a plain search would find the wrong one last
    fake.cwd.mkdir()
    await fake.run("-p", "--session-id", SID, "one here")
    await fake.run("-p", "--resume", SID, "two here")

    here = next(path for path in files(fake) if path.parent.name == encode_cwd(str(fake.cwd.resolve())))
    assert [text for kind, text in said(here) if kind == "user"] == ["one here", "two here"]


async def test_session_is_found_by_its_title(fake: Fake) -> None:
    await fake.run("-p", "-n", "my title", "one")

    assert (await fake.run("-p", "--resume", "my title", "two")).out == answer("two", 2)


WRONG = [
    pytest.param([OTHER], f"No conversation found with session ID: {OTHER}", id="unknown"),
    pytest.param([SID.upper()], f"No conversation found with session ID: {SID.upper()}", id="other-case"),
    pytest.param([], USAGE, id="no-value"),
    pytest.param(
        ["my-session"],
        f'{USAGE}. Provided value "my-session" is not a UUID and does not match any session title.',
        id="no-uuid-and-no-title",
    ),
    pytest.param(
        [SID[:8]],
        f'{USAGE}. Provided value "{SID[:8]}" is not a UUID and does not match any session title.',
        id="beginning-of-an-id",
    ),
    pytest.param(
        [SID, "--session-id", OTHER],
        "Error: --session-id with --continue or --resume also needs --fork-session.",
        id="two-ids",
    ),
]


@pytest.mark.parametrize(("words", "text"), WRONG)
async def test_wrong_resume_is_refused(fake: Fake, words: list[str], text: str) -> None:
    await fake.run("-p", "--session-id", SID, "one")

    done = await fake.run("-p", "two", "--resume", *words)

    assert (done.err, done.out, done.code) == (text + "\n", "", 1)


async def test_id_given_with_continue_is_refused(fake: Fake) -> None:
    done = await fake.run("-p", "-c", "--session-id", OTHER, "two")

    assert done.err == "Error: --session-id with --continue or --resume also needs --fork-session.\n"
    assert done.code == 1


async def test_persistent_process_resumes_too(fake: Fake) -> None:
    await fake.run("-p", "--session-id", SID, "one")

    async with talking(fake, "--resume", SID) as talk:
        await talk.say("two")
        assert (await talk.result())["result"] + "\n" == answer("two", 2)


@pytest.mark.parametrize("content", ["", "garbage\n{]\n"], ids=["empty", "garbage"])
async def test_transcript_without_a_message_is_no_conversation(fake: Fake, content: str) -> None:
    await fake.run("-p", "--session-id", SID, "one")
    files(fake)[0].write_text(content)

    done = await fake.run("-p", "--resume", SID, "two")

    assert (done.err, done.code) == (f"No conversation found with session ID: {SID}\n", 1)


async def test_broken_line_of_a_transcript_is_passed_over(fake: Fake) -> None:
    await fake.run("-p", "--session-id", SID, "one")
    (path,) = files(fake)
    path.write_text('{"broken\n' + path.read_text() + "not json\n")

    assert (await fake.run("-p", "--resume", SID, "two")).out == answer("two", 2)


# Forks and continuations.


@pytest.mark.parametrize("given", [None, OTHER], ids=["new-id", "given-id"])
async def test_fork_has_the_history_and_leaves_the_original_alone(fake: Fake, given: str | None) -> None:
    await fake.run("-p", "--session-id", SID, "one")
    ids = ["--session-id", given] if given else []

    done = await fake.run(*STREAM, "--resume", SID, "--fork-session", *ids, "two")

    assert done.result["result"] + "\n" == answer("two", 2)
    forked = done.result["session_id"]
    assert forked != SID
    assert given in (None, forked)
    lines = {path.stem: [text for kind, text in said(path) if kind == "user"] for path in files(fake)}
    assert lines == {SID: ["one"], forked: ["one", "two"]}


async def test_continue_takes_the_newest_session_of_the_directory(fake: Fake) -> None:
    await fake.run("-p", "--session-id", OTHER, "older")
    await fake.run("-p", "--session-id", SID, "one")

    done = await fake.run(*STREAM, "-c", "two")

    assert done.result["session_id"] == SID
    assert done.result["result"] + "\n" == answer("two", 2)


async def test_continue_without_a_session_starts_one(fake: Fake) -> None:
    await fake.run("-p", "--session-id", SID, "one")
    fake.cwd = fake.folder / "elsewhere"
    fake.cwd.mkdir()

    done = await fake.run(*STREAM, "--continue", "two")

    assert (done.result["result"] + "\n", done.code) == (answer("two", 1), 0)
    assert done.result["session_id"] != SID


# Files.


async def test_without_persistence_there_is_no_file_to_resume(fake: Fake) -> None:
    first = await fake.run("-p", "--no-session-persistence", "--session-id", SID, "one")
    second = await fake.run("-p", "--resume", SID, "two")

    assert (first.code, files(fake)) == (0, [])
    assert second.err == f"No conversation found with session ID: {SID}\n"


async def test_configuration_directory_holds_the_sessions(fake: Fake) -> None:
    config = fake.home / "cfg"
    await fake.run("-p", "--session-id", SID, "one", CLAUDE_CONFIG_DIR=str(config))

    assert files(fake) == []
    assert [path.name for path in config.glob("projects/*/*")] == [f"{SID}.jsonl"]


async def test_directory_is_the_real_one_behind_a_link(fake: Fake) -> None:
    link = fake.folder / "link"
    link.symlink_to(fake.cwd)
    real, fake.cwd = fake.cwd, link

    await fake.run("-p", "--session-id", SID, "one", PWD=str(link))

    assert files(fake)[0].parent.name == encode_cwd(str(real.resolve()))


NAMES = [
    pytest.param("/srv/a_b.c d", "-srv-a-b-c-d", id="signs"),
    pytest.param("/srv/ünï", "-srv--n-", id="letters-beyond-ascii"),
    pytest.param("/srv/😀", "-srv---", id="two-utf-16-units"),
    pytest.param("/work/dir/" + "y" * 230, "-work-dir-" + "y" * 190 + "-9c2fv5", id="longer-than-200"),
]


@pytest.mark.parametrize(("path", "name"), NAMES)
def test_folder_is_named_like_the_directory(path: str, name: str) -> None:
    assert encode_cwd(path) == name


# Broken-off runs.


async def test_killed_run_leaves_the_prompt_only(fake: Fake) -> None:
    fake.script(CRASH)
    await hold(fake, "crash", "--session-id", SID)

    assert said(files(fake)[0]) == [("user", "crash")]


async def test_terminated_run_leaves_the_prompt_only(fake: Fake) -> None:
    with fake.gate("middle") as gate:
        async with talking(fake, "--session-id", SID) as talk:
            await talk.say('[[fake say="Half an answer" hold=middle@1]]')
            await gate.reached()
            talk.process.terminate()
            await talk.end()

    assert [kind for kind, _ in said(files(fake)[0])] == ["user"]


async def test_resume_after_a_kill_answers_the_orphan_prompt(fake: Fake) -> None:
    fake.script(CRASH + "[[turn]]\nsteps = [{ text = 'Here again.' }]\n")
    await hold(fake, "crash", "--session-id", SID)

    await fake.run("-p", "--resume", SID, "after")

    assert said(files(fake)[0]) == [
        ("user", "crash"),
        ("assistant", "No response requested."),
        ("user", "after"),
        ("assistant", "Here again."),
    ]


async def test_kill_after_the_result_loses_nothing(fake: Fake) -> None:
    fake.script("[[turn]]\nsteps = [{ text = 'All.' }, { kill = 'SIGKILL', when = 'after_result' }]\n")

    done = await fake.run(
        *PERSISTENT, "--session-id", SID, stdin='{"type":"user","message":{"role":"user","content":"go"}}\n'
    )

    assert done.code == -9
    assert said(files(fake)[0]) == [("user", "go"), ("assistant", "All.")]


async def test_interrupted_answer_is_kept_with_its_note(fake: Fake) -> None:
    with fake.gate("middle") as gate:
        async with talking(fake, "--session-id", SID) as talk:
            await talk.say('[[fake say="Half an answer" hold=middle@1]]')
            await gate.reached()
            await talk.send(control("interrupt"))
            await talk.result()
            assert said(files(fake)[0])[1:] == [
                ("assistant", "Half "),
                ("user", "[Request interrupted by user]"),
            ]


async def test_of_two_runs_at_once_the_last_writer_is_remembered(fake: Fake) -> None:
    await fake.run("-p", "--session-id", SID, "zero")
    async with talking(fake, "--resume", SID) as a, talking(fake, "--resume", SID) as b:
        for talk in (a, b):
            await talk.ask("mcp_status")  # answered: both have read the session before either writes
        printed = []
        for talk, name in ((b, "from B"), (a, "from A")):
            await talk.say(name)
            printed.append((await talk.result())["result"] + "\n")

    after = await fake.run("-p", "--resume", SID, "after")
    assert printed == [answer("from B", 2), answer("from A", 2)]
    assert after.out == answer("after", 3)  # zero, A and this: B is lost
