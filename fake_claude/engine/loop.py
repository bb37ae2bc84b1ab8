"""The poll loop around the turns: input, output, signals, gates and time.

A turn is a generator: it yields what it waits for, and never touches a file descriptor itself. The loop keeps one
current wait, sleeps in ``poll`` until that wait is over or something else happens, and resumes the turn with
``send``. An interrupt, or a message that replaces the turn, is an exception thrown into it at its ``yield``. So a
turn reads from top to bottom, and all that can break in on it is in this file.

For example, the turn yields ``Hold("here")`` and the host sends an interrupt before the test opens the gate:

- ``_begin_wait`` flushes stdout, announces itself at the gate and has ``poll`` watch the gate's FIFO;
- stdin becomes readable: ``_on_stdin`` → ``answer_control`` → ``interrupt`` → ``_throw``;
- ``_end_wait`` unwatches the FIFO, ``Interrupted`` is thrown, the turn prints its ending and stops.

What must hold, because tests of callers rely on it:

- Signals are handled before every other thing that is ready: a signal sent before a gate was opened counts first.
- Stdout is flushed before the turn waits for anything: a reader who sees that it waits has all lines from before.
- A turn that was started runs to its first wait before an exception is thrown into it, as in the real CLI; there it
  has printed its first lines.
- At a ``Yield`` the turn continues at once, unless its reader is more than ``HIGH_WATER`` bytes behind: this bounds
  memory without a wait for each line.
- A line of input is joined once, when its end has come: a line of 10 MB costs no more than its size.
"""

from __future__ import annotations

import selectors
import signal
import time

from fake_claude.engine import slash
from fake_claude.engine.background import Background
from fake_claude.engine.control import answer_control
from fake_claude.engine.control_request import ControlRequest
from fake_claude.engine.inbox import Inbox
from fake_claude.engine.input_lines import StdinError, read_chunk, read_line
from fake_claude.engine.misbehaviour import misbehave
from fake_claude.engine.output import HIGH_WATER
from fake_claude.engine.shell import Running
from fake_claude.engine.signals import SIGNALS
from fake_claude.engine.turn import Turn
from fake_claude.gates import Arrival
from fake_claude.lines import events
from fake_claude.script.model import ScriptError
from fake_claude.waits import Delay, Exit, Hold, HostResponse, Interrupted, Preempted, Stall, Wait, Yield

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from fake_claude.engine.run import Run
    from fake_claude.script.model import Step

    Message = dict[str, Any]

FLUSH_AFTER = 0.1
"""Seconds after which a turn's first lines are on disk."""


