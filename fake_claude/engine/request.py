"""One request of a turn: heard from the API, told on stdout, tried again when it fails."""

from __future__ import annotations

from fake_claude.api.reply import Delta, Fault, Reached, Trick, tell
from fake_claude.engine import retries as trouble
from fake_claude.lines import events
from fake_claude.lines.costs import add_usage, empty_usage
from fake_claude.script.ask import read_messages
from fake_claude.waits import BREATHE, Delay, Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import Any

    from fake_claude.engine.turn import Turn

    Message = dict[str, Any]

_BREATHE_EVERY = 64
_CHARACTERS_PER_TOKEN = 4  # of the estimates that the CLI makes itself

_GROWS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


class Heard:
    """An assistant message as far as it was heard: its blocks, and how it ended."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.open: Message | None = None
        self.blocks: list[tuple[Message, Message]] = []  # printed: the event and its block
        self.estimate = 0  # output tokens by the CLI's own reckoning
        self.thought = 0
        self.opened_ms = 0

    @property
    def id(self) -> str:
        """The API's id of the message."""
        return str(self.message["id"])

    @property
    def text(self) -> str:
        """The text of its last text block."""
        return next((str(b["text"]) for _, b in reversed(self.blocks) if b["type"] == "text"), "")

    @property
    def tools(self) -> list[Message]:
        """Its tool_use blocks."""
        return [block for _, block in self.blocks if block["type"] == "tool_use"]

    @property
    def stop_reason(self) -> str | None:
        """Why it ended."""
        reason = self.message["stop_reason"]
        return None if reason is None else str(reason)

    @property
    def visible(self) -> bool:
        """Whether the user sees or the CLI does anything by it."""
        return any(b["type"] == "tool_use" or (b["type"] == "text" and b["text"]) for _, b in self.blocks)


