"""One API request of a turn: stream it, print it, retry it."""

from __future__ import annotations

from fake_claude.api.reply import Delta, Fault, Misbehaviour, StepStarted, generate_reply
from fake_claude.engine import retries
from fake_claude.engine.assistant_message import AssistantMessage
from fake_claude.engine.misbehaviour import misbehave
from fake_claude.lines import events
from fake_claude.lines.costs import add_usage, empty_usage
from fake_claude.script.ask import read_messages
from fake_claude.waits import YIELD, Delay, Exit, Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import Any

    from fake_claude.engine.refusals import Refusals
    from fake_claude.engine.tool_calls import ToolCalls
    from fake_claude.engine.turn_state import TurnState

    Message = dict[str, Any]

_YIELD_EVERY = 64
_CHARACTERS_PER_TOKEN = 4  # of the estimates that the CLI makes itself


class Request:
    """Asks for one assistant message, as often as the CLI would."""

    def __init__(self, state: TurnState, tools: ToolCalls, refusals: Refusals) -> None:
        self.state = state
        self.tools = tools
        self.refusals = refusals
        self.run = state.run
        self.context = state.context
        self.message: AssistantMessage | None = None
        self.attempt = 0
        self.truncated = False  # some of the answer stands, the rest must be asked for
        self._lines: events.DeltaLines | None = None
        self._since_yield = 0

    @property
    def _partial(self) -> bool:
        return self.context.partial and self.context.streams_out

    def play(self) -> Generator[Wait, Any, AssistantMessage | retries.Failure]:
        """Ask until there is an answer or the CLI gives up."""
        # What comes after a fault (docs/claude-cli.md, API trouble). The order of the cases counts:
        # 1. Without streaming was the last resort: no further try.
        # 2. A cut behind a complete block: the block stands, the turn asks for the rest.
        # 3. An error event, or 404: once more without streaming, at once and without a line of ``api_retry``.
        # 4. Overloaded three times: the fallback model, with all its retries, or the end.
        # 5. No retries left: a cut stream is asked for without streaming, all else ends the turn.
        # 6. A wait, then the same again. For example 500, 500, text: two ``api_retry`` lines, then the
        # answer.
        limit = retries.max_retries(self.context.env)
        model, tries, streaming, overloaded = self.state.model, 0, True, 0
        while True:
            fault = yield from self._attempt(model, streaming=streaming)
            self.attempt += 1
            if fault is None:
                assert self.message is not None
                return self.message
            if not streaming:
                return retries.failure(fault, model, self.context.env, gave_up_overloaded=False)
            if fault.kind == "cut" and self.message is not None and self.message.blocks:
                self.truncated = True
                self.save()
                return self.message
            if fault.kind == "event" or fault.status == 404:
                streaming = False
                continue
            overloaded += fault.status == 529
            gave_up = overloaded >= retries.OVERLOADED_ATTEMPTS and not self.state.fell_back
            if gave_up and self.context.fallback_model:
                model, tries = self._fall_back(), 0
                continue
            if gave_up or tries >= limit or not retries.is_retryable(fault):
                if fault.kind == "cut" and not gave_up:
                    streaming = False
                    continue
                return retries.failure(fault, model, self.context.env, gave_up_overloaded=gave_up)
            tries += 1
            yield from self._pause(fault, tries, limit)

    def _pause(self, fault: Fault, tries: int, limit: int) -> Iterator[Wait]:
        delay = retries.retry_delay_ms(tries, fault.retry_after)
        self.run.emit(
            events.system(
                self.context,
                "api_retry",
                attempt=tries,
                max_retries=limit,
                retry_delay_ms=delay,
                error_status=fault.status or None,
                error=retries.retry_error(fault),
            )
        )
        # The line above has the CLI's own delay; tests shorten what is really waited.
        yield Delay(delay / 1000 * self.run.settings.retry_scale)

    def _fall_back(self) -> str:
        state, context = self.state, self.context
        before, state.model, state.fell_back = state.model, context.fallback_model, True
        self.run.emit(
            events.system(
                context,
                "model_fallback",
                trigger="overloaded",
                original_model=before,
                fallback_model=state.model,
                content=f"Switched to {retries.title(state.model)} due to high demand for {retries.title(before)}",
            )
        )
        return state.model

    def _attempt(self, model: str, *, streaming: bool) -> Generator[Wait, Any, Fault | None]:  # noqa: C901 - a list of cases, read one by one
        """Receive one answer; return the fault that broke it, if one did."""
        state, tally = self.state, self.state.tally
        ask = read_messages(self.run.transcript.messages)
        asked = tally.now()
        if tally.requested_ms is None:
            tally.requested_ms = asked
        self.message, self._lines = None, None
        fault = state.refused_request(model) if self.attempt == 0 or streaming is False else None
        if fault is not None:
            return fault
        actions = generate_reply(
            state.play,
            ask,
            model,
            failed=state.failures,
            streaming=streaming,
            random=self.run.scripts.random,
        )
        for action in actions:
            if isinstance(action, Delta):
                self._on_content_delta(action, streaming=streaming)
                self._since_yield += 1
                # A yield costs a poll: one for each delta would slow a flood down, and without any an
                # interrupt would wait for the flood's end.
                if self._since_yield % _YIELD_EVERY == 0:
                    yield YIELD
            elif isinstance(action, Wait):
                yield action
            elif isinstance(action, Fault):
                # These two break a stream that has begun; the other faults stand in place of an answer.
                if action.kind in ("cut", "event"):
                    self._discard_unfinished(charged=action.kind == "cut")
                return action
            elif isinstance(action, Misbehaviour):
                misbehave(self.run, action.step)
            elif isinstance(action, StepStarted):
                self.run.record.note("step", where=action.where)
            else:
                self._event(action, streaming=streaming)
        self.run.api_ms += tally.now() - asked
        tally.api_ms = self.run.api_ms
        if not streaming:
            self._emit_full_message()
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
        tally = self.state.tally
        self.message = AssistantMessage(event["message"])
        tally.note_request(self.message.raw["usage"])
        if not streaming:
            return
        tally.begun.append(self.message.id)
        if tally.first_event_ms is None:
            tally.first_event_ms = tally.now()
        # Echoes come when the answer starts, not when the message was read: a host sees by them what was
        # taken.
        self.state.echo_prompts()
        if self._partial:
            self._lines = events.DeltaLines(self.context, self.message.id)
            line = events.stream_event(
                self.context, event, self.message.id, ttft_ms=tally.now(), thinking_display="updates"
            )
            if self.state.uuids and len(tally.begun) == 1:
                line |= self.state.uuid_members() | {"owed_rows": []}
            self.run.emit(line, "partial")

    def _on_open(self, event: Message, streaming: bool) -> None:  # noqa: FBT001
        assert self.message is not None
        tally = self.state.tally
        if tally.first_frame_ms is None:
            tally.first_frame_ms = tally.now()
        self.message.open = {**event["content_block"], "pieces": []}
        self.message.opened_ms = tally.now()
        self.message.thought = 0
        if streaming:
            extra = {"thinking_display": "updates"} if event["content_block"]["type"] == "thinking" else {}
            self._stream(event, **extra)

    def _on_content_delta(self, delta: Delta, *, streaming: bool) -> None:
        message = self.message
        assert message is not None and message.open is not None  # noqa: PT018
        if delta.kind == "signature_delta":
            message.open["signature"] = delta.text
        else:
            # Joined when the block ends: adding to a string each time would copy a long answer over and over.
            message.open["pieces"].append(delta.text)
            # Rounded up for each delta, so a flood of short ones is estimated high; the estimate is charged
            # when an answer is cut or interrupted and no count came.
            # For example `Hel`, `lo`: one token each.
            message.estimate += -(-len(delta.text) // _CHARACTERS_PER_TOKEN)
        if not streaming:
            return
        if delta.kind == "thinking_delta":
            added = -(-len(delta.text) // _CHARACTERS_PER_TOKEN)
            message.thought += added
            self.run.emit(
                events.system(
                    self.context,
                    "thinking_tokens",
                    estimated_tokens=message.thought,
                    estimated_tokens_delta=added,
                )
            )
        # Around ``emit``, by a template: this is the one line that comes in floods.
        if self._lines is not None and "partial" not in self.run.omitted:
            line = self._lines(delta)
            self.run.out.line(line)
            if "partial" in self.run.duplicated:
                self.run.out.line(line)

    def _on_close(self, event: Message, streaming: bool) -> None:  # noqa: FBT001
        assert self.message is not None
        block = self.close_block()
        if streaming:
            # The assistant line comes before the stop of its block (docs/claude-cli.md, messages).
            self._print(block)
            self._stream(event)
            if block["type"] == "tool_use":
                # Decided while the message still streams: so lines of a refused tool may come before
                # ``message_delta``.
                self._on_tool_call(block)
        else:
            self.message.blocks.append(({}, block))

    def _on_tool_call(self, block: Message) -> None:
        try:
            self.tools.on_block_complete(block)
        except Exit:  # the CLI ends here: the transcript has what came so far
            self.save()
            self.state.flush_results()
            raise

    def _on_delta(self, event: Message, streaming: bool) -> None:  # noqa: FBT001
        assert self.message is not None
        raw = self.message.raw
        usage = {**raw["usage"], **event["usage"]}
        self.message.raw = {**raw, "stop_reason": event["delta"]["stop_reason"], "usage": usage}
        # Counted here and not at the stop: an interrupt between the two finds money that was spent.
        self.state.tally.count(self.state.model, usage)
        self.run.last_usage = usage
        self.run.requests += 1
        if streaming:
            self.refusals.on_message_end(self.message)
            self._stream(event)
            self.save()

    def _on_stop(self, event: Message, streaming: bool) -> None:  # noqa: FBT001
        if streaming:
            # The host is asked when all blocks are there, not while the message streams.
            self.tools.request_permissions()
            self._stream(event)

    # Printing.

    def close_block(self) -> Message:
        """Finish the open block."""
        import json  # loaded already

        message = self.message
        assert message is not None and message.open is not None  # noqa: PT018
        block, message.open = message.open, None
        whole = "".join(block.pop("pieces"))
        if block["type"] == "tool_use":
            block["input"] = json.loads(whole or "{}")
        else:
            block[block["type"]] = whole
        return block

    def _print(self, block: Message, **extra: object) -> None:
        message, tally = self.message, self.state.tally
        assert message is not None
        if tally.first_message_ms is None:
            tally.first_message_ms = tally.now()
        members: Message = {"request_id": self.run.request_id}
        if block["type"] == "thinking":
            members |= {
                "thinking_duration_ms": tally.now() - message.opened_ms,
                "thinking_display": "updates",
            }
        event = events.assistant(
            self.context, {**message.raw, "stop_reason": None}, block, **members, **extra
        )
        if self.state.uuids and not self.state.printed:
            event |= self.state.uuid_members()
        self.state.printed = True
        self.run.emit(event, "full")
        message.blocks.append((event, block))

    def _emit_full_message(self) -> None:
        """Print the blocks of an answer that came without streaming."""
        message, tally = self.message, self.state.tally
        assert message is not None
        usage = {**empty_usage(), **message.raw["usage"]}
        printed: list[tuple[Message, Message]] = []
        for _, block in message.blocks:
            event = events.assistant(
                self.context, {**message.raw, "usage": usage}, block, request_id=self.run.request_id
            )
            self.run.emit(event, "full")
            printed.append((event, block))
        if tally.first_message_ms is None:
            tally.first_message_ms = tally.now()
        message.blocks = printed
        self.save()

    def save(self) -> None:
        """Write the blocks to the transcript, now that usage and stop reason are known."""
        message = self.message
        assert message is not None
        usage = {**empty_usage(), **message.raw["usage"]}
        for index, (event, block) in enumerate(message.blocks):
            line = {**message.raw, "content": [block], "usage": usage, "stop_details": None}
            self.run.transcript.assistant(
                event,
                line,
                apiBlockIndex=index,
                requestId=self.run.request_id,
                requestedModel=self.state.model,
                promptCacheRequested="5m",
                effort="medium",
                perTurnEffort="medium",
            )

    def _stream(self, event: Message, **extra: object) -> None:
        if self._partial and self.message is not None:
            self.run.emit(events.stream_event(self.context, event, self.message.id, **extra), "partial")

    def _discard_unfinished(self, *, charged: bool) -> None:
        """The stream broke: discard the unfinished block.

        The turn's usage includes the counts of the message's start; a cut is also charged, by the CLI's own estimate.
        """
        message = self.message
        if message is None:
            return
        # Only what is not complete is taken back: blocks before this index were printed and stand.
        index = len(message.blocks)
        if message.open is not None:
            message.open = None
            self._stream({"type": "content_block_stop", "index": index})
        self._stop_abandoned(index)
        usage = message.raw["usage"]
        add_usage(self.state.tally.usage, usage)
        if charged:
            charge = (
                usage if self.context.before_330 else {**usage, "output_tokens": max(1, message.estimate)}
            )
            self.state.tally.costs.add(self.state.model, charge)

    def _stop_abandoned(self, index: int) -> None:
        if self._partial and self.message is not None:
            stop = events.stream_event(self.context, {"type": "message_stop"}, self.message.id)
            stop["abandoned_blocks"] = {"api_message_id": self.message.id, "from_block_index": index}
            self.run.emit(stop, "partial")

    def interrupted(self, note: Callable[[], None]) -> None:
        """Close what was being streamed; ``note`` prints what comes in between.

        docs/claude-cli.md, control protocol: the partial text, the note, the closing stream events.
        """
        message = self.message
        # Nothing was begun, or all was said: there is no partial text and no stream to close.
        if message is None or message.stop_reason is not None:
            note()
            return
        opened = message.open is not None
        # A block without text is not printed: the CLI has nothing to show of it.
        if message.open is not None and "".join(message.open["pieces"]):
            self._print(self.close_block(), aborted=True)
            for event, block in message.blocks:
                self.run.transcript.assistant(event, {**message.raw, "content": [block]}, aborted=True)
        note()
        index = len(message.blocks)
        if opened:
            self._stream({"type": "content_block_stop", "index": max(0, index - 1)})
        usage = empty_usage() | message.raw["usage"]
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
            spent = {**message.raw["usage"], "output_tokens": max(1, message.estimate)}
            self.state.tally.costs.add(self.state.model, spent)
