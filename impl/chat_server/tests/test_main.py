"""``chat-server`` as a process: how it begins, how it ends, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import resource
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chat_server.__main__ import main
from chat_server.owner_lock import locked
from chat_server.processes.marked import descendants, relations
from chat_server.tests.loop_clock import in_time
from chat_server.tests.processes import alive, living
from chat_server.tests.sites import Fake, Peer, spoken, until
from fake_claude.ledger import Run

READY = re.compile(rb"Chat ready at (http://(?:127\.0\.0\.1|\[::1\]):\d+)/chat/\n")
COMMAND = (sys.executable, "-m", "chat_server")


@dataclass
class Server:
    """A chat server that is ready."""

    url: str
    process: asyncio.subprocess.Process
    http: aiohttp.ClientSession

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, bytes, bytes]:
        """End it with a signal: its exit code, and what it wrote on stdout and stderr after it was ready."""
        self.process.send_signal(number)
        async with in_time():
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, out, err

    @asynccontextmanager
    async def socket(self) -> AsyncIterator[Peer]:
        async with self.http.ws_connect(f"{self.url}/chat/ws") as ws:
            yield Peer(ws)

    async def post(self, **form: str) -> dict[str, Any]:
        async with self.http.post(f"{self.url}/chat", data=form) as response:
            answer: dict[str, Any] = await response.json()
            return answer


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("CHAT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@asynccontextmanager
async def server(
    folder: Path, *options: str, cwd: Path | None = None, before: Sequence[str] = (), **env: str
) -> AsyncIterator[Server]:
    process = await asyncio.create_subprocess_exec(
        *(*before, *COMMAND, "--port", "0", "--data", str(folder / "data"), *options),
        stdout=PIPE,
        stderr=PIPE,
        cwd=cwd,
        env={**os.environ, "CHAT_CLAUDE_SPARE": "0", "CHAT_CLAUDE_ENV": "TEST_RUN", **env},
    )
    assert process.stdout is not None
    try:
        async with in_time():
            line = await process.stdout.readline()
        ready = READY.fullmatch(line)
        assert ready, (line, await process.communicate())
        async with aiohttp.ClientSession() as http:
            yield Server(ready[1].decode(), process, http)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


def runs(folder: Path) -> list[Run]:
    return Fake(folder / "data" / "claude", []).runs()


# --- the beginning


async def test_server_starts_and_stops(tmp_path: Path) -> None:
    async with server(tmp_path) as chat:
        async with chat.http.get(f"{chat.url}/chat/") as page:
            assert page.status == 200
        answer = await chat.post(message="hello secret", message_id="m1")
        code, out, err = await chat.stop(signal.SIGINT)

    assert answer["response"].startswith('You said: "hello secret".')
    assert (code, out) == (0, b"")
    lines = [json.loads(line) for line in err.splitlines()]
    about = {"user": "dev", "conversation_id": answer["conversation_id"], "message_id": "m1"}
    got = [line["message"] for line in lines if about.items() <= line.items()]
    assert "= turn ended: complete end_turn" in got
    assert all({"time", "level", "message"} <= line.keys() for line in lines)
    assert b"secret" not in err


async def test_settings_come_from_environment_and_options(fake: Fake, tmp_path: Path) -> None:
    claude = f"./{Path(fake.command[0]).relative_to(tmp_path)}"  # though it will run in another folder
    async with server(tmp_path, "--claude", claude, cwd=tmp_path, CHAT_HOST="::1") as chat:
        answer = await chat.post(message="hello")

    assert chat.url.startswith("http://[::1]:")
    assert "hello" in answer["response"]
    assert len(fake.runs()) == 1


def test_other_platforms_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.platform", "darwin")

    assert main([]) == 1
    assert "chat-server: this is darwin, and only Linux shows" in capsys.readouterr().err


# --- the end


async def test_sigterm_closes_with_1001(tmp_path: Path) -> None:
    async with server(tmp_path, CHAT_STOP_GRACE_SECONDS="0") as chat:
        with Fake(tmp_path / "data" / "claude", []).gate("here") as gate:
            async with chat.socket() as peer:
                await peer.chat("[[fake tokens=1]]")
                await peer.turn()
                await peer.chat("[[fake tokens=9 hold=here@2]]", message_id="m1")
                await gate.reached()
                await peer.text("t1 t2 ")
                stopping = asyncio.create_task(chat.stop(signal.SIGTERM))
                closed = await peer.closed()
                code, _, err = await stopping

    assert (code, closed) == (0, 1001)
    assert b"Traceback" not in err
    assert [run.gone for run in runs(tmp_path)] == [True, True]
    assert kept(tmp_path) == [("complete", "t1 "), ("interrupted", "t1 t2 ")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_signal_to_all_at_once_interrupts(number: signal.Signals, tmp_path: Path) -> None:
    """As ``systemctl stop`` sends it by default, and a terminal."""
    before = signal.signal(
        signal.SIGHUP, signal.SIG_DFL
    )  # under nohup the tests ignore it, and so would the server
    async with server(tmp_path) as chat:
        signal.signal(signal.SIGHUP, before)
        with Fake(tmp_path / "data" / "claude", []).gate("here") as gate:
            async with chat.socket() as peer:
                await peer.chat("[[fake tokens=9 hold=here@2]]", message_id="m1")
                await gate.reached()
                await peer.text("t1 t2 ")
                everybody = living(f"TEST_RUN={os.environ['TEST_RUN']}")
                for pid in sorted(everybody, key=chat.process.pid.__eq__):  # the server comes last
                    os.kill(pid, number)
                await chat.process.communicate()

    assert chat.process.returncode == 0
    assert len(everybody) >= 3  # server, guardian, claude
    assert kept(tmp_path) == [("interrupted", "t1 t2 ")]


UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
CAN_UNSHARE = os.getuid() == 0 and subprocess.run([*UNSHARE, "true"], check=False).returncode == 0


@asynccontextmanager
async def container(folder: Path) -> AsyncIterator[tuple[Server, int]]:
    """A server that is process 1 where it runs, and its process id out here."""
    if not CAN_UNSHARE:
        pytest.skip("only root can start a process that is process 1, and not everywhere")
    async with server(folder, before=UNSHARE) as chat:
        (first,) = [pid for pid, each in relations().items() if each.parent == chat.process.pid]
        try:
            yield chat, first
        finally:
            if alive(first):
                os.kill(first, signal.SIGKILL)


async def test_server_as_process_1_reaps_strangers(tmp_path: Path) -> None:
    async with container(tmp_path) as (chat, first):
        stranger = await asyncio.create_subprocess_exec(
            *("nsenter", "--pid", "--mount", "--target", str(first)),  # as ``docker exec`` does
            *("sh", "-c", "sleep 1000 >/dev/null & echo $!"),
            stdout=PIPE,
        )
        await stranger.communicate()
        (orphan,) = [
            pid for pid, each in relations().items() if each.parent == first and argv(pid)[0] == b"sleep"
        ]

        assert (await chat.post(message="hello"))["response"]
        assert alive(orphan)  # it belongs to no server
        os.kill(orphan, signal.SIGTERM)
        await until(lambda: orphan not in relations())


def argv(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


async def test_process_1_stops_in_order(tmp_path: Path) -> None:
    async with container(tmp_path) as (chat, first):
        await chat.post(message="hello")
        os.kill(first, signal.SIGTERM)
        await chat.process.communicate()

    assert chat.process.returncode == 0
    assert kept(tmp_path)[0][0] == "complete"


async def test_process_1_ends_with_the_server(tmp_path: Path) -> None:
    async with container(tmp_path) as (chat, first):
        await chat.post(message="hello")
        everybody = descendants(relations(), [first])
        os.kill(everybody[1], signal.SIGKILL)
        await chat.process.communicate()

    assert chat.process.returncode == 128 + signal.SIGKILL
    assert len(everybody) >= 4  # init, server, guardian, claude
    assert not any(alive(pid) for pid in everybody)


def kept(folder: Path) -> list[tuple[str, str]]:
    """Status and answer of each turn in the database."""
    with sqlite3.connect(folder / "data" / "chat.sqlite3") as database:
        rows = database.execute("SELECT status, answer FROM turns ORDER BY number").fetchall()
    database.close()
    return rows


async def test_full_disk_loses_nothing(tmp_path: Path) -> None:
    async with server(tmp_path) as chat, chat.socket() as peer:
        with Fake(tmp_path / "data" / "claude", []).gate("here") as gate:
            conversation = (await chat.post(message="hello"))["conversation_id"]
            await peer.chat("[[fake tokens=2 hold=here@1]]", conversation_id=conversation)
            received = await peer.text("t1 ")
            resource.prlimit(
                chat.process.pid, resource.RLIMIT_FSIZE, (4096, -1)
            )  # less than a page with its head
            gate.open()
            received += await peer.turn()
        async with chat.http.get(f"{chat.url}/health/ready") as ready:
            problems = (await ready.json())["problems"]
        async with chat.http.get(f"{chat.url}/health") as health:
            assert health.status == 200
        refused = await chat.post(message="hello")
        resource.prlimit(chat.process.pid, resource.RLIMIT_FSIZE, (-1, -1))
        await until(lambda: kept(tmp_path)[1] == ("failed", "t1 t2 "))
        taken = await chat.post(message="hello", conversation_id=conversation)

    last = received[-1]
    assert (spoken(received), last["code"]) == ("t1 t2 ", "unavailable")
    assert last["message"] == "the answer could not be stored: database unavailable"
    assert refused["error"]["code"] == "unavailable"
    assert len(problems) == 1
    assert "turn 3 of our conversation" in taken["response"]


async def test_killed_server_leaves_no_claude(tmp_path: Path) -> None:
    async with server(tmp_path) as chat:
        with Fake(tmp_path / "data" / "claude", []).gate("here") as gate:
            async with chat.socket() as peer:
                await peer.chat("[[fake tokens=9 hold=here@2]]", message_id="m1")
                await gate.reached()
                conversation_id = (await peer.text("t1 t2 "))[0]["conversation_id"]
                chat.process.kill()
                await chat.process.wait()
        await until(lambda: not living(f"TEST_RUN={os.environ['TEST_RUN']}"))
    async with server(tmp_path) as chat:
        async with chat.http.get(f"{chat.url}/chat/history/{conversation_id}") as response:
            _, answer = (await response.json())["messages"]
        again = await chat.post(message="and now?", conversation_id=conversation_id)

    assert answer["status"] == "interrupted"
    assert answer["error"]["code"] == "interrupted"
    assert "and now?" in again["response"]


# --- what cannot be served


def the_sentence(err: str) -> str:
    """The one line that is for people; the log's lines are JSON."""
    assert "Traceback" not in err
    (sentence,) = [line for line in err.splitlines() if not line.startswith("{")]
    return sentence


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []  # what pytest has hung there stays open
    yield
    root.handlers, root.level = handlers, level