class Request:
    """Asks for one assistant message, as often as the CLI would."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.engine = turn.engine
        self.context = turn.context
        self.heard: Heard | None = None
        self.attempt = 0
        self.cut_short = False  # some of the answer stands, the rest must be asked for
        self._lines: events.DeltaLines | None = None
        self._breathe = 0

    @property
    def _partial(self) -> bool:
        return self.context.partial and self.context.streams_out

    def run(self) -> Generator[Wait, Any, Heard | trouble.Failure]:
        """Ask until there is an answer or the CLI gives up."""
        limit = trouble.max_retries(self.context.env)
        model, tries, streaming, overloaded = self.turn.model, 0, True, 0
        while True:
            fault = yield from self._try(model, streaming=streaming)
            self.attempt += 1
            if fault is None:
                assert self.heard is not None
                return self.heard
            if not streaming:
                return trouble.failure(fault, model, self.context.env, gave_up_overloaded=False)
            if fault.kind == "cut" and self.heard is not None and self.heard.blocks:
                self.cut_short = True
                self.save()
                return self.heard
            if fault.kind == "event" or fault.status == 404:
                streaming = False
                continue
            overloaded += fault.status == 529
            gave_up = overloaded >= trouble.OVERLOADED_ATTEMPTS and not self.turn.fell_back
            if gave_up and self.context.fallback_model:
                model, tries = self._fall_back(), 0
                continue
            if gave_up or tries >= limit or not trouble.retries(fault):
                if fault.kind == "cut" and not gave_up:
                    streaming = False
                    continue
                return trouble.failure(fault, model, self.context.env, gave_up_overloaded=gave_up)
            tries += 1
            yield from self._pause(fault, tries, limit)

    def _pause(self, fault: Fault, tries: int, limit: int) -> Iterator[Wait]:
        delay = trouble.retry_delay_ms(tries, fault.retry_after)
        self.engine.emit(
            events.system(
                self.context,
                "api_retry",
                attempt=tries,
                max_retries=limit,
                retry_delay_ms=delay,
                error_status=fault.status or None,
                error=trouble.retry_word(fault),
            )
        )
        yield Delay(delay / 1000 * self.engine.retry_scale)

    def _fall_back(self) -> str:
        turn, context = self.turn, self.context
        before, turn.model, turn.fell_back = turn.model, context.fallback_model, True
        self.engine.emit(
            events.system(
                context,
                "model_fallback",
                trigger="overloaded",
                original_model=before,
                fallback_model=turn.model,
                content=f"Switched to {trouble.title(turn.model)} due to high demand for {trouble.title(before)}",
            )
        )
        return turn.model

    def _try(self, model: str, *, streaming: bool) -> Generator[Wait, Any, Fault | None]:  # noqa: C901 - a list of cases, read one by one
        """Hear one answer; return the fault that broke it, if any did."""
        turn, tally = self.turn, self.turn.tally
        ask = read_messages(self.engine.transcript.messages)
        asked = tally.now()
        if tally.requested_ms is None:
            tally.requested_ms = asked
        self.heard, self._lines = None, None
        fault = turn.refused_request(model) if self.attempt == 0 or streaming is False else None
        if fault is not None:
            return fault
        actions = tell(
            turn.play,
            ask,
            model,
            failed=turn.failures,
            streaming=streaming,
            random=self.engine.scripts.random,
        )
        for action in actions:
            if isinstance(action, Delta):
                self._hear(action, told=streaming)
                self._breathe += 1
                if self._breathe % _BREATHE_EVERY == 0:
                    yield BREATHE
            elif isinstance(action, Wait):
                yield action
            elif isinstance(action, Fault):
                if action.kind in ("cut", "event"):
                    self._abandon(charged=action.kind == "cut")
                return action
            elif isinstance(action, Trick):
                turn.trick(action.step)
            elif isinstance(action, Reached):
                self.engine.record.note("step", where=action.where)
            else:
                self._event(action, streaming=streaming)
        self.engine.api_ms += tally.now() - asked
        tally.api_ms = self.engine.api_ms
        if not streaming:
            self._tell_whole()
        return None

    # Events.

    def _event(self, event: Message, *, streaming: bool) -> None:
        handler: dict[str, Callable[[Message, bool], None]] = {
            "message_start": self._on_start,
            "content_block_start": self._on_open,
            "content_block_stop": self._on_close,
            "message_delta": self._on_delta,
            "message_stop": self._on_stop,
        }
        handle = handler.get(event["type"])  # pings are swallowed
        if handle is not None:
            handle(event, streaming)

    def _on_start(self, event: Message, streaming: bool) -> None:  # noqa: FBT001 - one signature for all handlers
        tally = self.turn.tally
        self.heard = Heard(event["message"])
        tally.note_request(self.heard.message["usage"])
        if not streaming:
            return
        tally.begun.append(self.heard.id)
        if tally.first_event_ms is None:
            tally.first_event_ms = tally.now()
        self.turn.echo_prompts()
        if self._partial:
            self._lines = events.DeltaLines(self.context, self.heard.id)
            line = events.stream_event(
                self.context, event, self.heard.id, ttft_ms=tally.now(), thinking_display="updates"
            )
            if self.turn.uuids and len(tally.begun) == 1:
                line |= self.turn.uuid_members() | {"owed_rows": []}
            self.engine.emit(line, "partial")

    def _on_open(self, event: Message, streaming: bool) -> None:  # noqa: FBT001
        assert self.heard is not None
        tally = self.turn.tally
        if tally.first_frame_ms is None:
            tally.first_frame_ms = tally.now()
        self.heard.open = {**event["content_block"], "pieces": []}
        self.heard.opened_ms = tally.now()
        self.heard.thought = 0
        if streaming:
            extra = {"thinking_display": "updates"} if event["content_block"]["type"] == "thinking" else {}
            self._stream(event, **extra)

    def _hear(self, delta: Delta, *, told: bool) -> None:
        heard = self.heard
        assert heard is not None and heard.open is not None  # noqa: PT018
        if delta.kind == "signature_delta":
            heard.open["signature"] = delta.text
        else:
            heard.open["pieces"].append(delta.text)
            heard.estimate += -(-len(delta.text) // _CHARACTERS_PER_TOKEN)
        if not told:
            return
        if delta.kind == "thinking_delta":
            added = -(-len(delta.text) // _CHARACTERS_PER_TOKEN)
            heard.thought += added
            self.engine.emit(
                events.system(
                    self.context,
                    "thinking_tokens",
                    estimated_tokens=heard.thought,
                    estimated_tokens_delta=added,
                )
            )
        if self._lines is not None and "partial" not in self.engine.omitted:
            line = self._lines(delta)
            self.engine.out.line(line)
            if "partial" in self.engine.doubled:
                self.engine.out.line(line)

    def _on_close(self, event: Message, streaming: bool) -> None:  # noqa: FBT001
        assert self.heard is not None
        block = self.close_block()
        if streaming:
            self._print(block)
            self._stream(event)
            if block["type"] == "tool_use":
                self.turn.tools.announced(block)
        else:
            self.heard.blocks.append(({}, block))

    def _on_delta(self, event: Message, streaming: bool) -> None:  # noqa: FBT001
        assert self.heard is not None
        message = self.heard.message
        usage = {**message["usage"], **event["usage"]}
        self.heard.message = {**message, "stop_reason": event["delta"]["stop_reason"], "usage": usage}
        self.turn.tally.count(self.turn.model, usage)
        if streaming:
            self.turn.refusal(self.heard)
            self._stream(event)
            self.save()

    def _on_stop(self, event: Message, streaming: bool) -> None:  # noqa: FBT001
        if streaming:
            self.turn.tools.ask_hosts()
            self._stream(event)

    # Telling.

    def close_block(self) -> Message:
        """Finish the open block."""
        import json  # noqa: PLC0415 - loaded already

        heard = self.heard
        assert heard is not None and heard.open is not None  # noqa: PT018
        block, heard.open = heard.open, None
        whole = "".join(block.pop("pieces"))
        if block["type"] == "tool_use":
            block["input"] = json.loads(whole or "{}")
        else:
            block[block["type"]] = whole
        return block

    def _print(self, block: Message, **extra: object) -> None:
        heard, tally = self.heard, self.turn.tally
        assert heard is not None
        if tally.first_message_ms is None:
            tally.first_message_ms = tally.now()
        members: Message = {"request_id": self.engine.request_id}
        if block["type"] == "thinking":
            members |= {"thinking_duration_ms": tally.now() - heard.opened_ms, "thinking_display": "updates"}
        event = events.assistant(
            self.context, {**heard.message, "stop_reason": None}, block, **members, **extra
        )
        if self.turn.uuids and not self.turn.told:
            event |= self.turn.uuid_members()
        self.turn.told = True
        self.engine.emit(event, "full")
        heard.blocks.append((event, block))

    def _tell_whole(self) -> None:
        """Print the blocks of an answer that came without streaming."""
        heard, tally = self.heard, self.turn.tally
        assert heard is not None
        usage = {**empty_usage(), **heard.message["usage"]}
        told: list[tuple[Message, Message]] = []
        for _, block in heard.blocks:
            event = events.assistant(
                self.context, {**heard.message, "usage": usage}, block, request_id=self.engine.request_id
            )
            self.engine.emit(event, "full")
            told.append((event, block))
        if tally.first_message_ms is None:
            tally.first_message_ms = tally.now()
        heard.blocks = told
        self.save()

    def save(self) -> None:
        """Write the blocks to the transcript, now that usage and stop reason are known."""
        heard = self.heard
        assert heard is not None
        usage = {**empty_usage(), **heard.message["usage"]}
        for index, (event, block) in enumerate(heard.blocks):
            message = {**heard.message, "content": [block], "usage": usage, "stop_details": None}
            self.engine.transcript.assistant(
                event,
                message,
                apiBlockIndex=index,
                requestId=self.engine.request_id,
                requestedModel=self.turn.model,
                promptCacheRequested="5m",
                effort="medium",
                perTurnEffort="medium",
            )

    def _stream(self, event: Message, **extra: object) -> None:
        if self._partial and self.heard is not None:
            self.engine.emit(events.stream_event(self.context, event, self.heard.id, **extra), "partial")

    def _abandon(self, *, charged: bool) -> None:
        """The stream broke: take back what is not finished.

        The turn's usage counts what its start told; a cut is also charged, by the CLI's own estimate.
        """
        heard = self.heard
        if heard is None:
            return
        index = len(heard.blocks)
        if heard.open is not None:
            heard.open = None
            self._stream({"type": "content_block_stop", "index": index})
        self._stop_abandoned(index)
        usage = heard.message["usage"]
        add_usage(self.turn.tally.usage, usage)
        if charged:
            told = usage if self.context.before_330 else {**usage, "output_tokens": max(1, heard.estimate)}
            self.turn.tally.costs.add(self.turn.model, told)

    def _stop_abandoned(self, index: int) -> None:
        if self._partial and self.heard is not None:
            stop = events.stream_event(self.context, {"type": "message_stop"}, self.heard.id)
            stop["abandoned_blocks"] = {"api_message_id": self.heard.id, "from_block_index": index}
            self.engine.emit(stop, "partial")

    def interrupted(self, note: Callable[[], None]) -> None:
        """Close what was being streamed; ``note`` prints what comes in between.

        docs/claude-cli.md, control protocol: the partial text, the note, the closing stream events.
        """
        heard = self.heard
        if heard is None or heard.stop_reason is not None:
            note()
            return
        opened = heard.open is not None
        if heard.open is not None and "".join(heard.open["pieces"]):
            self._print(self.close_block(), aborted=True)
            for event, block in heard.blocks:
                self.engine.transcript.assistant(event, {**heard.message, "content": [block]}, aborted=True)
        note()
        index = len(heard.blocks)
        if opened:
            self._stream({"type": "content_block_stop", "index": max(0, index - 1)})
        usage = empty_usage() | heard.message["usage"]
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
        self._stop_abandoned(index)
        if not self.context.before_330:  # earlier versions charge nothing for what was interrupted
            spent = {**heard.message["usage"], "output_tokens": max(1, heard.estimate)}
            self.turn.tally.costs.add(self.turn.model, spent)
