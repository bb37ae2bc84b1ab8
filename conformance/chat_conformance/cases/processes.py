"""The processes behind the chat."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from asyncio.subprocess import DEVNULL
from contextlib import suppress

from chat_conformance.cases.turns import ANSWERED, STREAMS, pieces, turn_is_over
from chat_conformance.errors import CouldNotTest, Failure, NotOffered, TargetError
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal
from chat_conformance.target.processes import children, command_line, is_unreaped
from chat_conformance.target.server import Server


@case(
    "processes/stderr",
    title="A Claude that writes a megabyte to stderr still answers",
    clause="PROC-1",
    severity=Severity.MEDIUM,
    means="A talkative CLI fills the pipe and the turn hangs for ever.",
    finding="M-11",
    evidence="not within",
    needs=(ANSWERED,),
)
async def stderr(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        turn = await chat.run_turn(peer, chat.fake.prompt(tokens=3, stderr=1 << 20))

        expect_equal(turn.text, pieces(3), "the answer")


OPTIONS = "processes/options"


@case(
    OPTIONS,
    title="Claude is started with options that the real CLI takes",
    clause="PROC-2",
    severity=Severity.BLOCKER,
    means="Every message fails with the real CLI, and no stand-in noticed.",
    finding="M-4",
    evidence="a UUID for",
)
async def options(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        await chat.send_prompt(peer, chat.fake.prompt("one"))
        with suppress(Failure):  # judged is what Claude was given, whatever becomes of it
            await peer.until(lambda: turn_is_over(peer.events), "the turn's end")
    expect_options(chat)


@case(
    "processes/resume",
    title="A later turn of a conversation is answered, by a Claude started with options that the real CLI takes",
    clause="PROC-2",
    severity=Severity.BLOCKER,
    means="The first message of every chat is answered, and each after it fails.",
    finding="M-4",
    evidence="a UUID for",
    needs=(OPTIONS,),
)
async def resume(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        turn = await chat.run_turn(peer, chat.fake.prompt("one"))
        later = await chat.send_prompt(peer, chat.fake.prompt("two"), conversation_id=turn.conversation_id)
        with suppress(Failure):  # first comes what Claude was given
            await later.finish()
        expect_options(chat)
        end = later.terminal or {"type": "nothing"}
        expect(end.get("type") == "complete", "the second turn to end with complete", f"it ended with {end}")


def expect_options(chat: CaseContext) -> None:
    """Expect that every Claude started since the case began was given options that the real CLI takes.

    A server may have started the one that answers ahead, and start no other: then that one is judged.
    """
    runs = chat.fake.started_since() or chat.fake.runs()
    if not runs:
        raise CouldNotTest("Claude was not started, so it was given no options")
    for run in runs:
        given = {}
        # Both spellings, `--resume ID` and `--resume=ID`. An option without a value is given the word behind
        # it, which does no harm: only the values of the options below are looked at.
        for word, value in zip(run.argv, [*run.argv[1:], ""], strict=True):
            name, _, glued = word.partition("=")
            given[name] = glued or value
        for name in ("--session-id", "--resume", "-r"):
            if name in given:
                expect(_is_uuid(given[name]), f"a UUID for {name}", f"it is {given[name]!r}")
        if given.get("--output-format") == "stream-json":
            expect(
                "--verbose" in given,
                "--verbose with --output-format stream-json",
                f"the options are {run.argv}",
            )


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


@case(
    "processes/prompt-is-data",
    title="Paths, commands and keywords in a prompt reach the model as text, and do nothing",
    clause="PROC-6",
    severity=Severity.BLOCKER,
    means="Every user reads the files of the server's user, and changes the settings of Claude for all.",
    needs=(ANSWERED,),
)
async def prompt_is_data(chat: CaseContext) -> None:
    with chat.folder() as folder:
        secret, inside = folder / "secret.txt", folder / f"entry-of-{chat.marker}"
        secret.write_text(f"content-of-{chat.marker}\n")
        inside.touch()
        # What the CLI expands by itself: `@path` attaches a file, or lists a folder, at the beginning, in a
        # later line and in quotes; a `/` at the beginning is a command. The last prompt begins with one, and is
        # no command.
        prompts = [
            f"what is in @{secret} {chat.marker}",
            f"{chat.marker}\n@{folder}/",
            f'@"{secret}" {chat.marker}',
            f"/clear {chat.marker}",
            f"/etc/hosts is odd, {chat.marker}",
        ]
        async with chat.peer() as peer:
            conversation = None
            for prompt in prompts:
                turn = await chat.run_turn(peer, prompt, conversation_id=conversation)
                conversation = turn.conversation_id

        runs = chat.fake.runs()
        texts = [text for run in runs for request in run.requests for text in request["texts"]]
        for planted in (f"content-of-{chat.marker}", inside.name):
            shown = [text for text in texts if planted in text]
            expect(not shown, "nothing of a file or folder in a request", f"the model was sent {shown[:1]}")
        for prompt in prompts:
            expect(prompt in texts, f"the model to be sent {prompt!r}", f"its last texts are {texts[-3:]}")


@case(
    "processes/operators-own",
    title="What the operator has for their own Claude adds nothing to a request, and no user changes it",
    clause="PROC-6",
    severity=Severity.MEDIUM,
    means="Notes, instructions and commands that are only for the operator are part of every user's conversation.",
    needs=(ANSWERED,),
    slow=True,
)
async def operators_own(chat: CaseContext) -> None:
    with chat.folder() as folder:
        own, mark = folder / ".claude", f"own-{chat.marker}"
        # The three ways in which the operator's own words reach a request: notes, commands and settings below
        # HOME.
        files = {"CLAUDE.md": mark, "commands/greet.md": mark, "settings.json": f'{{"language": "{mark}"}}'}
        for name, text in files.items():
            (own / name).parent.mkdir(parents=True, exist_ok=True)
            (own / name).write_text(text)
        prompts = [f"hello {chat.marker}", f"/greet {chat.marker}", f"/config language={chat.marker}"]
        async with chat.instance(env={"HOME": str(folder)}) as server, chat.peer(server=server) as peer:
            for prompt in prompts:
                await chat.run_turn(peer, prompt)
            sent = [
                text for run in chat.fake.runs_of(server) for each in run.requests for text in each["texts"]
            ]

        shown = [text for text in sent if mark in text]
        expect(not shown, "nothing of the operator's in a request", f"the model was sent {shown[:1]}")
        for prompt in prompts:
            expect(prompt in sent, f"the model to be sent {prompt!r}", f"its last texts are {sent[-3:]}")
        expect_equal({name: (own / name).read_text() for name in files}, files, "the operator's files")


@case(
    "processes/dash",
    title="A prompt that begins with a dash is a prompt",
    clause="PROC-2",
    severity=Severity.MEDIUM,
    means="A message such as `-v` is taken for an option of the CLI and fails.",
    needs=(ANSWERED,),
)
async def dash(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        for prompt in ("--version", "-h", "--dangerously-skip-permissions"):
            turn = await chat.run_turn(peer, f"{prompt} {chat.marker}")

            expect(prompt in turn.text, f"an answer that quotes {prompt!r}", f"it is {turn.text!r}")


@case(
    "processes/cancelled",
    title="A cancelled turn is over for Claude, too",
    clause="PROC-3",
    severity=Severity.MEDIUM,
    means="Stopped turns continue in the background, and cost.",
    finding="M-14",
    evidence="was not stopped",
    needs=("stopping/cancel",),
)
async def cancelled(chat: CaseContext) -> None:
    async with chat.fake.gate("gone") as gate, chat.peer() as peer:
        turn = await chat.start_turn(peer, chat.fake.prompt("stop me", tokens=9, hold=f"{gate.name}@2"))
        await turn.until_text(pieces(2))
        await peer.send_json(type="cancel", message_id=turn.message_id)
        await turn.finish()

        # Interrupted and idle, or ended: what it must not be is waiting at the gate to continue.
        for run in chat.fake.runs():
            stopped = any('"interrupt"' in line for line in run.stdin) or run.signals
            expect(
                bool(stopped) or not run.alive,
                "Claude to be interrupted or ended",
                f"pid {run.pid} was not stopped",
            )


@case(
    "processes/clean-stop",
    title="SIGTERM closes connections with 1001 and leaves no process behind",
    clause="PROC-4",
    severity=Severity.MEDIUM,
    means="Every deployment leaves Claude processes behind, and pages that do not know why they lost the line.",
    needs=(STREAMS,),
    waits=True,
    slow=True,
)
async def clean_stop(chat: CaseContext) -> None:
    async with chat.instance() as server:
        async with chat.peer(server=server) as idle:
            await chat.run_turn(idle, chat.fake.prompt("warm"))
            await server.signal(signal.SIGTERM)
            await idle.expect_closed(1001, within=chat.target.stop_within)
        await expect_end(server)


async def expect_end(server: Server) -> None:
    """Wait until a server that got SIGTERM has ended in good order."""
    try:
        status = await server.wait()
    except TimeoutError:
        status = None
    # A server that raises the signal again when it is done has ended as well: service managers take both for clean.
    told = f"it is {status}"
    expect(
        status in (0, -signal.SIGTERM, 128 + signal.SIGTERM),
        "an end in time after SIGTERM, by 0 or the signal",
        told,
    )
    left = await server.surviving_processes()
    expect(not left, "no process left", f"there is {left}")


UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
"""What makes a command process 1 where it runs."""


async def expect_can_be_first() -> None:
    """Find out whether a process can be made process 1 here.

    Raises:
        NotOffered: It cannot.
    """
    for words in ((*UNSHARE, "true"), ("nsenter", "--version")):
        try:
            process = await asyncio.create_subprocess_exec(*words, stdout=DEVNULL, stderr=DEVNULL)
        except FileNotFoundError:
            raise NotOffered(f"there is no {words[0]} here, with which a server becomes process 1") from None
        if await process.wait():
            raise NotOffered("only root can make a server process 1, and not everywhere")


@case(
    "processes/process-1",
    title="A server that is process 1 answers, reaps orphans and stops as any other",
    clause="PROC-9",
    severity=Severity.MEDIUM,
    means="In a container each `docker exec` leaves a zombie, or `docker stop` waits ten seconds and kills.",
    needs=("processes/clean-stop",),
    waits=True,
    slow=True,
)
async def process_1(chat: CaseContext) -> None:
    first_of_all = chat.target.variants.process_1
    if first_of_all is None:
        raise NotOffered("the target file has no variants.process_1")
    await expect_can_be_first()
    async with chat.instance(before=UNSHARE, env=first_of_all.env) as server:
        assert server.pid is not None
        # What was started is `unshare`: the server is its only child, and process 1 where it runs.
        (first,) = children(server.pid)
        async with chat.peer(server=server) as peer:
            turn = await chat.run_turn(peer, chat.fake.prompt(tokens=3))
            expect_equal(turn.text, pieces(3), "the answer")
            # An orphan as `docker exec` leaves one: the shell starts a process and ends, and process 1
            # becomes its parent.
            words = (
                "nsenter",
                "--pid",
                "--mount",
                "--target",
                str(first),
                "sh",
                "-c",
                "sleep 1000 & sleep 0",
            )
            parent = await asyncio.create_subprocess_exec(*words, stdout=DEVNULL, stderr=DEVNULL)
            await parent.wait()
            orphan = next(pid for pid in children(first) if command_line(pid).startswith("sleep"))
            os.kill(orphan, signal.SIGKILL)
            try:
                async with asyncio.timeout(chat.target.within):
                    while orphan in children(first):  # noqa: ASYNC110 - there is no event to wait for
                        await asyncio.sleep(0.02)
            except TimeoutError:
                raise Failure(
                    "an orphan that has ended to be reaped by process 1", "it is a zombie"
                ) from None
            await server.signal(signal.SIGTERM, to=first)
            await peer.expect_closed(1001, within=chat.target.stop_within)
        await expect_end(server)


@case(
    "processes/stopped-running",
    title="SIGTERM in the middle of an answer ends the server in its time, and the turn with it",
    clause="PROC-4",
    severity=Severity.MEDIUM,
    means="A deployment hangs on the first chat that is open, or the page shows the answer as running for ever.",
    needs=("processes/clean-stop",),
    waits=True,
    slow=True,
)
async def stopped_running(chat: CaseContext) -> None:
    async with chat.instance() as server, chat.fake.gate("deployed", server=server) as gate:
        async with chat.peer(server=server) as peer:
            turn = await chat.start_turn(peer, chat.fake.prompt(tokens=9, hold=f"{gate.name}@2"))
            await turn.until_text(pieces(2))
            await server.signal(signal.SIGTERM)
            # The connection is still open: a server that waits for its clients to leave never ends.
            await expect_end(server)
        await server.restart()
        messages = await chat.http.history(turn.conversation_id, server=server)
        expect(messages[-1].get("status") != "running", "the turn to be over", f"it is {messages[-1]}")


@case(
    "processes/orphans",
    title="A server that is killed leaves no Claude behind",
    clause="PROC-3",
    severity=Severity.MEDIUM,
    means="Every crash of the server leaves Claude processes that run for ever.",
    needs=(STREAMS,),
    waits=True,
    slow=True,
)
async def orphans(chat: CaseContext) -> None:
    async with chat.instance() as server, chat.fake.gate("killed", server=server) as gate:
        async with chat.peer(server=server) as peer:
            await chat.run_turn(peer, chat.fake.prompt("warm"))
            turn = await chat.start_turn(peer, chat.fake.prompt("writing", tokens=9, hold=f"{gate.name}@2"))
            await turn.until_text(pieces(2))
            # Of this signal the server learns nothing: cleaning up is left to another process, or to the
            # kernel.
            await server.signal(signal.SIGKILL)
            await server.wait()

        left = await server.surviving_processes()
        expect(not left, "no process left a second after the kill of the server", f"there is {left}")


@case(
    "processes/killed",
    title="After a kill the broken-off turn is interrupted, and nothing else is lost",
    clause="PROC-5",
    severity=Severity.MEDIUM,
    means="History lies about an answer that never came to its end, or a page shows it as running for ever.",
    needs=(STREAMS, "history/socket-turn"),
    waits=True,
    slow=True,
)
async def killed(chat: CaseContext) -> None:
    async with chat.instance() as server, chat.fake.gate("killed", server=server) as gate:
        first, second = (
            chat.fake.prompt("before", say="kept"),
            chat.fake.prompt(tokens=9, hold=f"{gate.name}@2"),
        )
        async with chat.peer(server=server) as peer:
            before = await chat.run_turn(peer, first)
            turn = await chat.start_turn(peer, second, conversation_id=before.conversation_id)
            await turn.until_text(pieces(2))
            await server.signal(signal.SIGKILL)
            await server.wait()
        await server.restart()

        messages = await chat.http.history(before.conversation_id, server=server)
        # The prompt of the broken-off turn is there, too: it was durable before Claude was asked (HIST-1).
        expect_equal([each.get("content") for each in messages[:3]], [first, "kept", second], "the messages")
        expect_equal(messages[-1].get("status"), "interrupted", "the status of the broken-off answer")
        why = messages[-1].get("error") or {}
        expect_equal(why.get("code"), "interrupted", "the code of the broken-off answer's error")
        async with chat.peer(server=server) as peer:
            await chat.run_turn(peer, chat.fake.prompt("on"), conversation_id=before.conversation_id)


@case(
    "processes/shed-mark",
    title="A child that dropped environment and session ends with its conversation, and leaves no zombie",
    clause="PROC-3",
    severity=Severity.MEDIUM,
    means="A command of Claude's that clears its environment runs for ever.",
    needs=("history/deleted",),
    waits=True,
    slow=True,
)
async def shed_mark(chat: CaseContext) -> None:
    async with chat.scripted_server() as scripted, scripted.peer() as peer:
        # Theory: a child can drop all by which a server knows it: the environment with its mark, the session,
        # and the parent, by ending that. What remains is whose child it becomes then. A subreaper (prctl(2))
        # gets it, and must reap it.
        turn = await scripted.run_turn(peer, scripted.fake.prompt("play sheds"))
        path = scripted.target.paths.of(turn.conversation_id)
        graces = 3 * chat.target.grace + chat.target.within
        expect_equal(
            (await scripted.http.request("DELETE", path, within=graces)).status,
            204,
            "the status of the DELETE",
        )
        await scripted.fake.expect_exited(within=graces)
        children = [
            each["pid"]
            for run in scripted.fake.runs()
            for each in run.events
            if each.get("event") == "grandchild"
        ]
        expect_equal(len(children), 2, "the number of children")
        # Killed is not enough: until it is reaped a process keeps its pid.
        until = asyncio.get_running_loop().time() + chat.target.within
        while zombies := [pid for pid in children if is_unreaped(pid)]:
            late = asyncio.get_running_loop().time() > until
            expect(not late, "every child to be reaped", f"{len(zombies)} are zombies")
            await asyncio.sleep(0.05)


@case(
    "processes/stopped-as-a-group",
    title="SIGTERM to the server and all its processes at once interrupts a turn",
    clause="PROC-5",
    severity=Severity.MEDIUM,
    means="Every `systemctl stop` shows people that Claude failed, and may charge it to them.",
    needs=(STREAMS, "history/socket-turn"),
    waits=True,
    slow=True,
)
async def stopped_as_a_group(chat: CaseContext) -> None:
    async with chat.instance() as server, chat.fake.gate("group", server=server) as gate:
        async with chat.peer(server=server) as peer:
            turn = await chat.start_turn(peer, chat.fake.prompt(tokens=9, hold=f"{gate.name}@2"))
            await turn.until_text(pieces(2))
            # As systemd does (KillMode=control-group): Claude dies of a signal that the server has not sent,
            # and has not failed.
            for run in chat.fake.runs_of(server):
                os.kill(run.pid, signal.SIGTERM)
            await server.signal(signal.SIGTERM)
            await server.wait()
        await server.restart()

        answer = (await chat.http.history(turn.conversation_id, server=server))[-1]
        expect_equal(answer.get("status"), "interrupted", "the status of the answer")
        expect_equal(answer.get("content"), pieces(2), "the answer in history")


@case(
    "processes/one-owner",
    title="A second server on the same data is refused, or leaves the turns of the first alone",
    clause="PROC-7",
    severity=Severity.MEDIUM,
    means="A restart that overlaps, or a forgotten server, breaks off the answers of the other in everybody's "
    "history, and lets two Claudes work in one conversation.",
    needs=(STREAMS, "history/socket-turn"),
    waits=True,
    slow=True,
)
async def one_owner(chat: CaseContext) -> None:
    async with chat.instance() as server, chat.fake.gate("owned", server=server) as gate:
        async with chat.peer(server=server) as peer:
            turn = await chat.start_turn(peer, chat.fake.prompt(tokens=3, hold=f"{gate.name}@2"))
            await turn.until_text(pieces(2))
            # Beside a turn that runs: a start that takes all running turns for broken off shows at once.
            second = server.beside()
            try:
                with suppress(TargetError):  # it is refused
                    await second.start()
                status = (await chat.http.history(turn.conversation_id, server=server))[-1].get("status")
                expect_equal(status, "running", "the status of the answer once another server was started")
                gate.open()
                await turn.finish()
            finally:
                await second.end()
        expect_equal(turn.text, pieces(3), "the answer")
        messages = await chat.http.history(turn.conversation_id, server=server)
        expect_equal(messages[-1].get("status"), "complete", "the status of the answer in the end")


@case(
    "processes/environment",
    title="Claude's environment has no secret of the server",
    clause="PROC-8",
    severity=Severity.BLOCKER,
    means="A user with tools reads the secrets of proxy and database, and can be any user.",
    needs=(ANSWERED,),
)
async def environment(chat: CaseContext) -> None:
    if not chat.target.secrets:
        raise NotOffered("the target file names no secrets")
    async with chat.peer() as peer:
        await chat.run_turn(peer, chat.fake.prompt("what do you know?"))
    for run in chat.fake.runs():
        if not run.environment:
            raise CouldNotTest("the ledger does not record the environment")
        found = sorted({*run.environment} & {*chat.target.secrets})
        expect(
            not found, "none of the server's secrets in Claude's environment", f"it has {', '.join(found)}"
        )