@pytest.fixture
def start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], logging_as_before: None
) -> Callable[..., tuple[int, str]]:
    """Starts a server that will not come up, in this process: its exit code, and what it has to say."""
    del logging_as_before

    def begin(*options: str, **env: str) -> tuple[int, str]:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        code = main(options)
        captured = capsys.readouterr()
        assert captured.out == ""
        return code, the_sentence(captured.err)

    return begin


Start = Callable[..., tuple[int, str]]


async def test_failing_process_says_why_and_exits() -> None:
    env = {**os.environ, "CHAT_DATA": "/dev/null/x"}
    process = await asyncio.create_subprocess_exec(*COMMAND, stdout=PIPE, stderr=PIPE, env=env)
    async with in_time():
        out, err = await process.communicate()

    assert (process.returncode, out) == (1, b"")
    assert the_sentence(err.decode()).startswith("chat-server: [Errno 20] Not a directory: '/dev/null/x")


def test_port_in_use_is_reported(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, sentence = start("--port", port, "--data", str(tmp_path))

    assert code == 1
    assert re.search(rf"^chat-server: .*{port}.* in use", sentence)


WRONG = [
    pytest.param({"CHAT_PORT": "no"}, "CHAT_PORT is 'no'; it must be a whole number", id="value"),
    pytest.param({"CHAT_PROT": "1"}, "CHAT_PROT is not a setting; did you mean CHAT_PORT?", id="name"),
    pytest.param({"CHAT_HOST": "0.0.0.0"}, "CHAT_HOST is '0.0.0.0', but the dev identity", id="host"),
]


@pytest.mark.parametrize(("env", "sentence"), WRONG)
def test_wrong_setting_is_reported(env: dict[str, str], sentence: str, start: Start) -> None:
    code, said = start(**env)

    assert code == 2
    assert said.startswith(f"chat-server: {sentence}")


def test_wrong_option_prints_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--prot", "1"])

    assert caught.value.code == 2
    assert "usage: chat-server" in capsys.readouterr().err


def test_file_that_is_no_database(start: Start, tmp_path: Path) -> None:
    (tmp_path / "chat.sqlite3").write_text("no database, but a letter to a friend" * 100)

    assert start("--port", "0", "--data", str(tmp_path)) == (
        1,
        "chat-server: database unavailable: file is not a database",
    )


def test_newer_database_is_refused(start: Start, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "chat.sqlite3") as database:
        database.execute("CREATE TABLE chatgate_schema (version INTEGER NOT NULL)")
        database.execute("INSERT INTO chatgate_schema VALUES (99)")
    database.close()
    code, sentence = start("--port", "0", "--data", str(tmp_path))

    assert code == 1
    assert "schema version 99" in sentence


def test_bad_database_url_is_reported(start: Start, tmp_path: Path) -> None:
    code, sentence = start("--port", "0", "--data", str(tmp_path), CHAT_DATABASE="nonsense")

    assert code == 1
    assert sentence.startswith("chat-server: CHAT_DATABASE cannot be used")


# --- one owner of the data


@pytest.fixture
def data_in_use(tmp_path: Path) -> Iterator[Path]:
    """A data folder that this very process holds, as a server would."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    places = [folder / "lock", folder / "chat.sqlite3.lock"]
    with locked([(path, "x") for path in places]):
        yield folder


def test_second_server_is_refused(start: Start, data_in_use: Path) -> None:
    code, sentence = start("--port", "0", "--data", str(data_in_use))

    assert code == 1
    assert sentence.startswith(
        f"chat-server: the data folder {data_in_use} is in use by the chat-server with pid"
    )
    assert f"pid {os.getpid()}, since 20" in sentence


@pytest.mark.parametrize("url", ["sqlite:///{}", "sqlite:///file:{}?uri=true", "sqlite+pysqlite:///{}"])
def test_second_server_on_a_database_is_refused(
    url: str, start: Start, data_in_use: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(data_in_use)
    database = url.format(tmp_path / "link" / "chat.sqlite3")
    code, sentence = start("--port", "0", "--data", str(tmp_path / "other"), CHAT_DATABASE=database)

    assert code == 1
    assert sentence.startswith(f"chat-server: the database {data_in_use / 'chat.sqlite3'} is in use by")
    assert not (data_in_use / "chat.sqlite3").exists()  # nothing was touched


async def test_second_server_spares_running_turns(tmp_path: Path) -> None:
    async with server(tmp_path) as chat, chat.socket() as peer:
        with Fake(tmp_path / "data" / "claude", []).gate("here") as gate:
            await peer.chat("[[fake tokens=2 hold=here@1]]")
            await peer.text("t1 ")
            second = await asyncio.create_subprocess_exec(
                *(*COMMAND, "--port", "0", "--data", str(tmp_path / "data")), stdout=PIPE, stderr=PIPE
            )
            out, err = await second.communicate()
            gate.open()
            await peer.turn()

    assert (second.returncode, out) == (1, b"")
    assert f"pid {chat.process.pid}," in the_sentence(err.decode())
    assert kept(tmp_path) == [("complete", "t1 t2 ")]


# --- what other local users can read


async def test_nothing_that_is_written_is_for_others(tmp_path: Path) -> None:
    before, data = os.umask(0), tmp_path / "data"
    try:
        async with server(tmp_path) as chat:
            await chat.post(message="hello")
            seen = {path: path.lstat().st_mode for path in [data, *data.rglob("*")]}
    finally:
        os.umask(before)

    assert any(path.suffix == ".jsonl" and "home" in path.parts for path in seen)  # Claude's transcript, too
    assert [path for path, mode in seen.items() if mode & 0o077 and not stat.S_ISLNK(mode)] == []


UNPRIVILEGED = ("setpriv", "--bounding-set=-sys_ptrace,-perfmon,-sys_admin") if os.geteuid() == 0 else ()
"""Root reads everything; without these rights it is like any other user."""


async def test_environment_is_hidden_from_own_user(tmp_path: Path) -> None:
    async def reads(pid: int) -> bytes:
        argv = (*UNPRIVILEGED, "cat", f"/proc/{pid}/environ")
        reader = await asyncio.create_subprocess_exec(*argv, stdout=PIPE, stderr=DEVNULL)
        return (await reader.communicate())[0]

    argv = (*UNPRIVILEGED, *COMMAND, "--port", "0", "--data", str(tmp_path / "data"))
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdout=PIPE,
        stderr=DEVNULL,
        env={**os.environ, "CHAT_CLAUDE_ENV": "TEST_RUN", "CHAT_PROXY_SECRET": "sesame"},
    )
    assert process.stdout is not None
    assert READY.fullmatch(await process.stdout.readline())
    others = living(f"TEST_RUN={os.environ['TEST_RUN']}", but={os.getpid(), process.pid})
    environments = {pid: await reads(pid) for pid in (process.pid, *others)}
    process.terminate()
    await process.wait()

    assert environments.pop(process.pid) == b""
    assert any(b"PATH=" in each for each in environments.values())  # to read others is allowed
    assert not any(b"sesame" in each for each in environments.values())


def test_database_that_others_could_read_is_closed(start: Start, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    database = tmp_path / "elsewhere" / "chat.db"
    database.write_text("no database, but a letter to a friend" * 100)
    database.chmod(0o644)
    code, _ = start("--port", "0", "--data", str(tmp_path / "data"), CHAT_DATABASE=f"sqlite:///{database}")

    assert code == 1
    assert database.stat().st_mode & 0o777 == 0o600


# --- without claude


async def test_missing_claude_fails_each_turn(fake: Fake, tmp_path: Path) -> None:
    path = tmp_path / "later" / "claude"
    async with server(tmp_path, "--claude", str(path)) as chat, chat.socket() as peer:
        for message_id in ("m1", "m2"):
            await peer.chat("hello", message_id=message_id)
            answer = (await peer.turn())[-1]
            assert (answer["code"], answer["message"]) == (
                "claude_unavailable",
                "Claude could not be started",
            )
        path.parent.symlink_to(fake.directory)
        await peer.chat("hello")
        assert (await peer.turn())[-1]["type"] == "complete"
        code, _, err = await chat.stop()

    assert code == 0
    warnings = [line for line in map(json.loads, err.splitlines()) if line["level"] == "warning"]
    assert warnings[0]["message"] == f"claude executable not found: {path}; every turn fails until it exists"


def test_missing_library_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "chat_server.command", raising=False)
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert main([]) == 2
    assert "pip install 'chatgate[server]'" in capsys.readouterr().err


def test_version_is_no_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"chat-server {version('chatgate')}\n"
