"""One warm process per conversation: asked, interrupted, resumed, evicted, and never left behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from chat_server.claude.events import Init, Result, TurnEvent
from chat_server.claude.parser import TurnParser
from chat_server.claude.pool import Claude
from chat_server.claude.session import Interruptible, SessionUnknown
from chat_server.claude.workspaces import Workspace, Workspaces
from chat_server.errors import ClaudeFailed, ClaudeUnavailable, TimedOut
from chat_server.protocol import Status
from chat_server.tests.loop_clock import LONG, LoopClock, in_time
from chat_server.tests.processes import alive, living
from chat_server.tests.sites import Fake, make_settings, program, until
from chat_server.turns.event_log import TurnLog
from fake_claude.gates import Gate


class Ask:
    """An exchange with one process after another, and what came of it. Its own reader, which may lag."""

    def __init__(self, claude: Claude, owner: str = "ada") -> None:
        self.claude = claude
        self.owner = owner
        self.prompt = ""
        self.stopped = False
        self.log = TurnLog("m1", "c1")
        self.parser = TurnParser(self.log.text)
        self.events: list[Init | TurnEvent] = []
        self.begun = asyncio.Event()  # some of the answer has come
        self.process: Interruptible | None = None

    async def __call__(self, prompt: str, conversation: str = "c1", resume: str | None = None) -> Result:
        self.prompt = prompt
        async with in_time():
            return await self.claude.ask(conversation, resume, self)

    def stop(self) -> None:
        self.stopped = True
        if self.process is not None:
            self.process.interrupt()

    def attach(self, process: Interruptible | None) -> None:
        self.process = process

    def on_event(self, event: Init | TurnEvent) -> None:
        self.events.append(event)

    def on_text(self) -> None:
        self.begun.set()

    def on_log_update(self, log: TurnLog) -> None:
        """The log asks nothing of this reader."""

    @property
    def text(self) -> str:
        return self.parser.text

    @property
    def session(self) -> str:
        return next(event.session_id for event in self.events if isinstance(event, Init))


@asynccontextmanager
async def asking(command: list[str], folder: Path, **changes: Any) -> AsyncIterator[Claude]:
    async with Claude(command, make_settings(folder, **changes)) as claude:
        yield claude


def move(path: Path, to: Path) -> None:
    path.rename(to)


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def until_free(claude: Claude, conversation: str = "c1") -> None:
    """Wait for the end of a process that is being ended."""
    session = claude._sessions.get(conversation)
    if session is not None and session.task is not None:
        async with in_time():
            await asyncio.wait([session.task])


async def test_answer_comes_in_pieces_and_ends(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path) as claude:
        ask = Ask(claude)
        ended = await ask("[[fake tokens=3]]")

    assert ask.text == "t1 t2 t3 "
    assert ended.error == ""
    assert ended.usage.output_tokens == 3


async def test_cli_accepts_all_options(fake: Fake, tmp_path: Path) -> None:
    changes = {"claude_tools": "Read,Bash", "claude_model": "haiku", "claude_args": ("--effort", "low")}
    async with asking(fake.command, tmp_path, **changes) as claude:
        ask = Ask(claude)
        await ask("hello")

    (run,) = fake.runs()
    line = " ".join(run.argv)
    assert line.startswith("-p --input-format stream-json --output-format stream-json --verbose")
    assert "--include-partial-messages --tools Read,Bash --disable-slash-commands" in line
    assert "--model haiku --effort low --session-id" in line
    session = run.argv[run.argv.index("--session-id") + 1]
    assert str(uuid.UUID(session)) == session == ask.session  # PROC-2


async def test_no_tools_by_default(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path) as claude:
        await Ask(claude)("hello")

    (run,) = fake.runs()
    assert run.argv[run.argv.index("--tools") + 1] == ""


async def test_permission_mode_is_the_operators(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path, claude_permission_mode="acceptEdits") as claude:
        await Ask(claude)("hello")

    (run,) = fake.runs()
    assert run.argv[run.argv.index("--permission-mode") + 1] == "acceptEdits"


async def test_any_prompt_goes_by_stdin(fake: Fake, tmp_path: Path) -> None:
    prompt = '--help "quotes" \\ new\nline \u2028 🙂 \x00 end'
    async with asking(fake.command, tmp_path) as claude:
        await Ask(claude)(prompt)

    (run,) = fake.runs()
    assert prompt not in run.argv
    blocks = json.loads(run.stdin[0])["message"]["content"]
    assert [block["text"] for block in blocks] == [prompt, ""]


async def test_process_gets_no_server_secret(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT_OAUTH_CLIENT_SECRET", "sesame")
    monkeypatch.setenv("DATABASE_URL", "sesame")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    async with asking(fake.command, tmp_path) as claude:
        await Ask(claude)("hello")
        everybody = living(f"TEST_RUN={os.environ['TEST_RUN']}", but={os.getpid()})
        environments = [environment_of(pid) for pid in everybody]

    assert len(environments) == 2  # the CLI and the guardian
    assert not any(b"sesame" in each for each in environments)
    assert any(b"ANTHROPIC_API_KEY=key" in each for each in environments)


async def test_next_turn_finds_the_process_warm(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path) as claude:
        await Ask(claude)("one")
        second = Ask(claude)
        await second("two")

    (run,) = fake.runs()
    assert len(run.stdin) == 2
    assert "turn 2 of our conversation" in second.text


async def test_conversations_have_processes_of_their_own(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path) as claude:
        await asyncio.gather(Ask(claude)("one", "c1"), Ask(claude)("two", "c2"))
        assert claude.processes == 2

    assert len({run.argv[-1] for run in fake.runs()}) == 2


async def test_idle_process_ends_and_resumes(fake: Fake, tmp_path: Path, loop_clock: LoopClock) -> None:
    async with asking(fake.command, tmp_path, claude_idle_seconds=LONG) as claude:
        first, second = Ask(claude), Ask(claude)
        await first("one")
        loop_clock.advance()
        await until_free(claude)
        assert claude.processes == 0
        await second("two", resume=first.session)

    one, two = fake.runs()
    assert one.exit_code == 0
    assert two.argv[-2:] == ["--resume", first.session]
    assert "turn 2 of our conversation" in second.text


async def test_idle_zero_means_process_per_turn(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path, claude_idle_seconds=0) as claude:
        first = Ask(claude)
        await first("one")
        await Ask(claude)("two", resume=first.session)

    one, two = fake.runs()
    assert one.ended is not None
    assert two.started >= one.ended  # never two processes on one session


async def test_exit_of_pool_ends_processes(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path) as claude:
        await asyncio.gather(*(Ask(claude)("hello", f"c{number}") for number in range(3)))
        pids = [run.pid for run in fake.runs()]
        assert all(alive(pid) for pid in pids)

    assert not any(alive(pid) for pid in pids)


async def test_closed_conversation_has_no_process(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path) as claude:
        await Ask(claude)("hello")
        await claude.end("c1")
        await claude.end("unknown")

        assert claude.processes == 0
        assert fake.runs()[0].gone


# --- bounds


async def test_longest_idle_process_makes_room(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path, claude_max_processes=2) as claude:
        for conversation in ("c1", "c2", "c1", "c3"):
            await Ask(claude)("hello", conversation)

        assert sorted(claude._sessions) == ["c1", "c3"]
        assert claude.processes == 2


async def test_ending_process_makes_room(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path, claude_max_processes=1, claude_idle_seconds=0) as claude:
        await Ask(claude)("hello", "c1")
        await asyncio.gather(*(Ask(claude)("hello", f"c{number}") for number in (2,)))

    one, two = fake.runs()
    assert one.ended is not None
    assert two.started >= one.ended


async def test_busy_processes_make_no_room(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("here") as gate:
        async with asking(fake.command, tmp_path, claude_max_processes=1, claude_waiting=0) as claude:
            answering = asyncio.create_task(Ask(claude)("[[fake tokens=1 hold=here@1]]"))
            await gate.reached()
            with pytest.raises(ClaudeUnavailable, match="all 1 claude processes are answering"):
                await Ask(claude)("hello", "c2")
            gate.open()

            assert (await answering).error == ""


# --- waiting for a place

ALL_ANSWER = "all 1 claude processes are answering"


class Waiting:
    """A server with one process, which answers until the gate is opened, and questions that wait for it."""

    def __init__(self, claude: Claude, gate: Gate) -> None:
        self.claude = claude
        self.gate = gate
        self.order: list[str] = []
        self.asks: dict[str, Ask] = {}
        self.tasks: dict[str, asyncio.Task[Result]] = {}

    def ask(self, owner: str, conversation: str, prompt: str = "hello") -> None:
        ask = self.asks[conversation] = Ask(self.claude, owner)
        task = self.tasks[conversation] = asyncio.create_task(ask(prompt, conversation))
        task.add_done_callback(lambda _: self.order.append(conversation))

    async def line(self, *questions: tuple[str, str]) -> None:
        """Let questions, each of a user and in a conversation, wait in this order."""
        for owner, conversation in questions:
            before = self.claude.waiting
            self.ask(owner, conversation)
            await until(lambda before=before: self.claude.waiting > before)  # type: ignore[misc]

    async def open(self) -> None:
        """Let the one that answers end, and all that wait be answered."""
        self.gate.open()
        async with in_time():
            await asyncio.gather(*self.tasks.values())


@asynccontextmanager
async def waiting(fake: Fake, folder: Path, **changes: Any) -> AsyncIterator[Waiting]:
    with fake.gate("here") as gate:
        async with asking(fake.command, folder, claude_max_processes=1, **changes) as claude:
            made = Waiting(claude, gate)
            made.ask("ada", "first", "[[fake tokens=1 hold=here@1]]")
            await gate.reached()
            yield made


async def test_turns_wait_in_order(fake: Fake, tmp_path: Path) -> None:
    async with waiting(fake, tmp_path) as made:
        await made.line(("bob", "c1"), ("cy", "c2"), ("dan", "c3"))
        assert Status(
            status="waiting", detail="every Claude is answering others; this question is in line"
        ) in (made.asks["c1"].events)
        await made.open()

        assert made.order == ["first", "c1", "c2", "c3"]
        assert all(task.result().error == "" for task in made.tasks.values())
        assert made.claude.waiting == made.claude._granted == 0
        assert not made.claude._line.served


async def test_turns_wait_for_ending_processes(fake: Fake, tmp_path: Path) -> None:
    async with waiting(fake, tmp_path, claude_idle_seconds=0) as made:
        await made.line(("bob", "c1"), ("cy", "c2"))
        await made.open()

        assert made.order == ["first", "c1", "c2"]


async def test_user_with_fewer_places_goes_first(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("one") as one, fake.gate("two") as two:
        async with asking(fake.command, tmp_path, claude_max_processes=2) as claude:
            made = Waiting(claude, two)
            for name, gate in (("one", one), ("two", two)):
                made.ask("ada", name, f"[[fake tokens=1 hold={name}@1]]")
                await gate.reached()
            await made.line(("ada", "adas"), ("bob", "bobs"))
            one.open()
            async with in_time():
                await made.tasks["bobs"]
            await made.open()

    assert made.order.index("bobs") < made.order.index("adas")


async def test_queue_is_bounded_and_fair(fake: Fake, tmp_path: Path) -> None:
    async with waiting(fake, tmp_path, claude_waiting=2) as made:
        await made.line(("ada", "c1"), ("ada", "c2"))
        made.ask("ada", "c3")
        with pytest.raises(ClaudeUnavailable, match=ALL_ANSWER):
            await made.tasks.pop("c3")
        made.ask("bob", "bobs")
        with pytest.raises(ClaudeUnavailable, match=ALL_ANSWER):
            await made.tasks.pop("c2")
        await made.open()

        assert made.order == ["c3", "c2", "first", "c1", "bobs"]


async def test_stopped_turn_leaves_queue(fake: Fake, tmp_path: Path) -> None:
    async with waiting(fake, tmp_path) as made:
        await made.line(("bob", "c1"), ("cy", "c2"))
        made.asks["c1"].stop()
        with pytest.raises(ClaudeUnavailable, match="stopped while it waited"):
            await made.tasks.pop("c1")
        await made.open()

        assert made.order == ["c1", "first", "c2"]
    assert len(fake.runs()) == 2


async def test_wait_for_a_place_ends(fake: Fake, tmp_path: Path) -> None:
    async with waiting(fake, tmp_path, claude_wait_seconds=0.01) as made:
        made.ask("bob", "c1")
        with pytest.raises(ClaudeUnavailable, match=ALL_ANSWER):
            await made.tasks.pop("c1")
        assert made.claude.waiting == 0
        await made.open()


async def test_granted_place_of_leaver_moves_on(fake: Fake, tmp_path: Path) -> None:
    async with waiting(fake, tmp_path) as made:
        await made.line(("bob", "c1"), ("cy", "c2"))
        leaves = made.tasks.pop("c1")
        granting = made.claude._line.grant

        def grant() -> bool:
            """Cancel who is given the place before it can take it."""
            made.claude._line.grant = granting  # type: ignore[method-assign]
            given = granting()
            leaves.cancel()
            return given

        made.claude._line.grant = grant  # type: ignore[method-assign]
        made.gate.open()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        await asyncio.gather(*made.tasks.values())

        assert made.claude._granted == 0
        assert not made.claude._line.served


# --- processes started ahead


async def test_new_conversation_takes_spare_process(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path, claude_spare=1) as claude:
        await asyncio.wait([claude._spares[0].started])
        spare = claude._spares[0].started.result().pid
        await Ask(claude)("one")
        await Ask(claude)("two", "c2")
        assert claude.processes == 3

    asked = {run.pid: len(run.stdin) for run in fake.runs()}
    assert asked[spare] == 1
    assert sorted(asked.values()) == [0, 1, 1]


async def test_resumed_conversation_takes_no_spare_process(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path) as claude:
        first = Ask(claude)
        await first("one")
    async with asking(fake.command, tmp_path, claude_spare=1) as claude:
        second = Ask(claude)
        await second("two", resume=first.session)

    assert "turn 2" in second.text


async def test_spare_process_makes_room(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path) as claude:
        first = Ask(claude)
        await first("one")
    async with asking(fake.command, tmp_path, claude_spare=1, claude_max_processes=1) as claude:
        await asyncio.wait([claude._spares[0].started])
        second = Ask(claude)
        await second("two", resume=first.session)

        assert claude.processes == 1
    assert "turn 2" in second.text


async def test_dead_spare_process_is_skipped(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path, claude_spare=1) as claude:
        spare = claude._spares[0]
        await asyncio.wait([spare.started])
        os.kill(spare.started.result().pid, 9)
        await asyncio.wait([spare.closing])

        assert (await Ask(claude)("hello")).error == ""


async def test_failed_spare_start_is_harmless(fake: Fake, tmp_path: Path) -> None:
    launcher, away = Path(fake.command[0]), tmp_path / "away"
    move(launcher, away)
    async with asking(fake.command, tmp_path, claude_spare=2) as claude:
        await asyncio.wait([each.task for each in claude._spares if each.task])
        assert claude.processes == 0
        move(away, launcher)

        assert (await Ask(claude)("hello")).error == ""


# --- folders


def folder_of(claude: Claude, conversation: str) -> Workspace:
    found = claude._workspaces.find(conversation)
    assert found is not None
    return found


def folders_there(folder: Path) -> set[str]:
    return {path.name for path in (folder / "data" / "workspaces" / "folders").iterdir()}


async def test_conversations_have_folders_of_their_own(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path) as claude:
        for conversation in ("c1", "c2", "c1"):
            await Ask(claude)("hello", conversation)
        first, second = folder_of(claude, "c1"), folder_of(claude, "c2")

    assert [run.cwd for run in fake.runs()] == [str(first.work), str(second.work)]
    assert len(list(first.home.rglob("*.jsonl"))) == 1  # the transcript
    assert list((tmp_path / "home").iterdir()) == []  # the server's own


async def test_spare_process_brings_its_folder(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path, claude_spare=1) as claude:
        spare = claude._spares[0].workspace
        await Ask(claude)("hello")
        assert folder_of(claude, "c1") == spare
        assert len(folders_there(tmp_path)) == 2

    assert folders_there(tmp_path) == {spare.folder.name}  # that of the unused spare is gone


async def test_fresh_session_keeps_the_folder(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path, claude_spare=1, claude_idle_seconds=0) as claude:
        await Ask(claude)("hello")
        folder = folder_of(claude, "c1")
        (folder.work / "notes").write_text("mine")
        await Ask(claude)("hello")  # no session is named: it begins one
        assert folder_of(claude, "c1") == folder

    assert [run.cwd for run in fake.runs() if run.stdin] == [str(folder.work)] * 2
    assert (folder.work / "notes").read_text() == "mine"


async def test_operator_may_share_working_folder(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path, claude_cwd=tmp_path / "home") as claude:
        await Ask(claude)("hello", "c1")
        await Ask(claude)("hello", "c2")
        first, second = folder_of(claude, "c1"), folder_of(claude, "c2")
        await claude.end("c1")
        await claude.forget("c1", None)

    assert [run.cwd for run in fake.runs()] == [str(tmp_path / "home")] * 2
    assert first.home != second.home
    assert (tmp_path / "home").exists()


async def test_forgotten_conversation_leaves_nothing(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path) as claude:
        await Ask(claude)("my name is Ada")
        await claude.end("c1")
        await claude.forget("c1", str(uuid.uuid4()))

    assert folders_there(tmp_path) == set()


async def test_shared_home_is_cleaned(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path, claude_home=tmp_path / "shared") as claude:
        first, second = Ask(claude), Ask(claude)
        await first("my name is Ada", "c1")
        await second("my name is Bob", "c2")
        kept = {path.stem for path in (tmp_path / "shared").rglob("*.jsonl")}
        await claude.end("c1")
        await claude.forget("c1", first.session)

    assert kept == {first.session, second.session}
    assert [path.stem for path in (tmp_path / "shared").rglob("*.jsonl")] == [second.session]


async def test_session_from_shared_home_resumes(fake: Fake, tmp_path: Path) -> None:
    """As after an update from a version that had one HOME for all."""
    async with asking(fake.command, tmp_path, claude_home=tmp_path / "home") as claude:
        first = Ask(claude)
        await first("my name is Ada")
    (tmp_path / "data").rename(tmp_path / "before")
    async with asking(fake.command, tmp_path) as claude:
        second = Ask(claude)
        await second("what is it?", resume=first.session)

    assert "turn 2" in second.text


async def test_folder_errors_are_reported(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Workspaces) -> Workspace:
        raise OSError(28, "No space left on device", "/data/x")

    async with asking(fake.command, tmp_path, claude_spare=1) as claude:
        monkeypatch.setattr(Workspaces, "new", fail)
        await Ask(claude)("hello", "c1")  # the spare one
        with pytest.raises(
            ClaudeUnavailable, match="folders cannot be made: No space left on device: /data/x"
        ):
            await Ask(claude)("hello", "c2")


# --- a command before the CLI


async def test_wrapper_comes_before_the_cli(fake: Fake, tmp_path: Path) -> None:
    wrapper = ("sh", "-c", 'printf "%s\\n" "$@" > {tmp}/words; shift 4; exec "$@"', "sh", "{home}", "{work}")
    async with asking(fake.command, tmp_path, claude_wrapper=(*wrapper, "{claude}", "a {tmp} b")) as claude:
        ask = Ask(claude)
        await ask("hello")
        folder = folder_of(claude, "c1")
        words = (folder.tmp / "words").read_text().splitlines()

    expected = [folder.home, folder.work, fake.command[0], f"a {folder.tmp} b", fake.command[0], "-p"]
    assert words[:6] == [str(each) for each in expected]
    assert ask.text


async def test_missing_wrapper_is_named(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path, claude_wrapper=("/no/such/wrapper",)) as claude:
        with pytest.raises(ClaudeUnavailable, match="No such file or directory: /no/such/wrapper"):
            await Ask(claude)("hello")

    assert fake.runs() == []  # it does not run without


# --- what cannot be started


UNSTARTABLE = [
    pytest.param("/no/such/claude", "No such file or directory: /no/such/claude", id="missing"),
    pytest.param("/etc/passwd", "Permission denied: /etc/passwd", id="not-executable"),
]


@pytest.mark.parametrize(("path", "reason"), UNSTARTABLE)
async def test_missing_cli_is_named(path: str, reason: str, tmp_path: Path) -> None:
    async with asking([path], tmp_path) as claude:
        with pytest.raises(ClaudeUnavailable, match=reason):
            await Ask(claude)("hello")

        assert claude.processes == 0


async def test_unexpected_start_error_is_reported(tmp_path: Path) -> None:
    async with asking(["/bin/true\0"], tmp_path) as claude:
        with pytest.raises(ValueError, match="null byte"):
            await Ask(claude)("hello")

        assert claude.processes == 0


async def test_next_turn_tries_again(fake: Fake, tmp_path: Path) -> None:
    launcher, away = Path(fake.command[0]), tmp_path / "away"
    move(launcher, away)
    async with asking(fake.command, tmp_path) as claude:
        with pytest.raises(ClaudeUnavailable):
            await Ask(claude)("hello")
        move(away, launcher)

        assert (await Ask(claude)("hello")).error == ""


# --- what goes wrong on the way


async def test_refused_options_fail_the_turn(
    fake: Fake, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with asking(fake.command, tmp_path, claude_args=("--no-such-option",)) as claude:
        with pytest.raises(ClaudeFailed, match=re.escape("ended in the middle of the turn (exit code 1)")):
            await Ask(claude)("hello")

    assert "unknown option '--no-such-option'" in caplog.text


async def test_crash_keeps_partial_answer(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path) as claude:
        ask = Ask(claude)
        with pytest.raises(ClaudeFailed, match="exit code 3"):
            await ask("[[fake tokens=4 exit=3]]")

        assert ask.text == "t1 t2 t3 t4 "
        await until_free(claude)
        assert claude.processes == 0


async def test_crash_is_seen_despite_open_pipes(tmp_path: Path) -> None:
    code = "read(); init(); text('half')\nif os.fork() == 0: signal.pause()\nos._exit(3)"
    async with asking(program(tmp_path, code), tmp_path) as claude:
        ask = Ask(claude)
        with pytest.raises(ClaudeFailed, match="exit code 3"):
            await ask("hello")

    assert ask.text == "half"


async def test_crash_leads_to_new_process(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path) as claude:
        with pytest.raises(ClaudeFailed):
            await Ask(claude)("[[fake tokens=1 exit=3]]")

        assert (await Ask(claude)("hello")).error == ""

    assert len(fake.runs()) == 2


async def test_dead_idle_process_is_replaced(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path) as claude:
        first = Ask(claude)
        await first("one")
        os.kill(fake.runs()[0].pid, 9)
        await until_free(claude)

        second = Ask(claude)
        await second("two", resume=first.session)

    assert "turn 2" in second.text


async def test_unknown_session_in_result_raises(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path) as claude:
        with pytest.raises(SessionUnknown):
            await Ask(claude)("hello", resume=str(uuid.uuid4()))


async def test_unknown_session_on_stderr_raises(tmp_path: Path) -> None:
    code = "print('No conversation found with session ID: x', file=sys.stderr); sys.exit(1)"
    async with asking(program(tmp_path, code), tmp_path) as claude:
        with pytest.raises(SessionUnknown):
            await Ask(claude)("hello", resume=str(uuid.uuid4()))


async def test_talkative_stderr_stops_nothing(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path) as claude:
        ask = Ask(claude)
        await ask("[[fake stderr=1000000 tokens=2]]")

    assert ask.text == "t1 t2 "


async def test_line_beyond_limit_fails_turn(tmp_path: Path) -> None:
    code = "read(); init(); text('kept'); print('x' * 300_000, flush=True); signal.pause()"
    limits = {"claude_line_max_bytes": 200_000, "claude_grace_seconds": 0}
    async with asking(program(tmp_path, code), tmp_path, **limits) as claude:
        ask = Ask(claude)
        with pytest.raises(ClaudeFailed, match="a line of more than 200,000 bytes"):
            await ask("hello")

    assert ask.text == "kept"


async def test_megabytes_in_one_line_are_fine(tmp_path: Path) -> None:
    code = "read(); init(); text('x' * 3_000_000); result(); read()"
    async with asking(program(tmp_path, code), tmp_path) as claude:
        ask = Ask(claude)
        await ask("hello")

    assert len(ask.text) == 3_000_000


async def test_noise_between_lines_is_dropped(tmp_path: Path) -> None:
    code = """
