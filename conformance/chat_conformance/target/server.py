"""One target, started and ended by the suite, or running already."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from chat_conformance.errors import CouldNotTest, TargetError
from chat_conformance.target.environment import small
from chat_conformance.target.file import Target, fill
from chat_conformance.target.output import LineCutter
from chat_conformance.target.places import temporary_folder
from chat_conformance.target.ports import free_port
from chat_conformance.target.processes import (
    command_line,
    is_unreaped,
    own_memory,
    wait_for_exit,
    with_variable,
)
from fake_claude import ledger
from fake_claude.install import install
from fake_claude.patience import patience

# In the environment of all that a target starts, so that leftovers are found.
MARK = "CHATGATE_TARGET"
_made: Counter[Path] = Counter()
LOG_LINES = 200
FELL = "the server ended"
LINE_BYTES = 4_096
"""How much of a line of output is kept."""
GONE_WITHIN = patience(1.0)
# A process that dies closes its sockets before it is gone.
FALLS_WITHIN = patience(0.5)


class Server:
    """A target with its address, its output and the place of its fake.

    Attributes:
        target: What it was made from.
        url: Its origin, no slash at the end.
        log: The last lines it wrote.
        on_line: Is given each line as it comes, with its line end.
        ledger: The folder of the fake's ledger, None where there is no fake.
        gates: The folder of the fake's gates, None where there is no fake.
        renewed: When it was last started again with nothing kept, in seconds, monotonic.
    """

    def __init__(
        self,
        target: Target,
        folder: Path,
        *,
        claude: str | None = None,
        forge: str = "",
        script: Path | None = None,
    ) -> None:
        """``forge`` is where its users log in, ``script`` what its fake plays besides inline scripts."""
        self.target = target
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self.lines_seen = 0
        self.on_line: Callable[[bytes], None] = lambda _: None
        self._folder = folder
        self._shares = False
        self._signalled = False
        self._asks = True
        self.renewed = 0.0
        _made[folder] += 1
        # Of no other server, and no other suite on this machine.
        self._mark = f"{folder}-{_made[folder]}"
        self._process: asyncio.subprocess.Process | None = None
        self._drain: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self.ledger: Path | None = Path(target.ledger) if target.ledger else None
        self.gates: Path | None = Path(target.gates) if target.gates else None
        values = {
            "python": sys.executable,
            "port": "",
            "data": "",
            "claude": claude or "",
            "forge": forge,
        }
        if target.starts:
            values["port"] = str(free_port(f"{folder} {_made[folder]}"))
            values["data"] = str(folder / "data")
            self.ledger, self.gates = folder / "ledger", folder / "gates"
            launcher = install(folder / "bin", ledger=self.ledger, gates=self.gates, script=script)
            values["claude"] = claude or str(launcher)
        self._claude = values["claude"]
        self.url = values["url"] = fill(target.url, values, "url").rstrip("/")
        self.sqlite = Path(fill(target.sqlite, values, "sqlite")) if target.sqlite and target.starts else None
        self._argv = [fill(word, values, "start") for word in target.start]
        self._env = {name: fill(text, values, f"env.{name}") for name, text in target.env.items()}

    def beside(self) -> Server:
        """Another server on the same data, with an address of its own; it is not started."""
        other = Server(self.target, self._folder)
        # They have one ledger: what the fake noted in it may be a process of this one's, which still serves.
        other._shares = True
        return other

    @property
    def host(self) -> str:
        """The host part of its address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port of its address."""
        return urlsplit(self.url).port or (443 if self.url.startswith("https:") else 80)

    @property
    def pid(self) -> int | None:
        """The process id of its command, None if it is not ours."""
        return None if self._process is None else self._process.pid

    @property
    def exit_status(self) -> int | None:
        """How its process ended, None while it runs or if it is not ours."""
        return None if self._process is None else self._process.returncode

    @property
    def alive(self) -> bool:
        """Whether its process runs; a server that is not ours is taken to."""
        return self._process is None or self._process.returncode is None

    def memory(self) -> int:
        """What its process and all that it started have in memory of their own, in bytes.

        Raises:
            CouldNotTest: It is not ours to look at.
        """
        if self._process is None:
            raise CouldNotTest("the target runs already, so its memory cannot be looked at")
        return sum(own_memory(pid) for pid in {self._process.pid, *self.marked_processes()})

    def marked_processes(self) -> list[int]:
        """The living processes that its own has started, and those of theirs.

        Its own is not among them where it hides its environment, and so the mark.
        """
        return with_variable(f"{MARK}={self._mark}")

    def lines_since(self, seen: int) -> tuple[str, ...]:
        """The lines it wrote after the first ``seen``, as far as they are kept."""
        new = self.lines_seen - seen
        return tuple(self.log)[-new:] if new > 0 else ()

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            TargetError: It ended, or was not ready in time, or nothing listens.
        """
        if not self.target.starts:
            await self._expect_listener()
            self._asks = await self._answers(self.target.within)
            return
        self._signalled = False
        (self._folder / "data").mkdir(exist_ok=True)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={
                    # What comes later wins. The target file may set HOME and PATH, but not the mark:
                    # leftovers could not be found.
                    **small(os.environ, self.target.inherits),
                    **self._own_home(),
                    **self._own_path(),
                    **self._env,
                    MARK: self._mark,
                },
                # A session of its own: Ctrl-C in the user's terminal reaches the suite alone, which then ends
                # its servers in order.
                start_new_session=True,
            )
        except OSError as error:
            raise TargetError(f"the command cannot be started: {' '.join(self._argv)}: {error}") from None
        self._drain = asyncio.create_task(self._read_output(self._process))
        try:
            async with asyncio.timeout(self.target.ready_within):
                await self._ready()
        except TimeoutError:
            await self.end()
            sentence = (
                f"the target was not ready within {self.target.ready_within:g} s: {' '.join(self._argv)}"
            )
            raise TargetError(sentence, tuple(self.log)) from None

    def _own_home(self) -> dict[str, str]:
        """A HOME in the run's folder, unless the target file sets another.

        In the user's own the fake would write transcripts, and read memory, hooks and MCP servers as the real CLI does.
        """
        home = self._folder / "home"
        home.mkdir(exist_ok=True)
        # pyenv's python is a shim, which looks for its versions in HOME.
        pyenv = Path.home() / ".pyenv"
        return {"HOME": str(home), **({"PYENV_ROOT": str(pyenv)} if pyenv.is_dir() else {})}

    def _own_path(self) -> dict[str, str]:
        """A PATH on which ``claude`` is the one that this server is given, for one that runs it by its name."""
        return {"PATH": os.pathsep.join((str(Path(self._claude).parent), os.environ.get("PATH", os.defpath)))}

    async def _ready(self) -> None:
        line = self.target.ready_line
        # Three waits, each of which also looks whether the process still runs. A ready line is waited for by
        # the news of output. A server may print it before it listens, so a connection is tried, too. Without
        # a line, health is asked.
        while line and not any(line in each for each in self.log):
            await self._expect_running()
            self._news.clear()
            await self._news.wait()
        while line and not await self._listens():
            await self._expect_running()
            await asyncio.sleep(0.02)
        while not line and not await self._is_healthy():
            await self._expect_running()
            # No event says that a port listens; a ready line is the better way.
            await asyncio.sleep(0.02)

    async def _expect_running(self) -> None:
        assert self._process is not None
        # The end of its output is the sign that it ended, and it sets the news: a wait for a line goes on
        # here.
        if self._drain is not None and self._drain.done():
            status = await self._process.wait()
            await self.end()
            sentence = (
                f"the target ended with exit status {status} before it was ready: {' '.join(self._argv)}"
            )
            raise TargetError(sentence, tuple(self.log))

    async def _read_output(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        lines = LineCutter(LINE_BYTES)
        while data := await process.stdout.read(1 << 16):
            self._note(lines.feed(data))
        self._note(lines.end())
        self._news.set()

    def _note(self, lines: list[bytes]) -> None:
        for line in lines:
            self.on_line(line)
            self.log.append(line.decode(errors="replace").rstrip())
            self.lines_seen += 1
            self._news.set()

    async def _listens(self) -> bool:
        """Whether a connection is taken: the ready line may come before."""
        try:
            _, writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            return False
        writer.transport.abort()
        return True

    async def _is_healthy(self) -> bool:
        if not self.target.paths.health:
            return await self._listens()
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(self.url + self.target.paths.health, ssl=self.target.tls() or True) as answer,
            ):
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def _expect_listener(self) -> None:
        try:
            async with asyncio.timeout(self.target.within):
                _, writer = await asyncio.open_connection(self.host, self.port)
        except (OSError, TimeoutError):
            raise TargetError(
                f"nothing listens at {self.url}: start the server first, or give the target file a start command"
            ) from None
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def exited_unexpectedly(self) -> bool:
        """Whether its process ended by itself; one that is just ending is given a moment."""
        if self._process is None or (self._process.returncode is None and await self._stays()):
            return False
        await self._noticed()
        return True

    async def _noticed(self) -> None:
        """Wait until asyncio knows the status of the process, which has ended."""
        assert self._process is not None
        # Process.wait() would wait for the pipe, too, which a process left behind may hold.
        while self._process.returncode is None:  # noqa: ASYNC110 - asyncio has no event for it
            await asyncio.sleep(0.001)

    @property
    def fell(self) -> str:
        """How its process ended, unless the suite ended it; else empty."""
        if self._signalled or self.alive:
            return ""
        return f"{FELL} with exit status {self.exit_status}"

    async def wrong(self, *, failed: bool = False) -> tuple[str, bool]:
        """What is wrong with it now that a case is over, and whether it had to be asked to find out.

        It has ended, hangs or is slow; empty if nothing. After a case that failed, a process that is just ending is
        given a moment.
        """
        # A server that dies just after its last answer would be blamed on the next case. So its process is
        # looked at first, which is cheap, and it is asked only if it seems to live. One answer clears it. Two
        # timeouts in a row are a hang, one is slowness: a pause of the machine must not be taken for a hang.
        if self.pid is not None and (is_unreaped(self.pid) or (failed and not await self._stays())):
            await self._noticed()
        if self.fell or not self.alive or not self._asks:
            return self.fell, False
        within = self.target.within
        if await self._answers(within):
            return "", True
        if await self.exited_unexpectedly():
            return self.fell, True
        if await self._answers(within):
            slow = f"the server is slow: it took more than {within:g} s to answer a request that came after"
            return slow, True
        if await self.exited_unexpectedly():
            return self.fell, True
        return (
            f"the server hangs: it does not answer a request that comes after, within {2 * within:g} s",
            True,
        )

    async def is_so_when_new(self) -> bool:
        """Whether it does not answer us either when it has just been started; then it is never asked again."""
        # A server that never answers this request would be called hung after every case.
        wrong, _ = await self.wrong()
        self._asks = self._asks and not wrong
        return not self._asks

    async def _stays(self) -> bool:
        return self.pid is None or not await wait_for_exit(self.pid, FALLS_WITHIN)

    async def _answers(self, within: float) -> bool:
        """Whether it answers a request, be it by closing the connection."""
        # Plain bytes, not a client of HTTP: even a broken answer shows that it lives, and a faulty answer is
        # another case's.
        path, host = self.target.paths.alive, f"{self.host}:{self.port}"
        try:
            async with asyncio.timeout(within):
                reader, writer = await asyncio.open_connection(self.host, self.port)
                try:
                    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                    await reader.read(1)
                finally:
                    writer.transport.abort()
        # A reset is an answer of a living server; the kernel resets the connections of a dead one, too.
        except ConnectionResetError:
            return self.alive
        except (OSError, TimeoutError):
            return False
        return True

    async def signal(self, number: signal.Signals, *, to: int | None = None) -> None:
        """Send a signal to its process, or to another that serves for it, such as the first of a container."""
        assert self._process is not None
        self._signalled = True
        if to is None:
            self._process.send_signal(number)
        else:
            os.kill(to, number)

    async def kill(self) -> None:
        """Kill it and wait until it is gone."""
        await self.signal(signal.SIGKILL)
        await self.wait()

    async def wait(self, *, within: float | None = None) -> int:
        """Wait for its end and return the exit status.

        Raises:
            TimeoutError: It did not end in time.
        """
        assert self._process is not None
        if not await wait_for_exit(self._process.pid, self.target.stop_within if within is None else within):
            raise TimeoutError
        await self._noticed()
        assert self._process.returncode is not None
        return self._process.returncode

    async def renew(self) -> None:
        """End it and start it once more at the same address, with nothing that it had kept."""
        self.renewed = time.monotonic()
        await self.end()
        for name in ("data", "home"):
            if (folder := self._folder / name).exists():
                shutil.rmtree(folder, ignore_errors=True)
        await self.restart()

    async def restart(self) -> None:
        """End it, if it runs, and start it once more with the same data, address and fake."""
        await self.end()
        self._process = self._drain = None
        # The old ready line must not count.
        self.log.clear()
        await self.start()

    async def end(self) -> tuple[str, ...]:
        """End it, SIGTERM first, and return what went wrong: late ends, processes left behind (which are ended)."""
        if self._process is None:
            return ()
        # The order is needed: the process first, then what it left behind, then its output. A process left
        # behind may hold the pipe, and with it open the output never ends.
        trouble: list[str] = []
        if self._process.returncode is None:
            await self.signal(signal.SIGTERM)
        try:
            await self.wait()
        except TimeoutError:
            trouble.append(f"the target did not end within {self.target.stop_within:g} s of SIGTERM")
            self._process.kill()
            await self._process.wait()
        trouble += [f"the target left a process behind: {each}" for each in await self.surviving_processes()]
        if self._drain is not None:
            await self._drain
        return tuple(trouble)

    def _noted(self) -> list[int]:
        """The processes that its fake noted and that live, whatever their environment says."""
        if self.ledger is None or self._shares:
            return []
        runs = ledger.read(self.ledger)
        # The mark is not enough: a child may start with an empty environment, which has no mark.
        children = [each for run in runs for each in run.events if each.get("event") == "grandchild"]
        return [
            *(run.pid for run in runs if not run.gone),
            *(each["pid"] for each in children if ledger.lives(each["pid"], each.get("proc_start"))),
        ]

    async def surviving_processes(self) -> list[str]:
        """The processes that outlive its own by more than a moment; they are ended."""
        left = [pid for pid in dict.fromkeys((*self.marked_processes(), *self._noted())) if pid != self.pid]
        survivors = []
        for pid in left:
            # Before the wait: of a process that is gone /proc says nothing any more.
            words = command_line(pid)
            if not await wait_for_exit(pid, GONE_WITHIN):
                survivors.append(f"{pid} {words}")
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                await wait_for_exit(pid, GONE_WITHIN)
        return survivors


@asynccontextmanager
async def running(
    target: Target, *, claude: str | None = None, starting: asyncio.Lock, seed: object = 0
) -> AsyncIterator[Server]:
    """A started target in a temporary folder, named by a seed, for the length of the block."""
    with temporary_folder(seed, "instance") as folder:
        server = Server(target, folder, claude=claude)
        async with starting:
            await server.start()
        try:
            yield server
        finally:
            await server.end()
