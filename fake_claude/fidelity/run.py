"""Plays one row of the table through a CLI and writes down everything that came of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from fake_claude.api.server import ScriptedApi, make_app
from fake_claude.fidelity.invocation import USER_TEXT, Act, Invocation
from fake_claude.fidelity.sent import of_body, of_request
from fake_claude.gates import Gate
from fake_claude.install import install
from fake_claude.ledger import read
from fake_claude.script.finder import ScriptFinder

WORDS = Path(__file__).with_name("words.toml")
GATE = "middle"
PATIENCE = 120.0
"""Seconds for one run; only a run that hangs takes them."""

BEFORE_CUT = 0.3
"""Seconds that the CLI has for reading what came before a cut."""


@dataclass
class RunOutcome:
    """What a run left behind: output, exit code (negative for a signal), and files."""

    exit_code: int | None
    stdout: list[str]
    stderr: str
    files: list[str] = field(default_factory=list)  # transcripts, relative to the home
    transcripts: list[list[dict[str, Any]]] = field(default_factory=list)
    sent: list[Any] | None = None  # rows of user text: the texts of each request, its own remarks last
    settings: dict[str, Any] | None = None  # and what settings files hold afterwards

    def to_json(self) -> dict[str, Any]:
        """Return plain data for a recording."""
        return asdict(self)


class RowTimeout(Exception):
    """The run did not get to where the row expects it; the message says how far it got."""


class _EndedEarly(Exception):
    """The process ended before the acts of a row that allows it."""


class Sandbox:
    """Where rows are played: a temporary folder and the CLI under test; ``claude=None`` is the fake.

    ``stretch`` lengthens the pauses for what the real CLI does silently, on a busy machine.
    """

    def __init__(
        self,
        folder: Path,
        *,
        claude: Path | None,
        retry_scale: float = 1.0,
        version: str | None = None,
        stretch: float = 1.0,
    ) -> None:
        self.folder = folder
        self.claude = claude
        self.retry_scale = retry_scale
        self.version = version
        self.stretch = stretch

    async def play(self, row: Invocation) -> tuple[RunOutcome, dict[str, str]]:
        """Play a row, the runs before it first; return the outcome and the names to mask."""
        place = self.folder / row.name
        home, cwd, gates = place / "home", place / "dir", place / "gates"
        for path in (home, cwd, gates):
            path.mkdir(parents=True)
        _put_files(row, home, cwd)
        async with AsyncExitStack() as stack:
            # The fake needs no API; it has an address all the same, for both must be given the same variables.
            url = "http://127.0.0.1:8199"
            bodies: list[dict[str, Any]] = []
            if self.claude is None:
                claude = install(
                    place / "bin",
                    gates=gates,
                    script=WORDS,
                    retry_scale=1.0 if row.real_waits else self.retry_scale,
                    version=self.version,
                    needs_key=True,
                )
            else:
                claude = self.claude
                url = await stack.enter_async_context(_Api(gates, BEFORE_CUT * self.stretch, bodies))

            async def run(each: Invocation) -> RunOutcome:
                return await _Run(
                    each, claude, home=home, cwd=cwd, gates=gates, url=url, stretch=self.stretch
                ).go()

            for before in row.before:
                await run(before)
            # Requests of the runs before are not compared.
            bodies.clear()
            outcome = await run(row)
            if row.group == USER_TEXT:
                if self.claude is None:
                    requests = read(place / "bin" / "ledger")[-1].requests
                    outcome.sent = [of_request(request) for request in requests]
                else:
                    outcome.sent = [of_body(body) for body in bodies]
                outcome.settings = _settings(home, cwd)
        names = {
            # The inner folders before the one around them, or `<place>/dir` would stand where `<cwd>` should.
            str(cwd): "<cwd>",
            str(home): "<home>",
            url.partition("://")[2]: "<api>",
            str(place): "<place>",
        }
        return outcome, names


def _put_files(row: Invocation, home: Path, cwd: Path) -> None:
    for name, content in row.files.items():
        path = home / name[2:] if name.startswith("~/") else cwd / name.rstrip("|")
        path.parent.mkdir(parents=True, exist_ok=True)
        # The rows write kinds of files in their names: `x|` is a FIFO, `x/` a folder, `->y` as content a link to y.
        if name.endswith("|"):
            os.mkfifo(path)
        elif name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif content.startswith("->"):
            path.symlink_to(_place(content[2:], home, cwd))
        elif content.startswith("hex:"):
            path.write_bytes(bytes.fromhex(content[4:]))
        else:
            path.write_text(_place(content, home, cwd), encoding="utf-8")


def _place(text: str, home: Path, cwd: Path) -> str:
    return text.replace("{cwd}", str(cwd)).replace("{home}", str(home))


def _settings(home: Path, cwd: Path) -> dict[str, Any]:
    """Return what the settings files hold."""
    paths = {"user": home / ".claude" / "settings.json", "local": cwd / ".claude" / "settings.local.json"}
    return {
        name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()
    }


class _Api:
    """The loopback Messages API, for the length of a block."""

    def __init__(self, gates: Path, before_cut: float, bodies: list[dict[str, Any]]) -> None:
        api = ScriptedApi(ScriptFinder(str(WORDS)), gates, before_cut=before_cut, on_request=bodies.append)
        self._runner = web.AppRunner(make_app(api), handler_cancellation=True, shutdown_timeout=0.1)

    async def __aenter__(self) -> str:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


class _Run:
    """One process and its acts."""

    def __init__(
        self, row: Invocation, claude: Path, *, home: Path, cwd: Path, gates: Path, url: str, stretch: float
    ) -> None:
        self.row = row
        self.stretch = stretch
        self.claude = claude
        self.home = home
        self.cwd = cwd
        self.url = url
        self.gate = Gate(gates, GATE)
        self.patience = PATIENCE
        self.lines: list[str] = []
        self.stderr = b""
        self.asked: str | None = None
        self._counts: dict[str, int] = {}
        self._news = asyncio.Event()
        self._ended = False
        self._held: list[int] = []
        self._answered = 0

    def _so_far(self) -> str:
        """Say how far the run came."""
        last = [line[:120] for line in self.lines[-2:]]
        return f"{len(self.lines)} lines, last {last}, stderr {self.stderr[:200]!r}"

    def _fill(self, value: Any) -> Any:
        if isinstance(value, str):
            return _place(value, self.home, self.cwd)
        if isinstance(value, dict):
            return {key: self._fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._fill(item) for item in value]
        return value

    def _env(self) -> dict[str, str]:
        env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "TERM": "dumb",
            "LANG": "C.UTF-8",
            "ANTHROPIC_API_KEY": "sk-dummy",
            "ANTHROPIC_BASE_URL": self.url,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_ERROR_REPORTING": "1",
            **self._fill(self.row.env),
        }
        for name in self.row.unset:
            env.pop(name, None)
        return env

    async def go(self) -> RunOutcome:
        """Run to the end.

        Raises:
            RowTimeout: The row's time is over, or the process ended before its acts.
        """
        row = self.row
        # Without either, standard input is at its end at once: an open pipe would cost each row three seconds.
        piped = row.stdin is not None or (bool(row.acts) and "--input-format" in row.argv)
        with self.gate:
            process = await asyncio.create_subprocess_exec(
                self.claude,
                *self._fill(row.argv),
                cwd=self.cwd,
                env=self._env(),
                stdin=asyncio.subprocess.PIPE if piped else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                # Some rows print a line of megabytes; the default of 64 KiB would end the reading.
                limit=1 << 24,
            )
            try:
                async with asyncio.timeout(self.patience):
                    # Reading goes on while acts wait for lines: in one task, a full pipe would stop the process
                    # and the act for ever.
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._read(process))
                        group.create_task(self._read_stderr(process))
                        group.create_task(self._act(process))
                    code = await process.wait()
            except TimeoutError:
                raise RowTimeout(f"{row.name}: not over in time; {self._so_far()}") from None
            finally:
                for fd in self._held:
                    os.close(fd)
                if process.returncode is None:
                    with suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()
        files = sorted(str(path.relative_to(self.home)) for path in self.home.rglob("projects/*/*.jsonl"))
        transcripts = [_transcript(self.home / name) for name in files]
        stderr = self.stderr.decode("utf-8", "replace")
        return RunOutcome(code, self.lines, stderr, files, transcripts)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
            # Counted before the answer and before acts wake up: both look at ``asked`` and at the counts.
            self._note(self.lines[-1])
            await self._answer_question(process, self.lines[-1])
            self._news.set()
        self._ended = True
        self._news.set()

    async def _read_stderr(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        self.stderr = await process.stderr.read()

    async def _answer_question(self, process: asyncio.subprocess.Process, line: str) -> None:
        """Answer a can_use_tool request with the next of the row's answers."""
        if not self.row.answers or '"can_use_tool"' not in line:
            return
        answer = self.row.answers[self._answered % len(self.row.answers)]
        self._answered += 1
        response = {"subtype": "success", "request_id": self.asked, "response": answer}
        await self._send(process, json.dumps({"type": "control_response", "response": response}) + "\n")

    def _count(self, what: str) -> None:
        self._counts[what] = self._counts.get(what, 0) + 1

    def _note(self, line: str) -> None:  # noqa: C901 - a list of cases, read one by one
        try:
            message = json.loads(line)
        except ValueError:
            return
        if not isinstance(message, dict):
            return
        match message.get("type"), message.get("subtype"):
            case "system", "init":
                # An init begins a turn, and `delta:2` means the second piece of this turn.
                self._counts.pop("delta", None)
                self._count("init")
            case "system", "status":
                self._count("status")
            case "system", "api_retry":
                self._count("retry")
            case "stream_event", _:
                if message["event"]["type"] == "content_block_delta":
                    self._count("delta")
            case "assistant", _:
                self._count("assistant")
                if any(block["type"] == "tool_use" for block in message["message"]["content"]):
                    self._count("tool")
            case "control_request", _:
                self.asked = message["request_id"]
                self._count("ask")
            case "control_response", _:
                self._count(f"response:{message['response'].get('request_id')}")
            case "result", _:
                self._count("result")

    async def _until(self, when: str) -> None:
        if when == "now":
            return
        if when == "arrived":
            await self._arrival()
            return
        name, _, number = when.partition(":")
        key, wanted = (when, 1) if name == "response" else (name, int(number or 1))
        # The end is looked at after the counts: the line that is waited for may be the last one.
        while self._counts.get(key, 0) < wanted:
            if self._ended and self.row.may_end:
                raise _EndedEarly
            if self._ended:
                raise RowTimeout(f"{self.row.name}: ended before {when}; {self._so_far()}")
            # No line can come between these two: nothing else runs until the wait.
            self._news.clear()
            await self._news.wait()

    async def _arrival(self) -> None:
        """Wait until the answer is held at the gate, or, if the row allows it, until the process ends."""
        reached = asyncio.ensure_future(self.gate.reached())
        try:
            while not reached.done():
                if self._ended and self.row.may_end:
                    raise _EndedEarly
                with suppress(TimeoutError):
                    # The gate knows nothing of the process's end, so the wait is cut into short ones where the
                    # row allows an end. ``shield`` keeps the wait itself alive: cut off, it could lose the byte
                    # of the arrival.
                    async with asyncio.timeout(0.1 if self.row.may_end else None):
                        await asyncio.shield(reached)
        finally:
            reached.cancel()

    async def _act(self, process: asyncio.subprocess.Process) -> None:
        if self.row.stdin is not None:
            await self._send(process, self.row.stdin)
            self._close(process)
        with suppress(_EndedEarly):
            for act in self.row.acts:
                await self._until(act[0])
                await self._do(process, act)

    async def _do(self, process: asyncio.subprocess.Process, act: Act) -> None:  # noqa: C901 - one case for each act
        _, what, value = act
        match what:
            case "send":
                text = value if isinstance(value, str) else json.dumps(value)
                await self._send(process, self._fill(text) + "\n")
            case "answer":
                response = {"subtype": "success", "request_id": self.asked, "response": value}
                await self._send(
                    process, json.dumps({"type": "control_response", "response": response}) + "\n"
                )
            case "refuse":
                response = {"subtype": "error", "request_id": self.asked, "error": value}
                await self._send(
                    process, json.dumps({"type": "control_response", "response": response}) + "\n"
                )
            case "signal":
                process.send_signal(signal.Signals[value])
            case "gate":
                self.gate.open()
            case "eof":
                self._close(process)
            case "pause":
                await asyncio.sleep(value * self.stretch)  # for what the real CLI does silently
            case "reader":  # wait until a process reads the pipe, and keep it open
                self._held.append(await asyncio.to_thread(os.open, self.cwd / value, os.O_WRONLY))
            # Text before the close: the command that reads the FIFO then has output to show.
            case "unhold":
                for fd in self._held:
                    os.write(fd, b"written\n")
                    os.close(fd)
                self._held.clear()
            case _:
                raise AssertionError(what)

    @staticmethod
    async def _send(process: asyncio.subprocess.Process, text: str) -> None:
        assert process.stdin is not None
        # A row may send half a surrogate pair, which strict UTF-8 would refuse here instead of in the CLI.
        process.stdin.write(text.encode("utf-8", "surrogatepass"))
        # A process that has ended does not read; its exit code and output are what is compared.
        with suppress(ConnectionError):
            await process.stdin.drain()

    @staticmethod
    def _close(process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        process.stdin.close()


def _transcript(path: Path) -> list[dict[str, Any]]:
    """Return the lines that make up a conversation; the CLI's own bookkeeping is left out."""
    lines = []
    for raw in path.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            line = json.loads(raw)
            if line.get("type") in ("user", "assistant"):
                message = line["message"]
                kept = {"type": line["type"], "content": message["content"], "session": line.get("sessionId")}
                if line["type"] == "assistant":
                    kept["message"] = message["id"]
                lines.append(kept)
    return lines
