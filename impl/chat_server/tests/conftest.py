"""What the server's tests share: a fake to start, and the proof that a test left nothing behind."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import uvloop
from hypothesis import settings

from chat_server.tests.loop_clock import EVER, LoopClock
from chat_server.tests.postgres import found
from chat_server.tests.postgres import postgres as a_postgres
from chat_server.tests.processes import living, pids
from chat_server.tests.sites import Fake

uvloop.new_event_loop().close()  # the first loop of a process opens a pipe for its signals, for good

# Two shared cores: no deadline. Everybody's quick run is the same one; the long one looks for what is new.
settings.register_profile("quick", max_examples=40, derandomize=True, deadline=None)
settings.register_profile("long", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("CHATGATE_HYPOTHESIS", "quick"))


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves a task, an open file or a process behind."""
    name = uuid.uuid4().hex
    monkeypatch.setenv("TEST_RUN", name)  # every process of the test inherits it
    before, others = _open_files(), pids()
    yield
    processes = living(f"TEST_RUN={name}", but=others)
    files = _open_files() - before
    assert not processes, f"processes left behind: {processes}"
    assert not files, f"files left open: {files}"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests with a loop are asked for their tasks; the others are spared the loop."""
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
        item.fixturenames.insert(0, "no_tasks_left")


@pytest.fixture
async def no_tasks_left(nothing_left: None) -> AsyncIterator[None]:  # noqa: ARG001 - it must come first
    yield
    for _ in range(3):  # transports that were closed are gone in the next round of the loop
        await asyncio.sleep(0)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    assert not tasks, f"tasks left running: {tasks}"
    threads = [each for each in threading.enumerate() if "connection_worker" in each.name]
    for thread in threads:
        thread.join(5)  # its end was asked for, and takes a moment
    assert not any(thread.is_alive() for thread in threads), f"database threads left running: {threads}"


def _open_files() -> Counter[str]:
    """The targets of our descriptors; the loop's own are opened after the first count and closed before the second."""
    files: Counter[str] = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:  # that of this very listing
            continue
        files[target] += 1
    return files


@pytest.fixture(scope="session")
def outpost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A chat server for tests that ask nothing of its past: its address."""
    folder = tmp_path_factory.mktemp("outpost")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("CHAT_", "TEST_"))}
    with subprocess.Popen(
        [sys.executable, "-m", "chat_server", "--port", "0", "--data", str(folder / "data")],
        env={
            **env,
            "HOME": str(folder),
            "CHAT_REQUESTS_PER_HOUR": "0",
            "CHAT_CONCURRENT_TURNS": "0",
            "CHAT_SOCKETS_PER_USER": "0",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as server:
        assert server.stdout is not None
        ready = re.search(rb"http://[^/]+", server.stdout.readline())
        server.stdout.close()
        try:
            assert ready, "it does not start"
            yield ready[0].decode()
        finally:
            server.terminate()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL database."""
    programs = found()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (on Debian: apt-get install postgresql)")
    with a_postgres(programs) as url:
        yield url


@pytest.fixture
async def loop_clock(monkeypatch: pytest.MonkeyPatch) -> LoopClock:
    """The clock of the test's loop."""
    for timer in (
        "starter.ANSWER_SECONDS",
        "process.END_SECONDS",
    ):  # the guardian waits by a clock of its own
        monkeypatch.setattr(f"chat_server.processes.{timer}", EVER)
    return LoopClock(monkeypatch)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """The installed fake, with a home of its own."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    return Fake.installed(tmp_path / "claude")
