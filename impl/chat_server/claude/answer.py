"""The visible answer, however often the CLI repeats it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from chat_server.claude.events import Rewound, StreamEvent, Text
from chat_server.text_buffer import TextBuffer, VisibleText


class _Block(msgspec.Struct):
    """A text block: its index among the blocks of all kinds of its message, and where it stands in the answer."""

    number: int
    begin: int  # of the paragraph break before it, where it needs one
    start: int  # of its text


class AnswerText:
    """The answer as shown, and how far the telling under way agrees with what was shown before.

    A telling stands at some place of the shown text. While it says what stands there already, it only moves on; where
    it differs, or when its message ends early, the rest is taken back. So a stream that breaks off and is told again
    in the same words, however often and wherever it breaks, is never taken back.
    """

    __slots__ = ("_blocks", "_break", "_joint", "_message", "_old", "_told", "_wholes", "shown")

    def __init__(self, told: TextBuffer) -> None:
        self._told = told
        self.shown = VisibleText(told)  # what the reader has
        self._message = ""  # id of the message being told; empty after a stream broke
        self._blocks: list[_Block] = []  # the text blocks of this message so far
        self._wholes = 0  # how many of them an assistant line has told
        self._old = ""  # shown before, and not yet told again
        self._break = False  # a paragraph break is due before the next piece
        self._joint = 0  # where no break is due: at the beginning, or where a sentence is continued

    def start_message(self, message_id: str) -> Iterator[StreamEvent]:
        """A message begins, or goes on under the same id."""
        if message_id != self._message:
            if self._message:
                yield from self._rewind()
            self._message, self._blocks, self._wholes = message_id, [], 0

    def on_length_limit(self) -> None:
        """The message hit its length limit: the next one continues in mid-sentence."""
        self._joint = self._offset

    def open_block(self, number: int = 0) -> None:
        """A text block begins, here or, when it is told again, where it began before."""
        self._break = self._offset != self._joint
        self._blocks.append(_Block(number, self._offset, self._offset))

    def delta(self, text: str) -> Iterable[StreamEvent]:
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
            if not self._confirmed().endswith("\n"):
                yield from self._emit("\n\n")
            self._blocks[-1].start = self._offset
        yield from self._emit(text)

    def full_block(self, text: str) -> Iterator[StreamEvent]:
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
        yield from self.delta(text)

    def final(self, text: str) -> Iterator[StreamEvent]:
        """The last message's text as the result tells it: adds what no other telling has shown."""
        if text and not (self._confirmed().endswith(text) if self._old else self.shown.ends_with(text)):
            told = self._confirmed()
            if self._wholes < len(self._blocks):
                yield from self.full_block(text)
            elif not told or text.strip() not in told:
                self.open_block()
                yield from self.delta(text)
        if text or self._message:  # else the message was never told again after it broke
            yield from self._rewind()

    def discard_blocks(self, first: int) -> None:
        """The stream broke: the blocks from this number on will be told again, in a new message."""
        broken = [block for block in self._blocks if block.number >= first]
        if broken:
            self._old = self.shown.since(broken[0].begin)
        self._message, self._blocks, self._wholes = "", [], 0

    @property
    def _offset(self) -> int:
        """How many code points of the shown text the telling under way has told."""
        return len(self.shown) - len(self._old)

    def _confirmed(self) -> str:
        """What of the shown text the telling under way has told."""
        return str(self.shown)[: self._offset]

    def _emit(self, text: str) -> Iterator[StreamEvent]:
        if self._old:
            same = _common_length(self._old, text)
            self._old, text = self._old[same:], text[same:]
            if text:
                yield from self._rewind()
        if text:
            self._told.append(text)
            yield Text(text)

    def _rewind(self) -> Iterator[StreamEvent]:
        """What was shown and is not told again is no part of the answer."""
        if self._old:
            self.shown.cut(self._offset)
            self._old = ""
            yield Rewound(len(self.shown))


def _common_length(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    return next(index for index in range(length) if one[index] != other[index])
