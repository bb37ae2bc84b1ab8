"""The channel of a chat that streams over HTTP: server-sent events or JSON lines.

There are two kinds. Where each message is answered by a stream of its own, the end of the stream is that of the answer,
and what comes on it belongs to that message, whether it says so or not::

    POST /chat {"prompt": "hi"}     ->  data: {"delta": "Hel"}   data: {"delta": "lo"}   (end of the body)

Where one request streams all events of a connection, messages go out by other requests, whose answers are short::

    GET /events                     ->  id: 7   data: {"delta": "Hello"}   …   (stays open)
    POST /chat {"prompt": "hi"}     ->  202

Such a stream is taken up again by ``Last-Event-ID`` after a cut, as a browser's ``EventSource`` does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from multidict import CIMultiDict

from chat_conformance.errors import Failure, NotOffered, UsageError
from chat_conformance.target.dialect import TYPES
from chat_conformance.target.speech import Speech
from chat_conformance.target.templates import text
from chat_conformance.target.transport import Stream
from chat_conformance.wire.body import inflated, read_body
from chat_conformance.wire.channel import Channel, Event, Garbled, TooMuchError, read_events, unread
from chat_conformance.wire.event_stream import EventStreamError, EventStreamParser
from chat_conformance.wire.evidence import saw
from chat_conformance.wire.json_lines import JsonLines, JsonLinesError
from chat_conformance.wire.trace import Trace, shorten

ACCEPT = {"sse": "text/event-stream", "json-lines": "application/x-ndjson, application/json"}
RETRY_SECONDS = 3.0
"""How long a browser waits before it takes up a stream, unless the stream says otherwise."""
MAX_SHORT = 1 << 20
"""The longest answer that is no stream, in bytes."""
CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    409: "busy",
    413: "too_large",
    422: "bad_request",
    429: "rate_limited",
    502: "claude_failed",
    503: "unavailable",
    504: "timeout",
}
"""What a refusal means that says so by its status alone (docs/protocol.md, errors)."""
TERMINAL = ("complete", "error")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What reads the answer to one request.

    Attributes:
        speech: What its frames mean.
        message_id: The turn that the request names, empty for none.
        owns: Whether the end of the answer is that of the turn: the answer to a ``cancel`` names it, and ends before.
    """

    speech: Speech
    message_id: str = ""
    owns: bool = False


