"""Any number of tabs, cut, resumed and closed at any time, on a server that is restarted: every tab reads one story."""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chat_server.tests.loop_clock import PATIENCE, in_time
from chat_server.tests.replies import TEXTS
from chat_server.tests.sites import Peer, Site, program, site, spoken, until

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""To shrink a failure takes minutes, since each try runs a server."""

PUPPET = """
import selectors, socket
strings = socket.create_connection(("127.0.0.1", {port}))
session = sys.argv[-1]
def emit(**what): strings.sendall(json.dumps(what).encode() + b"\\n")
def event(kind, **members): say("stream_event", event={{"type": kind, **members}})
def begin():
    usage = {{"input_tokens": 1, "output_tokens": 1}}
    event("message_start", message={{"id": f"msg_{{time.monotonic_ns()}}", "usage": usage}})
    event("content_block_start", index=0, content_block={{"type": "text", "text": ""}})
ends = selectors.DefaultSelector()
parts = {{sys.stdin.fileno(): b"", strings.fileno(): b""}}
for end in parts: ends.register(end, selectors.EVENT_READ)
def lines():
    while True:
        for end, _ in ends.select():
            data = os.read(end.fd, 65536)
            if not data: return
            *whole, parts[end.fd] = (parts[end.fd] + data).split(b"\\n")
            yield from map(json.loads, whole)
emit(session=session)
for line in lines():
    match line["type"]:
        case "user":
            init(session); begin()
            emit(asked="".join(block["text"] for block in line["message"]["content"]))
        case "control_request":
            result(is_error=True, errors=["aborted"], terminal_reason="aborted_streaming")
        case "piece":
            event("content_block_delta", index=0, delta={{"type": "text_delta", "text": line["text"]}})
        case "break":
            say("stream_event", event={{"type": "message_stop"}}, abandoned_blocks={{"from_block_index": 0}})
            begin()
        case "finish":
            result(usage={{"input_tokens": 1, "output_tokens": 1}})
        case "die":
            os._exit(3)
"""
"""A CLI that prints what it is commanded to, and reports each prompt."""


@dataclass(eq=False)
class Puppet:
    """The end of a puppet's strings that we hold."""

    session: str
    writer: asyncio.StreamWriter

    def do(self, kind: str, **members: str) -> None:
        self.writer.write(json.dumps({"type": kind, **members}).encode() + b"\n")


@dataclass
class Stage:
    """All puppets that live."""

    port: int
    puppets: list[Puppet] = field(default_factory=list)
    asked: asyncio.Queue[tuple[Puppet, str]] = field(default_factory=asyncio.Queue)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        puppet = Puppet(json.loads(await reader.readline())["session"], writer)
        assert puppet.session not in [each.session for each in self.puppets], "two processes on one session"
        self.puppets.append(puppet)
        while line := await reader.readline():
            self.asked.put_nowait((puppet, json.loads(line)["asked"]))
        self.puppets.remove(puppet)
        writer.close()


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    it = Stage(0)
    server = await asyncio.start_server(it.serve, "127.0.0.1")
    it.port = server.sockets[0].getsockname()[1]
    async with server:
        yield it


@dataclass(eq=False, repr=False)
class Turn:
    """A turn as its puppet prints it."""

    message_id: str
    prompt: str
    conversation: str
    puppet: Puppet | None  # while it runs
    reply: str = ""  # what Claude has said since the stream last broke
    shown: str = ""  # what a reader is to see: an earlier attempt stays until the new one differs
    status: str = "running"
    held: bool = True  # by the server, to be resumed
    seen: dict[int, dict[str, Any]] = field(default_factory=dict)  # by seq, as any tab has received it

    def __repr__(self) -> str:
        return f"{self.message_id}, {self.status}"

    def emit(self, kind: str, **members: str) -> None:
        assert self.puppet is not None
        self.puppet.do(kind, **members)

    def say(self, text: str) -> None:
        self.emit("piece", text=text)
        self.reply += text
        if not self.shown.startswith(self.reply):
            self.shown = self.reply


@dataclass(eq=False, repr=False)
class Tab:
    """What a user has on the screen; when cut off, it keeps that."""

    turn: Turn
    peer: Peer | None
    received: list[dict[str, Any]] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"tab of {self.turn} with {len(self.received)} events"

    @property
    def over(self) -> bool:
        return bool(self.received) and self.received[-1]["type"] in {"complete", "error"}

    async def receive(self) -> None:
        """The next event of the turn, which is the same for every tab."""
        assert self.peer is not None
        assert not self.over
        while (event := await self.peer.receive()).get("message_id") != self.turn.message_id:
            pass  # a later turn, which followers of the conversation receive as well
        if event["type"] == "accepted":
            assert event["conversation_id"] == self.turn.conversation
            return
        assert event["seq"] == len(self.received) + 1, event
        assert self.turn.seen.setdefault(event["seq"], event) == event, "an event has changed"
        self.received.append(event)

    async def receive_all(self) -> None:
        """All there is by now."""
        while not (self.over or (self.turn.puppet and spoken(self.received) == self.turn.shown)):
            await self.receive()
        assert spoken(self.received) == self.turn.shown


