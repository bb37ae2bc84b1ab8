"""Nothing outlives ``running``, whatever the child does and however the block ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chat_server.processes.marked import relations
from chat_server.processes.process import STDERR_TAIL, Process
from chat_server.processes.starter import PROGRAM, Starter, running, starting
from chat_server.tests.loop_clock import EVER, LONG, LoopClock, in_time
from chat_server.tests.processes import alive, living, python

READY = "import os, signal, sys, time; print(os.getpid(), flush=True)\n"
STAY = "\nwhile True: signal.pause()"


class Child:
    """A process, and what it says."""

    def __init__(self, process: Process, stdout: asyncio.StreamReader) -> None:
        self.process = process
        self.stdout = stdout
        self.stdin = process.stdin

    @property
    def returncode(self) -> int | None:
        return self.process.returncode

    @property
    def stderr_tail(self) -> str:
        return self.process.stderr_tail


class Into:
    """A listener that fills a reader."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.reader = reader

    def on_output(self, data: bytes) -> None:
        if data:
            self.reader.feed_data(data)
        else:
            self.reader.feed_eof()


@asynccontextmanager
async def guardian() -> AsyncIterator[Starter]:
    async with starting(f"test-{os.urandom(8).hex()}", dict(os.environ)) as starter:
        yield starter


@asynccontextmanager
async def spoken(
    starter: Starter, argv: list[str], env: dict[str, str], grace: float = EVER
) -> AsyncIterator[Child]:
    stdout = asyncio.StreamReader()
    async with running(starter, argv, cwd=Path("/"), env=env, grace=grace, listener=Into(stdout)) as process:
        yield Child(process, stdout)


@asynccontextmanager
async def child(code: str, grace: float = EVER) -> AsyncIterator[Child]:
    async with guardian() as starter, spoken(starter, python(code), dict(os.environ), grace) as said:
        yield said


async def printed_pids(process: Child) -> list[int]:
    """The process ids in the child's first line."""
    async with in_time():
        return [int(word) for word in (await process.stdout.readline()).split()]


async def test_child_is_spoken_to_by_lines() -> None:
    async with child("for line in open(0): print(line.upper(), end='', flush=True)") as process:
        process.stdin.write(b"hello\n")

        assert await process.stdout.readline() == b"HELLO\n"


async def test_child_ends_at_eof_without_signal() -> None:
    async with child("import sys; sys.stdin.read(); sys.exit(7)") as process:
        pass

    assert process.returncode == 7


async def test_child_that_ignores_eof_gets_term(loop_clock: LoopClock) -> None:
    async with child(READY + STAY, grace=LONG) as process:
        (pid,) = await printed_pids(process)
        loop_clock.advance_soon()

    assert process.returncode == -signal.SIGTERM
    assert not alive(pid)


async def test_child_that_ignores_term_is_killed() -> None:
    async with child(
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + READY + STAY, grace=0
    ) as process:
        (pid,) = await printed_pids(process)

    assert process.returncode == -signal.SIGKILL
    assert not alive(pid)


ESCAPES = {
    "own-session": """
pid = os.fork()
if pid == 0:
    os.setsid()
    signal.pause()
print(pid, flush=True)
""",
    "orphan": """
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(write, str(os.getpid()).encode())
        signal.pause()
    os._exit(0)
os.wait()
print(os.read(read, 20).decode(), flush=True)
""",
    "ignores-signals": """
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
pid = os.fork()
if pid == 0:
    os.setsid()
    while True: signal.pause()
print(pid, flush=True)
""",
    "holds-no-pipe": """
pid = os.fork()
if pid == 0:
    os.close(0); os.close(1); os.close(2)
    signal.pause()
print(pid, flush=True)
""",
    "shell-background": """
import subprocess
shell = subprocess.Popen(["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!; exit 0"], stdout=subprocess.PIPE)
print(shell.communicate()[0].decode().strip(), flush=True)
""",
    "sheds-all": """
import subprocess
line = "env -i setsid sh -c 'echo $$; exec sleep 1000 >/dev/null 2>&1' & exit 0"
shell = subprocess.Popen(["sh", "-c", line], stdout=subprocess.PIPE)
print(shell.stdout.readline().decode().strip(), flush=True)
shell.wait()
""",
    "stopped": """
import subprocess
stopped = subprocess.Popen(["sh", "-c", "kill -STOP $$"], env={}, start_new_session=True)
os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
print(stopped.pid, flush=True)
""",
    "changes-group": """
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.write(write, b"x")
        signal.pause()
    os.write(1, b"%d\\n" % child)
    os._exit(0)
os.read(read, 1)
""",
    "adopts-others": """
import ctypes
read, write = os.pipe()
if os.fork() == 0:
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    if os.fork() == 0:
        child = os.fork()
        if child == 0:
            os.execve("/bin/sh", ["sh", "-c", "exec sleep 1000 >/dev/null 2>&1"], {})
        os.write(write, b"%d" % child)
        os._exit(0)
    os.wait(); signal.pause()
print(os.read(read, 20).decode(), flush=True)
""",
}


