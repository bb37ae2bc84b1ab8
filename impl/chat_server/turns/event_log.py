"""A turn's events as an append-only log that readers follow with cursors.

There are no queues. A reader keeps a cursor: the ``seq`` of the last event that it has read. A second reader, or one
that comes late or comes back, is just an older cursor (SUB-1, SUB-4). Example: Claude says "Hello", then runs a tool.

    appended        entries                          reader A           reader B
    "Hel"           1 token "Hel"                    reads 1            (not there yet)
    "l"             2 token "l"                      has not read 2
    "o"             2 token "lo"                     reads 2            reads 1, 2: "Hel", "lo"
    tool            3 tool started                   reads 3            (its socket is full)

While nobody has read the newest entry, further text is added to it: that batches a flood into few frames, and keeps the
log short when nobody follows. An entry that was read never changes, so all readers see the same entries.

Nearly all entries are text. So the text is kept once, in one buffer that the parser appends to, and an entry of text is
nothing but the offset at which it ends.

Back pressure: a reader that cannot take more says so by ``set_lagging``. When all readers lag, the log pauses its
source, the pipe that the CLI writes to; the first that has caught up resumes it. A log without readers is never
paused: it is read to the end for history.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterable
from typing import Protocol

from msgspec.structs import replace

from chat_server.frames import text_frame
from chat_server.protocol import Accepted, Complete, Event, Failed, Rewind, Thinking, Token, encode
from chat_server.subscribers import Subscribers
from chat_server.text_buffer import TextBuffer

BATCH_CHARS = 16_384
"""The most text of one entry: an unread one grows up to this, and longer text is split. It bounds what is in the
buffers of a socket whose reader has stopped."""


class LogReader(Protocol):
    """Who follows a log: a connection (web/connection.py), or a waiting POST (``wait_ended``)."""

    def on_log_update(self, log: TurnLog) -> None:
        """The log has new events, or a new end."""


class Source(Protocol):
    """Where the text comes from: the pipe of a process (processes/pipes.py)."""

    def pause(self) -> None:
        """Read no more for now."""

    def resume(self) -> None:
        """Read on."""


class TurnLog:
    """The events of one turn, in order.

    Attributes:
        accepted: The event without a ``seq`` that comes before all others.
        text: All text that was appended, rewound text included.
        last: The ``seq`` of the newest event; 0 when there is none.
        ended: Whether the newest event is the terminal one.
        paused: Whether there are readers and all of them lag.
    """

    __slots__ = (
        "_events",
        "_frame",
        "_frame_seq",
        "_lagging",
        "_max_read_seq",
        "_readers",
        "_source",
        "_text_ends",
        "accepted",
        "ended",
        "last",
        "paused",
        "text",
    )

    def __init__(self, message_id: str, conversation_id: str) -> None:
        self.accepted = Accepted(message_id=message_id, conversation_id=conversation_id)
        self.ended = False
        self.paused = False
        self.text = TextBuffer()
        self.last = 0
        # By seq: where the text up to this entry ends.
        # Four bytes per entry: a long answer has thousands, and an object for each would be larger than its text.
        self._text_ends = array("I", [0])
        self._events: dict[int, Event] = {}  # all but tokens, by seq
        self._max_read_seq = 0
        # The newest frame, encoded once for all readers that are up to date.
        self._frame_seq, self._frame = 0, b""
        self._readers: Subscribers[LogReader] = Subscribers()
        self._lagging: Subscribers[LogReader] = Subscribers()
        self._source: Source | None = None

    def subscribe(self, reader: LogReader) -> None:
        """Notify ``reader`` of every change, until ``unsubscribe``."""
        self._readers.add(reader)
        # A new reader does not lag yet: it resumes a source that was paused for the others.
        self._update_pause()

    def unsubscribe(self, reader: LogReader) -> None:
        """Notify ``reader`` no more; it lags no more either."""
        self._readers.remove(reader)
        self._lagging.remove(reader)
        # If it was the last of all, the source is resumed: without readers the log is read to the end for history.
        self._update_pause()

    def set_lagging(self, reader: LogReader, *, lagging: bool) -> None:
        """Say that ``reader`` cannot take more for now, or can again."""
        if lagging:
            self._lagging.add(reader)
        else:
            self._lagging.remove(reader)
        self._update_pause()

    def set_source(self, source: Source | None) -> None:
        """Pause and resume this source from now on, and the previous one no more."""
        # A pipe that stayed paused would block its process in a write, and nobody would resume it.
        if self.paused and self._source is not None:
            self._source.resume()
        self._source = source
        if self.paused and source is not None:
            source.pause()

    def read(self, after: int, limit: int | None = None) -> list[Event]:
        """The events with ``seq`` greater than ``after``, oldest first, at most ``limit``; they never change again."""
        last = self.last if limit is None else min(self.last, after + limit)
        if last <= after:
            return []
        # From here on these entries are fixed: `extend_text` adds only to an entry beyond this mark.
        self._max_read_seq = max(self._max_read_seq, last)
        # One slice for all entries, cut up below: the buffer is searched once.
        base = self._text_ends[after]
        text = self.text.slice(base, self._text_ends[last])
        return [
            self._events.get(seq)
            or self._token(seq, text[self._text_ends[seq - 1] - base : self._text_ends[seq] - base])
            for seq in range(after + 1, last + 1)
        ]

    def newest(self) -> bytes:
        """The frame of the newest event, which is encoded once for all its readers."""
        last = self.last
        if self._frame_seq != last:
            event = self._events.get(last)
            if event is None:
                event = self._token(last, self.text.slice(self._text_ends[last - 1], self._text_ends[last]))
            self._frame = text_frame(encode(event))
            self._frame_seq = self._max_read_seq = last
        return self._frame

    async def wait_ended(self, seconds: float) -> bool:
        """Wait for the terminal event for at most ``seconds``; whether it has come."""
        if self.ended:
            return True
        reader = _EndReader()
        self.subscribe(reader)
        try:
            async with asyncio.timeout(seconds):
                await reader.ended.wait()
        except TimeoutError:
            return self.ended
        finally:
            self.unsubscribe(reader)
        return True

    def append(self, event: Event) -> None:
        """Append an event that is no token, after the text that came before it; its ids and ``seq`` are set here."""
        self.extend_text()
        assert not self.ended, f"a {type(event).__name__} after the terminal event"  # TURN-2
        if isinstance(event, Thinking) and len(event.thinking) > BATCH_CHARS:
            for start in range(0, len(event.thinking), BATCH_CHARS):
                self.append(Thinking(thinking=event.thinking[start : start + BATCH_CHARS]))
            return
        turn, seq = self.accepted, self.last + 1
        self._events[seq] = replace(
            event, message_id=turn.message_id, conversation_id=turn.conversation_id, seq=seq
        )
        # An event that is no text ends where the text before it does, so one index serves entries of both kinds.
        self._text_ends.append(self._text_ends[-1])
        self.last = seq
        self.ended = isinstance(event, Complete | Failed)
        self._notify()

    def extend_text(self) -> None:
        """Make entries of what was appended to the text since the last entry, if anything was."""
        ends, length, last = self._text_ends, self.text.length, self.last
        if ends[last] == length:
            return
        assert not self.ended, "a token after the terminal event"  # TURN-2
        # Nobody has read the last entry, and it is text: it grows.
        if last > self._max_read_seq and last not in self._events:
            ends[last] = min(length, ends[last - 1] + BATCH_CHARS)
        while ends[last] < length:
            ends.append(min(length, ends[last] + BATCH_CHARS))
            last += 1
        self.last = last
        self._notify()

    def _token(self, seq: int, text: str) -> Token:
        turn = self.accepted
        return Token(token=text, message_id=turn.message_id, conversation_id=turn.conversation_id, seq=seq)

    def _notify(self) -> None:
        for reader in self._readers:
            reader.on_log_update(self)

    def _update_pause(self) -> None:
        # One slow reader must not delay the others, so all of them must lag.
        paused = bool(self._readers) and len(self._lagging) == len(self._readers)
        if paused == self.paused:
            return
        self.paused = paused
        if self._source is not None:
            if paused:
                self._source.pause()
            else:
                self._source.resume()


class _EndReader:
    """Waits for the terminal event."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    def on_log_update(self, log: TurnLog) -> None:
        if log.ended:
            self.ended.set()


def answer_text(events: Iterable[Event]) -> str:
    """The answer that a turn's events spell, rewinds applied (TURN-4)."""
    text = ""
    pieces: list[str] = []
    for event in events:
        match event:
            case Token():
                # Joined at a rewind or the end only: joined at each token, a long answer would be copied thousands of
                # times.
                pieces.append(event.token)
            case Rewind():
                text = (text + "".join(pieces))[: event.to]
                pieces = []
            case _:
                pass
    return text + "".join(pieces)
