"""A run under load: all targets measured in turn, each on a server of its own, in rounds."""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from chat_conformance.errors import TargetError, UsageError
from chat_conformance.load.measure import measurements
from chat_conformance.load.plan import Plan
from chat_conformance.load.priority import realtime_priority
from chat_conformance.load.results import LoadResult, Measured
from chat_conformance.load.worker import LIMIT, Job, JobResult
from chat_conformance.target.file import Target
from chat_conformance.target.server import Server
from fake_claude.install import install

HERE = Path(__file__).parent


def check(targets: Sequence[Target], *, beyond_loopback: bool) -> None:
    """Refuse targets that cannot be measured, or must not be.

    Raises:
        UsageError: A target has no start command, listens beyond loopback, or two have one name.
    """
    names = [each.name for each in targets]
    for target in targets:
        if not target.starts:
            raise UsageError(
                f"{target.name} has no start command; a load needs the server's process and its claude"
            )
        if names.count(target.name) > 1:
            raise UsageError(f"two targets are called {target.name}; figures are listed by name")
        host = urlsplit(target.url.replace("{port}", "1")).hostname or ""
        if not beyond_loopback and not _is_loopback(host):
            raise UsageError(f"{target.name} is at {host}; loads stay on loopback without --beyond-loopback")


def selected(plan: Plan, only: Sequence[str]) -> list[str]:
    """The measurements of a plan that begin so; all without any."""
    return [each for each in measurements(plan) if not only or each.startswith(tuple(only))]


def run(
    targets: Sequence[Target],
    plan: Plan,
    plan_name: str,
    *,
    only: Sequence[str] = (),
    pin: bool = True,
    on_measured: Callable[[Measured], None] = lambda _: None,
) -> LoadResult:
    """Measure the targets.

    Args:
        targets: What is measured; the first is the one in question.
        plan: The sizes.
        plan_name: What the result calls them.
        only: Beginnings of the names of measurements; empty: all.
        pin: Whether the server gets a processor of its own, and the generator the others.
        on_measured: Is called with each measurement as it comes.

    Raises:
        UsageError: No measurement is selected.
        TargetError: The generator cannot be set up.
    """
    names = selected(plan, only)
    if not names:
        raise UsageError(f"no measurement is selected; there are {', '.join(measurements(plan))}")
    # Ten thousand connections are ten thousand descriptors, on either side; the usual soft limit is 1,024.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Servers and generator inherit it.
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    before = os.sched_getaffinity(0)
    server_cpus, own_cpus = _cpus(before, pin=pin)
    os.sched_setaffinity(0, own_cpus)
    ending = signal.signal(
        signal.SIGTERM,
        lambda *_: sys.exit(128 + signal.SIGTERM),
        # It unwinds through all clean-up.
    )
    try:
        with tempfile.TemporaryDirectory(prefix="chatgate-load-") as folder:
            return asyncio.run(
                _Run(Path(folder), plan, server_cpus, on_measured).all(list(targets), names, plan_name)
            )
    finally:
        signal.signal(signal.SIGTERM, ending)
        os.sched_setaffinity(0, before)


