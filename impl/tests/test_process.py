"""Nothing outlives ``running``, whatever the child does and however the block ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from impl.process import STDERR_TAIL, Families, Process, running
from impl.tests.loop_clock import EVER, LONG, PATIENCE, LoopClock, in_time
from impl.tests.processes import alive, living, python

READY = "import os, signal, sys, time; print(os.getpid(), flush=True)\n"
STAY = "\nwhile True: signal.pause()"


class Child:
    """A process, and what it says."""

    def __init__(self, process: Process, stdout: asyncio.StreamReader) -> None:
        self.process = process
        self.stdout = stdout
        self.send_line = process.send_line

    @property
    def returncode(self) -> int | None:
        return self.process.returncode

    @property
    def stderr_tail(self) -> str:
        return self.process.stderr_tail


def into(reader: asyncio.StreamReader) -> Callable[[bytes], None]:
    return lambda data: reader.feed_data(data) if data else reader.feed_eof()


@asynccontextmanager
async def spoken(
    argv: list[str], env: dict[str, str], mark: str, grace: float = EVER
) -> AsyncIterator[Child]:
    stdout = asyncio.StreamReader()
    with ThreadPoolExecutor(1) as thread:
        families = Families(mark, thread)
        told = into(stdout)
        async with running(
            argv, cwd=Path("/"), env=env, grace=grace, mark=mark, families=families, hear=told
        ) as process:
            yield Child(process, stdout)


@asynccontextmanager
async def child(code: str, grace: float = EVER) -> AsyncIterator[Child]:
    async with spoken(python(code), dict(os.environ), f"test-{os.urandom(8).hex()}-1.", grace) as said:
        yield said


async def told(process: Child) -> list[int]:
    """The process ids that the child tells in its first line."""
    async with in_time():
        return [int(word) for word in (await process.stdout.readline()).split()]


async def test_child_is_spoken_to_by_lines() -> None:
    async with child("for line in open(0): print(line.upper(), end='', flush=True)") as process:
        process.send_line(b"hello")

        assert await process.stdout.readline() == b"HELLO\n"


async def test_child_that_ends_at_the_end_of_input_is_not_signalled() -> None:
    async with child("import sys; sys.stdin.read(); sys.exit(7)") as process:
        pass

    assert process.returncode == 7


async def test_child_that_ignores_the_end_of_input_gets_term(loop_clock: LoopClock) -> None:
    async with child(READY + STAY, grace=LONG) as process:
        (pid,) = await told(process)
        loop_clock.advance_soon()

    assert process.returncode == -signal.SIGTERM
    assert not alive(pid)


async def test_child_that_ignores_term_is_killed() -> None:
    async with child(
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + READY + STAY, grace=0
    ) as process:
        (pid,) = await told(process)

    assert process.returncode == -signal.SIGKILL
    assert not alive(pid)


ESCAPES = [
    pytest.param(
        """
pid = os.fork()
if pid == 0:
    os.setsid()
    signal.pause()
print(pid, flush=True)
""",
        id="own-session",
    ),
    pytest.param(
        """
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
        id="orphan",
    ),
    pytest.param(
        """
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
pid = os.fork()
if pid == 0:
    os.setsid()
    while True: signal.pause()
print(pid, flush=True)
""",
        id="ignores-signals",
    ),
    pytest.param(
        """
pid = os.fork()
if pid == 0:
    os.close(0); os.close(1); os.close(2)
    signal.pause()
print(pid, flush=True)
""",
        id="holds-no-pipe",
    ),
    pytest.param(
        """
import subprocess
shell = subprocess.Popen(["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!; exit 0"], stdout=subprocess.PIPE)
print(shell.communicate()[0].decode().strip(), flush=True)
""",
        id="shell-background",
    ),
]


@pytest.mark.parametrize("stays", [True, False], ids=["child-stays", "child-leaves-first"])
@pytest.mark.parametrize("code", ESCAPES)
async def test_descendants_are_gone_with_the_child(code: str, *, stays: bool) -> None:
    end = "\nsys.stdin.read()" if stays else ""
    async with in_time():
        async with child("import os, signal, sys, time\n" + code + end) as process:
            pids = await told(process)
            assert pids
            assert all(alive(pid) for pid in pids)

    assert not any(alive(pid) for pid in pids)


async def test_end_of_the_child_is_seen_though_its_pipes_are_held() -> None:
    code = "import os, signal\nif os.fork() == 0: signal.pause()\nos.read(0, 1)"

    async with in_time():
        async with child(code):
            pass


