"""Lines that the CLI prints become events of a turn.

Text is no event: it is appended to the buffer of the turn's log, by way of ``AnswerText``, which drops what the CLI
prints again (TURN-4, TURN-12; claude/answer.py has the theory). All other events are yielded one by one, and lazily:
when an event is yielded, the buffer holds exactly the text that comes before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from chat_server.claude.answer import AnswerText
from chat_server.claude.events import Init, ParsedEvent, Result
from chat_server.protocol import Status, Thinking, Tool, Usage
from chat_server.text_buffer import TextBuffer

MAX_DETAIL_CHARS = 2000
"""How much of a tool's input or output is sent."""

MAX_COUNT = 2**53
"""No count of the CLI is larger; a database could not keep it."""

FAST_PATH_MAX_BYTES = 65_536
"""Longer lines are not decoded as a delta first: they seldom are one, and would be decoded twice."""


class _Delta(msgspec.Struct, frozen=True, gc=False):
    type: Literal["text_delta"]
    text: str


class _Event(msgspec.Struct, frozen=True, gc=False):
    type: Literal["content_block_delta"]
    delta: _Delta


class _DeltaLine(msgspec.Struct, frozen=True, gc=False):
    """A line that is a delta of the answer and nothing else.

    The types are exact, so the decoder refuses every other line: a subagent's, one that discards blocks, other kinds.
    """

    type: Literal["stream_event"]
    event: _Event
    parent_tool_use_id: None = None
    abandoned_blocks: None = None
    uuid: str | None = None


_decode_delta = msgspec.json.Decoder(_DeltaLine).decode


