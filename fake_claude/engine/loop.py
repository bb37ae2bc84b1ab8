"""The process around the turns: input, output, signals, gates and time in one poll loop.

A turn is a generator that yields what it waits for. The engine alone touches file descriptors; it resumes the
turn when its wait is over, and throws ``Interrupted`` into it when the host or SIGINT says so.
"""

from __future__ import annotations

import os
import selectors
import signal
import time

from fake_claude import json_lines
from fake_claude.catalog import find_model
from fake_claude.engine import hooks, slash
from fake_claude.engine.background import Background
from fake_claude.engine.control import answer_control
from fake_claude.engine.input_lines import StdinError, read_line
from fake_claude.engine.mcp_servers import start_servers
from fake_claude.engine.misbehaviour import Exit, do_trick
from fake_claude.engine.output import HIGH_WATER, Output
from fake_claude.engine.shell import Running
from fake_claude.engine.turn import Turn
from fake_claude.gates import Arrival
from fake_claude.ids import fresh_id
from fake_claude.invocation.options import Refusal
from fake_claude.lines import events
from fake_claude.lines.costs import Costs
from fake_claude.lines.result import final_text
from fake_claude.script import ask as conversation
from fake_claude.script.finder import Scripts
from fake_claude.script.model import ScriptError
from fake_claude.waits import Answer, Breathe, Delay, Hold, Interrupted, Pushed, Stall, Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from fake_claude.engine.transcript import Transcript
    from fake_claude.invocation.context import Context
    from fake_claude.ledger_writer import Record
    from fake_claude.prompt.config_command import Change
    from fake_claude.script.model import Step
    from fake_claude.settings import Settings

    Message = dict[str, Any]

SIGNALS = {signal.SIGINT: 0, signal.SIGTERM: 143, signal.SIGHUP: 129}
"""Signals the CLI answers, and with which exit code (docs/claude-cli.md, signals)."""

FLUSH_AFTER = 0.1
"""Seconds after which a turn's first lines are on disk."""

SLOW_READER = 3.0
"""Seconds that a reader who stopped reading delays the exit."""

STDIN_PATIENCE = 3.0
"""Seconds of silence on a piped stdin before a one-shot run goes on without it."""

STDIN_LIMIT = 10 * 1024 * 1024


