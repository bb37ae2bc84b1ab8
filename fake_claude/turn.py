"""One turn: prompt in, messages out, as the CLI's own loop makes them."""

from __future__ import annotations

from . import events
from .conversation import INTERRUPTED, read_messages
from .costs import empty_usage
from .reply import Delta, Fault, Trick, play
from .result import Tally, result
from .script import ScriptError
from .waits import BREATHE, Interrupted, Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .engine import Engine

    Message = dict[str, Any]

_BREATHE_EVERY = 64
_OUTPUT_ESTIMATE = 3  # characters that count as one token when an answer is broken off


class Exit(Exception):
    """A script step, or the turn's end, ends the process with ``code``."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Turn:
    """The life of one prompt, driven by the engine through ``run``."""

    def __init__(self, engine: Engine, content: object, uuids: list[str]) -> None:
        self.engine = engine
        self.context = engine.context
        self.content = content
        self.uuids = uuids
        self.tally = Tally(engine.costs, engine.api_ms)
        self._message: Message = {}
        self._open: Message | None = None  # the block being streamed
        self._blocks: list[tuple[Message, Message]] = []  # printed blocks of the message: event, block
        self._answer = ""

    def run(self) -> Iterator[Wait]:
        """Play the turn; yields what it waits for."""
        engine = self.engine
        transcript = engine.transcript
        engine.emit(events.init(self.context, engine.project_dir))
        transcript.enqueue(self.content)
        transcript.prompt(self.content)
        try:
            yield from self._ask()
        except Interrupted:
            self._aborted()

    def _ask(self) -> Iterator[Wait]:
        engine = self.engine
        if self.context.partial and self.context.streams_out:
            engine.emit(events.status(self.context, "requesting", self.uuids))
        self.tally.requested_ms = self.tally.now()
        asked = self.tally.now()
        ask = read_messages(engine.transcript.messages)
        try:
            steps = engine.scripts.steps(ask)
        except ScriptError as error:
            self._failed(400, "invalid_request_error", f"API Error: 400 {error}", "invalid_request")
            return
        self._message, self._blocks, self._open = {}, [], None
        lines: events.DeltaLines | None = None
        breathe = 0
        for action in play(steps, ask, self.context.model):
            if isinstance(action, Delta):
                self._hear(action)
                if lines is not None:
                    engine.out.line(lines(action))
                breathe += 1
                if breathe % _BREATHE_EVERY == 0:
                    yield BREATHE
            elif isinstance(action, Wait):
                yield action
            elif isinstance(action, Trick):
                self._trick(action)
            elif isinstance(action, Fault):
                raise AssertionError(action.kind)
            else:
                if action["type"] == "message_start" and self.context.partial and self.context.streams_out:
                    lines = events.DeltaLines(self.context, action["message"]["id"])
                self._event(action)
        engine.api_ms += self.tally.now() - asked
        self.tally.api_ms = engine.api_ms
        self._completed()

    def _event(self, event: Message) -> None:
        """Take one API event other than a delta."""
        kind = event["type"]
        if kind == "message_start":
            self._message = event["message"]
            self.tally.begun.append(self._message["id"])
            self.tally.first_event_ms = self.tally.first_event_ms or self.tally.now()
            self._stream(event, ttft_ms=self.tally.now(), thinking_display="updates")
            return
        if kind == "content_block_start":
            self.tally.first_frame_ms = self.tally.first_frame_ms or self.tally.now()
            self._open = {**event["content_block"]}
        elif kind == "content_block_stop":
            self._print_block()
        elif kind == "message_delta":
            self._message = {
                **self._message,
                "stop_reason": event["delta"]["stop_reason"],
                "usage": {**self._message["usage"], **event["usage"]},
            }
            self.tally.stop_reason = event["delta"]["stop_reason"]
            self.tally.count(self.context.model, self._message["usage"])
            self._save_blocks()
        self._stream(event)

    def _hear(self, delta: Delta) -> None:
        assert self._open is not None
        if delta.kind == "text_delta":
            self._open.setdefault("pieces", []).append(delta.text)

    def _stream(self, event: Message, **extra: object) -> None:
        if self.context.partial and self.context.streams_out:
            self.engine.emit(events.stream_event(self.context, event, self._message["id"], **extra))

    def _close_block(self) -> Message:
        assert self._open is not None
        block, self._open = self._open, None
        if block["type"] == "text":
            block["text"] = "".join(block.pop("pieces", ()))
        return block

    def _print_block(self, **extra: object) -> None:
        block = self._close_block()
        message = {**self._message, "stop_reason": None}
        event = events.assistant(self.context, message, block, request_id=self.engine.request_id, **extra)
        if self.uuids:
            event["user_message_uuids"] = self.uuids
        self.engine.emit(event)
        self._blocks.append((event, block))
        if block["type"] == "text":
            self._answer = block["text"]
        self.tally.first_message_ms = self.tally.first_message_ms or self.tally.now()

    def _save_blocks(self) -> None:
        """Write the message's blocks to the transcript, now that usage and stop reason are known."""
        usage = {**empty_usage(), **self._message["usage"]}
        for index, (event, block) in enumerate(self._blocks):
            message = {**self._message, "content": [block], "usage": usage, "stop_details": None}
            self.engine.transcript.assistant(
                event,
                message,
                apiBlockIndex=index,
                requestId=self.engine.request_id,
                requestedModel=self.context.model,
                promptCacheRequested="5m",
                effort="medium",
                perTurnEffort="medium",
            )
        self._blocks = []

    def _trick(self, trick: Trick) -> None:
        if trick.kind == "exit":
            raise Exit(trick.value)
        if trick.kind == "stderr":
            self.engine.err.raw(b"e" * (trick.value - 1) + b"\n" if trick.value else b"")

    def _completed(self) -> None:
        self._end(
            result(
                self.context,
                self.tally,
                index=self.engine.results,
                queued=self.engine.queued_count(),
                terminal_reason="completed",
                text=self._answer,
            )
        )

    def _failed(self, status: int | None, type_: str, text: str, word: str) -> None:
        """End the turn with an API error (docs/claude-cli.md, API trouble)."""
        event = events.synthetic_assistant(self.context, text, error=word)
        event |= {"request_id": self.engine.request_id, "is_api_error_message": True}
        event |= {"api_error_status": status, "api_error_type": type_}
        self.engine.emit(event)
        self.engine.transcript.assistant(event, event["message"], error=word, isApiErrorMessage=True)
        self.tally.stop_reason = "stop_sequence"
        self._answer = text
        self._end(
            result(
                self.context,
                self.tally,
                index=self.engine.results,
                queued=self.engine.queued_count(),
                terminal_reason="api_error",
                text=text,
                is_error=True,
                api_error={"api_error_status": status, "api_error_type": type_},
            )
        )

    def _aborted(self) -> None:
        """Tell of an interruption (docs/claude-cli.md, control protocol and signals)."""
        engine = self.engine
        started, opened = bool(self._message), self._open is not None
        said = ""
        if opened:
            said = "".join((self._open or {}).get("pieces", ()))
            if said:
                self._print_block(aborted=True)
                for event, block in self._blocks:
                    engine.transcript.assistant(event, {**self._message, "content": [block]}, aborted=True)
        note = events.user(self.context, [{"type": "text", "text": INTERRUPTED}])
        engine.emit(note)
        self.tally.user_lines += 1
        engine.transcript.user(note)
        if started:
            self._abandon(opened=opened)
            usage = {**self._message["usage"], "output_tokens": -(-len(said) // _OUTPUT_ESTIMATE) or 1}
            self.tally.costs.add(self.context.model, usage)
        self.tally.usage = empty_usage()
        self.tally.stop_reason = None
        self.tally.first_message_ms = None
        self._end(
            result(
                self.context,
                self.tally,
                index=engine.results,
                queued=engine.queued_count(),
                terminal_reason="aborted_streaming",
                subtype="error_during_execution",
                is_error=True,
                errors=["[ede_diagnostic] result_type=user last_content_type=n/a stop_reason=null"],
            )
        )

    def _abandon(self, *, opened: bool) -> None:
        """Close the streamed message that will not be finished."""
        index = len(self._blocks) - 1 if opened else len(self._blocks)
        if opened:
            self._stream({"type": "content_block_stop", "index": max(0, index)})
        usage = empty_usage() | {
            key: self._message["usage"][key] for key in ("input_tokens", "output_tokens")
        }
        for key in ("service_tier", "cache_creation", "inference_geo", "speed"):
            usage.pop(key)
        self._stream(
            {
                "type": "message_delta",
                "context_management": None,
                "delta": {
                    "container": None,
                    "stop_details": None,
                    "stop_reason": None,
                    "stop_sequence": None,
                },
                "usage": usage,
            }
        )
        if self.context.partial and self.context.streams_out:
            stop = events.stream_event(self.context, {"type": "message_stop"}, self._message["id"])
            stop["abandoned_blocks"] = {"api_message_id": self._message["id"], "from_block_index": index + 1}
            self.engine.emit(stop)

    def _end(self, message: Message) -> None:
        self.engine.end_turn(self, message)