read()
os.write(1, b'warning: \\xff\\xfe\\n\\n[' + b'[' * 50_000 + b'\\n{"type":"future"}\\n')
init(); text('fine'); result(); read()
"""
    async with asking(program(tmp_path, code), tmp_path) as claude:
        ask = Ask(claude)
        await ask("hello")

    assert ask.text == "fine"


async def test_result_ends_turn_despite_output(tmp_path: Path) -> None:
    code = """
for line in sys.stdin:
    init(); text('answer'); result(); say('system', subtype='session_state_changed', state='idle')
"""
    async with asking(program(tmp_path, code), tmp_path) as claude:
        first, second = Ask(claude), Ask(claude)
        await first("hello")
        await second("hello")

    assert first.text == "answer"
    assert second.text == "answer"


async def test_silent_turn_is_ended(fake: Fake, tmp_path: Path, loop_clock: LoopClock) -> None:
    limits = {"claude_silence_seconds": LONG, "claude_grace_seconds": 0}
    with fake.gate("never") as gate:
        async with asking(fake.command, tmp_path, **limits) as claude:
            ask = Ask(claude)
            answering = asyncio.create_task(ask("[[fake tokens=2 hold=never@2]]"))
            await gate.reached()
            await until(lambda: ask.text == "t1 t2 ")
            loop_clock.advance()
            with pytest.raises(TimedOut, match="silent for"):
                await answering
            await until_free(claude)

            assert ask.text == "t1 t2 "
            assert claude.processes == 0


async def test_paused_answer_waits_in_the_pipe(tmp_path: Path, loop_clock: LoopClock) -> None:
    code = """
