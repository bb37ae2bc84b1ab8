"""Answers and the many ways in which the CLI may print them, as strategies."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

TEXTS = st.text(st.sampled_from("ab \n.é🙂\u2028"), max_size=12)
"""Few letters, so that two texts often begin alike; among them what JSON, UTF-8 and line splitting trip over."""


@dataclass(frozen=True)
class Block:
    """A content block: ``text``, ``thinking`` or ``tool_use``."""

    kind: str
    text: str = ""


@dataclass(frozen=True)
class Attempt:
    """An attempt that breaks off after ``chars`` characters of text, with ``kept`` blocks whole before it."""

    texts: tuple[str, ...]  # what it prints in place of the broken blocks' texts
    chars: int
    kept: int


@dataclass(frozen=True)
class Reply:
    """A message and how it is printed: ``streamed``, in ``deltas`` only, ``whole`` only, or as ``result`` only."""

    blocks: tuple[Block, ...]
    how: str
    size: int  # of a delta, in characters
    attempts: tuple[Attempt, ...] = ()
    goes_on: bool = False  # it ran into its length limit


@dataclass
class Wire:
    """Writes the CLI's lines, each with its own uuid."""

    lines: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    message: str = ""

    def line(self, kind: str, **members: Any) -> None:
        self.lines.append(
            json.dumps(
                {"type": kind, "uuid": f"u{next(self._numbers)}", "session_id": "s", **members},
                ensure_ascii=False,
            )
        )

    def event(self, kind: str, *, abandoned: int | None = None, **members: Any) -> None:
        extra = {} if abandoned is None else {"abandoned_blocks": {"from_block_index": abandoned}}
        self.line("stream_event", event={"type": kind, **members}, parent_tool_use_id=None, **extra)

    def start(self, *, streamed: bool = True) -> None:
        self.message = f"msg_{next(self._numbers)}"
        if streamed:
            usage = {"input_tokens": 1, "output_tokens": 1}
            self.event("message_start", message={"id": self.message, "content": [], "usage": usage})

    def pieces(self, index: int, block: Block, size: int, upto: int | None = None) -> None:
        kind = {"text": "text_delta", "thinking": "thinking_delta", "tool_use": "input_json_delta"}[
            block.kind
        ]
        member = {"text": "text", "thinking": "thinking", "tool_use": "partial_json"}[block.kind]
        text = block.text[:upto]
        self.event("content_block_start", index=index, content_block={"type": block.kind, member: ""})
        for at in range(0, len(text), size):
            delta = {"type": kind, member: text[at : at + size]}
            self.event("content_block_delta", index=index, delta=delta)

    def whole(self, block: Block) -> None:
        content: dict[str, Any] = {"type": block.kind}
        match block.kind:
            case "tool_use":
                content |= {"id": f"toolu_{next(self._numbers)}", "name": "Bash", "input": {"command": "ls"}}
            case kind:
                content[kind] = block.text
        message = {"id": self.message, "content": [content], "usage": {"input_tokens": 1, "output_tokens": 1}}
        self.line("assistant", message=message, parent_tool_use_id=None)
        if block.kind == "tool_use":
            done = {"type": "tool_result", "tool_use_id": content["id"], "content": "ok"}
            self.line("user", message={"role": "user", "content": [done]}, parent_tool_use_id=None)

    def attempt(self, reply: Reply, attempt: Attempt) -> None:
        """An attempt that breaks off; the blocks before the broken one are final."""
        self.start()
        left = attempt.chars
        for index, block in enumerate(reply.blocks):
            if index < attempt.kept:
                self.pieces(index, block, reply.size)
                self.whole(block)
                self.event("content_block_stop", index=index)
                continue
            if block.kind == "tool_use":
                break  # a tool that runs is never repeated
            text = attempt.texts[index] if block.kind == "text" else block.text
            self.pieces(index, Block(block.kind, text), reply.size, left)
            self.event("content_block_stop", index=index)
            if block.kind == "text":
                left -= len(text)
            if left <= 0:
                break
        self.event("message_stop", abandoned=attempt.kept)

    def emit(self, reply: Reply) -> None:
        first = 0
        for attempt in reply.attempts:
            self.attempt(reply, attempt)
            first = attempt.kept
        streamed = reply.how in {"streamed", "deltas"}
        if reply.how == "result":
            return
        self.start(streamed=streamed)
        for index, block in enumerate(reply.blocks[first:]):
            if streamed:
                self.pieces(index, block, reply.size)
            if reply.how != "deltas":
                self.whole(block)
            if streamed:
                self.event("content_block_stop", index=index)
        if streamed:
            reason = "max_tokens" if reply.goes_on else "end_turn"
            self.event("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 1})
            self.event("message_stop")

    def result(self, text: str, **members: Any) -> None:
        usage = {"input_tokens": 7, "output_tokens": 3}
        self.line("result", subtype="success", is_error=False, result=text, usage=usage, **members)


def golden(replies: Sequence[Reply]) -> str:
    """The answer as it should be shown: its text blocks as paragraphs, a broken-off sentence continued."""
    text, goes_on = "", False
    for reply in replies:
        for block in reply.blocks:
            if block.kind == "text" and block.text:
                breaks = text and not goes_on and not text.endswith("\n")
                text += ("\n\n" if breaks else "") + block.text
                goes_on = False
        goes_on = goes_on or reply.goes_on
    return text


def last_text(replies: Sequence[Reply]) -> str:
    """What the result repeats: the last message's last text."""
    return next((block.text for block in reversed(replies[-1].blocks) if block.kind == "text"), "")


@st.composite
def _attempts(draw: st.DrawFn, blocks: tuple[Block, ...], *, alike: bool) -> tuple[Attempt, ...]:
    kept = draw(st.integers(0, len(blocks) - 1))
    if any(block.kind == "tool_use" for block in blocks[: kept + 1]):
        kept = 0
    true = tuple(block.text for block in blocks)
    attempts = []
    for _ in range(draw(st.integers(0, 3))):
        other = st.tuples(*(TEXTS for _ in blocks))
        texts = true if alike else draw(st.just(true) | other)
        attempts.append(Attempt(texts, draw(st.integers(0, 30)), kept))
        if kept:
            break  # the rest of the message has become a message of its own
    return tuple(attempts)


@st.composite
def replies(draw: st.DrawFn, *, alike: bool = False) -> list[Reply]:
    """An answer of one to three messages; ``alike``: repeats are in the same words."""
    got = []
    count = draw(st.integers(1, 3))
    for number in range(count):
        kinds = st.sampled_from(["text", "text", "thinking", "tool_use"])
        blocks = tuple(draw(st.lists(st.builds(Block, kinds, TEXTS), min_size=1, max_size=3)))
        only = count == 1 and len(blocks) == 1 and blocks[0].kind == "text"
        hows = ["streamed", "deltas", "whole", *(["result"] if only else [])]
        how = draw(st.sampled_from(hows))
        got.append(
            Reply(
                blocks,
                how,
                size=draw(st.integers(1, 5)),
                attempts=draw(_attempts(blocks, alike=alike)),
                goes_on=how in {"streamed", "deltas"} and number < count - 1 and draw(st.booleans()),
            )
        )
    return got


NOISE = st.sampled_from(
    [
        "",
        "not JSON at all",
        '{"type":"assist',
        "null",
        "[1,2]",
        '"a string"',
        "{}",
        '{"type":null}',
        '{"type":"no_such_type","text":"ghost"}',
        '{"type":"system","subtype":"no_such_subtype"}',
        '{"type":"system","subtype":"status","status":"requesting","uuid":"n1"}',
        '{"type":"stream_event","event":{"type":"no_such_event"}}',
        '{"type":"stream_event","event":null}',
        '{"type":"stream_event","event":{"type":"content_block_delta","delta":{"type":"signature_delta","signature":"x"}}}',
        '{"type":"assistant","message":{"content":[{"type":"text","text":"ghost"}]},"parent_tool_use_id":"toolu_9"}',
        '{"type":"assistant","message":{"content":[{"type":"text","text":"ghost"}]},"is_api_error_message":true}',
        '{"type":"control_response","response":{"subtype":"success","request_id":"r"}}',
        '{"type":"user","message":{"content":"echo"},"isReplay":true}',
        '{"type":"result","origin":{"kind":"task-notification"},"result":"ghost","is_error":false}',
    ]
)
"""Lines that must change nothing, wherever they stand."""
