"""What a case is given: everything it may do to the target, traced."""

from __future__ import annotations

import asyncio
import copy
import itertools
import random
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
from multidict import CIMultiDict

from chat_conformance.errors import CouldNotTest, Failure, NotOffered
from chat_conformance.suite.turn import Turn
from chat_conformance.target.clock import Clock
from chat_conformance.target.file import Limited, Target, User, Variant
from chat_conformance.target.oauth_server import Forge
from chat_conformance.target.places import temporary_folder
from chat_conformance.target.server import Server, gone, is_zombie, running
from chat_conformance.target.speech import Speech
from chat_conformance.target.variants import Fleet
from chat_conformance.wire.body import read_body
from chat_conformance.wire.channel import MAX_DEPTH, shallow
from chat_conformance.wire.evidence import saw
from chat_conformance.wire.handshake import (
    Response,
    check_response,
    encode_key,
    encode_request,
    upgrade_headers,
)
from chat_conformance.wire.middlebox import Carry, MiddleBox, as_it_comes, middle_box
from chat_conformance.wire.peer import Peer, connected
from chat_conformance.wire.trace import Trace, shorten
from fake_claude import ledger
from fake_claude.gates import Gate

Headers = dict[str, str] | list[tuple[str, str]]
_IDS = re.compile(r"\b[0-9a-f]{12}\b")
PASSAGES = 64  # a gate is left wide open when its case is over, so nothing stays behind it


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer.

    Attributes:
        status: The status code.
        headers: Names in lower case.
        body: All of it.
        cookies: The cookies it sets.
        set_cookies: The headers that set them, as they are.
        read: Puts a JSON document into the words of the protocol.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    cookies: dict[str, str]
    read: Callable[[Any], Any] = lambda value: value
    set_cookies: tuple[str, ...] = ()

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            Failure: It is none.
        """
        try:
            return self.read(shallow(msgspec.json.decode(self.body)))
        except msgspec.DecodeError as error:
            raise Failure("a JSON body", f"{error}: status {self.status}, {shorten(self.body)}") from None
        except RecursionError:
            deep = f"it is nested deeper than {MAX_DEPTH} levels: {shorten(self.body)}"
            raise Failure("a JSON body", deep) from None

    def member(self, name: str) -> Any:
        """One member of the body, which must be an object that has it."""
        value = self.json()
        if not isinstance(value, dict) or name not in value:
            raise Failure(f"a JSON object with {name!r}", f"status {self.status}, {shorten(self.body)}")
        return value[name]


class Chat:
    """One case's hands and eyes; an async context manager.

    Attributes:
        server: The running target.
        trace: What went over all of its connections.
        word: A word that no other case uses; it stands in every prompt, so that the ledger can be searched.
        random: All randomness the case may use.
        users: Who may use the server; requests come from the first of them unless said otherwise.
        used: The servers it has used, each with the number of lines that it had written before.
    """

    def __init__(
        self,
        server: Server,
        *,
        case_id: str,
        seed: int,
        starting: asyncio.Lock | None = None,
        fleet: Fleet | None = None,
    ) -> None:
        self.server = server
        self.users = server.target.users
        self.used = [(server, server.lines_seen)]
        self.maybe_clock: Clock | None = None
        self.case_id = case_id
        self.trace = Trace()
        self.random = random.Random(f"{seed} {case_id}")  # noqa: S311  (it is to be repeatable)
        self.word = "".join(self.random.choices("bcdfghjkmnpqrstvwxz", k=10))
        self._count = itertools.count(1)
        self._seed = seed
        self._fleet = fleet
        self._starting = starting or asyncio.Lock()  # servers that start all at once starve each other
        self._stack = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def target(self) -> Target:
        """The target's description."""
        return self.server.target

    def offers(self, role: str) -> bool:
        """Whether the target has a part of a chat (target/roles.py); a case may then look at it, too."""
        return role in self.target.roles

    @property
    def posts(self) -> bool:
        """Whether turns can be run by POST, too."""
        return bool(self.target.paths.turn)

    @property
    def turn_door(self) -> str:
        """Where turns are run by POST.

        Raises:
            NotOffered: The target has no such door.
        """
        if not self.posts:
            raise NotOffered("paths.turn is empty in the target file: there is no POST")
        return self.target.paths.turn

    @property
    def new_door(self) -> str:
        """Where empty conversations are made.

        Raises:
            NotOffered: The target has no such door.
        """
        if not self.target.paths.new:
            raise NotOffered("paths.new is empty in the target file: no empty conversations are made")
        return self.target.paths.new

    # Prompts and what Claude saw of them

    def prompt(self, text: str = "", /, **script: Any) -> str:
        """A prompt with this case's word; with arguments the fake plays them as an inline script.

        Raises:
            CouldNotTest: A script is asked for and the target has no fake.
        """
        words = f"{self.word} {text}".rstrip()
        if not script:
            return words
        self._expect_fake()
        steps = " ".join(f"{key}={_quoted(value)}" for key, value in script.items())
        return f"{words} [[fake {steps}]]"

    def next_id(self, name: str = "m") -> str:
        """A message id that was not used before."""
        return f"{name}-{self.word}-{next(self._count)}"

    @asynccontextmanager
    async def gate(
        self, name: str, *, server: Server | None = None, scripted: bool = False
    ) -> AsyncIterator[Gate]:
        """A gate of the fake; all who stand at it pass when the block is left.

        ``scripted`` takes the name as the script has it; else it is this case's alone.
        """
        self._expect_fake()
        folder = (server or self.server).gates
        assert folder is not None
        with Gate(folder, name if scripted else f"{name}-{self.word}") as gate:
            try:
                yield gate
            finally:
                gate.open(PASSAGES)

    async def reached(self, gate: Gate) -> None:
        """Wait until Claude stands at the gate."""
        try:
            async with asyncio.timeout(self.target.within):
                await gate.reached()
        except TimeoutError:
            raise Failure("Claude to be asked", f"not within {self.target.within:g} s") from None

    def runs(self) -> list[ledger.Run]:
        """The runs of Claude that were given a prompt of this case, oldest first.

        Raises:
            CouldNotTest: The target file names no ledger.
        """
        self._expect_fake()
        return self.runs_of(self.server)

    def runs_of(self, server: Server) -> list[ledger.Run]:
        """The same of another server; empty if it has no ledger."""
        return [
            run
            for run in (ledger.read(server.ledger) if server.ledger else ())
            if any(self.word in text for text in [*run.stdin, *run.argv])
        ]

    def started_since(self) -> list[ledger.Run]:
        """The runs of Claude that have begun since the case did, whoever's prompts they were given, oldest first.

        Raises:
            CouldNotTest: The target file names no ledger.
        """
        self._expect_fake()
        assert self.server.ledger is not None
        return [run for run in ledger.read(self.server.ledger) if run.started >= self.trace.began]

    async def expect_gone(self, *, within: float | None = None) -> None:
        """Wait until every run that was given a prompt of this case is gone, and what those left behind.

        Raises:
            Failure: A process is alive still.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + (self.target.within if within is None else within)
        for run in self.runs():
            children = [each["pid"] for each in run.events if each.get("event") == "grandchild"]
            for pid in [run.pid, *children]:
                if not await gone(pid, max(0.0, until - loop.time())) and not is_zombie(pid):
                    what = "a child that Claude left behind" if pid in children else "Claude"
                    raise Failure(f"{what} (pid {pid}) to be gone", "it is alive")

    def times_asked(self, text: str) -> int:
        """How often Claude was given a prompt with this text."""
        return sum(text in given for run in self.runs() for given in [*run.stdin, *run.argv])

    def _expect_fake(self) -> None:
        if self.server.ledger is None or self.server.gates is None:
            raise CouldNotTest("the target file names no ledger and gates of a fake Claude")

    # WebSocket

    @asynccontextmanager
    async def wire(self, server: Server | MiddleBox | None = None) -> AsyncIterator[Peer]:
        """A TCP connection, nothing sent; to another server than the case's, or through a box before it."""
        where = server or self.server
        name = f"ws{next(self._count)}"
        async with connected(
            where.host,
            where.port,
            name=name,
            trace=self.trace,
            within=self.target.within,
            speech=Speech(self.target, self.user(0).values),
        ) as peer:
            yield peer

    async def upgrade(
        self,
        peer: Peer,
        headers: dict[str, str | None] | list[tuple[str, str]] | None = None,
        *,
        user: int = 0,
        path: str | None = None,
        method: str = "GET",
        key: str | None = None,
        offered: tuple[str, ...] | None = None,
        after: bytes = b"",
        http: str = "1.1",
        checked: bool = True,
        server: Server | None = None,
    ) -> Response:
        """Send an opening handshake and wait for its answer.

        Args:
            peer: The connection.
            headers: What differs from a valid handshake; None takes a header away.
            user: Whose headers are sent.
            path: Another path.
            method: Another method.
            key: Another key.
            offered: The subprotocols; without it, the server's own.
            after: Bytes that are sent glued to the request.
            http: Another version of HTTP.
            checked: Whether a 101 must be the right one; to a faulty handshake there is none.
            server: Another server than the case's, whose name is sent as Host.
        """
        key = key or encode_key(self.random.randbytes(16))
        offered = self._subprotocols if offered is None else offered
        named = server or self.server
        host = f"{named.host}:{named.port}"
        sent: dict[str, str | None] = dict(upgrade_headers(host, key, subprotocols=offered))
        sent |= self.user(user).headers
        more = headers if isinstance(headers, list) else []
        sent |= headers if isinstance(headers, dict) else {}
        request = encode_request(path or self.target.paths.socket, sent, method=method, http=http, more=more)
        what = f"{method} {path or self.target.paths.socket} upgrade{f' with {headers}' if headers else ''}"
        await peer.send_bytes(request + after, what)
        response = await peer.expect_response()
        if (
            checked
            and response.status == 101
            and (
                wrong := check_response(
                    response,
                    sent.get("Sec-WebSocket-Key") or key,
                    offered=offered,
                    extensions=sent.get("Sec-WebSocket-Extensions") or "",
                )
            )
        ):
            raise Failure("a right answer to the handshake", wrong)
        return response

    @property
    def _subprotocols(self) -> tuple[str, ...]:
        """What a handshake offers; nothing where the server has no subprotocol."""
        ours = self.target.dialect.subprotocol
        return (ours,) if ours else ()

    def opening(self, *, user: int = 0) -> bytes:
        """A valid opening handshake, to be sent by whoever does not use a ``Peer``."""
        host = f"{self.server.host}:{self.server.port}"
        key = encode_key(self.random.randbytes(16))
        headers: dict[str, str | None] = dict(upgrade_headers(host, key, subprotocols=self._subprotocols))
        return encode_request(self.target.paths.socket, headers | self.user(user).headers)

    @asynccontextmanager
    async def peer(self, *, user: int = 0, server: Server | MiddleBox | None = None) -> AsyncIterator[Peer]:
        """An open WebSocket; to another server than the case's, or through a box before it.

        Raises:
            Failure: The handshake was not answered as it must be.
        """
        async with self.wire(server) as peer:
            response = await self.upgrade(
                peer, user=user, server=server if isinstance(server, Server) else None
            )
            if response.status != 101:
                raise Failure(
                    "101 to a valid handshake", f"{response.status} {response.reason} {shorten(peer.body)}"
                )
            yield peer

    def box(
        self, *, down: Carry = as_it_comes, up: Carry = as_it_comes
    ) -> AbstractAsyncContextManager[MiddleBox]:
        """A hostile middle box before the server."""
        return middle_box(self.server.host, self.server.port, self.trace, down=down, up=up)

    async def ask(
        self,
        peer: Peer,
        message: str,
        *,
        conversation_id: str | None = None,
        message_id: str | None = None,
        **more: Any,
    ) -> Turn:
        """Send a ``chat_request`` and return its turn, not waited for."""
        message_id = message_id or self.next_id()
        turn = Turn(peer, message_id, len(peer.events))
        await peer.send_json(
            type="chat_request",
            message=message,
            message_id=message_id,
            conversation_id=conversation_id,
            **more,
        )
        return turn

    async def started(self, peer: Peer, message: str, **more: Any) -> Turn:
        """Send a ``chat_request`` and wait for ``accepted``."""
        return await (await self.ask(peer, message, **more)).begin()

    async def finished(self, peer: Peer, message: str, **more: Any) -> Turn:
        """Send a ``chat_request`` and wait for ``complete``."""
        turn = await self.started(peer, message, **more)
        await turn.completed()
        return turn

    async def follow(
        self, peer: Peer, conversation_id: str, message_id: str, *, after: int | None = None
    ) -> Turn:
        """Send a ``subscribe`` for a turn and return the turn, not waited for."""
        turn = Turn(peer, message_id, len(peer.events))
        await peer.send_json(
            type="subscribe", conversation_id=conversation_id, message_id=message_id, after=after
        )
        return turn

    async def refusal(self, peer: Peer, code: str, **members: Any) -> dict[str, Any]:
        """Send a message and wait for the ``error`` with this code that answers it."""
        begin = len(peer.events)
        await peer.send_json(**members)
        return await self.error(peer, code, begin)

    async def error(self, peer: Peer, code: str, begin: int) -> dict[str, Any]:
        """Wait for the ``error`` with this code among the messages from a place on."""
        _, event = await peer.expect_event(begin)
        if (
            event.get("type") != "error"
            or event.get("code") != code
            or not isinstance(event.get("message"), str)
        ):
            raise Failure(f"an error {code!r} with a message", f"it is {event}")
        saw(f"a message was answered with the error {code}")
        return event

    # HTTP

    async def served_meanwhile(self) -> None:
        """Wait until the server has answered two requests, one after the other: what was due before has happened.

        So a case judges by order and not by the clock: where the machine stands still, these answers come late, too. A
        server that does not answer at all has had its time.
        """
        with suppress(Failure):
            for _ in range(2):
                await self.http("GET", self.target.paths.health)

    def user(self, number: int) -> User:
        """One of the target's users.

        Raises:
            CouldNotTest: There are not so many.
        """
        if number >= len(self.users):
            raise CouldNotTest(f"the target file names {len(self.users)} user(s); this needs {number + 1}")
        return self.users[number]

    async def http(
        self,
        method: str,
        path: str,
        *,
        form: dict[str, str] | None = None,
        body: bytes | None = None,
        headers: Headers | None = None,
        user: int = 0,
        server: Server | MiddleBox | None = None,
        url: str | None = None,
        within: float | None = None,
    ) -> Answer:
        """Ask by HTTP, with a form or with a body as it is, and read the whole answer.

        Raises:
            Failure: The connection broke, or the answer took longer than ``within``.
        """
        assert self._session is not None
        where = (url or (server or self.server).url) + path
        self.trace.add("http", ">", f"{method} {path}{f' {shorten(str(form))}' if form else ''}")
        limit = within or self.target.within
        named = [("Host", f"{self.server.host}:{self.server.port}")] if isinstance(server, MiddleBox) else []
        try:
            async with (
                asyncio.timeout(limit),
                self._session.request(
                    method,
                    where,
                    data=body if form is None else self.target.dialect.form(form),
                    headers=CIMultiDict([*self.user(user).headers.items(), *pairs(headers), *named]),
                    allow_redirects=False,
                ) as response,
            ):
                body = await read_body(response)
        except TimeoutError:
            raise Failure(f"an answer to {method} {path}", f"not within {limit:g} s") from None
        except aiohttp.ClientError as error:
            raise Failure(f"an answer to {method} {path}", f"{type(error).__name__}: {error}") from None
        self.trace.add("http", "<", f"{response.status} {shorten(body)}")
        saw(f"{method} {_IDS.sub('{id}', path.partition('?')[0])} was answered with {response.status}")
        names = {name.lower(): value for name, value in response.headers.items()}
        cookies = {name: morsel.value for name, morsel in response.cookies.items()}
        kind = self._kind(method, path)
        return Answer(
            response.status,
            names,
            body,
            cookies,
            lambda value: self.target.dialect.document(kind, value),
            tuple(response.headers.getall("Set-Cookie", [])),
        )

    def _kind(self, method: str, path: str) -> str:
        """Which of the dialect's documents answers a request."""
        paths = self.target.paths
        match method, path.partition("?")[0]:
            case "POST", door if door == paths.turn:
                return "post"
            case "POST", door if door == paths.new:
                return "new"
            case "GET", door if door == paths.history:
                return "list"
            case _:
                return "conversation"

    async def post(
        self,
        message: str,
        *,
        within: float | None = None,
        server: Server | MiddleBox | None = None,
        user: int = 0,
        **fields: str,
    ) -> Answer:
        """Run a turn by HTTP (HTTP-2).

        Raises:
            NotOffered: The target has no such door.
        """
        form = {"message": message, **fields}
        return await self.http("POST", self.turn_door, form=form, within=within, server=server, user=user)

    async def history(
        self, conversation_id: str, *, server: Server | None = None, user: int = 0
    ) -> list[dict[str, Any]]:
        """The messages of a conversation as history has them (HIST-4)."""
        answer = await self.http("GET", self.target.paths.of(conversation_id), server=server, user=user)
        if answer.status != 200:
            raise Failure("200 for the conversation's history", f"{answer.status} {shorten(answer.body)}")
        messages = answer.member("messages")
        if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
            raise Failure("a list of messages in history", f"it is {shorten(answer.body)}")
        return messages

    async def last_message(self, conversation_id: str) -> dict[str, Any]:
        """The newest message of a conversation as history has it.

        Raises:
            Failure: It has none.
        """
        messages = await self.history(conversation_id)
        if not messages:
            raise Failure("the conversation to have messages in history", "it is []")
        return messages[-1]

    @asynccontextmanager
    async def instance(
        self, *, claude: str | None = None, env: dict[str, str] | None = None, before: Sequence[str] = ()
    ) -> AsyncIterator[Server]:
        """Another instance of the target, with data of its own, that a case may signal and end.

        ``env`` is added to its environment, and ``before`` stands before its command.

        Raises:
            CouldNotTest: The target file has no start command.
        """
        if not self.target.starts:
            raise CouldNotTest("the target file has no start command, so there is nothing this case may end")
        target = msgspec.structs.replace(
            self.target,
            start=[*before, *self.target.start],
            env={**self.target.env, **(env or {})},
        )
        async with running(target, claude=claude, starting=self._starting, seed=self._key()) as server:
            self.trace.add("server", "=", f"another instance at {server.url}")
            self.used.append((server, 0))
            yield server

    # Variants of the target

    @asynccontextmanager
    async def variant(self, name: str, *, own: bool = False, clock: bool = False) -> AsyncIterator[Chat]:
        """The same case on the target set otherwise, with users that nobody had before.

        Args:
            name: The field of the target file's ``variants``.
            own: Whether the server is this case's alone, to be ended and started again.
            clock: Whether its clock can be moved (``self.clock``); then it is this case's alone, too.

        Raises:
            NotOffered: The target file does not claim it.
            CouldNotTest: The target runs already, or there is no clock to move.
        """
        variant: Variant | None = getattr(self.target.variants, name)
        if variant is None:
            raise NotOffered(f"the target file has no variants.{name}")
        users = variant.users(*(f"{self.word}{next(self._count)}" for _ in range(3)))
        async with AsyncExitStack() as stack:
            spent = isinstance(variant, Limited) and not users  # by another case, there being one user only
            if own or clock or spent:
                other = await self._own(stack, variant, clock=clock)
            else:
                other = self._on(await self._fleet_of_run.get(name, variant))
            other.users = users or other.users
            yield other

    @asynccontextmanager
    async def scripted(self, *, own: bool = False) -> AsyncIterator[Chat]:
        """The same case on a server whose Claude plays the suite's script to the prompts that it names.

        ``own`` makes the server this case's alone, to be ended.

        Raises:
            CouldNotTest: The target runs already.
        """
        variant = self.target.variants.patient or Variant()
        async with AsyncExitStack() as stack:
            if own:
                yield await self._own(stack, variant, clock=False)
            else:
                yield self._on(await self._fleet_of_run.get("scripted", variant))

    @property
    def _fleet_of_run(self) -> Fleet:
        if self._fleet is None:
            raise CouldNotTest("this run has one server only")
        return self._fleet

    @property
    def forge(self) -> Forge:
        """The forge where the users of a variant log in."""
        forge = self._fleet_of_run.forge
        assert forge is not None
        return forge

    def _on(self, server: Server) -> Chat:
        other = copy.copy(self)
        other.server = server
        other.users = server.target.users
        self.used.append((server, server.lines_seen))
        self.trace.add("server", "=", f"now the server at {server.url}")
        return other

    async def _own(self, stack: AsyncExitStack, variant: Variant, *, clock: bool) -> Chat:
        folder = stack.enter_context(temporary_folder(self._key(), "own"))
        moved = Clock(folder) if clock else None
        if moved is not None:
            variant = Variant(env={**variant.env, **moved.env})
        server = await self._fleet_of_run.make(folder, variant)
        stack.push_async_callback(server.end)
        async with self._starting:
            await server.start()
        other = self._on(server)
        other.maybe_clock = moved
        return other

    def folder(self) -> AbstractContextManager[Path]:
        """An empty folder for the length of the block."""
        return temporary_folder(self._key(), "files")

    def _key(self) -> str:
        """What names a folder of this case that no other one has."""
        return f"{self._seed} {self.case_id} {next(self._count)}"

    @property
    def clock(self) -> Clock:
        """The clock of a server that has one to be moved."""
        assert self.maybe_clock is not None
        return self.maybe_clock


def pairs(headers: Headers | None) -> list[tuple[str, str]]:
    """Headers as a list, which may have a name twice."""
    return list(headers.items()) if isinstance(headers, dict) else list(headers or [])


def _quoted(value: Any) -> str:
    text = str(value)
    if text and all(char.isalnum() or char in "-_.@" for char in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def expect(happened: bool, expected: str, otherwise: str) -> None:  # noqa: FBT001
    """Fail the case unless something holds.

    Raises:
        Failure: It does not.
    """
    if not happened:
        raise Failure(expected, otherwise)
    saw(expected)


def expect_equal(found: Any, wanted: Any, what: str) -> None:
    """Fail the case unless two values are equal.

    Raises:
        Failure: They are not; the sentence has both.
    """
    if found != wanted:
        raise Failure(f"{what} to be {shorten_value(wanted)}", f"it is {shorten_value(found)}")
    saw(f"{what} is {shorten_value(found)}")


def shorten_value(value: Any) -> str:
    """A value as one line of bounded length."""
    return shorten(value) if isinstance(value, str | bytes) else shorten(repr(value))[1:-1]