read(); init(); text('begun')
try:
    while True: os.write(1, b'{}\\n' * 10_000)
except BrokenPipeError:
    pass
"""
    limits = {"claude_silence_seconds": LONG, "claude_grace_seconds": 0}
    async with asking(program(tmp_path, code), tmp_path, **limits) as claude:
        ask = Ask(claude)
        answering = asyncio.create_task(ask("hello"))
        await ask.begun.wait()
        ask.log.subscribe(ask)
        ask.log.set_lagging(ask, lagging=True)
        process = claude._sessions["c1"].started.result()
        await until(lambda: waits_in_write(process.pid))
        for _ in range(3):
            loop_clock.advance()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        assert not answering.done()  # what cannot be read is no silence
        ask.stop()  # a paused turn can be stopped, and is read to its end
        assert ask.log.paused
        assert not process.stdout.paused
        with pytest.raises(ClaudeFailed):
            await answering


def waits_in_write(pid: int) -> bool:
    return "pipe_write" in Path(f"/proc/{pid}/wchan").read_text() or Path(
        f"/proc/{pid}/syscall"
    ).read_text().startswith("1 ")


async def test_noise_resets_silence_timeout(tmp_path: Path, loop_clock: LoopClock) -> None:
    code = "read(); init()\nwhile read()['more']: say('noise')\nresult(); read()"
    async with asking(program(tmp_path, code), tmp_path, claude_silence_seconds=LONG) as claude:
        ask = Ask(claude)
        answering = asyncio.create_task(ask("hello"))
        await until(lambda: ask.events)
        session = claude._sessions["c1"]
        for _ in range(4):
            loop_clock.advance(LONG / 2)
            moved = asyncio.get_running_loop().time()
            session.started.result().stdin.write(b'{"more":true}\n')
            await until(lambda: session._last_output > moved)  # noqa: B023 - it is waited for here
        session.started.result().stdin.write(b'{"more":false}\n')

        assert (await answering).error == ""


# --- stopping


async def test_stop_interrupts_and_keeps_the_process(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("here") as gate:
        async with asking(fake.command, tmp_path) as claude:
            ask, after = Ask(claude), Ask(claude)
            answering = asyncio.create_task(ask("[[fake tokens=5 hold=here@2]]"))
            await gate.reached()
            await ask.begun.wait()
            ask.stop()
            ended = await answering
            await after("and now?")

    assert ended.aborted
    assert ask.text == "t1 t2 "
    assert after.text.startswith('You said: "and now?"')
    assert len(fake.runs()) == 1


async def test_stop_before_first_token_works(fake: Fake, tmp_path: Path) -> None:
    async with asking(fake.command, tmp_path) as claude:
        ask = Ask(claude)
        ask.stop()
        try:
            ended = await ask("[[fake tokens=5 first=60s]]")
        except ClaudeFailed:  # interrupted before it had begun, it may have to be ended
            ended = None

    assert ask.text == ""
    assert ended is None or ended.aborted


DEAF = [
    pytest.param("read(); init(); text('so far'); signal.pause()", "hello", id="deaf-to-interrupts"),
    pytest.param(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); read(); init(); text('so far')\nwhile 1: signal.pause()",
        "hello",
        id="deaf-to-term",
    ),
    pytest.param("init(); text('so far'); signal.pause()", "x" * 2_000_000, id="reads-nothing"),
]


@pytest.mark.parametrize(("code", "prompt"), DEAF)
async def test_stop_ends_unresponsive_process(code: str, prompt: str, tmp_path: Path) -> None:
    async with asking(program(tmp_path, code), tmp_path, claude_grace_seconds=0) as claude:
        ask = Ask(claude)
        answering = asyncio.create_task(ask(prompt))
        await ask.begun.wait()

        ask.stop()

        with pytest.raises(ClaudeFailed):
            await answering
        assert ask.text == "so far"
        assert claude.processes == 0


async def test_cancelled_ask_ends_process(fake: Fake, tmp_path: Path) -> None:
    with fake.gate("here") as gate:
        async with asking(fake.command, tmp_path, claude_grace_seconds=0) as claude:
            answering = asyncio.create_task(Ask(claude)("[[fake tokens=1 hold=here@1]]"))
            await gate.reached()

            answering.cancel()
            await asyncio.wait([answering])
            await until_free(claude)

            assert answering.cancelled()
            assert claude.processes == 0