class Loop:
    """Plays the turns of a run, one after the other, and handles everything that happens during them."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.inbox = Inbox(run)
        self._selector = selectors.PollSelector()
        self.background = Background(run, self.inbox, self._selector)
        self._stdin_open = True
        self._stdin: list[bytes] = []
        self._turn: Turn | None = None
        self._play: Generator[Wait, Any, None] | None = None
        self._not_started = False  # the turn has not run to its first wait
        self._wait: Wait | None = None
        self._value: object = None  # what the turn is resumed with
        self._watched: int | None = None  # descriptor of the current wait
        self._gate: Arrival | None = None
        self._deadline: float | None = None  # of the current wait
        self._flush_at: float | None = None  # when the transcript of a turn is first written
        self._ending: int | None = None  # the exit code once the end is decided

    # What control requests use.

    def interrupt(self, *, by_host: bool = False) -> None:
        """Interrupt the running turn."""
        if self._play is not None:
            self._throw(Interrupted(by_host=by_host))

    def cancel_open_requests(self) -> None:
        """Cancel the requests that the host has not answered."""
        # The one that is waited for, of a hook or of a call, and those of the calls behind it.
        waited = [self._wait.request_id] if isinstance(self._wait, HostResponse) else []
        behind = self._turn.tools.open_requests if self._turn is not None else []
        for request_id in dict.fromkeys([*waited, *behind]):
            self.run.emit(events.control_cancel(request_id))

    def end(self, code: int) -> None:
        """End the process after what is being handled."""
        self._ending = code

    # The life of the process.

    def play_start_steps(self, steps: list[Step]) -> None:
        """Play a script's start, before anything is checked.

        Raises:
            Exit: The script, or a signal, ends the process.
        """
        if not steps:
            return
        from fake_claude.engine.transcript import Transcript  # a refusal needs none

        run = self.run
        run.transcript = Transcript(run.context, None)  # no session is open yet, but a signal flushes it
        self._selector.register(run.signals.fd, selectors.EVENT_READ, self._on_signal)
        # No turn is there to yield these waits, so this is the loop in small: one wait after the other, until
        # it is over or a signal ends the process.
        for step in steps:
            run.record.note("step", where=step.where)
            if step.kind == "delay":
                self._begin_wait(Delay(step.value.draw(run.scripts.random)))
            elif step.kind == "hold":
                self._begin_wait(Hold(step.value))
            elif step.kind == "stall":
                self._begin_wait(Stall())
            else:
                misbehave(run, step)
            while self._wait is not None:
                self._poll()
                if self._ending is not None:
                    raise Exit(self._ending)
        self._selector.unregister(run.signals.fd)

    def run_once(self, prompt: str) -> int:
        """Play one prompt and return the exit code."""
        # What stdin had is in the prompt. So no host can answer a question, and none is waited for.
        self._stdin_open = False
        self._start([{"content": prompt, "text": prompt, "uuid": None}])
        return self._until_done()

    def run_stream(self) -> int:
        """Serve stream-json input until its end and return the exit code."""
        self._selector.register(0, selectors.EVENT_READ, self._on_stdin)
        return self._until_done()

    def _until_done(self) -> int:
        # ``_nothing``, because ``_poll`` handles signals itself before it calls any handler; this only ends
        # its sleep.
        self._selector.register(self.run.signals.fd, selectors.EVENT_READ, _nothing)
        self._on_signal()  # one that came while we started
        while not self._is_done():
            # Each pass does one of three things: start a turn, resume one that waits for nothing, or sleep. A
            # turn that waits again after its resume is polled for at once: even at a ``Yield`` signals and
            # input have their turn.
            # The end is checked before each pass: a turn in progress does not keep a process that is to end.
            if self._play is None and self.inbox.queue:
                self._start(self.inbox.take())
            elif self._play is not None and self._wait is None:
                value, self._value = self._value, None
                self._step(lambda play, value=value: play.send(value))  # type: ignore[misc]
            else:
                self._poll()
                continue
            if self._wait is not None:
                self._poll()
        if self._turn is not None:
            self._turn.tools.on_terminate()
        self.background.kill()
        return self.run.exit_code() if self._ending is None else self._ending

    def _is_done(self) -> bool:
        """Return whether the process should exit: it was asked to, or no input and no work is left."""
        waiting = self._stdin_open or self.inbox.queue or self.background.tasks
        nothing_left = self._play is None and not waiting
        return self._ending is not None or nothing_left

    # Turns.

    def _start(self, prompts: list[Message]) -> None:
        """Start a turn; all queued messages are merged into it (docs/claude-cli.md, persistent process)."""
        self.run.omitted, self.run.duplicated = set(), set()
        command = slash.command(prompts[0]["content"], self.run.context)
        # A command runs alone: what was queued behind it goes back, and the first of it may be a command
        # again.
        if command is not None:
            rest = prompts[1:]
            self.inbox.queue = rest + self.inbox.queue
            self._play = slash.play(self.run, command, prompts[0])
        else:
            self._turn = Turn(self.run, self.inbox, self.background, prompts)
            self._turn.state.echo_merged()
            self._play = self._turn.play()
        self.run.playing = True
        for prompt in prompts if command is None else prompts[:1]:
            if prompt["uuid"]:
                self.run.emit(events.lifecycle(self.run.context, prompt["uuid"], "started"))
        self._wait = self._value = None
        self._not_started = True
        self._flush_at = time.monotonic() + FLUSH_AFTER

    def _step(self, step: Callable[[Generator[Wait, Any, None]], Wait]) -> None:
        """Run the turn up to its next wait or its end."""
        assert self._play is not None
        self._not_started = False
        try:
            wait = step(self._play)
        except StopIteration:
            self._turn = self._play = self._wait = self._flush_at = None
            self.run.playing = False
        except Exit as ending:
            self._ending = ending.code
        else:
            self._begin_wait(wait)

    def _throw(self, event: Exception) -> None:
        """Throw an event into the turn where it waits; one that has not started runs to its first wait first."""
        if self._not_started:
            self._step(next)
        if self._play is not None and self._ending is None:
            self._end_wait()
            self._step(lambda play: play.throw(event))

    def _begin_wait(self, wait: Wait) -> None:
        self._wait = wait
        # A flush for each ``Yield`` would cost a write for each few deltas; ``_poll`` does it.
        if not isinstance(wait, Yield):
            self.run.out.flush()  # a reader who sees us wait has everything that came before
        if isinstance(wait, Delay):
            self._deadline = time.monotonic() + wait.seconds
        elif isinstance(wait, Hold):
            if self.run.settings.gates is None:
                raise ScriptError(
                    f"the script holds at gate {wait.name!r}, but this launcher has no gates folder"
                )
            self._gate = Arrival(self.run.settings.gates, wait.name)
            self.run.record.note("hold", gate=wait.name)
            self._watch(self._gate.fd, self._on_gate)
        elif isinstance(wait, Running):
            self._watch(wait.fd, self._end_wait)
            if wait.patience is not None:
                self._deadline = time.monotonic() + wait.patience
        elif isinstance(wait, HostResponse) and not self._stdin_open:
            self._wait = None  # no answer can come any more
        elif isinstance(wait, HostResponse) and wait.patience is not None:
            self._deadline = time.monotonic() + wait.patience

    def _watch(self, fd: int, handler: Callable[[], None]) -> None:
        self._watched = fd
        self._selector.register(fd, selectors.EVENT_READ, handler)

    def _end_wait(self) -> None:
        """Forget the wait, and stop watching for it."""
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
        self.run.err.flush()
        flushed = self.run.out.flush()
        # A look without sleep: what is ready is handled, and the turn goes on.
        if isinstance(self._wait, Yield) and self.run.out.size <= HIGH_WATER:
            self._end_wait()
            timeout: float | None = 0.0
        else:
            moments = [m for m in (self._deadline, self._flush_at, self.run.out.wait_until) if m is not None]
            timeout = max(0.0, min(moments) - time.monotonic()) if moments else None
        # Watched only while bytes wait: a pipe with room is always ready, and the loop would spin. While a
        # dribble pauses it is ready as well; then ``wait_until`` is the alarm.
        writing = not flushed and self.run.out.wait_until is None
        if writing:
            self._selector.register(self.run.out.fd, selectors.EVENT_WRITE, _nothing)
        try:
            ready = self._selector.select(timeout)
            self._on_signal()  # first: what was sent before a gate opened counts before what comes after the gate
            for key, _ in ready:
                if self._ending is not None:
                    return
                key.data()
        finally:
            if writing:
                self._selector.unregister(self.run.out.fd)
        now = time.monotonic()
        if self._flush_at is not None and now >= self._flush_at:
            self._flush_at = None
            self.run.transcript.flush()
        if self._deadline is not None and now >= self._deadline:
            self._end_wait()

    def _on_gate(self) -> None:
        if self._gate is not None and self._gate.passed():
            self._end_wait()

    def _on_signal(self) -> None:
        for number in self.run.signals.take():
            self.run.record.signal(number.name)
            if number.name in self.run.ignored:
                continue
            # SIGINT is an interrupt, then the end: the turn prints its note and its result. After the others
            # nothing more is said, and only what was complete goes to disk (docs/claude-cli.md, signals).
            if number == signal.SIGINT:
                self.cancel_open_requests()
                self.interrupt()
            else:
                self.run.transcript.flush()
            self._ending = SIGNALS[number]
            return

    def _on_stdin(self) -> None:
        data = read_chunk(0)
        if not data:
            # The end of input lets an answer finish, but refuses open questions (docs/claude-cli.md,
            # persistent process and control protocol).
            self._selector.unregister(0)
            self._stdin_open = False
            if isinstance(self._wait, HostResponse):
                self._end_wait()
        head, newline, rest = data.partition(b"\n")
        self._stdin.append(head)
        if data and not newline:
            return  # a long line is joined once, not at every piece
        # The last of ``split`` has no line end yet and waits for more; at the end of input it counts as a
        # line.
        lines = [b"".join(self._stdin), *rest.split(b"\n")]
        self._stdin = [lines.pop()] if data else []
        for line in lines:
            if self._ending is None and line:
                self._on_line(line)

    def _on_line(self, data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        self.run.record.stdin(text)
        try:
            message = read_line(text)
        except StdinError as error:
            self.run.err.line(str(error))
            # The running answer is lost, its result never printed: so the CLI treats a line it cannot read.
            self.run.transcript.flush()
            self._ending = 1
            return
        if message is None:
            return
        if message["type"] == "control_request":
            answer_control(ControlRequest(self.run, self.inbox, self, message))
        elif message["type"] == "control_response":
            self._on_answer(message.get("response"))
        else:
            self._on_user(message)

    def _on_answer(self, response: object) -> None:
        # An answer that nothing waits for, such as one that crossed a withdrawal, is ignored.
        if not isinstance(response, dict) or not isinstance(self._wait, HostResponse):
            return
        if response.get("request_id") == self._wait.request_id:
            self._end_wait()
            self._value = response

    def _on_user(self, message: Message) -> None:
        if not self.inbox.admit(message):
            return
        if message["priority"] == "now" and self._turn is not None:
            # Queued before the turn is ended: then it is the first that the next one takes.
            self.inbox.queue.insert(0, message)
            self.cancel_open_requests()
            self._throw(Preempted())
        else:
            self.inbox.queue.append(message)
        if self._play is None:
            # At once and not in the next pass: an interrupt in the same read is then in time
            # (docs/claude-cli.md, control protocol).
            self._start(self.inbox.take())


def _nothing() -> None:
    """Readiness to write needs no handler: the next flush uses it."""
