"""One turn as one connection sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from chat_conformance.errors import Failure
from chat_conformance.target.dialect import MEMBERS
from chat_conformance.wire.channel import Channel, Event
from chat_conformance.wire.evidence import saw
from chat_conformance.wire.trace import shorten

TERMINAL = frozenset({"complete", "error"})
# Short: most servers that name it early do so at once, and each first turn of the others pays this.
EARLY = 1.0  # how long a conversation's id is waited for before an answer, in seconds
Outcome = Callable[[float], Awaitable[tuple[int, bool]]]
"""Waits until Claude has printed a result, for a time in seconds; its characters, and whether it is an error."""


def connection_of(channel: Channel) -> str:
    """What stands for the conversation of a server whose conversations are connections."""
    return f"connection {channel.name}"


class TurnReader:
    """The events of one turn, read as they come.

    Attributes:
        message_id: The id the turn was asked under.
        accepted: Its ``accepted`` event.
        events: What came after ``accepted``, in order, as far as it was waited for.
    """

    def __init__(
        self,
        channel: Channel,
        message_id: str,
        begin: int,
        *,
        conversation_id: str | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        """``outcome`` says what Claude printed; it is asked where the server does not mark the end."""
        self.message_id = message_id
        self.accepted: Event = {}
        self.events: list[Event] = []
        self._channel = channel
        self._begin = self._cursor = begin
        self._roles = channel.speech.target.roles
        self._conversation_id = conversation_id
        self._outcome = outcome

    @property
    def conversation_id(self) -> str:
        """The conversation that ``accepted`` named; without that, the first event that names one, or the connection."""
        if "accepted" in self._roles:
            return str(self.accepted.get("conversation_id"))
        if "conversation_id" not in self._roles:
            return connection_of(self._channel)
        return self._conversation_id or self._named() or ""

    def _named(self) -> str | None:
        events = (each for each in self._channel.events[self._begin :] if isinstance(each, dict))
        found = next((each["conversation_id"] for each in events if each.get("conversation_id")), None)
        # A target file may capture the id from a frame that becomes no event.
        found = found or self._channel.speech.captures.get("conversation_id")
        return None if found is None else str(found)

    @property
    def is_over(self) -> bool:
        """Whether its end has come, be it waited for or not."""
        later = self._channel.events[self._begin :]
        return self.terminal is not None or any(
            isinstance(each, dict) and each.get("type") in TERMINAL for each in later
        )

    @property
    def text(self) -> str:
        """The answer so far: tokens joined, rewinds applied (TURN-4)."""
        return join_tokens(self.events)

    @property
    def terminal(self) -> Event | None:
        """The turn's last event, None before it came."""
        return self.events[-1] if self.events and self.events[-1].get("type") in TERMINAL else None

    def is_named_by(self, event: Event) -> bool:
        """Whether an event says that it belongs to this turn, or its transport does."""
        return event.get("message_id") == self.message_id

    async def begin(self) -> TurnReader:
        """Wait for ``accepted``; where there is none, for the id of a new conversation.

        Raises:
            Failure: Something else came first, or nothing.
        """
        if "accepted" not in self._roles:
            if "conversation_id" in self._roles and self._conversation_id is None:
                with suppress(Failure):  # some servers name it at the end only
                    await self._channel.until(self._named, "the id of the conversation", within=EARLY)
            return self
        first = await self._next()
        if first.get("type") != "accepted":
            raise Failure("accepted as the first event of the turn", f"the first event is {first}")
        self.accepted = first
        return self

    async def next(self, *, within: float | None = None) -> Event:
        """Wait for the next event of this turn."""
        event = await self._next(within=within)
        self.events.append(event)
        return event

    async def until_text(self, text: str) -> None:
        """Wait until the answer begins with this text; any other beginning fails."""
        while not self.text.startswith(text):
            # What is there must be a beginning of what is expected. Example: for "abc", "ab" waits on, and "ax"
            # fails at once and not at the deadline.
            if not text.startswith(self.text) or self.terminal is not None:
                raise Failure(f"an answer that begins with {shorten(text)}", f"it is {shorten(self.text)}")
            await self.next()

    async def finish(self, *, within: float | None = None) -> Event:
        """Wait for the turn's last event."""
        if "end" not in self._roles and self._outcome is not None:
            await self._until_said(self._outcome, self._channel.within if within is None else within)
        while self.terminal is None:
            await self.next(within=within)
        last = self.events[-1]
        tokens = sum(event.get("type") == "token" for event in self.events)
        why = last.get("code") or last.get("stop_reason")
        saw(f"a turn of {tokens} tokens ended with {last['type']} ({why})")
        return last

    async def complete(self) -> str:
        """Wait for the turn's last event, which must be ``complete``, and return the answer."""
        await self.completed()
        return self.text

    async def completed(self) -> None:
        """Wait for the turn's last event, which must be ``complete``, whatever the answer says."""
        terminal = await self.finish()
        if terminal.get("type") != "complete":
            raise Failure("the turn to end with complete", f"it ended with {terminal}")

    async def _until_said(self, outcome: Outcome, within: float) -> None:
        """Wait until all that Claude has printed is there; what comes once more comes with it.

        Where no message marks the end of an answer, Claude's own end does, and an answer to a ping behind it.
        """
        # Some servers mark no end. Then three steps stand for it: Claude has printed its result, so the length
        # of the answer is known; as much text has come; a ping is answered, so all that was sent before it has
        # come, too. Last, an end as other servers send it is put behind, and cases see no difference.
        length, failed = await outcome(within)
        channel = self._channel

        def came() -> list[Event]:
            events = [each for each in channel.events[self._cursor :] if isinstance(each, dict)]
            return [*self.events, *events]

        with suppress(Failure):  # what is missing is for the case to say
            await channel.until(
                lambda: True if len(join_tokens(came())) >= length else None,
                "all of the answer",
                within=within,
            )
        with suppress(Failure):
            await channel.expect_alive()
        self.events = [*came(), {"type": "error" if failed else "complete"}]
        self._cursor = len(channel.events)

    async def _next(self, *, within: float | None = None) -> Event:
        # A server that does not name the turn, or says it in other words, is judged by the case for that, not by all.
        mine: Callable[[Event], bool] = lambda event: event.get("message_id") in (None, self.message_id)  # noqa: E731
        self._cursor, event = await self._channel.expect_event(
            self._cursor, within=within, where=mine, others=True, message_id=self.message_id
        )
        return event


def comparable(events: list[Event]) -> list[Event]:
    """Events with the members that clauses name only: the same event sent again may have others, such as a time."""
    return [{name: value for name, value in event.items() if name in MEMBERS} for event in events]


def join_tokens(events: list[Event]) -> str:
    """The tokens joined, rewinds applied.

    Raises:
        Failure: A token or a rewind does not have the member it must have.
    """
    text = ""
    for event in events:
        value: Any
        match event.get("type"):
            case "token":
                value = event.get("token")
                if not isinstance(value, str):
                    raise Failure("a token event with its text in token", f"it is {event}")
                text += value
            case "rewind":
                value = event.get("to")
                # A rewind is a length in characters of the text so far (TURN-4); beyond the end it would be a
                # no-op that hides a miscount.
                if not isinstance(value, int) or not 0 <= value <= len(text):
                    raise Failure(f"a rewind to at most {len(text)} characters", f"it is {event}")
                text = text[:value]
            case _:
                pass
    return text
