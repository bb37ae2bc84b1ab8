r"""Server-sent events from a stream of bytes, as the WHATWG's HTML standard reads them (§9.2.5 and §9.2.6).

A stream is lines; a line is ``field: value``; a blank line ends an event. Lines end by CR, LF or CRLF, and the bytes
may be cut anywhere, so a CR at the end of what has come is a whole line end, and an LF that follows it belongs to it:

    >>> parser = EventStreamParser()
    >>> parser.feed(b"event: token\ndata: a\r")
    []
    >>> parser.feed(b"\ndata: b\r\n\r\n")
    [StreamEvent(event='token', data='a\nb', last_event_id='')]
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_EVENT = 16 << 20
"""The longest event, and the longest line, that is taken in, in bytes."""
_BOM = b"\xef\xbb\xbf"


class EventStreamError(Exception):
    """An event or a line that is longer than `MAX_EVENT`."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event of a stream.

    Attributes:
        event: Its type; ``message`` where none is given.
        data: Its data lines, joined by LF.
        last_event_id: The id that was in force, its own or an earlier one's; empty before there was any.
    """

    event: str
    data: str
    last_event_id: str


class EventStreamParser:
    """Events from received bytes.

    Args:
        max_event: The longest event and line, in bytes.
        last_event_id: The id that a stream before this one has left, where this one takes it up. Browsers keep it so;
            by the letter of the standard the first blank line would clear it.

    Attributes:
        last_event_id: What ``Last-Event-ID`` would be on a reconnect: that of the latest blank line.
        retry: The reconnection time in milliseconds, None before one came.
        comments: How many comment lines came; servers send them to keep a connection open.
    """

    def __init__(self, *, max_event: int = MAX_EVENT, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self.comments = 0
        self._max_event = max_event
        # Whether the place where a byte order mark may stand is behind us.
        self._begun = False
        self._after_cr = False
        self._line = bytearray()
        self._event = ""
        self._id = last_event_id
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> list[StreamEvent]:
        """The events that these bytes complete; what the stream ends in the middle of is no event.

        Raises:
            EventStreamError: A line or an event is too long.
        """
        return [event for line in self._lines(data) if (event := self._take(line)) is not None]

    def _lines(self, data: bytes) -> list[bytes]:
        if self._after_cr and data:
            self._after_cr = False
            # That CR was taken for a line end already. Its LF would be an empty line, and that dispatches the
            # event too early.
            data = data.removeprefix(b"\n")
        if data:
            self._after_cr = data.endswith(b"\r")
        *ended, rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        lines = []
        for each in ended:
            lines.append(bytes(self._line + each))
            self._line.clear()
        self._line += rest
        if len(self._line) > self._max_event:
            raise EventStreamError(f"a line of more than {self._max_event} bytes")
        return lines

    def _take(self, line: bytes) -> StreamEvent | None:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        self._size += len(line)
        if self._size > self._max_event:
            raise EventStreamError(f"an event of more than {self._max_event} bytes")
        field, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        match field:
            case "":
                self.comments += 1
                # Comments are heartbeats and are not kept: before an event that takes hours they must not add
                # up to its size.
                self._size -= len(line)
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                # The standard sets no bound, but Python reads no number of thousands of digits.
                self.retry = int(value[:18])
            case _:
                pass
        return None

    def _dispatch(self) -> StreamEvent | None:
        # An id without data counts, too: the standard sets it before it looks for data.
        event, lines = self._event or "message", self._data
        self.last_event_id = self._id
        self._event, self._data, self._size = "", [], 0
        # A lone data line that is empty leaves "\n" in the standard's buffer: that is an event, no line is none.
        return StreamEvent(event, "\n".join(lines), self.last_event_id) if lines else None
