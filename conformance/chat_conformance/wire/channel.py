"""What carries a chat's messages, whatever it is made of: what goes out, what came, and waiting for it.

A case about turns uses a `Channel` and nothing below it, so it plays on every transport. A case about frames,
handshakes and closes needs a ``Peer``, which is the channel of a WebSocket.

What comes is read by a task into lists. To wait is to look into the lists and sleep until something is added. Nothing
is consumed by looking, so several turns of one channel are read in parallel.
"""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from socket import socket
from typing import Any, TypeVar

import msgspec

from chat_conformance.errors import Failure
from chat_conformance.target.dialect import TYPES
from chat_conformance.target.speech import Speech
from chat_conformance.wire.contract import look_at_event, look_at_no_message
from chat_conformance.wire.evidence import saw
from chat_conformance.wire.json_text import MAX_DEPTH, decoded
from chat_conformance.wire.trace import Trace, shorten

T = TypeVar("T")
Event = dict[str, Any]
KINDS, TYPE_LENGTH = 3, 40
"""How many of the ignored types a sentence names, and how much of each."""
MAX_RECEIVED = 512 << 20
"""What one channel takes in, in bytes."""
# This many looks, over this time, see the same: no more comes.
STILL, STILL_SECONDS = 10, 0.3


@dataclass(frozen=True, slots=True)
class Garbled:
    """A data message that is not a JSON object with a ``type``.

    Attributes:
        text: The message, shortened for people.
        why: What is wrong with it.
    """

    text: str
    why: str

    def failure(self) -> Failure:
        """What it fails a case with."""
        return Failure("one JSON object with a type in each text frame", f"{self.why}: {self.text}")


