from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from chat_conformance.target import processes

NEVER = 2**22 + 1
"""No process has this id (pid_max of proc(5))."""


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process whose command holds a closing parenthesis and a space, and that ends with its standard input."""
    words = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", "a) R 1"]
    env = {**os.environ, "MARK_OF_TEST": "ä 1"}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        # Its interpreter has started: before that, there is next to nothing to measure.
        process.stdout.readline()
        yield process


def test_process_is_found_by_environment_and_argument(child: subprocess.Popen[bytes]) -> None:
    assert processes.with_variable("MARK_OF_TEST=ä 1") == [child.pid]
    assert processes.with_variable("MARK_OF_TEST=ä") == []
    assert child.pid in processes.with_argument("a) R 1")
    assert processes.arguments(child.pid)[-1] == "a) R 1"
    assert child.pid in processes.children(os.getpid())
    assert child.pid in processes.process_tree(os.getpid())
    assert child.pid not in processes.process_tree(os.getpid(), without={child.pid})


def test_costs_of_a_process_are_read(child: subprocess.Popen[bytes]) -> None:
    assert processes.own_memory(child.pid) > 1 << 20
    assert processes.shared_memory([child.pid]) > 1 << 20
    assert processes.resident_memory([child.pid]) > 1 << 20
    assert processes.cpu_seconds([os.getpid()]) > 0
    assert (processes.open_descriptors(child.pid) or 0) >= 3


async def test_zombie_has_ended_and_is_unreaped(child: subprocess.Popen[bytes]) -> None:
    assert not processes.is_zombie(child.pid)
    assert not await processes.wait_for_exit(child.pid, 0)
    child.kill()

    assert await processes.wait_for_exit(child.pid, 30)
    assert processes.is_unreaped(child.pid)
    child.wait()
    assert not processes.is_unreaped(child.pid)
    assert processes.is_zombie(child.pid)


async def test_missing_process_has_nothing() -> None:
    assert processes.command_line(NEVER) == ""
    assert (processes.own_memory(NEVER), processes.cpu_seconds([NEVER])) == (0, 0)
    assert processes.is_zombie(NEVER)
    assert await processes.wait_for_exit(NEVER, 0)