class StreamChannel(Channel):
    """A user of a chat that streams over HTTP.

    Args:
        origin: Where requests go, no slash at the end.
        headers: What goes along with each request.
        session: The client; it is the channel's own, cookies included.
    """

    def __init__(
        self,
        name: str,
        speech: Speech,
        trace: Trace,
        within: float,
        *,
        origin: str,
        headers: Mapping[str, str],
        session: aiohttp.ClientSession,
    ) -> None:
        super().__init__(name, speech, trace, within)
        self.last_event_id = ""
        self._origin = origin
        self._session = session
        self._headers = headers
        self._stream: Stream = speech.target.stream
        self._tasks: set[asyncio.Task[None]] = set()
        self._responses: set[aiohttp.ClientResponse] = set()
        self._retry = RETRY_SECONDS
        self._followed: aiohttp.ClientResponse | None = None
        self._may_read = asyncio.Event()
        self._may_read.set()

    async def open(self) -> None:
        """Open the stream of all events, where there is one.

        Raises:
            Failure: It is refused, or not answered in time.
            NotOffered: Its address needs what nothing has given.
        """
        if not self._stream.open:
            return
        # What it lacks is said to the caller: nothing looks at how a task ended.
        self._request(self._stream.open, self.speech.captures)
        expected = f"a stream to {self._stream.open}"
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._start(self._follow(opened))
        await self.until(lambda: opened.done() or None, expected)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """End all that is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Sending

    async def send_json(self, **members: Any) -> None:
        """Send a client message; members that are None are left out.

        It is sent by a task: servers answer when there is something to stream.

        Raises:
            NotOffered: The target file does not describe such a message.
            UsageError: It cannot be encoded as the target file says.
        """
        kind = str(members.get("type"))
        message = self.speech.message(members)
        where = self._stream.requests.get(kind) or self._stream.send
        if kind != "chat_request" and self.speech.target.described and kind not in self._stream.requests:
            raise NotOffered(f"stream.requests of the target file has no {kind}")
        values = {
            **self.speech.captures,
            **{name: each for name, each in members.items() if each is not None},
        }
        # A subscribe has an answer of its own only where no other stream has the events.
        owns = kind == "chat_request" or (kind == "subscribe" and not self._stream.open)
        message_id = str(members.get("message_id") or "")
        await self._send(where, values, message, _Answer(self.speech.answering(), message_id, owns))

    async def send_message(self, message: Any) -> None:
        """Send a message of the server's own protocol, JSON or a text: a step of its opening."""
        await self._send(self._stream.send, self.speech.captures, message, _Answer(self.speech.answering()))

    async def _send(self, where: str, values: Mapping[str, Any], message: Any, answer: _Answer) -> None:
        # Before the task begins: what is missing or does not fit is for the caller.
        method, path = self._request(where, values)
        body, kind, query = self._body(message)
        path += f"{'&' if '?' in path else '?'}{query}" if query else ""
        self._trace.add(self.name, ">", f"{method} {path} {shorten(body) if body else ''}".rstrip())
        headers = {"Content-Type": kind} if kind else {}
        self._start(self._ask(method, path, body, headers, answer))
        await asyncio.sleep(0)

    async def _ask(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], answer: _Answer
    ) -> None:
        """Send one request and read its answer."""
        with self._failures(answer):
            async with self._request_stream(method, path, body or None, headers) as response:
                # Where one stream has all events, the answer to a message only says that it was taken.
                if not _is_good(response.status) or self._stream.open:
                    await self._take_short(response, answer)
                    return
                await self._take_stream(response, answer, self._reader())
                self._answer_ended(answer, "the answer ended before its end was said")

    def _request(self, where: str, values: Mapping[str, Any]) -> tuple[str, str]:
        method, _, path = where.partition(" ")
        try:
            quoted = {name: quote(str(each), safe="") for name, each in values.items()}
            return method, text(path.strip(), quoted)
        except KeyError as error:
            raise NotOffered(f"{where} needs {error}, which no message had") from None

    def _body(self, message: Any) -> tuple[bytes, str, str]:
        """A message as a body, its type, and what it adds to the address.

        Raises:
            UsageError: It cannot be encoded as the target file says.
        """
        encoding = self._stream.encoding
        if encoding == "text" or (encoding == "json" and isinstance(message, str)):
            return str(message).encode(), "text/plain; charset=utf-8", ""
        if encoding == "json":
            return msgspec.json.encode(message), "application/json", ""
        if not isinstance(message, dict):
            raise UsageError(f"stream.encoding is {encoding}, and a message is no table: {message!r}")
        flat = urlencode(
            {name: each if isinstance(each, str) else _json(each) for name, each in message.items()}
        )
        return (
            (b"", "", flat)
            if encoding == "query"
            else (flat.encode(), "application/x-www-form-urlencoded", "")
        )

    @asynccontextmanager
    async def _request_stream(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        # No more than `inflated` reads: by itself aiohttp asks for what is installed beside it, such as brotli.
        accept = {"Accept": ACCEPT[self.speech.target.transport], "Accept-Encoding": "gzip, deflate"}
        named = CIMultiDict({**accept, **self._stream.headers, **self._headers, **headers})
        async with self._session.request(
            method, self._origin + path, data=body, headers=named, allow_redirects=False
        ) as response:
            self._trace.add(self.name, "<", f"{response.status} {response.headers.get('Content-Type', '')}")
            self._responses.add(response)
            try:
                yield response
            finally:
                self._responses.discard(response)

    # Receiving

    async def _follow(self, opened: asyncio.Future[None]) -> None:
        """Read the stream of all events, again after a cut where the target file says that it can be taken up."""
        while self.ended is None:
            method, path = self._request(self._stream.open, self.speech.captures)
            headers = {"Last-Event-ID": self.last_event_id} if self.last_event_id else {}
            self._trace.add(self.name, ">", f"{method} {path} {headers or ''}".rstrip())
            try:
                # What ends this stream decides what is next. Its end or a cut: it is taken up after
                # `Last-Event-ID`, where that is offered. A refusal, or bytes that cannot be read: it is over,
                # since the same would come again.
                async with self._request_stream(method, path, None, headers) as response:
                    if response.status != 200:
                        self._end(f"{method} {path} was answered with {response.status}")
                        return
                    if not opened.done():
                        opened.set_result(None)
                    self._followed = response
                    self._news.set()
                    await self._take_stream(response, _Answer(self.speech), self._reader(self.last_event_id))
                how = "the server ended the stream"
            except (aiohttp.ClientError, ConnectionError) as error:
                how = f"the stream broke off ({type(error).__name__})"
            except (EventStreamError, JsonLinesError, TooMuchError, Failure) as error:
                self._end(f"unreadable bytes: {error}")
                return
            finally:
                self._followed = None
            if not self._stream.resume:
                self._end(how)
                return
            self._trace.add(self.name, "=", f"{how}; we take it up")
            # A server may name minutes; a case would run out of its own time before that.
            await asyncio.sleep(min(self._retry, RETRY_SECONDS))

    def _reader(self, last_event_id: str = "") -> _Events | _Lines:
        return _Events(last_event_id) if self.speech.target.transport == "sse" else _Lines()

    async def _take_stream(
        self, response: aiohttp.ClientResponse, answer: _Answer, reader: _Events | _Lines
    ) -> None:
        """Read a stream to its end."""
        async for data in inflated(response):
            # Only reading stops, as in `stall`: what aiohttp has buffered is little, then the kernel's buffer
            # fills, then the server's.
            await self._may_read.wait()
            self._count(len(data))
            self._trace.add(self.name, "<", shorten(data))
            before = reader.signs
            self._take(reader.feed(data), answer)
            if reader.signs > before:
                self.pings.append(time.monotonic())
            self.last_event_id = reader.last_event_id
            self._retry = self._retry if reader.retry is None else reader.retry
            self._news.set()
        self._take(reader.end(), answer)

    def _take(self, frames: list[tuple[bytes, dict[str, str]]], answer: _Answer) -> None:
        for payload, envelope in frames:
            for event in read_events(payload, answer.speech, envelope):
                self._note_of(event, answer)

    def _note_of(self, event: Event | Garbled, answer: _Answer) -> None:
        """Note what came on the answer to a message: it belongs to that message."""
        message_id = answer.message_id
        if isinstance(event, dict) and message_id and self.speech.target.described:
            # An id of the event's own wins. Without one, that it came on the answer to this message is all
            # that names its turn.
            event = {"message_id": message_id, **event}
        self._note(event)
        if isinstance(event, dict) and event["type"] in TERMINAL and message_id and answer.owns:
            self.answers_ended[message_id] = "the answer has ended"
        self._news.set()

    async def _take_short(self, response: aiohttp.ClientResponse, answer: _Answer) -> None:
        """Read an answer that is no stream: a refusal, or that a message was taken."""
        body = await read_body(response, limit=MAX_SHORT)
        self._trace.add(self.name, "<", shorten(body))
        known: list[Event] = []
        if self.speech.target.described and body.strip():
            read = read_events(body, answer.speech, {"status": str(response.status)})
            known = [each for each in read if isinstance(each, dict)]
        for each in known:
            self._note_of(each, answer)
        # A refusal in the server's own words was noted as such above. Without any, the status says what it
        # means. JSON that no rule takes is none.
        if not _is_good(response.status) and not any(each["type"] in TYPES for each in known):
            saw(f"a message was refused with {response.status}")
            refusal: Event = {
                "type": "error",
                "message": body.decode(errors="replace"),
                "status": response.status,
            }
            code = CODES.get(response.status, "bad_request" if response.status < 500 else "internal")
            refusal["code"] = code
            refusal["message_id"] = answer.message_id
            self._note_of(refusal, answer)

    @contextmanager
    def _failures(self, answer: _Answer) -> Iterator[None]:
        """Note how an answer ended that did not end well."""
        try:
            yield
        except (aiohttp.ClientError, ConnectionError) as error:
            self._answer_ended(answer, f"the answer broke off ({type(error).__name__}: {error})", broken=True)
        except (EventStreamError, JsonLinesError) as error:
            self._answer_ended(answer, f"the answer cannot be read: {error}", broken=True)
        except TooMuchError as error:
            self._end(str(error))
        except Failure as error:
            self._end(str(error))

    def _answer_ended(self, answer: _Answer, how: str, *, broken: bool = False) -> None:
        message_id = answer.message_id
        if message_id in self.answers_ended or not (answer.owns or broken):
            pass
        # No message of such a server marks the end, so the orderly end of the body is the mark. A body that
        # breaks off is not.
        elif not broken and not self.speech.target.says_end:
            self._note_of({"type": "complete"}, answer)
        else:
            self._trace.add(self.name, "=", how)
            # Without an id it would be the end of all that is waited for without one.
            if answer.owns and message_id:
                self.answers_ended[message_id] = how
        self._news.set()

    # The state of the connection

    async def expect_alive(self, *, within: float | None = None) -> None:
        """Wait until the server answers another request, whatever it says.

        Raises:
            Failure: It does not, or the stream of all events has ended.
        """
        if self.ended is not None:
            raise self._ended_before("the connection to live")
        path = self.speech.target.paths.alive
        limit = within or self.within
        try:
            async with (
                asyncio.timeout(limit),
                self._session.get(self._origin + path, headers=self._headers) as response,
            ):
                await read_body(response)
        except (TimeoutError, aiohttp.ClientError) as error:
            raise Failure(f"an answer to GET {path}", f"{type(error).__name__}: {error}") from None
        saw(f"the server has answered GET {path}")

    async def expect_closed(self, code: int, *, within: float | None = None) -> None:  # noqa: ARG002
        """Wait until the stream of all events has ended; without one there is nothing open between messages.

        Raises:
            Failure: It goes on.
        """
        if self._stream.open:
            await self.until(lambda: self.ended, "the end of the stream", within=within)

    def abort(self) -> None:
        """Drop all connections with a reset, as a dying network does."""
        self._trace.add(self.name, "=", "we drop the connection")
        for response in self._responses:
            if response.connection is not None and response.connection.transport is not None:
                response.connection.transport.abort()
        # Before the tasks run again: each would report the cut as a fault of the server.
        self._end("we dropped it")
        for task in self._tasks:
            task.cancel()

    def cut(self) -> None:
        """Drop the stream of all events only; it is taken up again where the target file says that it can be."""
        self._trace.add(self.name, "=", "we drop the stream")
        followed = self._followed
        if (
            followed is not None
            and followed.connection is not None
            and followed.connection.transport is not None
        ):
            followed.connection.transport.abort()

    def stall(self) -> None:
        """Read nothing any more: the server's bytes pile up on its side."""
        self._trace.add(self.name, "=", "we stop reading")
        self._may_read.clear()

    def _unread(self) -> int:
        # What nobody has read of all answers.
        return sum(
            unread(each.connection.transport.get_extra_info("socket"))
            for each in self._responses
            if each.connection is not None and each.connection.transport is not None
        )

    def read_on(self) -> None:
        """Read again."""
        self._trace.add(self.name, "=", "we read again")
        self._may_read.set()


class _Events:
    """Frames of a stream of server-sent events: the data, with type and id beside it."""

    def __init__(self, last_event_id: str) -> None:
        self._parser = EventStreamParser(last_event_id=last_event_id)

    @property
    def signs(self) -> int:
        return self._parser.comments

    @property
    def last_event_id(self) -> str:
        return self._parser.last_event_id

    @property
    def retry(self) -> float | None:
        return None if self._parser.retry is None else self._parser.retry / 1000

    def feed(self, data: bytes) -> list[tuple[bytes, dict[str, str]]]:
        return [
            (each.data.encode(), {"event": each.event, "id": each.last_event_id})
            for each in self._parser.feed(data)
        ]

    def end(self) -> list[tuple[bytes, dict[str, str]]]:
        return []


class _Lines:
    """Frames of a stream of JSON lines."""

    last_event_id = ""
    retry = None

    def __init__(self) -> None:
        self._lines = JsonLines()

    @property
    def signs(self) -> int:
        return self._lines.blanks

    def feed(self, data: bytes) -> list[tuple[bytes, dict[str, str]]]:
        return [(each, {}) for each in self._lines.feed(data)]

    def end(self) -> list[tuple[bytes, dict[str, str]]]:
        return [(each, {}) for each in self._lines.end()]


def _is_good(status: int) -> bool:
    return 200 <= status < 300


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


@asynccontextmanager
async def streaming(
    origin: str,
    *,
    name: str,
    trace: Trace,
    within: float,
    speech: Speech,
    headers: Mapping[str, str],
) -> AsyncIterator[StreamChannel]:
    """A channel over HTTP for the length of the block; its stream of all events is open, where it has one.

    Args:
        origin: Where requests go, such as ``http://127.0.0.1:8000``.
        name: What the trace calls it.
        trace: Where what goes over it is noted.
        within: How long is waited for what must come, in seconds.
        speech: What the server calls things.
        headers: What goes along with each request.

    Raises:
        Failure: The stream of all events is refused.
    """
    # No limit, since open streams would fill the pool of 100 and a further request would wait unsent. No
    # connection is used twice: the server may close a kept one just when the next request goes out.
    connector = aiohttp.TCPConnector(limit=0, force_close=True, ssl=speech.target.tls() or True)
    timeout = aiohttp.ClientTimeout(total=None)
    # The server is an address, not a name.
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, cookie_jar=jar, auto_decompress=False
    ) as session:
        channel = StreamChannel(name, speech, trace, within, origin=origin, headers=headers, session=session)
        try:
            await channel.open()
            yield channel
        finally:
            await channel.aclose()