@pytest.mark.parametrize("stays", [True, False], ids=["child-stays", "child-leaves-first"])
@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in ESCAPES.items()])
async def test_descendants_are_gone_with_the_child(code: str, *, stays: bool) -> None:
    end = "\nsys.stdin.read()" if stays else ""
    async with in_time():
        async with child("import os, signal, sys, time\n" + code + end) as process:
            pids = await printed_pids(process)
            assert pids
            if stays:
                assert all(alive(pid) for pid in pids)

    assert not any(alive(pid) for pid in pids)


FORKS = {
    "in-its-group": "if os.fork(): os._exit(0)",
    "in-sessions-of-their-own": "if os.fork(): os._exit(0)\n    os.setsid()",
}


@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in FORKS.items()])
async def test_who_forks_again_and_again_is_met(code: str) -> None:
    """No process of it lives for longer than a millisecond, and each has another id."""
    async with in_time():
        async with child(
            f"import os\nif os.fork(): print(flush=True); os.read(0, 1); os._exit(0)\nwhile True:\n    {code}"
        ) as process:
            await process.stdout.readline()
            process.process._stderr.close()
            assert process.returncode is None


async def test_exit_is_seen_with_pipes_held() -> None:
    code = "import os, signal\nif os.fork() == 0: signal.pause()\nos.read(0, 1)"

    async with in_time():
        async with child(code):
            pass


async def test_foreign_pipe_holder_does_not_block(caplog: pytest.LogCaptureFixture) -> None:
    async with in_time():
        async with child(READY + STAY, grace=0) as process:
            (pid,) = await printed_pids(process)
            held = os.open(f"/proc/{pid}/fd/1", os.O_WRONLY)  # we are no descendant of it, and not ended

    os.close(held)
    assert "holds its pipes" in caplog.text


async def test_orphan_lives_as_long_as_its_claude() -> None:
    """What a tool has left in the background serves the conversation for as long as that is warm."""
    async with child(f"import os, sys\n{ESCAPES['sheds-all']}\nsys.stdin.read()") as process:
        (pid,) = await printed_pids(process)

        assert relations()[pid].parent == process.process.pid
        assert alive(pid)

    assert not alive(pid)


async def test_end_of_one_spares_others() -> None:
    async with guardian() as starter:
        async with spoken(
            starter, python(f"import os, sys\n{ESCAPES['sheds-all']}\nsys.stdin.read()"), {}
        ) as one:
            (pid,) = await printed_pids(one)
            async with spoken(starter, python(f"import os, sys\n{ESCAPES['sheds-all']}"), {}) as two:
                (other,) = await printed_pids(two)

            assert (alive(pid), alive(other)) == (True, False)
            assert one.returncode is None


async def test_orphans_are_reaped() -> None:
    code = """
import os, time
for _ in range(5):
    if os.fork() == 0: time.sleep(0.05); os._exit(0)
print(os.getppid(), flush=True)
"""
    async with guardian() as starter:
        async with spoken(starter, python(code), {}) as process:
            (pid,) = await printed_pids(process)
            await process.process.exited

        assert [each for each in relations().values() if each.parent == pid] == []


