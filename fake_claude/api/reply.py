"""One answer of the Messages API, as a stream of events, waits and faults.

The loopback API sends these events to the real CLI; the fake CLI reads them itself. That is why both say the same.
"""

from __future__ import annotations

from fake_claude.ids import fresh_id
from fake_claude.script.model import words
from fake_claude.waits import Delay, Hold, Stall, Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Iterator
    from random import Random
    from typing import Any

    from fake_claude.script.ask import ApiRequest
    from fake_claude.script.model import Duration, Step, TurnScript

    Event = dict[str, Any]

SIGNATURE = "c2lnbmF0dXJl"
"""The signature under made-up thoughts; the CLI passes it on without looking."""

_TOOL_PIECE = 24  # characters of a tool's input per delta


class Delta:
    """A piece of a content block: ``kind`` as in the API (``text_delta``), ``text`` its one member."""

    __slots__ = ("index", "kind", "text")

    def __init__(self, index: int, kind: str, text: str) -> None:
        self.index = index
        self.kind = kind
        self.text = text


DELTA_MEMBER = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}


class Fault:
    """The API fails: ``kind`` is ``http``, ``cut``, ``event`` or ``reset``; nothing follows."""

    __slots__ = ("kind", "message", "retry_after", "should_retry", "status", "type")

    def __init__(
        self,
        kind: str,
        *,
        status: int = 0,
        type: str = "api_error",  # noqa: A002 - the API's own word
        message: str = "",
        retry_after: int | None = None,
        should_retry: bool | None = None,
    ) -> None:
        self.kind = kind
        self.status = status
        self.type = type
        self.message = message
        self.retry_after = retry_after
        self.should_retry = should_retry


