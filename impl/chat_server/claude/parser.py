"""Lines that the CLI prints become events of a turn.

The CLI tells an answer up to three times: as deltas, as one ``assistant`` line per content block, and once more in the
``result``; and it tells a block again from the beginning when the model's stream broke. ``_Answer`` holds what the
reader was shown and compares every telling with it, so each shape shows the text once (TURN-4, TURN-12).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from chat_server.protocol import Usage
from chat_server.text_buffer import GrowingText, Shown

DETAIL_CHARS = 2000
"""How much of a tool's input or output is told."""

MAX_COUNT = 2**53
"""No count of the CLI is larger; a database could not keep it."""

PIECE_BYTES = 65_536
"""A longer line is not tried as a piece of text first: what is no piece is decoded a second time."""


class Started(msgspec.Struct, frozen=True):
    """The CLI has begun the turn, in this session."""

    session_id: str


class Text(msgspec.Struct, frozen=True):
    """A piece of the answer, which the text of what was told ends with."""

    text: str


class Thought(msgspec.Struct, frozen=True):
    """A piece of thinking."""

    text: str


class ToolStep(msgspec.Struct, frozen=True):
    """A tool call began (``started``) or ended (``finished``, ``failed``)."""

    id: str
    name: str
    state: str
    detail: str


class Note(msgspec.Struct, frozen=True):
    """Something the user may like to know meanwhile."""

    status: str
    detail: str


class Rewound(msgspec.Struct, frozen=True):
    """The answer is only its first ``to`` code points; what follows is told anew."""

    to: int


class Ended(msgspec.Struct, frozen=True):
    """The result of the turn.

    ``error`` is empty when the turn went well, else the CLI's sentence. ``aborted`` says that an interrupt ended it.
    """

    usage: Usage
    stop_reason: str
    error: str = ""
    aborted: bool = False


StreamEvent = Started | Text | Thought | ToolStep | Note | Rewound | Ended


