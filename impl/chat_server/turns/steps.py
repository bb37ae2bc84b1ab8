r"""The steps of a turn besides its text, in order, as history keeps them (HIST-8): thinking, tool calls, status notes.

A step stores where it stands as the number of code points of the answer before it. So the answer is stored once, and a
reader can still put text and steps in order. Example: Claude says "Let me look.", runs a tool, and says "Done.":

    answer  "Let me look.\n\nDone."
    steps   [{"type": "tool", "at": 12, "name": "Bash", "input": "ls", "result": "a.txt", ...}]
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chat_server.protocol import Event, Rewind, Status, Thinking, Tool

MAX_CHARS = 1_048_576
"""How much text the steps of one turn may have; later text is left out and counted."""


class Step(msgspec.Struct, kw_only=True, tag_field="type"):
    """Base of the steps; ``at`` is the number of code points of the answer before it."""

    at: int


class ThinkingStep(Step, kw_only=True, tag="thinking"):
    """What Claude thought, without a break by text or another step."""

    thinking: str


class ToolStepRecord(Step, kw_only=True, tag="tool"):
    """A tool call; ``state`` is started, finished or failed, ``input`` and ``result`` are cut to 2,000 characters."""

    id: str
    name: str
    state: str
    input: str = ""
    result: str = ""


class StatusStep(Step, kw_only=True, tag="status"):
    """A note such as ``retrying`` or ``fresh_session``."""

    status: str
    detail: str = ""


AnyStep = ThinkingStep | ToolStepRecord | StatusStep

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[AnyStep]).decode


class StepRecorder:
    """Collects the steps of a running turn.

    Attributes:
        version: Grows with every change, so that unchanged steps are not saved again.
    """

    __slots__ = ("_calls", "_chars", "_deltas", "_omitted", "_steps", "_thought", "version")

    def __init__(self) -> None:
        self.version = 0
        self._steps: list[AnyStep] = []
        self._calls: dict[str, ToolStepRecord] = {}  # by the id of the call
        # The last step, while further deltas of thinking belong to it. They are joined only when steps are encoded:
        # joining at every delta would copy the thought each time.
        self._thought: ThinkingStep | None = None
        self._deltas: list[str] = []
        self._chars = 0
        self._omitted = 0

    def record(self, event: Event, at: int) -> None:
        """Add an event that is no text; ``at`` is the length of the visible answer in code points."""
        match event:
            case Thinking(thinking=text):
                self._think(text, at)
            case Tool():
                self._use_tool(event, at)
            case Status(status=status, detail=detail):
                if self._has_room(len(detail)):
                    self._add(StatusStep(at=at, status=status, detail=detail))
            case Rewind(to=to):
                self._rewind(to)
            case _:
                pass

    def encoded(self) -> str:
        """All steps as a JSON array; empty when there are none."""
        self._join()
        steps = self._steps
        if self._omitted:
            # Made for each encoding and not kept in the list: the number may still grow.
            at = steps[-1].at if steps else 0
            detail = f"{self._omitted} more were not kept"
            steps = [*steps, StatusStep(at=at, status="steps_omitted", detail=detail)]
        return _encode(steps).decode() if steps else ""

    def _think(self, text: str, at: int) -> None:
        if not self._has_room(len(text)):
            return
        # Text that came in between has moved `at`: then this is another thought.
        if self._thought is None or self._thought.at != at:
            thought = ThinkingStep(at=at, thinking="")
            self._add(thought)
            self._thought = thought
        self._deltas.append(text)
        self.version += 1

    def _use_tool(self, event: Tool, at: int) -> None:
        fits = self._has_room(len(event.detail))
        # A call has two events, of its start and of its end; one step keeps both.
        call = self._calls.get(event.id)
        if call is None:
            if not fits:
                return
            call = ToolStepRecord(at=at, id=event.id, name=event.name, state=event.state)
            self._calls[event.id] = call
            self._add(call)
        # That a call has ended is recorded even where there is no room for its result.
        call.state = event.state
        if fits and event.state == "started":
            call.input = event.detail
        elif fits:
            call.result = event.detail
        self.version += 1

    def _rewind(self, to: int) -> None:
        """Keep the steps, and move those that stood in the removed text to its start."""
        # Example: a tool ran after "Hello", and the answer is rewound to "Hel". The tool did run; it now stands at 3.
        for step in self._steps:
            step.at = min(step.at, to)
        self.version += 1

    def _add(self, step: AnyStep) -> None:
        self._join()
        self._thought = None
        self._steps.append(step)
        self.version += 1

    def _join(self) -> None:
        if self._thought is not None and self._deltas:
            self._thought.thinking += "".join(self._deltas)
        self._deltas.clear()

    def _has_room(self, size: int) -> bool:
        """Whether ``size`` more characters are kept. After the first refusal none is, so that no gap is hidden."""
        if self._omitted or self._chars + size > MAX_CHARS:
            self._omitted += 1
            return False
        self._chars += size
        return True


def decode_steps(stored: str) -> Sequence[AnyStep]:
    """The steps that ``StepRecorder.encoded`` wrote."""
    return _decode(stored) if stored else []