class Signals:
    """Signals as bytes in a pipe, so that the poll loop sees them in order."""

    def __init__(self) -> None:
        self.fd, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in SIGNALS:
            signal.signal(number, lambda _number, _frame: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def take(self) -> list[signal.Signals]:
        """Return the signals that came."""
        try:
            return [signal.Signals(byte) for byte in os.read(self.fd, 64)]
        except BlockingIOError:
            return []


class Engine:
    """One run of the CLI after its arguments were accepted."""

    transcript: Transcript

    def __init__(
        self,
        context: Context,
        *,
        record: Record,
        signals: Signals,
        settings: Settings,
    ) -> None:
        self.context = context
        self.record = record
        self.signals = signals
        self.gates = settings.gates
        self.scripts = Scripts(settings.script, settings.state, context.cwd)
        self.retry_scale = settings.retry_scale
        if self.scripts.script is not None:
            record.note("seed", seed=self.scripts.script.seed)
        self.out = Output(1)
        self.err = Output(2)
        self.costs = Costs()
        self.api_ms = 0
        self.results = 0
        self.request_id = fresh_id("req")
        self.project_dir = ""
        self.queue: list[Message] = []
        self.absorbing = False  # messages that come now belong to the running turn
        self.ignored: set[str] = set()
        self.omitted: set[str] = set()
        self.doubled: set[str] = set()
        self.asked_to_interrupt = False  # by the host, and not by a signal
        self.initialized = False
        self.needs_key = settings.needs_key
        self.background = Background(self)
        self.attached: list[Message] = []  # what hooks add to the next prompt
        self.seen_files: set[str] = set()  # the model was shown them
        self.last_result: Message | None = None
        self._array: list[Message] = []
        self._selector = selectors.PollSelector()
        self._stdin_open = True
        self._stdin: list[bytes] = []
        self._turn: Turn | None = None
        self._play: Generator[Wait, Any, None] | None = None
        self._fresh = False  # it has not gone its first step
        self._wait: Wait | None = None
        self._value: object = None  # what the turn is resumed with
        self._watched: int | None = None  # descriptor of the current wait
        self._gate: Arrival | None = None
        self._deadline: float | None = None
        self._flush_at: float | None = None
        self._ending: int | None = None  # the exit code once the end is decided
        self._seen: set[str] = set()
        self._later: list[Callable[[], None]] = []

    def warn(self, lines: list[str]) -> None:
        """Say something on stderr."""
        for line in lines:
            self.err.line(line)

    def begin(self) -> None:
        """Say what the CLI says on stderr before its first turn."""
        if find_model(self.context.model) is None:
            told = {"model": self.context.model, "query_source": "sdk"}
            self.err.line(f"[claude-code:unrecognized_model] {json_lines.dumps(told)}")
        configured = self.context.configuration
        self.record.note("configuration", files=configured.files, sources=list(configured.sources))
        if configured.hooks:
            hooks.note_unimitated(self)
            self.attached = hooks.session_started(self, "resume" if self.transcript.messages else "startup")
        start_servers(self)

    # What turns and controls use.

    def emit(self, message: Message, what: str = "") -> None:
        """Print a message, or keep it, as the output format wants; ``what`` is how scripts call such lines."""
        if what and what in self.omitted:
            return
        for _ in range(2 if what and what in self.doubled else 1):
            if self.context.streams_out:
                self.out.line(json_lines.dumps(message))
            elif self.context.output_format == "json" and self.context.verbose:
                self._array.append(message)

    def tell_state(self, state: str) -> None:
        """Tell a host that asked for it whether we are running, idle or waiting for it."""
        if self.context.tells_state:
            self.emit(events.system(self.context, "session_state_changed", state=state, sdk_host_only=True))

    @property
    def running(self) -> bool:
        """Tell whether a turn is being played."""
        return self._play is not None

    def note_attachment(self, attachment: Message) -> None:
        """Note in the ledger what is attached to a prompt, and which files it comes from."""
        kind = attachment["type"]
        paths = [attachment.get("filename") or attachment.get("path")]
        if kind == "instructions":
            paths = [file["path"] for file in attachment["files"]]
        for path in paths:
            self.record.note("attachment", kind=kind, path=path)

    def note_setting(self, change: Change) -> None:
        """Note in the ledger which setting a prompt wrote."""
        self.record.note("setting", path=change.path, member=change.member, value=change.value)

    def note_request(self, model: str) -> None:
        """Note in the ledger what the model is sent: the texts behind its last answer."""
        texts: list[str] = []
        for message in reversed(self.transcript.messages):
            if message["role"] == "assistant":
                break
            texts = [*conversation.shown(message["content"]), *texts]
        remarks, self.transcript.remarks = self.transcript.remarks, []
        self.record.note("request", model=model, texts=[*texts, *remarks], remarks=len(remarks))

    def take_queue(self) -> list[Message]:
        """Hand over the messages that wait."""
        waiting, self.queue = self.queue, []
        return waiting

    def between_turns(self, write: Callable[[], None]) -> None:
        """Write something to the transcript that no turn is to have in its middle; the next flush takes it along."""
        if self.running:
            self._later.append(write)
            return
        write()

    def cancel_queued(self, uuid: object) -> bool:
        """Remove a message that waits; tell whether there was one."""
        kept = [message for message in self.queue if message["uuid"] != uuid]
        found = len(kept) < len(self.queue)
        self.queue = kept
        if found:
            self.emit(events.lifecycle(self.context, str(uuid), "cancelled"))
        return found

    def end_turn(self, turn: Turn, message: Message, state: str) -> None:
        """Save the session and print the result and what follows it."""
        costs = self.costs
        self.transcript.turn_ended(
            turn.content,
            {
                "totalCostUSD": costs.total,
                "totalAPIDuration": self.api_ms,
                "totalAPIDurationWithoutRetries": self.api_ms,
                "totalToolDuration": 0,
                "totalLinesAdded": 0,
                "totalLinesRemoved": 0,
                "totalDuration": turn.tally.now(),
                "startTime": int(time.time() * 1000),
                "modelUsage": costs.copy(),
                "hasUnknownModelCost": False,
            },
        )
        for write in self._later:
            write()
        self._later.clear()
        for uuid in turn.uuids:
            if uuid not in turn.own_uuids:
                self.emit(events.lifecycle(self.context, uuid, state))
        self.print_result(message)
        for uuid in turn.own_uuids:
            self.emit(events.lifecycle(self.context, uuid, state))
        self.tell_state("idle")

    def print_result(self, message: Message) -> None:
        """Print a result and remember it for the exit code."""
        self.emit(message, "result")
        self.last_result = message
        self.results += 1

    def watch(self, fd: int, handler: Callable[[], None]) -> None:
        """Have the poll loop call ``handler`` when there is something to read."""
        self._selector.register(fd, selectors.EVENT_READ, handler)

    def unwatch(self, fd: int) -> None:
        """Watch no more."""
        self._selector.unregister(fd)

    def wake(self, content: str, origin: Message) -> None:
        """Queue a prompt that nobody typed."""
        self.queue.append({"content": content, "text": content, "uuid": None, "origin": origin})

    def interrupt(self) -> None:
        """Break off the running turn."""
        if self._play is not None:
            self._throw(Interrupted())

    def withdraw_questions(self) -> None:
        """Take back what the host was asked and did not answer."""
        if self._turn is not None:
            self._turn.tools.withdraw()

    def end(self, code: int) -> None:
        """End the process after what is being handled."""
        self._ending = code

    # The life of the process.

    def early(self, steps: list[Step]) -> None:
        """Play a script's start, before anything is checked.

        Raises:
            Exit: The script, or a signal, ends the process.
        """
        if not steps:
            return
        from fake_claude.engine.transcript import Transcript  # noqa: PLC0415 - a refusal needs none

        self.transcript = Transcript(self.context, None)  # no session is open yet, but a signal flushes it
        self._selector.register(self.signals.fd, selectors.EVENT_READ, self._on_signal)
        for step in steps:
            self.record.note("step", where=step.where)
            if step.kind == "delay":
                self._enter(Delay(step.value.draw(self.scripts.random)))
            elif step.kind == "hold":
                self._enter(Hold(step.value))
            elif step.kind == "stall":
                self._enter(Stall())
            else:
                do_trick(self, step)
            while self._wait is not None:
                self._poll()
                if self._ending is not None:
                    raise Exit(self._ending)
        self._selector.unregister(self.signals.fd)

    def run_once(self, prompt: str) -> int:
        """Play one prompt and return the exit code."""
        self._stdin_open = False
        self._start([{"content": prompt, "text": prompt, "uuid": None}])
        return self._until_done()

    def run_stream(self) -> int:
        """Serve stream-json input until its end and return the exit code."""
        self._selector.register(0, selectors.EVENT_READ, self._on_stdin)
        return self._until_done()

    def read_prompt(self) -> str:
        """Read a one-shot run's standard input to its end.

        Raises:
            Refusal: It is longer than the CLI takes.
            Exit: A signal came meanwhile.
        """
        data: list[bytes] = []
        size = 0
        deadline = time.monotonic() + STDIN_PATIENCE
        with selectors.PollSelector() as selector:
            selector.register(self.signals.fd, selectors.EVENT_READ)
            selector.register(0, selectors.EVENT_READ)
            while True:
                ready = [
                    key.fd
                    for key, _ in selector.select(None if data else max(0.0, deadline - time.monotonic()))
                ]
                if self.signals.fd in ready:
                    self._signalled_early()
                if not ready:
                    self.err.line(
                        "Warning: no stdin data received in 3s, proceeding without it. If piping from a slow command,"
                        " redirect stdin explicitly: < /dev/null to skip, or wait longer."
                    )
                    break
                if 0 not in ready:
                    continue
                chunk = _read(0)
                if not chunk:
                    break
                data.append(chunk)
                size += len(chunk)
                if size > STDIN_LIMIT:
                    raise Refusal(
                        "Error: piped stdin input exceeds 10MB."
                        " Pass large content as a file path in your prompt instead."
                    )
        text = b"".join(data).decode("utf-8", "replace")
        for line in text.splitlines():
            self.record.stdin(line)
        return text

    def _signalled_early(self) -> None:
        for number in self.signals.take():
            self.record.signal(number.name)
            raise Exit(SIGNALS[number])

    def finish(self, code: int) -> int:
        """Print what the format owes, wait for a slow reader a little, and return the exit code."""
        if self.last_result is not None and self.context.output_format == "text":
            self.out.line(final_text(self.last_result))
        elif self.last_result is not None and self.context.output_format == "json":
            self.out.line(json_lines.dumps(self._array if self.context.verbose else self.last_result))
        self.drain(SLOW_READER)
        return code

    def block_on(self, stream: Output) -> None:
        """Wait until the reader has taken everything, as a write that blocks does; a signal ends the wait."""
        while not stream.flush():
            with selectors.PollSelector() as selector:
                selector.register(stream.fd, selectors.EVENT_WRITE)
                selector.register(self.signals.fd, selectors.EVENT_READ)
                if any(key.fd == self.signals.fd for key, _ in selector.select()):
                    return

    def drain(self, patience: float) -> None:
        """Give the readers of both streams that many seconds to take what is left."""
        deadline = time.monotonic() + patience
        for stream in (self.out, self.err):
            while not stream.flush():
                with selectors.PollSelector() as selector:
                    selector.register(self.signals.fd, selectors.EVENT_READ)
                    if stream.wait_until is not None:  # our own dribbling is no slow reader
                        deadline += max(0.0, stream.wait_until - time.monotonic())
                        selector.select(max(0.0, stream.wait_until - time.monotonic()))
                        continue
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return
                    selector.register(stream.fd, selectors.EVENT_WRITE)
                    if any(key.fd == self.signals.fd for key, _ in selector.select(left)):
                        for number in self.signals.take():
                            self.record.signal(number.name)
                        return

    def exit_code(self) -> int:
        """Return the code by the last result (docs/claude-cli.md, exiting)."""
        return 1 if self.last_result is not None and self.last_result["is_error"] else 0

    def _until_done(self) -> int:
        self._selector.register(self.signals.fd, selectors.EVENT_READ, _nothing)
        self._on_signal()  # one that came while we started
        while not self._over():
            if self._play is None and self.queue:
                self._start(self.take_queue())
            elif self._play is not None and self._wait is None:
                value, self._value = self._value, None
                self._step(lambda play, value=value: play.send(value))  # type: ignore[misc]
            else:
                self._poll()
                continue
            if self._wait is not None:
                self._poll()
        if self._turn is not None:
            self._turn.tools.killed()
        self.background.kill()
        return self.exit_code() if self._ending is None else self._ending

    def _over(self) -> bool:
        """Tell whether the process is to end: it was told to, or there is nothing left to come."""
        waiting = self._stdin_open or self.queue or self.background.tasks
        nothing_left = self._play is None and not waiting
        return self._ending is not None or nothing_left

    # Turns.

    def _start(self, prompts: list[Message]) -> None:
        """Begin a turn; everything that waited is merged into it (docs/claude-cli.md, persistent process)."""
        self.omitted, self.doubled = set(), set()
        command = slash.command(prompts[0]["content"], self.context)
        if command is not None:
            rest = prompts[1:]
            self.queue = rest + self.queue
            self._play = slash.run(self, command, prompts[0])
        else:
            self._turn = Turn(self, prompts)
            self._turn.echo_merged()
            self._play = self._turn.run()
        for prompt in prompts if command is None else prompts[:1]:
            if prompt["uuid"]:
                self.emit(events.lifecycle(self.context, prompt["uuid"], "started"))
        self._wait = self._value = None
        self._fresh = True
        self._flush_at = time.monotonic() + FLUSH_AFTER

    def _step(self, step: Callable[[Generator[Wait, Any, None]], Wait]) -> None:
        """Let the turn go on to its next wait or its end."""
        assert self._play is not None
        self._fresh = False
        try:
            wait = step(self._play)
        except StopIteration:
            self._turn = self._play = self._wait = self._flush_at = None
            self.absorbing = False
        except Exit as ending:
            self._ending = ending.code
        else:
            self._enter(wait)

    def _throw(self, event: Exception) -> None:
        """Break into the turn where it waits; one that has just begun comes to its first wait, as the CLI's does."""
        if self._fresh:
            self._step(next)
        if self._play is not None and self._ending is None:
            self._leave()
            self._step(lambda play: play.throw(event))

    def _enter(self, wait: Wait) -> None:
        self._wait = wait
        if not isinstance(wait, Breathe):
            self.out.flush()  # whoever sees us wait has seen what came before
        if isinstance(wait, Delay):
            self._deadline = time.monotonic() + wait.seconds
        elif isinstance(wait, Hold):
            if self.gates is None:
                raise ScriptError(
                    f"the script holds at gate {wait.name!r}, but this launcher has no gates folder"
                )
            self._gate = Arrival(self.gates, wait.name)
            self.record.note("hold", gate=wait.name)
            self._watch(self._gate.fd, self._on_gate)
        elif isinstance(wait, Running):
            self._watch(wait.fd, self._leave)
            if wait.patience is not None:
                self._deadline = time.monotonic() + wait.patience
        elif isinstance(wait, Answer) and not self._stdin_open:
            self._wait = None  # nobody can answer any more

    def _watch(self, fd: int, handler: Callable[[], None]) -> None:
        self._watched = fd
        self._selector.register(fd, selectors.EVENT_READ, handler)

    def _leave(self) -> None:
        """The wait is over."""
        self._wait = self._deadline = None
        if self._watched is not None:
            self._selector.unregister(self._watched)
            self._watched = None
        if self._gate is not None:
            self._gate.close()
            self._gate = None

    # The poll loop.

    def _poll(self) -> None:
        """Sleep until something happens, and handle it."""
        self.err.flush()
        flushed = self.out.flush()
        if isinstance(self._wait, Breathe) and self.out.size <= HIGH_WATER:
            self._leave()
            timeout: float | None = 0.0
        else:
            moments = [m for m in (self._deadline, self._flush_at, self.out.wait_until) if m is not None]
            timeout = max(0.0, min(moments) - time.monotonic()) if moments else None
        writing = not flushed and self.out.wait_until is None
        if writing:
            self._selector.register(self.out.fd, selectors.EVENT_WRITE, _nothing)
        try:
            ready = self._selector.select(timeout)
            self._on_signal()  # first: what was sent before a gate opened counts before what comes after the gate
            for key, _ in ready:
                if self._ending is not None:
                    return
                key.data()
        finally:
            if writing:
                self._selector.unregister(self.out.fd)
        now = time.monotonic()
        if self._flush_at is not None and now >= self._flush_at:
            self._flush_at = None
            self.transcript.flush()
        if self._deadline is not None and now >= self._deadline:
            self._leave()

    def _on_gate(self) -> None:
        if self._gate is not None and self._gate.passed():
            self._leave()

    def _on_signal(self) -> None:
        for number in self.signals.take():
            self.record.signal(number.name)
            if number.name in self.ignored:
                continue
            if number == signal.SIGINT:
                self.withdraw_questions()
                self.interrupt()
            else:
                self.transcript.flush()
            self._ending = SIGNALS[number]
            return

    def _on_stdin(self) -> None:
        data = _read(0)
        if not data:
            self._selector.unregister(0)
            self._stdin_open = False
            if isinstance(self._wait, Answer):
                self._leave()
        head, newline, rest = data.partition(b"\n")
        self._stdin.append(head)
        if data and not newline:
            return  # a long line is joined once, not at every piece
        lines = [b"".join(self._stdin), *rest.split(b"\n")]
        self._stdin = [lines.pop()] if data else []
        for line in lines:
            if self._ending is None and line:
                self._on_line(line)

    def _on_line(self, data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        self.record.stdin(text)
        try:
            message = read_line(text)
        except StdinError as error:
            self.err.line(str(error))
            self.transcript.flush()
            self._ending = 1
            return
        if message is None:
            return
        if message["type"] == "control_request":
            answer_control(self, message)
        elif message["type"] == "control_response":
            self._on_answer(message.get("response"))
        else:
            self._on_user(message)

    def _on_answer(self, response: object) -> None:
        if not isinstance(response, dict) or not isinstance(self._wait, Answer):
            return
        if response.get("request_id") == self._wait.request_id:
            self._leave()
            self._value = response

    def _on_user(self, message: Message) -> None:
        uuid = message["uuid"]
        if uuid in self._seen:
            if self.context.replay:
                self.emit(events.replayed(self.context, message["content"], uuid, timestamped=False))
            return
        if uuid:
            self._seen.add(uuid)
            self.emit(events.lifecycle(self.context, uuid, "queued"))
        if message["priority"] == "now" and self._turn is not None:
            self.queue.insert(0, message)
            self._throw(Pushed())
        else:
            self.queue.append(message)
        if self._play is None:
            self._start(self.take_queue())


def _nothing() -> None:
    """Readiness to write needs no handler: the next flush uses it."""


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 18)
    except OSError:
        return b""
