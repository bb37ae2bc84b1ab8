"""A turn's events as an append-only log that readers follow with cursors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from impl.messages import Accepted, Complete, Event, Failed, Rewind, Status, Thinking, Token, Tool, Usage

BATCH_CHARS = 16_384
"""Most text of one entry: an unread one grows up to this, and a longer piece is cut. It bounds what is in the hands of
a socket whose reader has stopped."""


class TurnLog:
    """The events of one turn, in order.

    There are no queues: a reader keeps the ``seq`` it has read up to, and a late or second reader is just an older
    cursor (SUB-1, SUB-4). While nobody has read the last entry, further text is added to it; that batches a flood
    and keeps the log short when nobody looks. An entry that was read never changes.
    """

    def __init__(self, message_id: str, conversation_id: str) -> None:
        self.accepted = Accepted(message_id=message_id, conversation_id=conversation_id)
        self.ended = False
        self._entries: list[Event] = []
        self._pieces: list[str] = []  # text of the last entry, while it is an unread Token still growing
        self._pieces_chars = 0
        self._read = 0  # the highest seq anyone has read
        self._listeners: set[Callable[[], None]] = set()

    @property
    def last(self) -> int:
        """The ``seq`` of the newest event; 0 when there is none."""
        return len(self._entries)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after every change, until ``unlisten``."""
        self._listeners.add(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Stop calling ``listener``."""
        self._listeners.discard(listener)

    def read(self, after: int) -> list[Event]:
        """The events with ``seq`` greater than ``after``, oldest first; they will not change any more."""
        self._settle()
        self._read = max(self._read, self.last)
        return self._entries[after:]

    async def wait_ended(self, seconds: float) -> bool:
        """Wait for the terminal event for at most ``seconds``; whether it has come."""
        changed = asyncio.Event()
        self.listen(changed.set)
        try:
            async with asyncio.timeout(seconds):
                while not self.ended:
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            return self.ended
        finally:
            self.unlisten(changed.set)
        return True

    def token(self, text: str) -> None:
        """Append a piece of the answer."""
        for start in range(0, len(text), BATCH_CHARS):
            self._token(text[start : start + BATCH_CHARS])

    def _token(self, text: str) -> None:
        if self._pieces and self._read < self.last and self._pieces_chars + len(text) <= BATCH_CHARS:
            self._pieces.append(text)
            self._pieces_chars += len(text)
            self._wake()
            return
        self._append(Token, token=text)
        self._pieces, self._pieces_chars = [text], len(text)

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
        self._settle()
        self._pieces = []
        turn = self.accepted
        self._entries.append(
            kind(
                message_id=turn.message_id, conversation_id=turn.conversation_id, seq=self.last + 1, **members
            )
        )
        self.ended = last
        self._wake()

    def _settle(self) -> None:
        """Write the gathered pieces into the last entry."""
        if len(self._pieces) > 1:
            tail = self._entries[-1]
            assert isinstance(tail, Token)
            text = "".join(self._pieces)
            self._entries[-1] = Token(
                token=text, message_id=tail.message_id, conversation_id=tail.conversation_id, seq=tail.seq
            )
            self._pieces = [text]

    def _wake(self) -> None:
        for listener in tuple(self._listeners):
            listener()


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