async def test_killed_guardian_is_replaced(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat_server.processes.starter.AGAIN_SECONDS", 0)
    code = f"import os, sys\n{ESCAPES['sheds-all']}\nsys.stdin.read()"
    async with in_time(), guardian() as starter:
        async with spoken(starter, python(code), {}) as process:
            pids = [process.process.pid, *await printed_pids(process)]
            assert starter._program is not None
            starter._program.kill()
            await process.process.gone

            assert process.returncode == -signal.SIGKILL
            assert not any(alive(pid) for pid in pids)
        async with spoken(starter, python("print(1, flush=True)"), {}) as process:
            assert await printed_pids(process) == [1]

    assert "the guardian of the claude processes has ended, and so do they" in caplog.text


async def test_silent_guardian_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_server.processes.starter.AGAIN_SECONDS", 0)
    async with in_time(), guardian() as starter:
        async with spoken(starter, python(READY + STAY), {}) as process:
            (pid,) = await printed_pids(process)
            assert starter._program is not None
            os.kill(starter._program.pid, signal.SIGSTOP)
            monkeypatch.setattr("chat_server.processes.starter.ANSWER_SECONDS", 0.1)
            with pytest.raises(OSError, match="No such process"):
                await starter.start(python(""), cwd=Path("/"), env={}, listener=Into(asyncio.StreamReader()))
            monkeypatch.setattr("chat_server.processes.starter.ANSWER_SECONDS", EVER)
            await process.process.gone

        assert not alive(pid)


async def test_system_without_subreapers(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = "import sys; sys.modules['ctypes'] = None; " + PROGRAM
    monkeypatch.setattr("chat_server.processes.starter.PROGRAM", without)
    async with child(READY + STAY, grace=0) as process:
        (pid,) = await printed_pids(process)

    assert not alive(pid)
    assert "this system has no subreapers" in caplog.text


async def test_many_start_and_end_at_once() -> None:
    async with in_time(), guardian() as starter:

        async def one() -> int:
            async with spoken(starter, python(READY + STAY), {}, grace=0) as process:
                return (await printed_pids(process))[0]

        pids = await asyncio.gather(*(one() for _ in range(60)))

    assert len(set(pids)) == 60
    assert not any(alive(pid) for pid in pids)


async def test_stderr_is_read_and_its_end_kept() -> None:
    code = "import sys; sys.stderr.write('x' * 1_000_000 + 'the end\\n'); sys.stderr.close(); print('done', flush=True)"
    async with child(code) as process:
        async with in_time():
            assert await process.stdout.readline() == b"done\n"

    assert process.stderr_tail.endswith("xxxthe end")
    assert len(process.stderr_tail) < STDERR_TAIL


async def test_stderr_may_be_invalid_utf8() -> None:
    async with child("import sys; sys.stderr.buffer.write(b'caf\\xe9\\n')") as process:
        pass

    assert process.stderr_tail == "caf\N{REPLACEMENT CHARACTER}"


async def test_child_that_does_not_read_is_killed() -> None:
    async with in_time():
        async with child(READY + STAY, grace=0) as process:
            (pid,) = await printed_pids(process)
            process.stdin.write(b"x" * 4_000_000 + b"\n")

    assert not alive(pid)


async def test_child_that_floods_is_left_in_time() -> None:
    async with in_time():
        async with child(READY + "\nwhile True: os.write(1, b'y' * 65536)", grace=0) as process:
            (pid,) = await printed_pids(process)

    assert not alive(pid)


async def test_write_to_dead_child() -> None:
    async with child("") as process:
        assert await process.stdout.read() == b""
        for _ in range(10):
            process.stdin.write(b"x" * 100_000 + b"\n")
            await asyncio.sleep(0)


async def test_error_in_block_ends_the_child() -> None:
    pids: asyncio.Queue[int] = asyncio.Queue()

    async def fail() -> None:
        async with child(READY + STAY, grace=0) as process:
            pids.put_nowait((await printed_pids(process))[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert not alive(pids.get_nowait())


async def hold(code: str, grace: float, begun: asyncio.Queue[Child]) -> None:
    async with child(code, grace) as process:
        await printed_pids(process)
        begun.put_nowait(process)
        await asyncio.Event().wait()


async def test_cancellation_ends_the_child_and_comes_out(loop_clock: LoopClock) -> None:
    begun: asyncio.Queue[Child] = asyncio.Queue()
    task = asyncio.create_task(hold(READY + STAY, LONG, begun))
    process = await begun.get()

    task.cancel()
    await asyncio.sleep(0)  # it waits for the end now
    loop_clock.advance()
    await asyncio.wait([task])

    assert task.cancelled()
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_cancellation_of_the_waiting_kills_at_once(times: int) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + READY + STAY
    begun: asyncio.Queue[Child] = asyncio.Queue()
    task = asyncio.create_task(hold(stubborn, EVER, begun))
    process = await begun.get()
    task.cancel()
    await asyncio.sleep(0)  # it waits for the end now

    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    async with in_time():
        await asyncio.wait([task])

    assert task.cancelled()
    assert process.returncode == -signal.SIGKILL  # it was waited for


async def test_cancellation_of_the_start_leaves_nothing() -> None:
    async def start() -> None:
        async with child(READY + STAY, grace=0):
            await asyncio.Event().wait()

    for rounds in range(4):
        task = asyncio.create_task(start())
        for _ in range(rounds):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

        assert task.cancelled()
        assert living(f"TEST_RUN={os.environ['TEST_RUN']}") == []


UNSTARTABLE = [
    pytest.param(["/no/such/program"], "/", FileNotFoundError, id="no-program"),
    pytest.param(["/etc/passwd"], "/", PermissionError, id="not-executable"),
    pytest.param(["/bin/true"], "/no/such/folder", FileNotFoundError, id="no-folder"),
    pytest.param(["/bin/true", "x" * 200_000], "/", OSError, id="argument-too-long"),
]


@pytest.mark.parametrize(("argv", "cwd", "error"), UNSTARTABLE)
async def test_failed_start_is_reported(argv: list[str], cwd: str, error: type[OSError]) -> None:
    async with guardian() as starter:
        with pytest.raises(error):
            async with running(
                starter, argv, cwd=Path(cwd), env={}, grace=EVER, listener=Into(asyncio.StreamReader())
            ):
                pytest.fail("it runs")


async def test_child_has_environment_and_mark() -> None:
    code = "import os; print(sorted(os.environ.items()), flush=True)"
    async with guardian() as starter, spoken(starter, python(code), {"A": "1"}) as process:
        line = await process.stdout.readline()

    assert re.search(rb"\('A', '1'\), \('CHATGATE_PROCESS', 'test-[0-9a-f]{16}-1\.'\)", line)
    assert b"TEST_RUN" not in line


OWNER = """
import asyncio, os, signal, sys
from pathlib import Path
from chat_server.processes.starter import running, starting

async def main():
    argv, env = [sys.executable, "-ISc", sys.argv[2]], dict(os.environ)
    class Listener: on_output = staticmethod(lambda data: os.write(1, data))
    async with starting(sys.argv[1], env) as starter:
        async with running(starter, argv, cwd=Path("/"), env=env, grace=60, listener=Listener):
            await asyncio.Event().wait()

asyncio.run(main())
"""


KILLED = {
    "obeys-term": "print(os.getpid(), flush=True)",
    "ignores-term": "signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid(), flush=True)",
} | ESCAPES


@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in KILLED.items()])
async def test_killed_owner_leaves_nothing(code: str) -> None:
    code = f"import os, signal, sys\n{code}{STAY}"
    owner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER, f"test-{os.urandom(8).hex()}", code), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    pids = [int(word) for word in (await owner.stdout.readline()).split()]
    assert all(alive(pid) for pid in pids)
    watches = [os.pidfd_open(pid) for pid in pids]

    owner.kill()
    await owner.wait()

    async with in_time():
        for watch in watches:
            await readable(watch)
            os.close(watch)
    assert not any(alive(pid) for pid in pids)
    await gone()


async def readable(fd: int) -> None:
    """Wait for a descriptor; that of a process is readable once it has ended."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(fd, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(fd)


async def gone() -> None:
    """Wait until no process of this test lives: the guardian ends a moment after those it guards."""
    async with in_time():
        for pid in living(f"TEST_RUN={os.environ['TEST_RUN']}"):
            try:
                watch = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            await readable(watch)
            os.close(watch)
