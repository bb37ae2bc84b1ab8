"""Lines that the CLI prints become events of a turn.

The CLI tells an answer up to three times: as deltas, as one ``assistant`` line per content block, and once more in the
``result``; and it tells a block again from the beginning when the model's stream broke. ``AnswerText`` holds what the
reader was shown and compares every telling with it, so each shape shows the text once (TURN-4, TURN-12).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from chat_server.claude.answer import AnswerText
from chat_server.claude.events import Ended, Note, Started, StreamEvent, Thought, ToolStep
from chat_server.protocol import Usage
from chat_server.text_buffer import TextBuffer

DETAIL_CHARS = 2000
"""How much of a tool's input or output is told."""

MAX_COUNT = 2**53
"""No count of the CLI is larger; a database could not keep it."""

PIECE_BYTES = 65_536
"""A longer line is not tried as a piece of text first: what is no piece is decoded a second time."""


class _Delta(msgspec.Struct, frozen=True, gc=False):
    type: Literal["text_delta"]
    text: str


class _Event(msgspec.Struct, frozen=True, gc=False):
    type: Literal["content_block_delta"]
    delta: _Delta


class _Piece(msgspec.Struct, frozen=True, gc=False):
    """A line that is a piece of the answer and nothing else: no other can be decoded so."""

    type: Literal["stream_event"]
    event: _Event
    parent_tool_use_id: None = None
    abandoned_blocks: None = None
    uuid: str | None = None


_decode_piece = msgspec.json.Decoder(_Piece).decode


