"""What a run of the fake costs, compared with the real CLI: ratios to read, never a test."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fake_claude.install import PROGRAM, install

ONE_SHOT = ("-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages")
PERSISTENT = (*ONE_SHOT, "--input-format", "stream-json")
FLOOD = 300_000
"""Pieces of one flood, each of them a line."""


@dataclass
class Cost:
    """One run, in milliseconds."""

    first_token: float
    exit: float
    processor: float


class Benchmark:
    """A home of its own for runs, in a temporary folder; ``url`` is where the real CLI finds its API."""

    def __init__(self, folder: Path, url: str = "http://127.0.0.1:9") -> None:
        self.cwd = folder / "dir"
        self.cwd.mkdir(parents=True)
        self._env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            # No variable of ours comes along, so both CLIs start from the same and nothing reaches a real API.
            "ANTHROPIC_API_KEY": "sk-dummy",
            "ANTHROPIC_BASE_URL": url,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        }

    def start(self, claude: Path, *argv: str) -> subprocess.Popen[bytes]:
        """Start a run with pipes on its input and output."""
        pipe = subprocess.PIPE
        return subprocess.Popen([claude, *argv], cwd=self.cwd, env=self._env, stdin=pipe, stdout=pipe)

    def one_shot(self, claude: Path) -> Cost:
        """Ask once, in a fresh process."""
        started = time.perf_counter()
        first = 0.0
        with self.start(claude, *ONE_SHOT, "hello there") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            for line in process.stdout:
                if not first and b'"content_block_delta"' in line:
                    first = time.perf_counter() - started
            spent = _reap(process)
        return Cost(first * 1000, (time.perf_counter() - started) * 1000, spent * 1000)

    def second_turn(self, claude: Path) -> float:
        """Return the milliseconds from a second message to its first piece, in a process that stays."""
        with self._waiting(claude) as process:
            self.send_message(process, "one")
            _until(process, b'"type":"result"')
            started = time.perf_counter()
            # The first turn is not measured: it holds the start of the process, which ``one_shot`` has.
            self.send_message(process, "two")
            _until(process, b'"content_block_delta"')
            return (time.perf_counter() - started) * 1000

    def flood(self, claude: Path) -> tuple[float, float]:
        """Return the lines of a flood per second, and per second of the fake's processor time."""
        started = time.perf_counter()
        with self.start(claude, *ONE_SHOT, f"[[fake tokens={FLOOD}]]") as process:
            assert process.stdin is not None
            process.stdin.close()
            lines = _drain(process)
            spent = _reap(process)
        return lines / (time.perf_counter() - started), lines / spent

    def idle(self, claude: Path, count: int) -> tuple[int, int]:
        """Return the memory in bytes of that many processes that have answered once and wait.

        The sum of their resident sets, and of their proportional ones, which count once what they share.
        """
        with ExitStack() as stack:
            processes = [stack.enter_context(self._waiting(claude)) for _ in range(count)]
            for process in processes:
                self.send_message(process, "one")
            for process in processes:
                _until(process, b'"type":"result"')
            facts = [
                Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii") for process in processes
            ]
        return sum(_kilobytes("Rss", fact) for fact in facts), sum(_kilobytes("Pss", fact) for fact in facts)

    @contextmanager
    def _waiting(self, claude: Path) -> Iterator[subprocess.Popen[bytes]]:
        with self.start(claude, *PERSISTENT) as process:
            try:
                yield process
            finally:
                process.kill()

    def imports(self) -> list[tuple[int, str]]:
        """Return what a run imports: microseconds of each module itself, dearest first."""
        # The launcher's own program and flags, or the imports counted would be those of another start.
        code = PROGRAM.format(root=str(Path(__file__).resolve().parents[2]), settings="")
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-I", "-S", "-c", code, *ONE_SHOT, "hello there"],
            cwd=self.cwd,
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        found = re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", done.stderr)
        return sorted(((int(spent), name) for spent, name in found), reverse=True)

    @staticmethod
    def send_message(process: subprocess.Popen[bytes], text: str) -> None:
        """Send a message."""
        message: dict[str, Any] = {"type": "user", "message": {"role": "user", "content": text}}
        assert process.stdin is not None
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()


def _until(process: subprocess.Popen[bytes], mark: bytes) -> None:
    assert process.stdout is not None
    while mark not in (line := process.stdout.readline()):
        if not line:
            raise RuntimeError(f"{process.args!r} ended before it printed {mark!r}")


def _drain(process: subprocess.Popen[bytes]) -> int:
    """Read to the end and return the number of lines."""
    assert process.stdout is not None
    lines = 0
    # Large reads and no lines of text: the reader must cost less than the writer it measures.
    while data := os.read(process.stdout.fileno(), 1 << 20):
        lines += data.count(b"\n")
    return lines


def _reap(process: subprocess.Popen[bytes]) -> float:
    """Wait for the end and return the seconds of processor time."""
    # ``wait4`` alone gives the usage of this one child; ``getrusage`` adds up all children so far. The code is put
    # into the object, which would otherwise wait for a process that is gone.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{process.args!r} ended with exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def _kilobytes(name: str, facts: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", facts, re.MULTILINE)
    assert found is not None
    return int(found.group(1)) * 1024


@contextmanager
def _api(folder: Path) -> Iterator[str]:
    """Serve the loopback API in a process of its own, so that its cost is counted apart."""
    argv = [sys.executable, "-m", "fake_claude", "api", "--gates", str(folder / "gates")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def report(claude: Path | None, *, runs: int, idle: int) -> Iterator[str]:
    """Yield the lines of the report; ``claude`` is the real CLI, if it may be run here."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        fake = install(folder / "bin")
        url = stack.enter_context(_api(folder)) if claude else "http://127.0.0.1:9"
        bench = Benchmark(folder / "home", url)
        ours, theirs = [], []
        ours_second, theirs_second = [], []
        for _ in range(runs):  # in turns, so that a busy machine is the same for both
            ours.append(bench.one_shot(fake))
            ours_second.append(bench.second_turn(fake))
            if claude:
                theirs.append(bench.one_shot(claude))
                theirs_second.append(bench.second_turn(claude))
        yield f"{f'median of {runs}, ms':<34}{'fake':>9}{'real':>9}{'real/fake':>11}"
        for title, member in (
            ("one run: first token", "first_token"),
            ("one run: exit", "exit"),
            ("one run: processor", "processor"),
        ):
            yield _row(title, [getattr(c, member) for c in ours], [getattr(c, member) for c in theirs])
        yield _row("second turn: first token", ours_second, theirs_second)
        wall, processor = bench.flood(fake)
        yield f"flood of {FLOOD:,} pieces: {wall:,.0f} lines/s, {processor:,.0f} for each second of processor time"
        resident, once = bench.idle(fake, idle)
        yield f"{idle} idle fakes: {resident / 1e6:,.0f} MB, {once / 1e6:,.0f} MB with what they share counted once"
        modules = bench.imports()
        spent = sum(microseconds for microseconds, _ in modules) / 1000
        dearest = ", ".join(f"{name} {microseconds / 1000:.1f}" for microseconds, name in modules[:5])
        yield f"{len(modules)} modules imported in {spent:.1f} ms; dearest: {dearest}"


def _row(title: str, ours: list[float], theirs: list[float]) -> str:
    fake = statistics.median(ours)
    if not theirs:
        return f"{title:<34}{fake:>9.1f}{'-':>9}{'-':>11}"
    real = statistics.median(theirs)
    return f"{title:<34}{fake:>9.1f}{real:>9.1f}{real / fake:>11.1f}"