async def test_stranger_that_holds_the_pipes_does_not_hold_us() -> None:
    code = f"""
import subprocess
stranger = subprocess.Popen([{sys.executable!r}, "-ISc", "import signal; signal.pause()"], env={{}})
print(stranger.pid, flush=True)
"""
    async with in_time():
        async with child(code) as process:
            (pid,) = await told(process)

    assert alive(pid)  # it has shed the mark, so it is not ours to end
    os.kill(pid, signal.SIGKILL)


async def test_stderr_is_read_and_its_end_kept() -> None:
    code = "import sys; sys.stderr.write('x' * 1_000_000 + 'the end\\n'); sys.stderr.close(); print('done', flush=True)"
    async with child(code) as process:
        async with in_time():
            assert await process.stdout.readline() == b"done\n"

    assert process.stderr_tail.endswith("xxxthe end")
    assert len(process.stderr_tail) < STDERR_TAIL


async def test_stderr_that_is_not_utf_8_is_kept_readable() -> None:
    async with child("import sys; sys.stderr.buffer.write(b'caf\\xe9\\n')") as process:
        pass

    assert process.stderr_tail == "caf\N{REPLACEMENT CHARACTER}"


async def test_child_that_does_not_read_is_left_in_time() -> None:
    async with in_time():
        async with child(READY + STAY, grace=0) as process:
            (pid,) = await told(process)
            process.send_line(b"x" * 4_000_000)

    assert not alive(pid)


async def test_child_that_floods_is_left_in_time() -> None:
    async with in_time():
        async with child(READY + "\nwhile True: os.write(1, b'y' * 65536)", grace=0) as process:
            (pid,) = await told(process)

    assert not alive(pid)


async def test_writing_to_a_dead_child_is_no_error() -> None:
    async with child("") as process:
        assert await process.stdout.read() == b""
        for _ in range(10):
            process.send_line(b"x" * 100_000)
            await asyncio.sleep(0)


async def test_error_in_the_block_ends_the_child_and_comes_out() -> None:
    pids: asyncio.Queue[int] = asyncio.Queue()

    async def fail() -> None:
        async with child(READY + STAY, grace=0) as process:
            pids.put_nowait((await told(process))[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert not alive(pids.get_nowait())


async def hold(code: str, grace: float, begun: asyncio.Queue[Child]) -> None:
    async with child(code, grace) as process:
        await told(process)
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
async def test_program_that_cannot_be_started_is_told(
    argv: list[str], cwd: str, error: type[OSError]
) -> None:
    with ThreadPoolExecutor(1) as thread:
        families = Families("test", thread)
        with pytest.raises(error):
            async with running(
                argv, cwd=Path(cwd), env={}, grace=EVER, mark="test-1.", families=families, hear=print
            ):
                pytest.fail("it runs")


async def test_child_gets_the_environment_given_and_its_mark() -> None:
    code = "import os; print(sorted(os.environ.items()), flush=True)"
    async with spoken(python(code), {"A": "1"}, "test-2.") as process:
        line = await process.stdout.readline()

    assert b"('A', '1'), ('CHATGATE_PROCESS', 'test-2.')" in line
    assert b"TEST_RUN" not in line


async def test_one_look_at_all_processes_serves_all_who_ask_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And who asks while one is under way waits for the next: what he asks about may have begun since."""
    looks, looking, go = 0, threading.Event(), threading.Event()

    def marked(mark: str) -> dict[str, list[int]]:
        nonlocal looks
        looks += 1
        looking.set()
        assert go.wait(PATIENCE)
        return {f"{mark}-{number}.": [looks, number] for number in range(5)}

    monkeypatch.setattr("impl.process.marked", marked)
    with ThreadPoolExecutor(1) as thread:
        families = Families("test", thread)
        first = families.living("test-0.")
        await asyncio.to_thread(looking.wait, PATIENCE)
        others = [families.living(f"test-{number}.") for number in range(1, 6)]
        go.set()

        assert await first == [1, 0]
        assert await asyncio.gather(*others) == [[2, 1], [2, 2], [2, 3], [2, 4], []]


OWNER = """
import asyncio, os, signal, sys
from pathlib import Path
from impl.process import guarded, running

async def main():
    mark = sys.argv[1]
    code = sys.argv[2]
    argv = [sys.executable, "-ISc", code]
    def hear(data): os.write(1, data)
    async with guarded(mark, os.environ) as families, running(argv, cwd=Path("/"), env=dict(os.environ), grace=60,
                                                  mark=mark + "-1.", families=families, hear=hear):
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("ignores_term", [False, True], ids=["obeys-term", "ignores-term"])
async def test_killed_owner_leaves_nothing(*, ignores_term: bool) -> None:
    code = "import os, signal, sys\n"
    if ignores_term:
        code += "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    code += "pid = os.fork()\nif pid: print(pid, os.getpid(), flush=True)\nelse: os.setsid()" + STAY
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
