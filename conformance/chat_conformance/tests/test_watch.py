"""A case that computes for ever is stopped, and the others go on."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from chat_conformance.errors import BusyError
from chat_conformance.suite.watch import Watch
from chat_conformance.tests.test_main import target
from fake_claude.patience import patience


def spin() -> None:
    while True:
        pass


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(spin, id="a loop"),
        pytest.param(lambda: time.sleep(3_600), id="a wait"),
        pytest.param(lambda: re.match("(a+)+$", "a" * 64 + "b"), id="a regular expression"),
    ],
)
def test_busy_step_is_stopped(work: Callable[[], object]) -> None:
    async def busy() -> None:
        work()

    async def play() -> str:
        watch.begin()
        with pytest.raises(BusyError):
            await asyncio.create_task(busy())
        await asyncio.sleep(0)
        watch.end()
        return "the loop goes on"

    watch = Watch(0.3)
    with watch.watching():
        assert asyncio.run(play()) == "the loop goes on"


def test_waiting_is_not_busy() -> None:
    async def play() -> None:
        watch.begin()
        for _ in range(10):
            await asyncio.sleep(0.1)
        watch.end()

    watch = Watch(0.5 * patience(1))
    with watch.watching():
        asyncio.run(play())


# A case as one would be whose pattern is slow on what the server sends.
SLOW = """
import re, sys
from chat_conformance.cases import web
from chat_conformance.suite import plugin
from chat_conformance.__main__ import main
plugin.CASE_TIMEOUT = float(sys.argv[1])
web.loaded_elsewhere = lambda page: re.match("(a+)+$", "a" * 64 + "b")
sys.exit(main(sys.argv[2:]))
"""


def test_slow_case_fails_and_run_goes_on(tmp_path: Path) -> None:
    path = target(tmp_path, "page")
    words = ["run", "--target", path, "--select", "http/page", "--select", "http/health", "--seed", "1"]
    done = subprocess.run(
        [sys.executable, "-c", SLOW, str(patience(2)), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=patience(120),
    )

    assert done.returncode == 1
    assert "FAIL http/page " in done.stdout
    assert "ok   http/health" in done.stdout
    assert "with what the server had sent, and was stopped" in done.stdout
