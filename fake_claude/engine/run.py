"""What one run of the CLI has and prints: its context, transcript, costs and streams. It knows no loop."""

from __future__ import annotations

import selectors
import time

from fake_claude import json_lines
from fake_claude.engine.checkpoints import Checkpoints
from fake_claude.engine.output import Output
from fake_claude.ids import fresh_id
from fake_claude.lines import events
from fake_claude.lines.costs import Costs
from fake_claude.lines.result import final_text
from fake_claude.script import ask as conversation
from fake_claude.script.finder import ScriptFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fake_claude.engine.hook_callback import Callback
    from fake_claude.engine.signals import Signals
    from fake_claude.engine.transcript import Transcript
    from fake_claude.invocation.context import Context
    from fake_claude.ledger_writer import LedgerWriter
    from fake_claude.prompt.config_command import Change
    from fake_claude.settings import LauncherSettings

    Message = dict[str, Any]

EXIT_DRAIN_TIMEOUT = 3.0
"""Seconds that a reader who stopped reading delays the exit."""


class Run:
    """One run of the CLI after its arguments were accepted."""

    transcript: Transcript

    def __init__(
        self, context: Context, *, record: LedgerWriter, signals: Signals, settings: LauncherSettings
    ) -> None:
        self.context = context
        self.record = record
        self.signals = signals
        self.settings = settings
        self.scripts = ScriptFinder(settings.script, settings.state, context.cwd)
        if self.scripts.script is not None:
            record.note("seed", seed=self.scripts.script.seed)
        self.out = Output(1)
        self.err = Output(2)
        self.costs = Costs()
        self.api_ms = 0
        self.requests = 0  # that were answered
        self.safety_stops = 0
        self.last_usage: Message | None = None  # of the newest request
        self.checkpoints = Checkpoints(
            enabled=bool(context.env.get("CLAUDE_CODE_ENABLE_SDK_FILE_CHECKPOINTING"))
        )
        self._started = time.monotonic()
        self.results = 0
        self.request_id = fresh_id("req")
        self.project_dir = ""
        self.ignored: set[str] = set()  # signals and interrupts that a script has us ignore
        self.omitted: set[str] = set()
        self.duplicated: set[str] = set()
        self.playing = False  # a turn or a slash command
        self.initialized = False
        self.callbacks: list[Callback] = []  # hooks of the host
        self.attached: list[Message] = []  # what hooks add to the next prompt
        self.seen_files: set[str] = set()  # the model was shown them
        self.last_result: Message | None = None
        self._ended_with: Message | None = None  # the last result, if nothing was said since
        self._array: list[Message] = []
        self._deferred_writes: list[Callable[[], None]] = []

    @property
    def elapsed_ms(self) -> int:
        """Milliseconds since the run began."""
        return int((time.monotonic() - self._started) * 1000)

    # What is printed.

    def warn(self, lines: list[str]) -> None:
        """Print lines on stderr."""
        for line in lines:
            self.err.line(line)

    def emit(self, message: Message, what: str = "") -> None:
        """Print a message, or keep it, as the output format wants; ``what`` is how scripts call such lines."""
        if what and what in self.omitted:
            return
        # The exit code goes by the last result only while nothing is said after it: even a change of mode
        # after a failed result takes its exit code 1 back.
        if message["type"] in ("user", "assistant") or message.get("subtype") == "status":
            self._ended_with = None
        for _ in range(2 if what and what in self.duplicated else 1):
            if self.context.streams_out:
                self.out.line(json_lines.dumps(message))
            elif self.context.output_format == "json" and self.context.verbose:
                self._array.append(message)

    def emit_state(self, state: str) -> None:
        """Inform a host that asked for it whether we are running, idle or waiting for it."""
        if self.context.emits_state:
            self.emit(events.system(self.context, "session_state_changed", state=state, sdk_host_only=True))

    def print_result(self, message: Message) -> None:
        """Print a result and remember it for the exit code."""
        self.emit(message, "result")
        self.last_result = self._ended_with = message
        self.results += 1
        text = message.get("result") or ""
        self.record.note("result", chars=len(text), error=bool(message.get("is_error")))

    # Notes in the ledger.

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

    # What is written to the transcript.

    def defer_write(self, write: Callable[[], None]) -> None:
        """Write to the transcript, but not in the middle of a turn; the next flush takes it along."""
        if self.playing:
            self._deferred_writes.append(write)
            return
        write()

    def write_deferred(self) -> None:
        """Write what waited for the end of a turn."""
        for write in self._deferred_writes:
            write()
        self._deferred_writes.clear()

    # The end of the process.

    def exit_code(self) -> int:
        """Return the code by the last result (docs/claude-cli.md, exiting)."""
        return 1 if self._ended_with is not None and self._ended_with["is_error"] else 0

    def finish(self, code: int) -> int:
        """Print what the format owes, wait for a slow reader a little, and return the exit code."""
        if self.last_result is not None and self.context.output_format == "text":
            self.out.line(final_text(self.last_result))
        elif self.last_result is not None and self.context.output_format == "json":
            self.out.line(json_lines.dumps(self._array if self.context.verbose else self.last_result))
        self.drain(EXIT_DRAIN_TIMEOUT)
        return code

    def block_on(self, stream: Output) -> None:
        """Wait until the reader has taken everything, as a write that blocks does; a signal ends the wait."""
        while not stream.flush():
            with selectors.PollSelector() as selector:
                selector.register(stream.fd, selectors.EVENT_WRITE)
                selector.register(self.signals.fd, selectors.EVENT_READ)
                if any(key.fd == self.signals.fd for key, _ in selector.select()):
                    return

    def drain(self, timeout: float) -> None:
        """Give the readers of both streams that many seconds to take what is left."""
        deadline = time.monotonic() + timeout
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