class LineTooLong(Exception):
    """The CLI wrote a line beyond the cap."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a line of more than {limit:,} bytes")


class Lines:
    """Whole lines from a stream of bytes, however it is cut."""

    __slots__ = ("_begun", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begun = bytearray()  # a line of megabytes grows in place

    def feed(self, data: bytes) -> list[bytes | bytearray]:
        """The lines that ``data`` completes, without their newline.

        Raises:
            LineTooLong: A line exceeds the limit, whole or so far.
        """
        lines: list[bytes | bytearray] = [*data.split(b"\n")]
        rest = lines.pop()
        if rest or self._begun or len(data) > self._limit:  # hardly ever: a read ends where a line does
            self._join(lines, rest, len(data))
        return lines

    def _join(self, lines: list[bytes | bytearray], rest: bytes | bytearray, size: int) -> None:
        most = len(self._begun) + size  # no line is longer
        if self._begun and lines:
            self._begun += lines[0]
            lines[0] = self._begun
            self._begun = bytearray()
        self._begun += rest
        if most > self._limit and max(map(len, (self._begun, *lines))) > self._limit:
            raise LineTooLong(self._limit)


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

    def __init__(self, told: GrowingText | None = None) -> None:
        self._answer = _Answer(GrowingText() if told is None else told)
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
            return self._answer.piece(piece)  # nearly always
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
            yield from self._answer.piece("".join(pieces))
            pieces.clear()
            yield from self._line(line)
        yield from self._answer.piece(pieces[0] if len(pieces) == 1 else "".join(pieces))

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
                    self._answer.abandon(_int(abandoned.get("from_block_index")))
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
                    yield from self._answer.piece(_str(block.get("text")))
            case "content_block_delta":
                delta = _dict(event.get("delta"))
                if delta.get("type") == "text_delta":
                    yield from self._answer.piece(_str(delta.get("text")))
                elif delta.get("type") == "thinking_delta" and delta.get("thinking"):
                    yield Thought(_str(delta["thinking"]))
            case "message_delta":
                self._charge(_dict(event.get("usage")))
                if _dict(event.get("delta")).get("stop_reason") == "max_tokens":
                    self._answer.break_off()

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
                    yield from self._answer.whole(_str(block.get("text")))
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
            yield from self._answer.last(_str(line.get("result")))
        reported = _dict(line.get("usage"))
        usage = Usage(_int(reported.get("input_tokens")), _int(reported.get("output_tokens")))
        aborted = _str(line.get("terminal_reason")).startswith("aborted")
        if usage == Usage():  # an interrupted turn reports zero although tokens were spent
            usage = self.usage
        yield Ended(usage, _str(line.get("stop_reason")) or "end_turn", error, aborted)

    def _begin(self, message: dict[str, Any]) -> Iterator[StreamEvent]:
        self._message = _str(message.get("id"))
        self._charge(_dict(message.get("usage")))
        yield from self._answer.message(self._message)

    def _charge(self, usage: dict[str, Any]) -> None:
        """Usage is told per message and repeated on every line of it: the highest counts, once."""
        known = self._usage.get(self._message, Usage())
        self._usage[self._message] = Usage(
            max(known.input_tokens, _int(usage.get("input_tokens"))),
            max(known.output_tokens, _int(usage.get("output_tokens"))),
        )


class _Block(msgspec.Struct):
    """A text block: its index among the blocks of all kinds of its message, and where it stands in the answer."""

    number: int
    begin: int  # of the paragraph break before it, where it needs one
    start: int  # of its text


class _Answer:
    """The answer as shown, and how far the telling under way agrees with what was shown before.

    A telling stands at some place of the shown text. While it says what stands there already, it only moves on; where
    it differs, or when its message ends early, the rest is taken back. So a stream that breaks off and is told again
    in the same words, however often and wherever it breaks, is never taken back.
    """

    __slots__ = ("_blocks", "_break", "_joint", "_message", "_old", "_told", "_wholes", "shown")

    def __init__(self, told: GrowingText) -> None:
        self._told = told
        self.shown = Shown(told)  # what the reader has
        self._message = ""  # id of the message being told; empty after a stream broke
        self._blocks: list[_Block] = []  # the text blocks of this message so far
        self._wholes = 0  # how many of them an assistant line has told
        self._old = ""  # shown before, and not yet told again
        self._break = False  # a paragraph break is due before the next piece
        self._joint = 0  # where no break is due: at the beginning, or where a sentence is continued

    def message(self, message_id: str) -> Iterator[StreamEvent]:
        """A message begins, or goes on under the same id."""
        if message_id != self._message:
            if self._message:
                yield from self._take_back()
            self._message, self._blocks, self._wholes = message_id, [], 0

    def break_off(self) -> None:
        """The message hit its length limit: the next one continues in mid-sentence."""
        self._joint = self._place

    def open_block(self, number: int = 0) -> None:
        """A text block begins, here or, when it is told again, where it began before."""
        self._break = self._place != self._joint
        self._blocks.append(_Block(number, self._place, self._place))

    def piece(self, text: str) -> Iterable[StreamEvent]:
        """The next piece of the open block."""
        if not text:
            return ()
        if self._blocks and not (self._old or self._break):  # nearly always: it just follows what is shown
            self._told.append(text)
            return (Text(text),)
        return self._piece(text)

    def _piece(self, text: str) -> Iterator[StreamEvent]:
        if not self._blocks:
            self.open_block()
        if self._break:
            self._break = False
            if not self._so_far().endswith("\n"):
                yield from self._tell("\n\n")
            self._blocks[-1].start = self._place
        yield from self._tell(text)

    def whole(self, text: str) -> Iterator[StreamEvent]:
        """A block as an assistant line tells it: a second telling of the streamed one, if there was one."""
        if self._wholes == len(self._blocks):
            self.open_block()
        elif self._wholes == len(self._blocks) - 1:
            start = self._blocks[-1].start
            same = start + len(text) == len(self.shown) and self.shown.ends_with(text)
            if same and not self._break:
                self._old = text = ""  # nearly always
            else:
                self._old = self.shown.since(start)
        else:
            text = ""  # an older block, told late; its pieces are shown
        self._wholes += 1
        yield from self.piece(text)

    def last(self, text: str) -> Iterator[StreamEvent]:
        """The last message's text as the result tells it: adds what no other telling has shown."""
        if text and not (self._so_far().endswith(text) if self._old else self.shown.ends_with(text)):
            told = self._so_far()
            if self._wholes < len(self._blocks):
                yield from self.whole(text)
            elif not told or text.strip() not in told:
                self.open_block()
                yield from self.piece(text)
        if text or self._message:  # else the message was never told again after it broke
            yield from self._take_back()

    def abandon(self, first: int) -> None:
        """The stream broke: the blocks from this number on will be told again, in a new message."""
        broken = [block for block in self._blocks if block.number >= first]
        if broken:
            self._old = self.shown.since(broken[0].begin)
        self._message, self._blocks, self._wholes = "", [], 0

    @property
    def _place(self) -> int:
        """How many code points of the shown text the telling under way has told."""
        return len(self.shown) - len(self._old)

    def _so_far(self) -> str:
        """What of the shown text the telling under way has told."""
        return str(self.shown)[: self._place]

    def _tell(self, text: str) -> Iterator[StreamEvent]:
        if self._old:
            same = _common_length(self._old, text)
            self._old, text = self._old[same:], text[same:]
            if text:
                yield from self._take_back()
        if text:
            self._told.append(text)
            yield Text(text)

    def _take_back(self) -> Iterator[StreamEvent]:
        """What was shown and is not told again is no part of the answer."""
        if self._old:
            self.shown.cut(self._place)
            self._old = ""
            yield Rewound(len(self.shown))


def _common_length(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    return next(index for index in range(length) if one[index] != other[index])


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
