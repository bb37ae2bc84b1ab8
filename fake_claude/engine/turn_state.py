"""What requests and tool calls need of the turn that they belong to."""

from __future__ import annotations

import time
from collections import Counter

from fake_claude.api.reply import Fault
from fake_claude.lines import events
from fake_claude.lines.result import TurnTotals
from fake_claude.script.ask import read_messages
from fake_claude.script.model import ScriptError, Step, TurnScript
from fake_claude.waits import LoggedOut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fake_claude.engine.builtin_tools import ToolResult
    from fake_claude.engine.run import Run
    from fake_claude.script.file import Entry

    Message = dict[str, Any]


class TurnState:
    """The prompt of a turn, its script, and what it adds up to so far."""

    def __init__(self, run: Run, prompts: list[Message]) -> None:
        self.run = run
        self.context = run.context
        self.prompts = prompts
        self.content: object = (
            prompts[0]["content"] if len(prompts) == 1 else "\n".join(prompt["text"] for prompt in prompts)
        )
        self.origin: Message | None = prompts[0].get("origin")
        self.uuids: list[str] = [prompt["uuid"] for prompt in prompts if prompt["uuid"]]
        # ``uuids`` grows by messages merged while tools run; these lines keep to the ones it began with.
        self.own_uuids = list(self.uuids)
        self.tally = TurnTotals(run.costs, run.api_ms)
        self.tally.safety_stops = run.safety_stops
        self.started_ms = int(time.time() * 1000)
        self.model = run.context.model
        self.fell_back = False
        self.play = TurnScript([])
        self.printed = False  # an assistant line
        self.results: list[tuple[Message, ToolResult]] = []  # of tools, not yet in the transcript
        self.structured: Message | None = None  # the answer of the form that was asked for
        self.failures: Counter[str] = Counter()
        self._entry: Entry | None = None
        self._fault: Fault | None = None
        self._echoed = False

    # The script.

    def find_play(self) -> None:
        """Find the steps that answer this turn; without any, its requests fail."""
        ask = read_messages(self.run.transcript.messages)
        try:
            self.play, self._entry = self.run.scripts.find(ask, again=self._entry)
        except ScriptError as error:
            self._fault = Fault("http", status=400, type="invalid_request_error", message=str(error))

    def play_step(self, tool: str, given: Message) -> Step | None:
        """Return the script's step behind a tool call."""
        steps = [step for step in self.play.steps if step.kind == "tool" and step.value == tool]
        return next((step for step in steps if step.more.get("input", {}) == given), None)

    def refused_request(self, model: str) -> Fault | None:
        """Return the fault of a request that no script can answer.

        Raises:
            LoggedOut: There is no login and no API key.
        """
        if self.run.settings.needs_key and not self.context.has_key:
            raise LoggedOut
        url = self.context.env.get("ANTHROPIC_BASE_URL")
        if url is not None and not url.startswith(("http://", "https://")):
            return Fault("url")
        if not self.context.model_known(model):
            return Fault("http", status=404, type="not_found_error", message=f"model: {model}")
        return self._fault

    # The transcript.

    def write_results(self) -> None:
        """Write the results of tools to the transcript, after the blocks that asked for them."""
        for event, outcome in self.results:
            self.run.transcript.user(event, toolUseResult=outcome.facts)
        self.results = []

    def flush_results(self) -> None:
        """Write the results of tools to disk, for a process that is about to end."""
        self.write_results()
        self.run.transcript.flush()

    def add_synthetic_line(self, text: str, **extra: object) -> None:
        """Add a user line that the CLI made up, and that the model answers."""
        event = events.user(self.context, [{"type": "text", "text": text}], isSynthetic=True, **extra)
        self.run.emit(event)
        self.tally.user_lines += 1
        self.run.transcript.user({**event, "message": {"role": "user", "content": text}})

    # Uuids and echoes.

    def uuid_members(self) -> Message:
        """Return what lines say about the messages this turn answers."""
        return {"user_message_uuid": self.own_uuids[-1], "user_message_uuids": list(self.uuids)}

    def echo_prompts(self) -> None:
        """Replay the prompt at the start of its answer, if the host wants that."""
        if self.context.replay and not self._echoed:
            self.replay(self.content, self.prompts[-1]["uuid"], timestamped=True)
        self._echoed = True

    def echo_merged(self) -> None:
        """Replay the messages that were merged into the last one."""
        if self.context.replay:
            for prompt in self.prompts[:-1]:
                self.replay(prompt["content"], prompt["uuid"])

    def replay(self, content: object, uuid: str | None, *, timestamped: bool = False) -> None:
        """Print a user message again, as an echo."""
        self.run.emit(events.replayed(self.context, content, uuid, timestamped=timestamped))