ERROR_TYPES = {
    400: ("invalid_request_error", "messages: bad request"),
    401: ("authentication_error", "invalid x-api-key"),
    403: ("permission_error", "not allowed"),
    404: ("not_found_error", "model: not found"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your rate limit."),
    529: ("overloaded_error", "Overloaded"),
}


def http_fault(step: Step) -> Fault:
    """Return the fault of an ``error`` step, with the API's usual words where the script gives none."""
    type_, message = ERROR_TYPES.get(
        step.value,
        ("api_error", "Internal server error") if step.value >= 500 else ("invalid_request_error", "refused"),
    )
    return Fault(
        "http",
        status=step.value,
        type=step.more.get("type", type_),
        message=step.more.get("message", message),
        retry_after=step.more.get("retry_after"),
        should_retry=step.more.get("should_retry"),
    )


class Misbehaviour:
    """Misbehaviour of the CLI process itself; the Messages API skips it."""

    __slots__ = ("step",)

    def __init__(self, step: Step) -> None:
        self.step = step


MISBEHAVIOURS = (
    "exit", "kill", "stderr", "noise", "bytes", "event", "ignore", "omit", "duplicate", "dribble", "split",
    "grandchild", "close", "logged_out",
)  # fmt: skip


class StepStarted:
    """A step of a script file starts; for the report of steps that were never reached."""

    __slots__ = ("where",)

    def __init__(self, where: str) -> None:
        self.where = where


class _MessageBuilder:
    """Builds the events of one message: opens and closes blocks, counts pieces."""

    def __init__(self, ask: ApiRequest, model: str, usage: dict[str, int], random: Random | None) -> None:
        self.model = model
        self.random = random
        # A word is a token here, as in the server's ``count_tokens``: a test can work the number out. What a
        # script says wins.
        self.usage = {"input_tokens": max(1, ask.words), **usage}
        self.pieces = 0
        self.gap: Duration | None = None
        self.numbered = 0
        self.block: str | None = None
        self.index = -1
        self.started = False

    def start(self) -> Iterator[Event]:
        if self.started:
            return
        self.started = True
        usage: Event = {
            "input_tokens": self.usage["input_tokens"],
            "cache_creation_input_tokens": self.usage.get("cache_creation_input_tokens", 0),
            "cache_read_input_tokens": self.usage.get("cache_read_input_tokens", 0),
            # The real count comes with message_delta; the CLI's assistant lines keep this one
            # (docs/claude-cli.md, messages).
            "output_tokens": 1,
        }
        yield {
            "type": "message_start",
            "message": {
                "id": fresh_id("msg"),
                "type": "message",
                "role": "assistant",
                "model": self.model,
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": usage,
            },
        }

    def open(self, kind: str, block: Event) -> Iterator[Event | Delta]:
        """Have a block of this kind open, beginning with ``block``."""
        yield from self.start()
        yield from self.close()
        self.block = kind
        self.index += 1
        yield {"type": "content_block_start", "index": self.index, "content_block": block}

    def close(self) -> Iterator[Event | Delta]:
        if self.block is None:
            return
        # The API signs a thinking block with one last delta before it stops.
        if self.block == "thinking":
            yield Delta(self.index, "signature_delta", SIGNATURE)
        self.block = None
        yield {"type": "content_block_stop", "index": self.index}

    def wait(self, gap: Duration | None) -> Iterator[Wait]:
        gap = gap or self.gap
        # A gap lies between pieces. None comes before the first: the time to the first token is a ``delay``.
        if gap is not None and self.pieces:
            seconds = gap.draw(self.random)
            if seconds:
                yield Delay(seconds)

    def add_text(self, pieces: Iterable[str], gap: Duration | None = None) -> Iterator[Event | Delta | Wait]:
        for text in pieces:
            # Text steps in a row share one block, as a model's text does; a tool or a thought between them
            # opens another.
            if self.block != "text":
                yield from self.open("text", {"type": "text", "text": ""})
            # ``wait`` would find no gap by itself; asking here spares a flood of tokens a generator each.
            if gap is not None or self.gap is not None:
                yield from self.wait(gap)
            self.pieces += 1
            yield Delta(self.index, "text_delta", text)

    def think(self, pieces: Iterable[str], gap: Duration | None) -> Iterator[Event | Delta | Wait]:
        yield from self.open("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        for text in pieces:
            yield from self.wait(gap)
            self.pieces += 1
            yield Delta(self.index, "thinking_delta", text)

    def number(self, count: int) -> Iterator[str]:
        for _ in range(count):
            self.numbered += 1
            yield f"t{self.numbered} "

    def call(self, step: Step) -> Iterator[Event | Delta | Wait]:
        import json  # loaded already, needed here only

        block = {"type": "tool_use", "id": fresh_id("toolu"), "name": step.value, "input": {}}
        yield from self.open("tool", block)
        given = json.dumps(step.more.get("input", {}), ensure_ascii=False)
        self.pieces += 1  # however it is cut: paths in it must not change the count
        for i in range(0, len(given), _TOOL_PIECE):
            yield Delta(self.index, "input_json_delta", given[i : i + _TOOL_PIECE])
        yield from self.close()

    def finish(self, stop_reason: str) -> Iterator[Event | Delta]:
        yield from self.start()
        yield from self.close()
        yield {
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason, "stop_sequence": None},
            "usage": {"output_tokens": self.usage.get("output_tokens", max(1, self.pieces))},
        }
        yield {"type": "message_stop"}


def pieces_of(step: Step) -> Iterator[str]:
    """Cut a text as its step wants: into words, single characters, or runs of n."""
    how = step.more.get("cut", "words")
    if how == "words":
        yield from words(step.value)
        return
    size = 1 if how == "chars" else how
    for i in range(0, len(step.value), size):
        yield step.value[i : i + size]


_CONTENT_STEPS: dict[str, Callable[[_MessageBuilder, Step], Iterator[Any]]] = {
    "pieces": lambda m, step: m.add_text(step.value),
    "text": lambda m, step: m.add_text(pieces_of(step), step.more.get("gap")),
    "tokens": lambda m, step: m.add_text(m.number(step.value), step.more.get("gap")),
    "blob": lambda m, step: m.add_text(["x" * step.value]),
    "thinking": lambda m, step: m.think(words(step.value), step.more.get("gap")),
    "tool": lambda m, step: m.call(step),
}


def _fault(step: Step, *, streaming: bool) -> Fault | None:
    if step.kind == "error":
        return http_fault(step)
    if step.kind == "reset":
        return Fault("reset")
    # A request without streaming has no stream to break, so the CLI's last resort gets through: after its
    # retries it asks without streaming (docs/claude-cli.md, API trouble), and this step lets the rest of the
    # answer pass.
    if step.kind == "cut_stream" and streaming:
        return Fault("cut")
    if step.kind == "stream_error" and streaming:
        return Fault("event", type=step.value, message=step.more.get("message", "Overloaded"))
    return None


def generate_reply(  # noqa: C901, PLR0912 - a list of cases, read one by one
    play: TurnScript,
    ask: ApiRequest,
    model: str,
    *,
    failed: Counter[str],
    streaming: bool = True,
    random: Random | None = None,
) -> Iterator[Event | Delta | Wait | Fault | Misbehaviour | StepStarted]:
    """Generate one answer, step by step.

    ``failed`` counts what went wrong earlier in this turn: a fault with ``times = n`` happens n times.
    """
    steps = play.reply(ask.reply)
    message = _MessageBuilder(ask, model, play.usage, random)
    stop = "end_turn"
    for step in steps:
        if step.where:
            yield StepStarted(step.where)
        kind = step.kind
        if kind in _CONTENT_STEPS:
            yield from _CONTENT_STEPS[kind](message, step)
            stop = "tool_use" if kind == "tool" else stop
        elif kind in ("error", "reset", "cut_stream", "stream_error"):
            # A retry plays the same steps again, so a fault counts how often it happened in this turn. For
            # example `error 500, times 2; text ok`: the first two requests stop at the error, the third
            # passes over it and says ok. Without ``times`` a fault happens always: its count is below itself
            # plus one.
            # A step of a script file is counted by its place, one without a place by its kind.
            fault = _fault(step, streaming=streaming)
            name = step.where or kind
            if fault is not None and failed[name] < step.more.get("times", failed[name] + 1):
                failed[name] += 1
                # Both break a stream that has begun; without a first event the server would have to answer
                # with an HTTP status.
                if fault.kind in ("cut", "event"):
                    yield from message.start()
                yield fault
                return
        elif kind == "gap":
            message.gap = step.value
        elif kind == "delay":
            yield Delay(step.value.draw(random))
        elif kind == "hold":
            yield Hold(step.value)
        # A stall is a stream that goes silent. For silence before the first event there are ``hold`` and
        # ``delay``.
        elif kind == "stall":
            yield from message.start()
            yield Stall()
        elif kind == "ping":
            yield from message.start()
            for _ in range(step.value):
                yield {"type": "ping"}
        elif kind == "usage":
            message.usage |= step.value
        elif kind == "stop":
            stop = step.value
        elif kind in MISBEHAVIOURS:
            yield Misbehaviour(step)
        else:
            raise AssertionError(f"no player for step {kind!r}")
    # Even steps that say nothing make a whole message: start, no block, end. To that the CLI asks once more.
    yield from message.finish(stop)