class TurnParser:
    """What the lines of one turn mean; feed it the lines as they come, until ``Ended``.

    Nearly all lines are pieces of text, and most come in bunches: those are decoded for what they tell alone, and a
    bunch of them is one event. Everything else is rare, and decoded whole.

    The answer is added to ``told``, which may have the log of the turn, too: what is told is kept once.
    """

    __slots__ = ("_answer", "_last_piece", "_message", "_seen", "_tools", "_usage", "ended")

    def __init__(self, told: TextBuffer | None = None) -> None:
        self._answer = AnswerText(TextBuffer() if told is None else told)
        self._seen: set[str] = set()  # uuids of lines already told, but for pieces
        self._last_piece: str | None = None  # uuid of the last piece of text
        self._tools: dict[str, str] = {}  # names of running tool calls by id
        self._usage: dict[str, Usage] = {}  # by message id, as the stream itself reports it
        self._message = ""  # id of the message being told
        self.ended = False

    @property
    def text(self) -> str:
        """The answer so far, as the reader has it."""
        return str(self._answer.shown)

    @property
    def length(self) -> int:
        """How many code points the answer has so far."""
        return len(self._answer.shown)

    @property
    def usage(self) -> Usage:
        """What the stream itself has reported so far; stands in for a result that never comes."""
        told = self._usage.values()
        return Usage(sum(each.input_tokens for each in told), sum(each.output_tokens for each in told))

    def feed(self, lines: Sequence[bytes | bytearray]) -> Iterable[StreamEvent]:
        """The events of some lines, to be taken one by one; none for a line that is noise or of an unknown type."""
        if len(lines) == 1 and not self.ended and (piece := self._piece(lines[0])) is not None:
            return self._answer.delta(piece)  # nearly always
        return self._feed(lines)

    def _feed(self, lines: Sequence[bytes | bytearray]) -> Iterator[StreamEvent]:
        pieces: list[str] = []
        for line in lines:
            if self.ended:
                return
            piece = self._piece(line)
            if piece is not None:
                pieces.append(piece)
                continue
            yield from self._answer.delta("".join(pieces))
            pieces.clear()
            yield from self._line(line)
        yield from self._answer.delta(pieces[0] if len(pieces) == 1 else "".join(pieces))

    def _piece(self, line: bytes | bytearray) -> str | None:
        """The text of a line that is a piece of the answer and nothing else; empty when it was told before."""
        if len(line) > PIECE_BYTES:
            return None
        try:
            told = _decode_piece(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        uuid = told.uuid
        if uuid is not None:
            if uuid == self._last_piece:
                return ""
            self._last_piece = uuid
        return told.event.delta.text

    def _line(self, line: bytes | bytearray) -> Iterator[StreamEvent]:
        message = _decode(line)
        if message is None or self._is_known(message.get("uuid")):
            return
        if message.get("parent_tool_use_id") is not None:
            return  # a subagent's lines are not the answer
        match message.get("type"):
            case "stream_event":
                yield from self._stream_event(_dict(message.get("event")))
                abandoned = message.get("abandoned_blocks")
                if isinstance(abandoned, dict):
                    self._answer.discard_blocks(_int(abandoned.get("from_block_index")))
            case "assistant":
                yield from self._assistant(message)
            case "user":
                yield from self._user(message)
            case "system":
                yield from self._system(message)
            case "result":
                yield from self._result(message)

    def _is_known(self, uuid: object) -> bool:
        """Whether a line with this uuid was fed before."""
        if not isinstance(uuid, str):
            return False
        known = uuid in self._seen
        self._seen.add(uuid)
        return known

    def _stream_event(self, event: dict[str, Any]) -> Iterator[StreamEvent]:
        match event.get("type"):
            case "message_start":
                yield from self._begin(_dict(event.get("message")))
            case "content_block_start":
                block = _dict(event.get("content_block"))
                if block.get("type") == "text":
                    self._answer.open_block(_int(event.get("index")))
                    yield from self._answer.delta(_str(block.get("text")))
            case "content_block_delta":
                delta = _dict(event.get("delta"))
                if delta.get("type") == "text_delta":
                    yield from self._answer.delta(_str(delta.get("text")))
                elif delta.get("type") == "thinking_delta" and delta.get("thinking"):
                    yield Thought(_str(delta["thinking"]))
            case "message_delta":
                self._charge(_dict(event.get("usage")))
                if _dict(event.get("delta")).get("stop_reason") == "max_tokens":
                    self._answer.on_length_limit()

    def _assistant(self, line: dict[str, Any]) -> Iterator[StreamEvent]:
        if line.get("is_api_error_message") or line.get("error"):
            return  # the result says it, as an error
        message = _dict(line.get("message"))
        blocks = _list(message.get("content"))
        if not blocks:
            return  # it tells nothing, and must not end the message that is being told
        yield from self._begin(message)
        for block in blocks:
            match _dict(block).get("type"):
                case "text":
                    yield from self._answer.full_block(_str(block.get("text")))
                case "tool_use":
                    tool_id, name = _str(block.get("id")), _str(block.get("name"))
                    self._tools[tool_id] = name
                    yield ToolStep(tool_id, name, "started", _tool_detail(_dict(block.get("input"))))

    def _user(self, line: dict[str, Any]) -> Iterator[StreamEvent]:
        for block in _list(_dict(line.get("message")).get("content")):
            if _dict(block).get("type") == "tool_result":
                tool_id = _str(block.get("tool_use_id"))
                state = "failed" if block.get("is_error") else "finished"
                detail = _plain(block.get("content"))[:DETAIL_CHARS]
                yield ToolStep(tool_id, self._tools.pop(tool_id, ""), state, detail)

    def _system(self, line: dict[str, Any]) -> Iterator[StreamEvent]:
        match line.get("subtype"):
            case "init":
                yield Started(_str(line.get("session_id")))
            case "compact_boundary":
                yield Note("compacted", "Claude now has a summary of the earlier part of this conversation")
            case "api_retry":
                attempt, limit = line.get("attempt"), line.get("max_retries")
                yield Note("retrying", f"attempt {attempt} of {limit}: {_str(line.get('error'))}")

    def _result(self, line: dict[str, Any]) -> Iterator[StreamEvent]:
        if _dict(line.get("origin")).get("kind") == "task-notification":
            return  # a background task of an earlier turn has woken the session
        self.ended = True
        error = ""
        if line.get("is_error"):
            errors = [_str(each) for each in _list(line.get("errors"))]
            error = (
                _str(line.get("result")) or "; ".join(errors) or "Claude reported an error without a sentence"
            )
        else:
            yield from self._answer.final(_str(line.get("result")))
        reported = _dict(line.get("usage"))
        usage = Usage(_int(reported.get("input_tokens")), _int(reported.get("output_tokens")))
        aborted = _str(line.get("terminal_reason")).startswith("aborted")
        if usage == Usage():  # an interrupted turn reports zero although tokens were spent
            usage = self.usage
        yield Ended(usage, _str(line.get("stop_reason")) or "end_turn", error, aborted)

    def _begin(self, message: dict[str, Any]) -> Iterator[StreamEvent]:
        self._message = _str(message.get("id"))
        self._charge(_dict(message.get("usage")))
        yield from self._answer.start_message(self._message)

    def _charge(self, usage: dict[str, Any]) -> None:
        """Usage is told per message and repeated on every line of it: the highest counts, once."""
        known = self._usage.get(self._message, Usage())
        self._usage[self._message] = Usage(
            max(known.input_tokens, _int(usage.get("input_tokens"))),
            max(known.output_tokens, _int(usage.get("output_tokens"))),
        )


def _decode(line: bytes | bytearray) -> dict[str, Any] | None:
    try:
        message = msgspec.json.decode(line)
    except RecursionError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError):  # noise, bytes that are not UTF-8, or lone surrogates
        try:
            message = json.loads(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return None
        message = _without_surrogates(message)
    return message if isinstance(message, dict) else None


def _without_surrogates(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [_without_surrogates(each) for each in value]
        case dict():
            return {key: _without_surrogates(each) for key, each in value.items()}
    return value


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _str(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _int(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value <= MAX_COUNT else 0


def _plain(content: Any) -> str:
    """The text of a tool's result, which is a string or a list of blocks."""
    if isinstance(content, str):
        return content
    return "\n".join(_str(_dict(block).get("text")) for block in _list(content)).strip()


def _tool_detail(given: dict[str, Any]) -> str:
    for name in ("command", "file_path", "path", "pattern", "url", "query"):
        if isinstance(given.get(name), str):
            return str(given[name])[:DETAIL_CHARS]
    return msgspec.json.encode(given).decode()[:DETAIL_CHARS] if given else ""
