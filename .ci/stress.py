"""Run all unit tests and the quick gate on a machine that is kept busy: what a clock decides shows, and must not.

Eight rounds, three side by side, beside two processes per core that do nothing but use it. Every few seconds one of
the processes that test or are tested stands still for a moment. All that is started here ends with this program.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

BUSY = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000): pass
"""
MARK = "CHATGATE_STRESS"
"""Is in the environment of all that a run starts, however it is started."""

PATIENCE = "4"
"""How many times as long as otherwise tests wait for what must come."""

PYTEST = ("-n", "2", "-q", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=600")
GATE = ("run", "--target", "targets/reference.toml", "--quick", "--shuffle")

NICENESS = 10
PAUSE_EVERY = 2.0
PAUSE_AT_MOST = 0.5
FAILED = re.compile(r"^(?:FAILED|ERROR) .*|^.*worker '.*' crashed while running .*", re.MULTILINE)


@dataclass
class Round:
    """One run of the tests and of the gate."""

    number: int
    seed: int
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"round {self.number} (seed {self.seed})"


class Stress:
    """The rounds of one call."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder: Path = options.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.mark = f"{os.getpid()}-{time.time_ns()}"
        self.free = asyncio.Semaphore(options.at_once)
        self.rounds = [Round(number, options.seed + number) for number in range(1, options.rounds + 1)]

    async def run(self) -> bool:
        """Whether every round was green in the time there is."""
        began = time.monotonic()
        try:
            async with (
                asyncio.timeout(60 * self.options.minutes),
                self.busy(),
                self.pauses(),
                asyncio.TaskGroup() as group,
            ):
                for each in self.rounds:
                    group.create_task(self.one(each))
        except TimeoutError:
            for each in self.rounds:
                if not each.seconds:
                    each.failures.append(f"did not end within {self.options.minutes:g} minutes (--minutes)")
                    print(f"{each}: {each.failures[-1]}", flush=True)
        finally:
            self.end_all()
        green = sum(not each.failures for each in self.rounds)
        print(
            f"{green} of {len(self.rounds)} rounds are green; {(time.monotonic() - began) / 60:.1f} minutes"
        )
        return green == len(self.rounds)

    async def one(self, each: Round) -> None:
        """Play a round and say how it went."""
        commands: dict[str, list[str]] = {}
        if "units" in self.options.parts:
            commands["units"] = [sys.executable, "-m", "pytest", *PYTEST, *self.options.pytest]
        if "gate" in self.options.parts:
            commands["gate"] = [sys.executable, "-m", "chat_conformance", *GATE, "--seed", str(each.seed)]
        async with self.free:
            began = time.monotonic()
            for name, command in commands.items():
                log = self.folder / f"round-{each.number}-{name}.log"
                code = await self.play(each, command, log)
                if code:
                    text = log.read_text(encoding="utf-8", errors="replace")
                    found = FAILED.findall(text) if name == "units" else [text]
                    each.failures += [f"{name} ended with {code}, see {log}", *found]
            each.seconds = time.monotonic() - began
        print(f"{each}: {'red' if each.failures else 'green'}, {each.seconds:.0f} s", flush=True)
        for failure in each.failures:
            print(f"  {failure}", flush=True)

    async def play(self, each: Round, command: list[str], log: Path) -> int:
        """Run a command of a round to its end: its exit code."""
        env = {
            MARK: self.mark,
            "CHATGATE_PATIENCE": PATIENCE,
            "PYTHONHASHSEED": str(each.seed),
            "NO_COLOR": "1",
        }
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *("nice", "-n", str(NICENESS), *command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, **env},
                start_new_session=True,
            )
            return await process.wait()

    @contextlib.asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """Keep all cores busy for the length of the block."""
        count = self.options.busy * (os.cpu_count() or 1)
        processes = [
            await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", "-c", BUSY) for _ in range(count)
        ]
        try:
            yield
        finally:
            for process in processes:
                process.kill()
                await process.wait()

    @contextlib.asynccontextmanager
    async def pauses(self) -> AsyncIterator[None]:
        """Let now one, now another process stand still for a moment."""
        task = asyncio.create_task(self.pause_some())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def pause_some(self) -> None:
        """Pause a process, chosen by chance, again and again."""
        dice = random.Random(self.options.seed)  # noqa: S311 - it is to be repeatable
        while self.options.pauses:
            await asyncio.sleep(PAUSE_EVERY * dice.random())
            if not (pids := sorted(await asyncio.to_thread(self.marked))):
                continue
            pid = dice.choice(pids)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                try:
                    await asyncio.sleep(PAUSE_AT_MOST * dice.random())
                finally:
                    os.kill(pid, signal.SIGCONT)

    def marked(self) -> list[int]:
        """All that was started by the rounds."""
        wanted, found = f"{MARK}={self.mark}".encode(), []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def end_all(self) -> None:
        """Kill what is left of the rounds."""
        while left := self.marked():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


def parser() -> argparse.ArgumentParser:
    """The options."""
    it = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    it.add_argument("--rounds", type=int, default=8)
    it.add_argument("--at-once", type=int, default=3, help="how many rounds run side by side")
    it.add_argument("--busy", type=int, default=2, help="how many processes per core do nothing but use it")
    it.add_argument("--minutes", type=float, default=60, help="what is not over by then is red")
    it.add_argument("--seed", type=int, default=0, help="of the first round, less one; default: %(default)s")
    it.add_argument("--no-pauses", dest="pauses", action="store_false", help="let no process stand still")
    it.add_argument("--folder", type=Path, default=Path(".tox/stress-logs"), help="where the output goes")
    it.add_argument("--only", dest="parts", action="append", choices=["units", "gate"])
    it.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    return it


def main() -> int:
    """0: all rounds are green."""
    options = parser().parse_args()
    options.parts = options.parts or ["units", "gate"]
    return 0 if asyncio.run(played(options)) else 1


async def played(options: argparse.Namespace) -> bool:
    """Play all rounds; TERM ends them as an interrupt does."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await Stress(options).run()


if __name__ == "__main__":
    sys.exit(main())
