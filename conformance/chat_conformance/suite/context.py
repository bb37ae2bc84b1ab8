"""What a case is given: connections and turns, an HTTP client, the fake, and the target's variants."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from functools import partial
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

import msgspec

from chat_conformance.errors import CouldNotTest, Failure, NotOffered
from chat_conformance.suite.connect import Connector
from chat_conformance.suite.fake import FakeClaude
from chat_conformance.suite.http import HttpClient
from chat_conformance.suite.scope import CaseScope
from chat_conformance.suite.turn import TurnReader, connection_of
from chat_conformance.target.clock import Clock
from chat_conformance.target.file import Limited, Target, User, Variant
from chat_conformance.target.oauth_server import OAuthServer
from chat_conformance.target.places import temporary_folder
from chat_conformance.target.roles import ROLES
from chat_conformance.target.server import Server, running
from chat_conformance.target.variants import VariantServers
from chat_conformance.wire.channel import Channel
from chat_conformance.wire.evidence import saw
from chat_conformance.wire.middlebox import MiddleBox
from chat_conformance.wire.peer import Peer
from chat_conformance.wire.trace import Trace


class CaseContext:
    """What a case can do to the target; an async context manager.

    Attributes:
        case_id: The case that is played.
        scope: The server that it is on, its users, marker, randomness and trace.
        connector: Opens connections, also those that break the protocol.
        http: Sends requests, runs turns by POST and reads history.
        fake: Prompts that script the fake Claude, its gates and its ledger.
        used: The servers it has used, each with the number of lines that it had written before.
    """

    def __init__(
        self,
        server: Server,
        *,
        case_id: str,
        seed: int,
        starting: asyncio.Lock | None = None,
        variants: VariantServers | None = None,
    ) -> None:
        """``starting`` is held while a server starts, since servers that start together starve each other."""
        self.case_id = case_id
        self.scope = CaseScope.create(server, case_id, seed)
        self.http = HttpClient(self.scope)
        self.connector = Connector(self.scope, self.http)
        self.fake = FakeClaude(self.scope)
        # Servers are shared: lines from before are of other cases, and evidence of this one begins here.
        self.used = [(server, server.lines_seen)]
        self._seed = seed
        self._variants = variants
        self._starting = starting or asyncio.Lock()
        self._clock: Clock | None = None
        self._turns: dict[str, TurnReader] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.http)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def server(self) -> Server:
        """The running target, or one of its variants."""
        return self.scope.server

    @property
    def target(self) -> Target:
        """The target's description."""
        return self.scope.target

    @property
    def trace(self) -> Trace:
        """What went over all of the case's connections."""
        return self.scope.trace

    @property
    def marker(self) -> str:
        """A word that no other case uses; it stands in every prompt."""
        return self.scope.marker

    @property
    def random(self) -> Random:
        """All randomness that the case may use."""
        return self.scope.random

    def offers(self, role: str) -> bool:
        """Whether the target has a part of a chat (target/roles.py); a case may then look at it, too."""
        return role in self.target.roles

    def user(self, number: int) -> User:
        """One of the users; raises ``CouldNotTest`` where the target names fewer."""
        return self.scope.user(number)

    def next_id(self, name: str = "m") -> str:
        """A message id that was not used before."""
        return self.scope.next_id(name)

    # Connections and turns

    def peer(
        self, *, user: int = 0, server: Server | MiddleBox | None = None
    ) -> AbstractAsyncContextManager[Channel]:
        """An open channel, whatever carries it; to another server than the case's, or through a box before it.

        Raises:
            Failure: The server did not accept it.
        """
        return self.connector.channel(user=user, server=server)

    def websocket(
        self, *, user: int = 0, server: Server | MiddleBox | None = None
    ) -> AbstractAsyncContextManager[Peer]:
        """The same for a case that looks at frames or closes.

        Raises:
            Failure: The server did not accept it.
            NotOffered: The server does not speak WebSocket.
        """
        return self.connector.websocket(user=user, server=server)

    async def send_prompt(
        self,
        peer: Channel,
        message: str,
        *,
        conversation_id: str | None = None,
        message_id: str | None = None,
        **more: Any,
    ) -> TurnReader:
        """Send a ``chat_request`` and return its turn, not waited for."""
        message_id = message_id or self.next_id()
        # The turn is made before the prompt is sent: it notes where the connection's events are now, and an
        # answer that comes at once is behind that place.
        turn = self.turn_of(peer, message, message_id=message_id, conversation_id=conversation_id)
        await peer.send_json(
            type="chat_request",
            message=message,
            message_id=message_id,
            conversation_id=self._sent_id(peer, conversation_id),
            **more,
        )
        self._turns[peer.name] = turn
        return turn

    def turn_of(
        self, peer: Channel, message: str, *, message_id: str = "", conversation_id: str | None = None
    ) -> TurnReader:
        """The turn of a prompt that is sent next on a connection."""
        outcome = partial(self.fake.outcome, message)
        return TurnReader(
            peer, message_id, len(peer.events), conversation_id=conversation_id, outcome=outcome
        )

    def _sent_id(self, peer: Channel, conversation_id: str | None) -> str | None:
        """The id that goes into a message; none where the connection is the conversation.

        Raises:
            NotOffered: The server cannot continue that conversation here, or not now.
        """
        roles = self.target.roles
        # Three kinds of servers: conversations by id (the id is sent); conversations that are connections (no
        # id; going on is possible on the same connection only); neither (a case that goes on is not for them).
        # A server that names no turns can have one at a time on a connection: nothing would say whose an event
        # is.
        last = self._turns.get(peer.name)
        if "message_id" not in roles and last is not None and not last.is_over:
            raise NotOffered(f"two turns at once on one connection: {ROLES['message_id']}")
        if conversation_id is None or "conversation_id" in roles:
            # Empty, not None: the case wants to go on, and the server has not named the conversation yet.
            if not conversation_id and conversation_id is not None and self.target.described:
                raise NotOffered("the server has not said in time which conversation it is")
            return conversation_id
        if "conversation" not in roles or conversation_id != connection_of(peer):
            raise NotOffered(ROLES["conversation_id"])
        return None

    async def start_turn(self, peer: Channel, message: str, **more: Any) -> TurnReader:
        """Send a ``chat_request`` and wait for ``accepted``."""
        return await (await self.send_prompt(peer, message, **more)).begin()

    async def run_turn(self, peer: Channel, message: str, **more: Any) -> TurnReader:
        """Send a ``chat_request`` and wait for ``complete``."""
        turn = await self.start_turn(peer, message, **more)
        await turn.completed()
        return turn

    async def follow(
        self, peer: Channel, conversation_id: str, message_id: str, *, after: int | None = None
    ) -> TurnReader:
        """Send a ``subscribe`` for a turn and return the turn, not waited for."""
        turn = TurnReader(peer, message_id, len(peer.events))
        await peer.send_json(
            type="subscribe", conversation_id=conversation_id, message_id=message_id, after=after
        )
        return turn

    async def refusal(self, peer: Channel, code: str, **members: Any) -> dict[str, Any]:
        """Send a message and wait for the ``error`` with this code that answers it."""
        # Noted before the message is sent: the refusal may come at once.
        begin = len(peer.events)
        await peer.send_json(**members)
        return await self.error(peer, code, begin)

    async def error(self, peer: Channel, code: str, begin: int) -> dict[str, Any]:
        """Wait for the ``error`` with this code among the messages from a place on.

        Raises:
            Failure: The next message is another one.
        """
        _, event = await peer.expect_event(begin)
        if (
            event.get("type") != "error"
            or event.get("code") != code
            or not isinstance(event.get("message"), str)
        ):
            raise Failure(f"an error {code!r} with a message", f"it is {event}")
        saw(f"a message was answered with the error {code}")
        return event

    # Further servers

    @asynccontextmanager
    async def instance(
        self, *, claude: str | None = None, env: dict[str, str] | None = None, before: Sequence[str] = ()
    ) -> AsyncIterator[Server]:
        """Another instance of the target, with data of its own, that a case may signal and end.

        Args:
            claude: Another command than the fake.
            env: Added to its environment.
            before: Words before its command, such as a wrapper.

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

    @asynccontextmanager
    async def variant(
        self, name: str, *, own: bool = False, clock: bool = False
    ) -> AsyncIterator[CaseContext]:
        """The same case on the target with other settings, with users that no other case has.

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
        # Fresh names for each case: limits count by user, and one case must not use up another's.
        users = variant.users(*(f"{self.marker}{self.scope.next_number()}" for _ in range(3)))
        async with AsyncExitStack() as stack:
            # A limited variant with one user only has been used up by another case.
            spent = isinstance(variant, Limited) and not users
            if own or clock or spent:
                other = await self._own_server(stack, variant, clock=clock)
            else:
                other = self._on(await self._variant_servers.get(name, variant))
            other.scope.users = users or other.scope.users
            yield other

    @asynccontextmanager
    async def scripted_server(self, *, own: bool = False) -> AsyncIterator[CaseContext]:
        """The same case on a server whose Claude plays the suite's script to the prompts that it names.

        ``own`` makes the server this case's alone, to be ended.

        Raises:
            CouldNotTest: The target runs already.
        """
        # A script of the suite may pause for long; a short keepalive must not end a connection that is only slow.
        variant = self.target.variants.patient or Variant()
        async with AsyncExitStack() as stack:
            if own:
                yield await self._own_server(stack, variant, clock=False)
            else:
                yield self._on(await self._variant_servers.get("scripted", variant))

    @property
    def forge(self) -> OAuthServer:
        """The forge where the users of a variant log in."""
        forge = self._variant_servers.forge
        assert forge is not None
        return forge

    @property
    def clock(self) -> Clock:
        """The clock of a server that has one to be moved."""
        assert self._clock is not None
        return self._clock

    @property
    def _variant_servers(self) -> VariantServers:
        if self._variants is None:
            raise CouldNotTest("this run has one server only")
        return self._variants

    def _on(self, server: Server) -> CaseContext:
        other = copy.copy(self)
        other.scope = self.scope.on(server)
        other.http = self.http.on(other.scope)
        other.connector = Connector(other.scope, other.http)
        other.fake = FakeClaude(other.scope)
        # A shared server may be used before: its lines are evidence from the first time on.
        if all(each is not server for each, _ in self.used):
            self.used.append((server, server.lines_seen))
        self.trace.add("server", "=", f"now the server at {server.url}")
        return other

    async def _own_server(self, stack: AsyncExitStack, variant: Variant, *, clock: bool) -> CaseContext:
        folder = stack.enter_context(temporary_folder(self._key(), "own"))
        moved = Clock(folder) if clock else None
        if moved is not None:
            variant = Variant(env={**variant.env, **moved.env})
        server = await self._variant_servers.create(folder, variant)
        # Before it is started: a start that fails half way has a process to be ended, too.
        stack.push_async_callback(server.end)
        async with self._starting:
            await server.start()
        other = self._on(server)
        other._clock = moved  # noqa: SLF001 - it is of this class
        return other

    def folder(self) -> AbstractContextManager[Path]:
        """An empty folder for the length of the block."""
        return temporary_folder(self._key(), "files")

    def _key(self) -> str:
        """What names a folder of this case that no other one has."""
        return f"{self._seed} {self.case_id} {self.scope.next_number()}"