class TooMuchError(Exception):
    """More came than one channel takes in.

    Attributes:
        limit: How much it takes in, in bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the server sent more than {limit >> 20} MiB, and the case does not read on")


class Channel(ABC):
    """One user's connection to a chat, or what stands for one.

    Attributes:
        name: What the trace calls it.
        speech: What the server calls things; events are noted in the words of the protocol.
        within: How long is waited for what must come, in seconds.
        events: Received data messages, in order; those of types that clients do not know are left out (MSG-1).
        times: When each of them came, in seconds, monotonic.
        pings: When came what only says that the server lives (pings, comments, blank lines), in seconds, monotonic.
        ignored: The types that were left out, and how often each came.
        answers_ended: How the answer to a message ended, by message id, where each message has an answer of its own.
        ended: How the channel ended, None while it lives.
    """

    def __init__(self, name: str, speech: Speech, trace: Trace, within: float) -> None:
        self.name = name
        self.speech = speech
        self.within = within
        self.events: list[Event | Garbled] = []
        self.times: list[float] = []
        self.pings: list[float] = []
        self.ignored: Counter[str] = Counter()
        self.answers_ended: dict[str, str] = {}
        self.ended: str | None = None
        self._trace = trace
        self._news = asyncio.Event()
        self._received = 0

    # Sending and the state of the connection, by each transport

    @abstractmethod
    async def send_json(self, **members: Any) -> None:
        """Send a client message; members that are None are left out.

        Raises:
            NotOffered: The target file does not describe such a message.
        """

    @abstractmethod
    async def send_message(self, message: Any) -> None:
        """Send a message of the server's own protocol, JSON or a text: a step of its opening."""

    @abstractmethod
    async def expect_alive(self, *, within: float | None = None) -> None:
        """Wait until the server shows that the connection lives.

        Raises:
            Failure: It does not.
        """

    @abstractmethod
    async def expect_closed(self, code: int, *, within: float | None = None) -> None:
        """Wait until the server has ended the connection, with this code of WebSocket where there are such.

        Raises:
            Failure: It has not, or otherwise.
        """

    @property
    def closed_with(self) -> int | None:
        """With which code of WebSocket the server has closed, 1005 for none; None if it has not."""
        return None

    @abstractmethod
    def abort(self) -> None:
        """Drop the connection with a reset, as a dying network does."""

    @abstractmethod
    def stall(self) -> None:
        """Read nothing any more: the server's bytes pile up on its side."""

    @abstractmethod
    def _unread(self) -> int:
        """How many bytes the kernel has that were not read."""

    @abstractmethod
    def read_on(self) -> None:
        """Read again."""

    # Waiting

    async def clogged(self) -> None:
        """Wait, after ``stall``, until no more comes: either all is there, or the server cannot send on.

        The kernel has no event for that, so its count of unread bytes is looked at until it stands still.

        Raises:
            Failure: Nothing came at all, or it came on and on.
        """
        # The count grows while the server sends, such as 0, 40k, 64k, 64k …; when the last looks are all the
        # same and not zero, either all has come or the buffers are full.
        counts = deque([0] * STILL, maxlen=STILL)
        try:
            async with asyncio.timeout(self.within):
                while not counts[-1] or len(set(counts)) > 1:
                    await asyncio.sleep(STILL_SECONDS / STILL)
                    counts.append(self._unread())
        except TimeoutError:
            raise Failure("unread bytes to pile up, and then no more", f"they were {counts[-1]}") from None

    async def until(
        self,
        found: Callable[[], T | None],
        expected: str,
        *,
        within: float | None = None,
        before_failing: Callable[[], Awaitable[None]] | None = None,
    ) -> T:
        """Wait until ``found`` gives something but None; it is asked again after all that arrives.

        ``before_failing`` is awaited when the time is over, and ``found`` is asked once more.

        Raises:
            Failure: The time was over, or the connection ended, before.
        """
        limit = self.within if within is None else within
        try:
            # Theory of the wait: the lists are looked at, then the news is cleared, then waited for. Nothing
            # else runs between the look and the wait, so no arrival is missed. Several may wait at once:
            # `set` releases all of them before any clears again. What came before the end of the connection
            # is found before the end is noticed.
            async with asyncio.timeout(limit):
                while (value := found()) is None:
                    if self.ended is not None:
                        raise self._ended_before(expected)
                    self._news.clear()
                    await self._news.wait()
                return value
        except TimeoutError:
            if before_failing is not None:
                await before_failing()
                if (value := found()) is not None:
                    return value
            raise Failure(expected, f"not within {limit:g} s{self.ignored_in_words()}") from None

    async def expect_event(
        self,
        after: int = 0,
        *,
        within: float | None = None,
        where: Callable[[Event], bool] = lambda _: True,
        others: bool = False,
        message_id: str = "",
    ) -> tuple[int, Event]:
        """Wait for an event at or after a place in ``events``, and return it with the place after it.

        ``message_id`` is the turn it belongs to: where its answer has ended, none comes any more.

        Raises:
            Failure: A data message there is not a JSON object with a ``type`` (MSG-1), unless ``others`` may stand
                between, or nothing came.
        """
        expected = "a message from the server"

        def event() -> tuple[int, Event] | None:
            for place, each in enumerate(self.events[after:], after + 1):
                if isinstance(each, Garbled):
                    if not others:
                        raise each.failure()
                elif where(each):
                    return place, each
            # Only after all events were looked at: the end of an answer is noted behind its last event.
            if (how := self.answers_ended.get(message_id)) is not None:
                raise Failure(expected, f"{how}{self.ignored_in_words()}")
            return None

        return await self.until(event, expected, within=within)

    async def expect_ping(
        self,
        number: int = 1,
        *,
        within: float | None = None,
        before_failing: Callable[[], Awaitable[None]] | None = None,
    ) -> list[float]:
        """Wait until ``number`` pings have come in all and return the times of all of them."""

        def pings() -> list[float] | None:
            return self.pings if len(self.pings) >= number else None

        expected = f"ping number {number} from the server"
        times = await self.until(pings, expected, within=within, before_failing=before_failing)
        saw(f"{number} pings of the server had come")
        return times

    def _ended_before(self, expected: str) -> Failure:
        """The failure of a wait for something that can no longer come."""
        return Failure(expected, f"the connection ended: {self.ended}{self.ignored_in_words()}")

    def ignored_in_words(self) -> str:
        """The messages that were no events, for the sentence of a wait that failed; empty if there were none."""
        if not self.ignored:
            return ""
        kinds = ", ".join(f"{kind.strip()!r} ({count})" for kind, count in self.ignored.most_common(KINDS))
        if self.speech.target.described:
            return f"; messages that no event of the target file describes: {kinds}"
        return f"; messages of types that clients do not know were ignored: {kinds}"

    # Receiving

    def _note(self, event: Event | Garbled) -> None:
        # A ping that is a message exists only in a described protocol; in chat-stream-v1 such a type is
        # ignored (MSG-1).
        if not isinstance(event, Garbled) and event["type"] == "ping" and self.speech.target.described:
            self.pings.append(time.monotonic())
            self._answer_ping_message()
            return
        if isinstance(event, Garbled):
            look_at_no_message(event.why, event.text, self.speech.target)
        else:
            look_at_event(event, self.speech.target)
        if isinstance(event, Garbled) or event["type"] in TYPES:
            self.events.append(event)
            self.times.append(time.monotonic())
        else:
            self.ignored[event["type"][:TYPE_LENGTH]] += 1

    def _answer_ping_message(self) -> None:  # noqa: B027 - most transports have no such messages
        """Answer a ping that is a message of the server's own protocol."""

    def _count(self, cost: int) -> None:
        self._received += cost
        if self._received > MAX_RECEIVED:
            raise TooMuchError(MAX_RECEIVED)

    def _end(self, how: str) -> None:
        self.ended = how
        self._trace.add(self.name, "=", how)
        self._news.set()


def unread(connection: socket | None) -> int:
    """How many bytes the kernel has for a socket that were not read; none of one that is gone."""
    if connection is None:
        return 0
    count = bytearray(4)
    fcntl.ioctl(connection.fileno(), termios.FIONREAD, count)
    return int.from_bytes(count, sys.byteorder)


def read_events(
    payload: bytes, speech: Speech, envelope: Mapping[str, str] | None = None
) -> list[Event | Garbled]:
    """What a data message means; in a protocol of the server's own that may be nothing, or several events.

    Args:
        payload: The message, JSON or text.
        speech: The words of its connection.
        envelope: What the transport has beside it, such as ``event`` and ``id``.
    """
    text = payload.decode(errors="replace")
    try:
        # Strict: bytes that are no UTF-8 are garbled, also where any text would mean something.
        payload.decode()
        try:
            value = decoded(payload)
        except msgspec.DecodeError:
            if not speech.reads_text:
                raise
            value = text
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return [Garbled(shorten(payload), f"not JSON ({error})")]
    except RecursionError:
        return [Garbled(shorten(text), f"nested deeper than {MAX_DEPTH} levels")]
    events = speech.events(value, text, envelope)
    if (
        not events and speech.target.described
    ):  # it is counted, and named where something is waited for in vain
        # The blank keeps it apart: no type begins with one, so a text such as "token" cannot pass for an
        # event.
        return [{"type": f" {text[: TYPE_LENGTH - 1]}"}]
    return [
        event
        if isinstance(event, dict) and isinstance(event.get("type"), str)
        else Garbled(shorten(text), "not an object with a string member type")
        for event in events
    ]
