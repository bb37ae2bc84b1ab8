"""The process around the turns: input, output, signals, gates and time in one poll loop.

A turn is a generator that yields what it waits for. The engine alone touches file descriptors; it resumes the
turn when its wait is over, and throws ``Interrupted`` into it when the host or SIGINT says so.
"""

from __future__ import annotations

import os
import selectors
import signal
import time

from . import events
from .control import answer_control
from .costs import Costs
from .gates import Arrival
from .options import Refusal
from .output import HIGH_WATER, Output
from .player import Scripts
from .stdin import StdinError, read_line
from .turn import Exit, Turn
from .waits import Breathe, Delay, Hold, Interrupted, Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .context import Context
    from .record import Record
    from .session import Transcript

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

    def __init__(self, context: Context, *, record: Record, signals: Signals, gates: str) -> None:
        self.context = context
        self.record = record
        self.signals = signals
        self.gates = gates
        self.out = Output(1)
        self.err = Output(2)
        self.scripts = Scripts()
        self.costs = Costs()
        self.api_ms = 0
        self.results = 0
        self.request_id = "req_fake"
        self.transcript: Transcript
        self.project_dir = ""
        self.queue: list[Message] = []
        self.last_result: Message | None = None
        self._array: list[Message] = []
        self._selector = selectors.PollSelector()
        self._stdin_open = True
        self._stdin = b""
        self._turn: Turn | None = None
        self._play: Iterator[Wait] | None = None
        self._wait: Wait | None = None
        self._deadline: float | None = None
        self._flush_at: float | None = None
        self._gate: Arrival | None = None
        self._ending: int | None = None  # the exit code once the end is decided by a signal
        self._seen: set[str] = set()

    # What turns and controls use.

    def emit(self, message: Message) -> None:
        """Print a message, or keep it, as the output format wants."""
        if self.context.streams_out:
            self.out.line(events.dumps(message))
        elif self.context.output_format == "json" and self.context.verbose:
            self._array.append(message)

    def queued_count(self) -> int:
        """Return how many messages wait for their turn."""
        return len(self.queue)

    @property
    def running(self) -> bool:
        """Tell whether a turn is being played."""
        return self._turn is not None

    def end_turn(self, turn: Turn, message: Message) -> None:
        """Save the session and print the result."""
        cost = self.costs
        self.transcript.turn_ended(
            turn.content,
            {
                "totalCostUSD": cost.total,
                "totalAPIDuration": self.api_ms,
                "totalAPIDurationWithoutRetries": self.api_ms,
                "totalToolDuration": 0,
                "totalLinesAdded": 0,
                "totalLinesRemoved": 0,
                "totalDuration": turn.tally.now(),
                "startTime": int(time.time() * 1000),
                "modelUsage": cost.copy(),
                "hasUnknownModelCost": False,
            },
        )
        self.emit(message)
        self.last_result = message
        self.results += 1

    def interrupt(self) -> None:
        """Break off the running turn."""
        if self._play is None:
            return
        self._leave_wait()
        self._advance(lambda play: play.throw(Interrupted()))  # type: ignore[attr-defined]

    # The life of the process.

    def run_once(self, prompt: object) -> int:
        """Play one prompt and return the exit code."""
        self._stdin_open = False
        self._start(prompt, [])
        return self._until(lambda: self._turn is None)

    def run_stream(self) -> int:
        """Serve stream-json input until its end and return the exit code."""
        self._watch_stdin()
        return self._until(lambda: self._turn is None and not self._stdin_open and not self.queue)

    def read_prompt(self, *, patient: bool) -> str:
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
                wait = None if data or patient else max(0.0, deadline - time.monotonic())
                ready = [key.fd for key, _ in selector.select(wait)]
                if self.signals.fd in ready:
                    for number in self.signals.take():
                        self.record.signal(number.name)
                        raise Exit(SIGNALS[number])
                if not ready:
                    self.err.line(
                        "Warning: no stdin data received in 3s, proceeding without it. If piping from a slow command,"
                        " redirect stdin explicitly: < /dev/null to skip, or wait longer."
                    )
                    break
                if 0 not in ready:
                    continue
                try:
                    chunk = os.read(0, 1 << 18)
                except OSError:
                    chunk = b""
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

    def finish(self, code: int) -> int:
        """Print what the format owes, wait for a slow reader a little, and return the exit code."""
        if self.last_result is not None and self.context.output_format == "text":
            self.out.line(self._final_text())
        elif self.last_result is not None and self.context.output_format == "json":
            whole = self._array if self.context.verbose else self.last_result
            self.out.line(events.dumps(whole))
        self.drain(SLOW_READER)
        return code

    def drain(self, patience: float) -> None:
        """Give the readers of both streams that many seconds to take what is left."""
        deadline = time.monotonic() + patience
        for stream in (self.out, self.err):
            while not stream.flush():
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                with selectors.PollSelector() as selector:
                    selector.register(stream.fd, selectors.EVENT_WRITE)
                    selector.select(left)

    def _final_text(self) -> str:
        assert self.last_result is not None
        if "result" in self.last_result:
            return str(self.last_result["result"])
        return "Execution error"

    def exit_code(self) -> int:
        """Return the code by the last result (docs/claude-cli.md, exiting)."""
        return 1 if self.last_result is not None and self.last_result["is_error"] else 0

    def _until(self, done: Callable[[], bool]) -> int:
        self._selector.register(self.signals.fd, selectors.EVENT_READ, self._on_signal)
        while self._ending is None:
            if self._turn is None and self.queue:
                self._start_queued()
            if self._runnable():
                self._advance(next)
            if self._ending is None and done() and not self.queue:
                break
            if self._ending is None:
                self._poll()
        return self.exit_code() if self._ending is None else self._ending

    # Turns.

    def _start_queued(self) -> None:
        """Merge everything that waits into one turn (docs/claude-cli.md, persistent process)."""
        first, *_ = waiting = self.queue
        self.queue = []
        if len(waiting) == 1:
            content = first["content"]
        else:
            content = "\n".join(message["text"] for message in waiting)
        self._start(content, [message["uuid"] for message in waiting if message["uuid"]])

    def _start(self, content: object, uuids: list[str]) -> None:
        self._turn = Turn(self, content, uuids)
        self._play = self._turn.run()
        self._wait = None
        self._flush_at = time.monotonic() + FLUSH_AFTER

    def _runnable(self) -> bool:
        return self._play is not None and self._wait is None

    def _advance(self, step: Callable[[Iterator[Wait]], Wait]) -> None:
        """Let the turn go on to its next wait or its end."""
        assert self._play is not None
        try:
            wait = step(self._play)
        except StopIteration:
            self._turn = self._play = self._wait = self._flush_at = None
        except Exit as ending:
            self._ending = ending.code
        else:
            self._enter_wait(wait)

    def _enter_wait(self, wait: Wait) -> None:
        self._wait = wait
        if isinstance(wait, Delay):
            self._deadline = time.monotonic() + wait.seconds
        elif isinstance(wait, Hold):
            self._gate = Arrival(self.gates, wait.name)
            self.record.note("hold", gate=wait.name)
            self._selector.register(self._gate.fd, selectors.EVENT_READ, self._on_gate)

    def _leave_wait(self) -> None:
        self._wait = self._deadline = None
        if self._gate is not None:
            self._selector.unregister(self._gate.fd)
            self._gate.close()
            self._gate = None

    # The poll loop.

    def _poll(self) -> None:
        """Sleep until something happens, and handle it."""
        flushed = self._flush()
        now = time.monotonic()
        if isinstance(self._wait, Breathe):
            if self.out.size <= HIGH_WATER:
                self._leave_wait()
            timeout: float | None = 0.0 if self._wait is None else None
        else:
            moments = [moment for moment in (self._deadline, self._flush_at) if moment is not None]
            timeout = max(0.0, min(moments) - now) if moments else None
        if not flushed:
            self._selector.register(self.out.fd, selectors.EVENT_WRITE, lambda: None)
        try:
            for key, _ in self._selector.select(timeout):
                key.data()
                if self._ending is not None:
                    return
        finally:
            if not flushed:
                self._selector.unregister(self.out.fd)
        now = time.monotonic()
        if self._flush_at is not None and now >= self._flush_at:
            self._flush_at = None
            self.transcript.flush()
        if self._deadline is not None and now >= self._deadline:
            self._leave_wait()

    def _flush(self) -> bool:
        self.err.flush()
        return self.out.flush()

    def _on_gate(self) -> None:
        if self._gate is not None and self._gate.passed():
            self._leave_wait()

    def _on_signal(self) -> None:
        for number in self.signals.take():
            self.record.signal(number.name)
            if number == signal.SIGINT:
                self.interrupt()
            else:
                self.transcript.flush()
            self._ending = SIGNALS[number]
            return

    def _watch_stdin(self) -> None:
        self._selector.register(0, selectors.EVENT_READ, self._on_stdin)

    def _on_stdin(self) -> None:
        try:
            data = os.read(0, 1 << 18)
        except OSError:
            data = b""
        if data:
            *lines, self._stdin = (self._stdin + data).split(b"\n")
        else:
            self._selector.unregister(0)
            self._stdin_open = False
            lines, self._stdin = [self._stdin], b""
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
            self._ending = 1
            return
        if message is None:
            return
        if message["type"] == "control_request":
            answer_control(self, message)
        elif message["uuid"] not in self._seen:
            if message["uuid"]:
                self._seen.add(message["uuid"])
            self.queue.append(message)
            if self._turn is None and len(self.queue) == 1:
                self._start_queued()

    def end(self, code: int) -> None:
        """End the process after what is being handled."""
        self._ending = code
