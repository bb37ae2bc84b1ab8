"""One answer of the Messages API, as a stream of events, waits and faults.

The loopback API sends these events to the real CLI; the fake CLI reads them itself. That is why both say the same.
"""

from __future__ import annotations

from .ids import fresh_id
from .waits import Delay, Hold, Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from .conversation import Ask
    from .script import Step

    Event = dict[str, Any]
    Action = "Event | Delta | Wait | Fault | Trick"


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
        retry_after: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        self.kind = kind
        self.status = status
        self.type = type
        self.message = message
        self.retry_after = retry_after
        self.should_retry = should_retry


class Trick:
    """Misbehaviour of the CLI process itself; the API player passes over it."""

    __slots__ = ("kind", "value")

    def __init__(self, kind: str, value: Any) -> None:
        self.kind = kind
        self.value = value


TRICKS = ("exit", "stderr")


class _Message:
    """The message being told: opens and closes blocks, counts pieces."""

    def __init__(self, ask: Ask, model: str) -> None:
        self.model = model
        self.input_tokens = max(1, ask.words)
        self.pieces = 0
        self.gap = 0.0
        self.numbered = 0
        self.block: str | None = None
        self.index = -1
        self.started = False

    def start(self) -> Iterator[Event]:
        if self.started:
            return
        self.started = True
        usage = {
            "input_tokens": self.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
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

    def open(self, kind: str, block: Event) -> Iterator[Event]:
        """Have a block of this kind open, beginning with ``block``."""
        if self.block == kind:
            return
        yield from self.start()
        yield from self.close()
        self.block = kind
        self.index += 1
        yield {"type": "content_block_start", "index": self.index, "content_block": block}

    def close(self) -> Iterator[Event]:
        if self.block is not None:
            self.block = None
            yield {"type": "content_block_stop", "index": self.index}

    def piece(self, text: str) -> Iterator[Event | Delta | Wait]:
        if self.block != "text":
            yield from self.open("text", {"type": "text", "text": ""})
        if self.gap and self.pieces:
            yield Delay(self.gap)
        self.pieces += 1
        yield Delta(self.index, "text_delta", text)

    def finish(self, stop_reason: str) -> Iterator[Event]:
        yield from self.start()
        yield from self.close()
        yield {
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason, "stop_sequence": None},
            "usage": {"output_tokens": max(1, self.pieces)},
        }
        yield {"type": "message_stop"}


def play(steps: Sequence[Step], ask: Ask, model: str) -> Iterator[Event | Delta | Wait | Fault | Trick]:
    """Tell one answer, step by step."""
    message = _Message(ask, model)
    for step in steps:
        kind, value = step.kind, step.value
        if kind == "pieces":
            for text in value:
                yield from message.piece(text)
        elif kind == "tokens":
            for _ in range(value):
                message.numbered += 1
                yield from message.piece(f"t{message.numbered} ")
        elif kind == "gap":
            message.gap = value
        elif kind == "delay":
            yield Delay(value)
        elif kind == "hold":
            yield Hold(value)
        elif kind in TRICKS:
            yield Trick(kind, value)
        else:
            raise AssertionError(f"no player for step {kind!r}")
    yield from message.finish("end_turn")