class _Run:
    def __init__(
        self, folder: Path, plan: Plan, server_cpus: set[int], on_measured: Callable[[Measured], None]
    ) -> None:
        self._folder = folder
        self._plan = plan
        self._server_cpus = server_cpus
        self._on_measured = on_measured
        self._measured: list[Measured] = []
        self._servers = 0

    async def all(self, targets: Sequence[Target], names: Sequence[str], plan_name: str) -> LoadResult:
        began, now = time.monotonic(), datetime.now(UTC)
        socket = self._folder / "hub"
        claude, made_by = launcher(self._folder / "bin", socket)
        with hub(self._folder, socket) as hub_pid:
            job = Job("", self._plan, str(socket), hub_pid)
            limit = await self._work(msgspec.structs.replace(job, measure=LIMIT))
            if limit.trouble:
                raise TargetError(f"the generator does not work: {limit.trouble}")
            # Targets are innermost and rounds outermost. A machine that gets slower or warmer in the course
            # of a run then does so to all targets alike, which it would not if one were measured after the
            # other.
            for number in range(1, self._plan.rounds + 1):
                for name in names:
                    for target in targets:
                        outcome = await self._one(target, name, job, str(claude))
                        measured = Measured(target.name, name, number, outcome.figures, outcome.trouble)
                        self._measured.append(measured)
                        self._on_measured(measured)
        return LoadResult(
            targets=[each.name for each in targets],
            plan_name=plan_name,
            plan=self._plan,
            machine=_machine(made_by, self._server_cpus),
            limit=limit.figures["tokens_per_s"],
            measured=self._measured,
            version=version("chatgate"),
            began=now.isoformat(timespec="seconds"),
            seconds=time.monotonic() - began,
        )

    async def _one(self, target: Target, name: str, job: Job, claude: str) -> JobResult:
        """One measurement of one target, on a fresh server."""
        most = target.load.connections
        wanted = int(name.partition("/")[2] or 0)
        if most and wanted > most:
            return JobResult(trouble=f"left out: its target file asks for at most {most} connections")
        if wanted + 100 > resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
            return JobResult(
                trouble=f"left out: this shell may open fewer than {wanted + 100} files (ulimit -Hn)"
            )
        # A fresh server for each measurement: memory and caches of an earlier one would be counted as this
        # one's.
        self._servers += 1
        folder = self._folder / str(self._servers)
        folder.mkdir()
        set_so = msgspec.structs.replace(target, env={**target.env, **target.load.env})
        server = Server(set_so, folder, claude=claude)
        try:
            with _pinned(self._server_cpus):
                await server.start()
            assert server.pid is not None
            return await self._work(
                msgspec.structs.replace(
                    job,
                    measure=name,
                    url=server.url,
                    path=target.paths.socket,
                    headers={**target.users[0].headers, **target.load.headers},
                    load=target.load,
                    pid=server.pid,
                )
            )
        except TargetError as error:
            return JobResult(trouble="\n".join([str(error), *error.log[-5:]]))
        finally:
            await server.end()
            shutil.rmtree(folder, ignore_errors=True)

    async def _work(self, job: Job) -> JobResult:
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chat_conformance.load.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            # `within` bounds each wait of a measurement, and there are several; this is for a worker that
            # hangs altogether.
            async with asyncio.timeout(3 * self._plan.within):
                answer, _ = await worker.communicate(msgspec.json.encode(job))
        except TimeoutError:
            return JobResult(trouble=f"gave up after {3 * self._plan.within:g} s")
        finally:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()
        if worker.returncode:
            return JobResult(trouble=f"the measuring process ended with {worker.returncode}")
        return msgspec.json.decode(answer, type=JobResult)


@contextmanager
def hub(folder: Path, socket: Path) -> Iterator[int]:
    """The writer of all answers, for the length of the block; its process id."""
    fake = install(folder / "fake")
    printed = folder / "printed"
    with printed.open("wb") as file:
        subprocess.run(
            [
                *(fake, "-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages"),
                "[[fake tokens=1]]",
            ],
            stdin=subprocess.DEVNULL,
            stdout=file,
            cwd=folder,
            check=True,
        )
    hub = subprocess.Popen(
        [sys.executable, "-m", "chat_conformance.load.hub", socket, printed],
        # Its end is the hub's, however this process ends.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert hub.stdout is not None
        if not hub.stdout.readline():
            raise TargetError("the writer of answers did not start")
        yield hub.pid
    finally:
        hub.communicate()


def launcher(folder: Path, socket: Path) -> tuple[Path, str]:
    """The claude for the servers, and what it was made by."""
    folder.mkdir()
    place = folder / "claude"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler:
        subprocess.run([compiler, "-O2", f'-DHUB="{socket}"', "-o", place, HERE / "launcher.c"], check=True)
        return place, "C"
    words = [sys.executable, "-I", "-S", str(HERE / "launcher.py"), str(socket)]
    place.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
    place.chmod(0o755)
    return place, "Python, as there is no C compiler"


@contextmanager
def _pinned(cpus: set[int]) -> Iterator[None]:
    """What is started in the block runs on these processors."""
    before = os.sched_getaffinity(0)
    # A child inherits the processors of its parent at its start: so ours are changed for that moment.
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _cpus(allowed: set[int], *, pin: bool) -> tuple[set[int], set[int]]:
    """The processors of the server, and those of the generator."""
    first, *others = sorted(allowed)
    # The generator must not take the server's processor: its own work would count as the server's delay.
    return ({first}, set(others)) if pin and others else (allowed, allowed)


def _machine(made_by: str, server_cpus: set[int]) -> dict[str, str]:
    model = ""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    with realtime_priority() as first:
        client = "before all others" if first else "as all others (it may not go first: CAP_SYS_NICE)"
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processors": f"{os.cpu_count()} x {model or platform.machine()}",
        "server on": ", ".join(map(str, sorted(server_cpus))),
        "memory": f"{pages / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "launcher": made_by,
        "client runs": client,
    }


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