class Tabs(RuleBasedStateMachine):
    """Starts, words, cuts, resumes, second tabs, cancels, crashes and restarts, on a real server by real sockets."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=folder))
        self.runner = asyncio.Runner()
        self.life = AsyncExitStack()
        self.turns: list[Turn] = []
        self.tabs: list[Tab] = []
        self.sessions: dict[str, str] = {}  # of Claude, by conversation
        self.numbers = itertools.count()
        self.do(self.begin())

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        async def bounded() -> None:
            async with in_time(2 * PATIENCE):
                await work

        self.runner.run(bounded())

    async def begin(self) -> None:
        self.stage = await self.life.enter_async_context(stage())
        self.command = program(self.folder, PUPPET.format(port=self.stage.port))
        await self.open()

    async def open(self) -> None:
        self.site = await self.life.enter_async_context(AsyncExitStack())
        self.chat: Site = await self.site.enter_async_context(
            site(self.command, self.folder, stop_grace_seconds=0)
        )

    def teardown(self) -> None:
        async def leave() -> None:
            for tab in list(self.tabs):
                await self.close(tab)
            for turn in self.turns:
                if not turn.puppet:
                    assert await self.kept(turn) == (turn.status, turn.shown)
            await self.life.aclose()

        try:
            self.do(leave())
        finally:
            self.runner.close()

    async def connect(self) -> Peer:
        return Peer(await self.chat.http.ws_connect(f"{self.chat.url}/chat/ws"))

    async def close(self, tab: Tab) -> None:
        if tab.peer is not None:
            await tab.peer.ws.close()
            tab.peer = None

    async def follow(self, turn: Turn, received: list[dict[str, Any]], *, named: bool = True) -> Tab:
        """A tab that already has these events."""
        tab = Tab(turn, await self.connect(), received)
        assert tab.peer is not None
        names = {"message_id": turn.message_id} if named else {}
        await tab.peer.send("subscribe", conversation_id=turn.conversation, after=len(received), **names)
        self.tabs.append(tab)
        return tab

    async def kept(self, turn: Turn) -> tuple[str, str]:
        """Status and text of a turn's answer in history."""
        messages = await self.chat.history(turn.conversation)
        (answer,) = [
            each for each in messages if (each["message_id"], each["role"]) == (turn.message_id, "assistant")
        ]
        return answer["status"], answer["content"]

    async def settle(self, turn: Turn) -> None:
        """Until every tab has received what there is, a new one included."""
        await self.follow(turn, [])
        for tab in self.tabs:
            if tab.turn is turn and tab.peer and not tab.over:
                await tab.receive_all()
        await self.close(self.tabs.pop())

    async def over(self, turn: Turn, status: str, last: dict[str, Any]) -> None:
        """All tabs receive the same end of a turn, and it is in history."""
        turn.puppet, turn.status = None, status
        await self.settle(turn)
        end = turn.seen[max(turn.seen)]
        assert last.items() <= end.items()
        assert await self.kept(turn) == (status, turn.shown)

    @property
    def running(self) -> list[Turn]:
        return [turn for turn in self.turns if turn.puppet]

    any_turn = precondition(lambda self: self.turns)
    any_running = precondition(lambda self: self.running)
    any_open = precondition(lambda self: any(tab.peer for tab in self.tabs))
    any_tab = precondition(lambda self: self.tabs)

    # --- what happens

    @initialize(text=TEXTS.filter(bool))
    def talk(self, text: str) -> None:
        """Most happens to turns that run and have printed something."""
        self.do(self.start_in(""))
        self.turns[0].say(text)
        self.do(self.settle(self.turns[0]))

    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        idle = {turn.conversation for turn in self.turns} - {turn.conversation for turn in self.running}
        conversation = data.draw(st.sampled_from(["", *sorted(idle)]))
        self.do(self.start_in(conversation))

    async def start_in(self, conversation: str) -> None:
        number = next(self.numbers)
        peer = await self.connect()
        where = {"conversation_id": conversation} if conversation else {}
        await peer.chat(f"prompt {number}", message_id=f"m{number}", **where)
        accepted = await peer.receive()
        puppet, prompt = await self.stage.asked.get()
        assert (accepted["type"], accepted["message_id"]) == ("accepted", f"m{number}")
        assert prompt == f"prompt {number}"
        turn = Turn(accepted["message_id"], prompt, accepted["conversation_id"], puppet)
        assert self.sessions.setdefault(turn.conversation, puppet.session) == puppet.session
        self.turns.append(turn)
        self.tabs.append(Tab(turn, peer))

    @any_running
    @rule(data=st.data(), text=TEXTS.filter(bool))
    def say(self, data: st.DataObject, text: str) -> None:
        turn = data.draw(st.sampled_from(self.running))
        turn.say(text)
        self.do(self.settle(turn))

    @any_running
    @rule(data=st.data(), text=TEXTS.filter(bool))
    def print_again(self, data: st.DataObject, text: str) -> None:
        """Claude's own stream broke, and it starts again: with the same text, or another."""
        turn = data.draw(st.sampled_from(self.running))
        same = turn.shown[: data.draw(st.integers(0, len(turn.shown)))]
        turn.emit("break")
        turn.reply = ""
        turn.say(same + text)
        self.do(self.settle(turn))

    @any_running
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        turn = data.draw(st.sampled_from(self.running))
        turn.shown = turn.reply
        turn.emit("finish")
        self.do(self.over(turn, "complete", {"type": "complete", "stop_reason": "end_turn"}))

    @any_running
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        turn = data.draw(st.sampled_from(self.running))
        turn.emit("die")
        self.do(self.over(turn, "failed", {"type": "error", "code": "claude_failed"}))

    @any_running
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        turn = data.draw(st.sampled_from(self.running))

        async def from_elsewhere() -> None:
            peer = await self.connect()
            await peer.send("cancel", message_id=turn.message_id)
            await self.over(turn, "cancelled", {"type": "complete", "stop_reason": "cancelled"})
            await peer.ws.close()

        self.do(from_elsewhere())

    @any_open
    @rule(data=st.data(), politely=st.booleans())
    def cut(self, data: st.DataObject, *, politely: bool) -> None:
        tab = data.draw(st.sampled_from([tab for tab in self.tabs if tab.peer]))
        if not politely:
            assert tab.peer is not None
            connection = tab.peer.ws._response.connection
            assert connection is not None
            assert connection.transport is not None
            connection.transport.abort()
        self.do(self.close(tab))

    @any_tab
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        """A tab comes back with all it had, or with less; what the server no longer has, history has."""
        tab = data.draw(st.sampled_from(self.tabs))
        lost = data.draw(st.integers(0, len(tab.received)))
        received = tab.received[: len(tab.received) - lost]

        async def again() -> None:
            await self.close(tab)
            self.tabs.remove(tab)
            await self.come_back(tab.turn, received)

        self.do(again())

    async def come_back(self, turn: Turn, received: list[dict[str, Any]]) -> None:
        tab = await self.follow(turn, list(received))
        if turn.held:
            if not tab.over:
                await tab.receive_all()
            return
        assert tab.peer is not None
        assert (await tab.peer.receive())["code"] == "reset"
        await self.close(self.tabs.pop())
        assert (await self.kept(turn))[1] == turn.shown

    @any_running
    @rule(data=st.data(), named=st.booleans())
    def second_tab(self, data: st.DataObject, *, named: bool) -> None:
        turn = data.draw(st.sampled_from(self.running))

        async def look() -> None:
            await (await self.follow(turn, [], named=named)).receive_all()

        self.do(look())

    @any_turn
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        """The same message again is the same turn, running, over or long over."""
        turn = data.draw(st.sampled_from(self.turns))

        async def again() -> None:
            got = turn if turn.held else replace(turn, seen={})  # history may cut it otherwise
            tab = Tab(got, await self.connect())
            assert tab.peer is not None
            await tab.peer.chat(turn.prompt, message_id=turn.message_id, conversation_id=turn.conversation)
            await tab.receive_all()
            await self.close(tab)

        self.do(again())

    @any_running
    @rule(data=st.data())
    def send_while_running(self, data: st.DataObject) -> None:
        turn = data.draw(st.sampled_from(self.running))

        async def knock() -> None:
            peer = await self.connect()
            await peer.chat("me too", conversation_id=turn.conversation)
            assert (await peer.receive())["code"] == "busy"
            await peer.ws.close()

        self.do(knock())

    @any_turn
    @rule()
    def restart(self) -> None:
        """What was running is interrupted; what was sent stays."""

        async def again() -> None:
            open_tabs = [tab for tab in self.tabs if tab.peer]
            goodbyes = [asyncio.create_task(tab.peer.closed()) for tab in open_tabs if tab.peer]
            await self.chat.runner.cleanup()
            assert set(await asyncio.gather(*goodbyes)) <= {1001}
            for tab in open_tabs:
                await self.close(tab)
            await self.site.aclose()
            for turn in self.running:
                turn.puppet, turn.status = None, "interrupted"
            await until(lambda: not self.stage.puppets)
            for turn in self.turns:
                turn.held = False
            await self.open()
            for turn in self.turns:
                assert await self.kept(turn) == (turn.status, turn.shown)

        self.do(again())


def test_every_tab_reads_the_same_story(tmp_path: Path) -> None:
    run_state_machine_as_test(
        lambda: Tabs(tmp_path),  # type: ignore[arg-type]  # it calls what it is given
        settings=settings(max_examples=8, stateful_step_count=25, deadline=None, phases=PHASES),
    )
