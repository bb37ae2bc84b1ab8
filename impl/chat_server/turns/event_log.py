"""A turn's events as an append-only log that readers follow with cursors."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Iterable
from typing import Any

from chat_server.frames import text_frame
from chat_server.protocol import (
    Accepted,
    Complete,
    Event,
    Failed,
    Rewind,
    Status,
    Thinking,
    Token,
    Tool,
    Usage,
    encode,
)
from chat_server.text_buffer import TextBuffer

BATCH_CHARS = 16_384
"""Most text of one entry: an unread one grows up to this, and a longer piece is cut. It bounds what is in the hands of
a socket whose reader has stopped."""

Listener = Callable[["TurnLog"], None]


class TurnLog:
    """The events of one turn, in order.

    There are no queues: a reader keeps the ``seq`` it has read up to, and a late or second reader is just an older
    cursor (SUB-1, SUB-4). While nobody has read the last entry, further text is added to it; that batches a flood
    and keeps the log short when nobody looks. An entry that was read never changes.

    Nearly all entries are pieces of text, so the text is kept in one, with the places where the entries end. It is
    shared with whoever writes it, and never copied.

    A listener that cannot take more for now says so by ``lag``. When all of them do, ``held`` is true and ``on_held``
    is called: whoever tells the log should wait. A log that nobody listens to is never held.

    Attributes:
        accepted: The event without a ``seq`` that comes before all others.
        text: All text that was told, what was taken back included.
        last: The ``seq`` of the newest event; 0 when there is none.
        ended: Whether the newest event is the terminal one.
    """

    __slots__ = (
        "_events",
        "_frame",
        "_frame_seq",
        "_lagging",
        "_listeners",
        "_read",
        "_text_ends",
        "accepted",
        "ended",
        "last",
        "on_pause",
        "paused",
        "text",
    )

    def __init__(self, message_id: str, conversation_id: str) -> None:
        self.accepted = Accepted(message_id=message_id, conversation_id=conversation_id)
        self.ended = False
        self.paused = False
        self.on_pause: Callable[[bool], None] | None = None
        self.text = TextBuffer()
        self.last = 0
        self._text_ends = array("I", [0])  # by seq: where the text told so far ends
        self._events: dict[int, Event] = {}  # what is no token, by seq
        self._read = 0  # the highest seq anyone has read
        self._frame_seq, self._frame = 0, b""  # the newest that was asked for: its seq, and the bytes
        self._listeners: tuple[Listener, ...] = ()  # mostly one; an empty set would be 200 bytes
        self._lagging: tuple[Listener, ...] = ()

    def subscribe(self, listener: Listener) -> None:
        """Call ``listener`` after every change, until ``unlisten``."""
        self._listeners = _with(self._listeners, listener)
        self._update_pause()

    def unsubscribe(self, listener: Listener) -> None:
        """Stop calling ``listener``."""
        self._listeners = _without(self._listeners, listener)
        self._lagging = _without(self._lagging, listener)
        self._update_pause()

    def set_lagging(self, listener: Listener, *, behind: bool) -> None:
        """Note that ``listener`` cannot take more for now, or can again."""
        self._lagging = _with(self._lagging, listener) if behind else _without(self._lagging, listener)
        self._update_pause()

    def read(self, after: int, most: int | None = None) -> list[Event]:
        """The events with ``seq`` greater than ``after``, oldest first; they will not change any more.

        ``most`` is how many at the most; without it, all.
        """
        last = self.last if most is None else min(self.last, after + most)
        if last <= after:
            return []
        self._read = max(self._read, last)
        base = self._text_ends[after]
        text = self.text.between(base, self._text_ends[last])
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
                event = self._token(last, self.text.between(self._text_ends[last - 1], self._text_ends[last]))
            self._frame = text_frame(encode(event))
            self._frame_seq = self._read = last
        return self._frame

    async def wait_ended(self, seconds: float) -> bool:
        """Wait for the terminal event for at most ``seconds``; whether it has come."""
        over = asyncio.Event()

        def look(_: TurnLog) -> None:
            if self.ended:
                over.set()

        look(self)
        self.subscribe(look)
        try:
            async with asyncio.timeout(seconds):
                await over.wait()
        except TimeoutError:
            return self.ended
        finally:
            self.unsubscribe(look)
        return True

    def token(self, piece: str) -> None:
        """Append a piece of the answer."""
        self.text.append(piece)
        self.extend_text()

    def extend_text(self) -> None:
        """Append what was added to the text."""
        assert not self.ended, "a token after the terminal event"  # TURN-2
        ends, told, last = self._text_ends, self.text.length, self.last
        if last > self._read and last not in self._events:  # nobody has seen the last entry: it grows
            ends[last] = min(told, ends[last - 1] + BATCH_CHARS)
        while ends[last] < told:
            ends.append(min(told, ends[last] + BATCH_CHARS))
            last += 1
        self.last = last
        self._notify()

    def _token(self, seq: int, text: str) -> Token:
        turn = self.accepted
        return Token(token=text, message_id=turn.message_id, conversation_id=turn.conversation_id, seq=seq)

    def thinking(self, text: str) -> None:
        """Append a piece of thinking."""
        for start in range(0, len(text), BATCH_CHARS):
            self._append(Thinking, thinking=text[start : start + BATCH_CHARS])

    def tool(self, tool_id: str, name: str, state: str, detail: str) -> None:
        """Append a step of a tool: ``state`` is started, finished or failed."""
        self._append(Tool, id=tool_id, name=name, state=state, detail=detail)

    def status(self, status: str, detail: str) -> None:
        """Append a note on what is going on."""
        self._append(Status, status=status, detail=detail)

    def rewind(self, to: int) -> None:
        """Append: forget the answer after its first ``to`` code points."""
        self._append(Rewind, to=to)

    def complete(self, usage: Usage, stop_reason: str) -> None:
        """Append the terminal event of a turn that ended well, or was cancelled."""
        self._append(Complete, last=True, usage=usage, stop_reason=stop_reason)

    def fail(self, code: str, message: str) -> None:
        """Append the terminal event of a turn that did not end well."""
        self._append(Failed, last=True, code=code, message=message)

    def _append(self, kind: type[Event], *, last: bool = False, **members: Any) -> None:
        assert not self.ended, f"a {kind.__name__} after the terminal event"  # TURN-2
        turn, seq = self.accepted, self.last + 1
        self._events[seq] = kind(
            message_id=turn.message_id, conversation_id=turn.conversation_id, seq=seq, **members
        )
        self._text_ends.append(self._text_ends[-1])
        self.last = seq
        self.ended = last
        self._notify()

    def _notify(self) -> None:
        for listener in self._listeners:
            listener(self)

    def _update_pause(self) -> None:
        held = bool(self._listeners) and len(self._lagging) == len(self._listeners)
        if held != self.paused:
            self.paused = held
            if self.on_pause is not None:
                self.on_pause(held)


def _with(listeners: tuple[Listener, ...], listener: Listener) -> tuple[Listener, ...]:
    return listeners if listener in listeners else (*listeners, listener)


def _without(listeners: tuple[Listener, ...], listener: Listener) -> tuple[Listener, ...]:
    return tuple(each for each in listeners if each != listener)


def answer(events: Iterable[Event]) -> str:
    """The answer that a turn's events spell (TURN-4)."""
    text = ""
    pieces: list[str] = []
    for event in events:
        match event:
            case Token():
                pieces.append(event.token)
            case Rewind():
                text = (text + "".join(pieces))[: event.to]
                pieces = []
            case _:
                pass
    return text + "".join(pieces)
