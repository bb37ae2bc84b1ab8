"""The visible answer: every character once, however often the CLI repeats it.

The CLI prints an answer up to three times: as deltas, as one full block in an ``assistant`` line, and as the final text
of the ``result``. Which of the three come depends on its version, its options and the network. And when the model's
stream breaks, the CLI starts the message again from the first block that was not complete. So no line says whether its
text is new; only comparison does.

The theory: the visible text has two parts, split at an offset.

    visible = confirmed + unconfirmed

``confirmed`` is what the current copy has said; ``unconfirmed`` is what an earlier copy had said and this one has not
repeated yet. Text that arrives is compared with the head of ``unconfirmed``: while they agree, only the
offset moves; at the first difference the rest is rewound and the new text appended. Nearly always ``unconfirmed`` is
empty, and a delta is appended without any comparison.

    operation        what it does                                              sent to the reader
    delta "Hel"      nothing is unconfirmed: append                            "Hel"
    delta "lo"       the same                                                  "lo"
    full_block       "Hello" is visible already                                nothing
    discard_blocks   the stream broke: "Hello" becomes unconfirmed             nothing
    delta "Help"     "Hel" agrees, "lo" does not: rewind, append the rest      rewind to 3, then "p"
    final "Help"     is visible already                                        nothing

Invariants (tests/test_parser.py holds them for any order and any cut of the lines): applying what was sent gives
``visible``; a copy in the same words is never rewound, wherever it breaks; at the end nothing is unconfirmed.

Text blocks are paragraphs: a break of two newlines goes before a block, but not at the beginning of the answer, and not
where a message continues in mid-sentence what its predecessor left at the length limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from chat_server.protocol import Rewind
from chat_server.text_buffer import TextBuffer, VisibleText


class _Block(msgspec.Struct):
    """A text block: its index among the blocks of all kinds of its message, and where it is in the visible text."""

    index: int
    # Of the paragraph break before it, where it needs one.
    begin: int
    start: int  # of its text


class AnswerText:
    """The visible answer, and how far the current copy of it agrees with what was sent before."""

    __slots__ = (
        "_blocks",
        "_break_due",
        "_buffer",
        "_full_blocks",
        "_join_at",
        "_message",
        "_unconfirmed",
        "visible",
    )

    def __init__(self, buffer: TextBuffer) -> None:
        self._buffer = buffer
        self.visible = VisibleText(buffer)
        # Id of the current message; empty after a stream broke.
        self._message = ""
        self._blocks: list[_Block] = []  # the text blocks of this message so far
        self._full_blocks = 0  # how many of them came as full blocks
        # The end of the visible text that the current copy has not repeated yet.
        self._unconfirmed = ""
        # A paragraph break goes before the next text.
        self._break_due = False
        # Where no break is due: at the beginning, or where a sentence is continued.
        self._join_at = 0

    def start_message(self, message_id: str) -> Iterator[Rewind]:
        """A message begins, or continues under the same id."""
        if message_id != self._message:
            # After a break (no id) the new message may repeat what is unconfirmed; after a whole one it does not.
            if self._message:
                yield from self._rewind()
            self._message, self._blocks, self._full_blocks = message_id, [], 0

    def on_length_limit(self) -> None:
        """The message hit its length limit: the next one continues in mid-sentence."""
        self._join_at = self._offset

    def open_block(self, index: int = 0) -> None:
        """A text block begins at the offset: the end of the visible text, or where a discarded copy of it began."""
        self._break_due = self._offset != self._join_at
        self._blocks.append(_Block(index, self._offset, self._offset))

    def delta(self, text: str) -> Iterable[Rewind]:
        """The next text of the open block."""
        if not text:
            return ()
        # The path of nearly every token: no generator, no comparison.
        if self._blocks and not (self._unconfirmed or self._break_due):
            self._buffer.append(text)
            return ()
        return self._delta(text)

    def _delta(self, text: str) -> Iterator[Rewind]:
        if not self._blocks:
            self.open_block()
        if self._break_due:
            self._break_due = False
            if not self._confirmed().endswith("\n"):
                yield from self._emit("\n\n")
            self._blocks[-1].start = self._offset
        yield from self._emit(text)

    def full_block(self, text: str) -> Iterator[Rewind]:
        """A whole block, as an assistant line prints it: a copy of the streamed one, if there was one."""
        if self._full_blocks == len(self._blocks):
            self.open_block()
        elif self._full_blocks == len(self._blocks) - 1:
            start = self._blocks[-1].start
            same = start + len(text) == len(self.visible) and self.visible.ends_with(text)
            if same and not self._break_due:
                # Nearly always: the deltas said the same. Compared at the end only, so nothing is joined or copied.
                self._unconfirmed = text = ""
            else:
                self._unconfirmed = self.visible.tail(start)
        else:
            # Of an older block: its deltas are visible.
            text = ""
        self._full_blocks += 1
        yield from self.delta(text)

    def final(self, text: str) -> Iterator[Rewind]:
        """The last message's text, as the result prints it: adds what no other copy has sent."""
        # A copy that broke off (something is unconfirmed) counts only as far as it is confirmed.
        if text and not (
            self._confirmed().endswith(text) if self._unconfirmed else self.visible.ends_with(text)
        ):
            confirmed = self._confirmed()
            if self._full_blocks < len(self._blocks):
                yield from self.full_block(text)
            elif not confirmed or text.strip() not in confirmed:
                self.open_block()
                yield from self.delta(text)
        # Without a text and without a message the stream broke and was never repeated: what was sent stays.
        if text or self._message:
            yield from self._rewind()

    def discard_blocks(self, first: int) -> None:
        """The stream broke: the blocks from this index on come again, in a new message."""
        broken = [block for block in self._blocks if block.index >= first]
        if broken:
            self._unconfirmed = self.visible.tail(broken[0].begin)
        self._message, self._blocks, self._full_blocks = "", [], 0

    @property
    def _offset(self) -> int:
        """The length of the confirmed text, in code points."""
        return len(self.visible) - len(self._unconfirmed)

    def _confirmed(self) -> str:
        return str(self.visible)[: self._offset]

    def _emit(self, text: str) -> Iterator[Rewind]:
        """Confirm as much as agrees; append the rest, in place of what disagrees."""
        if self._unconfirmed:
            same = _common_length(self._unconfirmed, text)
            self._unconfirmed, text = self._unconfirmed[same:], text[same:]
            if text:
                yield from self._rewind()
        if text:
            self._buffer.append(text)

    def _rewind(self) -> Iterator[Rewind]:
        """What was sent and not repeated is no part of the answer."""
        if self._unconfirmed:
            self.visible.truncate(self._offset)
            self._unconfirmed = ""
            yield Rewind(to=len(self.visible))


def _common_length(one: str, other: str) -> int:
    """The length of the longest common prefix."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    return next(index for index in range(length) if one[index] != other[index])