class TurnParser:
    """Reads the lines of one turn, as they come, until it yields ``Result``.

    Nearly all lines are deltas of the answer: a typed decoder takes just their text, and the text of neighbours is
    appended in one. Everything else is rare, and decoded into dictionaries.

    ``buffer`` is the text of the turn's log: the answer is in memory once.
    """

    __slots__ = ("_answer", "_last_delta_uuid", "_message", "_seen_uuids", "_tools", "_usage", "ended")

    def __init__(self, buffer: TextBuffer | None = None) -> None:
        self._answer = AnswerText(TextBuffer() if buffer is None else buffer)
        # A line that is repeated as it is has the same uuid. All uuids are kept but those of deltas, which are many:
        # of these a repeat follows at once.
        self._seen_uuids: set[str] = set()
        self._last_delta_uuid: str | None = None
        self._tools: dict[str, str] = {}  # names of running tool calls by id
        # By message id, as the stream itself reports it.
        self._usage: dict[str, Usage] = {}
        self._message = ""  # id of the current message
        self.ended = False

    @property
    def text(self) -> str:
        """The visible answer so far."""
        return str(self._answer.visible)

    @property
    def length(self) -> int:
        """How many code points the answer has so far."""
        return len(self._answer.visible)

    @property
    def usage(self) -> Usage:
        """What the stream itself has reported so far; stands in for a result that never comes."""
        reported = self._usage.values()
        return Usage(
            sum(each.input_tokens for each in reported), sum(each.output_tokens for each in reported)
        )

    def feed(self, lines: Sequence[bytes | bytearray]) -> Iterable[ParsedEvent]:
        """Append the text of some lines to the buffer, and yield their other events.

        Take the events one by one: a line is read when its event is asked for. Noise, unknown types and lines after
        the result yield nothing.
        """
        # The path of nearly every token: one read, one line, one delta.
        if len(lines) == 1 and not self.ended and (text := self._delta_text(lines[0])) is not None:
            return self._answer.delta(text)
        return self._feed(lines)

    def _feed(self, lines: Sequence[bytes | bytearray]) -> Iterator[ParsedEvent]:
        texts: list[str] = []
        for line in lines:
            if self.ended:
                return
            text = self._delta_text(line)
            if text is not None:
                texts.append(text)
                continue
            # First the text: an event must find all that came before it in the buffer.
            yield from self._answer.delta("".join(texts))
            texts.clear()
            yield from self._line(line)
        yield from self._answer.delta(texts[0] if len(texts) == 1 else "".join(texts))

    def _delta_text(self, line: bytes | bytearray) -> str | None:
        """The text of a line that is a delta of the answer and nothing else; empty for a duplicate."""
        if len(line) > FAST_PATH_MAX_BYTES:
            return None
        try:
            delta = _decode_delta(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        uuid = delta.uuid
        if uuid is not None:
            if uuid == self._last_delta_uuid:
                return ""
            self._last_delta_uuid = uuid
        return delta.event.delta.text

    def _line(self, line: bytes | bytearray) -> Iterator[ParsedEvent]:
        message = _decode(line)
        if message is None or self._is_duplicate(message.get("uuid")):
            return
        if message.get("parent_tool_use_id") is not None:
            # A subagent's lines: its text is no answer, and its tools are shown as one tool of ours.
            return
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

    def _is_duplicate(self, uuid: object) -> bool:
        """Whether a line with this uuid was read before."""
        if not isinstance(uuid, str):
            return False
        seen = uuid in self._seen_uuids
        self._seen_uuids.add(uuid)
        return seen

    def _stream_event(self, event: dict[str, Any]) -> Iterator[ParsedEvent]:
        match event.get("type"):
            case "message_start":
                yield from self._on_message(_dict(event.get("message")))
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
                    yield Thinking(thinking=_str(delta["thinking"]))
            case "message_delta":
                self._record_usage(_dict(event.get("usage")))
                if _dict(event.get("delta")).get("stop_reason") == "max_tokens":
                    self._answer.on_length_limit()

    def _assistant(self, line: dict[str, Any]) -> Iterator[ParsedEvent]:
        if line.get("is_api_error_message") or line.get("error"):
            return  # no answer: the result reports the error
        message = _dict(line.get("message"))
        blocks = _list(message.get("content"))
        if not blocks:
            # Empty messages come in the middle of a stream: they must not end the current one.
            return
        yield from self._on_message(message)
        for block in blocks:
            match _dict(block).get("type"):
                case "text":
                    yield from self._answer.full_block(_str(block.get("text")))
                case "tool_use":
                    tool_id, name = _str(block.get("id")), _str(block.get("name"))
                    self._tools[tool_id] = name
                    detail = _tool_detail(_dict(block.get("input")))
                    yield Tool(id=tool_id, name=name, state="started", detail=detail)

    def _user(self, line: dict[str, Any]) -> Iterator[ParsedEvent]:
        for block in _list(_dict(line.get("message")).get("content")):
            if _dict(block).get("type") == "tool_result":
                tool_id = _str(block.get("tool_use_id"))
                state = "failed" if block.get("is_error") else "finished"
                detail = _plain(block.get("content"))[:MAX_DETAIL_CHARS]
                yield Tool(id=tool_id, name=self._tools.pop(tool_id, ""), state=state, detail=detail)

    def _system(self, line: dict[str, Any]) -> Iterator[ParsedEvent]:
        match line.get("subtype"):
            case "init":
                yield Init(_str(line.get("session_id")))
            case "compact_boundary":
                detail = "Claude now has a summary of the earlier part of this conversation"
                yield Status(status="compacted", detail=detail)
            case "api_retry":
                attempt, limit = line.get("attempt"), line.get("max_retries")
                detail = f"attempt {attempt} of {limit}: {_str(line.get('error'))}"
                yield Status(status="retrying", detail=detail)

    def _result(self, line: dict[str, Any]) -> Iterator[ParsedEvent]:
        if _dict(line.get("origin")).get("kind") == "task-notification":
            # A background task of an earlier turn has ended; the result of this turn is still to come.
            return
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
        # An interrupted turn reports zero although tokens were spent.
        if usage == Usage():
            usage = self.usage
        yield Result(usage, _str(line.get("stop_reason")) or "end_turn", error, aborted)

    def _on_message(self, message: dict[str, Any]) -> Iterator[ParsedEvent]:
        self._message = _str(message.get("id"))
        self._record_usage(_dict(message.get("usage")))
        yield from self._answer.start_message(self._message)

    def _record_usage(self, usage: dict[str, Any]) -> None:
        """Count the usage of a message once: each of its lines repeats it, and the counts only grow."""
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
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Noise, bytes that are not UTF-8, or lone surrogates, which the CLI writes where it cuts between the halves of
        # a pair. json takes the latter two; they become U+FFFD, since no UTF-8 frame could carry them.
        try:
            message = json.loads(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return None
        message = _without_surrogates(message)
    return message if isinstance(message, dict) else None


def _without_surrogates(value: Any) -> Any:
    match value:
        case str():
            # By way of UTF-16: two halves side by side become their character there, and a lone one becomes U+FFFD.
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
    # What says most of a call of the CLI's own tools. Of others the whole input is shown.
    for name in ("command", "file_path", "path", "pattern", "url", "query"):
        if isinstance(given.get(name), str):
            return str(given[name])[:MAX_DETAIL_CHARS]
    return msgspec.json.encode(given).decode()[:MAX_DETAIL_CHARS] if given else ""
