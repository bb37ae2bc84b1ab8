"""Links as people have them: cut in the middle of a word, dead without a sign, slow, late."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chat_conformance.cases.following import REPLAYS
from chat_conformance.cases.framing import PING_PONG
from chat_conformance.cases.keepalive import interval, pings
from chat_conformance.cases.turns import ANSWERED, STREAMS, pieces, turn_is_over
from chat_conformance.errors import Failure
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect_equal
from chat_conformance.wire.middlebox import buffer_for, bytewise, cut_in_frame

ACCEPTED_LOST = "following/accepted-lost"
# The pause between single bytes, in seconds; a server reads many times in between.
PAUSE = 0.001
PIECES = 12
TEARS = 5
# The last frame that may be torn at first; with fewer, one of those that came is torn.
FRAMES = 10
# How many bytes of a frame pass at most: about the length of an event with one delta.
BYTES = 100


@case(
    ACCEPTED_LOST,
    title="A message whose `accepted` was lost with the line, sent again, is the same turn",
    clause="TURN-7",
    severity=Severity.MEDIUM,
    means="Who loses the line in the moment of sending pays twice, or has the conversation twice.",
    needs=(ANSWERED, "turns/sent-twice"),
)
async def accepted_lost(chat: CaseContext) -> None:
    prompt = chat.fake.prompt(tokens=4)
    # The server has accepted, and the client has seen nothing: it can only send the message again, under its
    # id.
    async with chat.connector.proxied(down=cut_in_frame(1, 0)) as box, chat.peer(server=box) as first:
        lost = await chat.send_prompt(first, prompt)
        await first.until(lambda: first.ended, "the link to be cut before the first event")
    async with chat.peer() as second:
        turn = await chat.run_turn(second, prompt, message_id=lost.message_id)

    expect_equal(turn.text, pieces(4), "the answer")
    expect_equal(chat.fake.prompt_count(chat.marker), 1, "how often Claude was asked")


@case(
    "following/torn-frame",
    title="A line that is reset in the middle of a frame, and resumed, gives the whole answer once",
    clause="SUB-1",
    severity=Severity.BLOCKER,
    means="What the server had written and the network lost stays lost: words are missing after every bad moment.",
    needs=(REPLAYS, ACCEPTED_LOST, "closing/turn-goes-on"),
    slow=True,
)
async def torn_frame(chat: CaseContext) -> None:
    # The seed draws where: over many runs all places are met, and each run can be repeated.
    for frame in chat.random.sample(range(1, FRAMES + 1), TEARS):
        byte = chat.random.randrange(BYTES)
        untorn = await torn_and_resumed(chat, frame, byte)
        # The server puts more into one frame.
        if untorn:
            await torn_and_resumed(chat, 1 + frame % untorn, byte)


async def torn_and_resumed(chat: CaseContext, frame: int, byte: int) -> int:
    """Cut a turn's connection there and resume as a page does; how many frames it had, if it ended before."""
    # Theory: after a cut a page is in one of three states. Without `accepted` it sends the message again,
    # under the same id; with some events it subscribes after the last seq; with the end it has all. Whichever
    # it is, the two connections together must have each seq once, from 1 on, and the whole text.
    where = f"torn at byte {byte} of frame {frame}"
    prompt = chat.fake.prompt(tokens=PIECES, gap="2ms")
    async with (
        chat.connector.proxied(down=cut_in_frame(frame, byte)) as box,
        chat.websocket(server=box) as first,
    ):
        turn = await chat.send_prompt(first, prompt)
        await first.until(
            lambda: first.ended or turn_is_over(first.events), "the answer, or the end of the link"
        )
        if first.events:
            await turn.begin()
            for _ in first.events[1:]:
                await turn.next()
    events = turn.events
    async with chat.peer() as second:
        if not turn.accepted:
            events = (await chat.run_turn(second, prompt, message_id=turn.message_id)).events
        elif turn.terminal is None:
            resumed = await chat.follow(second, turn.conversation_id, turn.message_id, after=len(events))
            await resumed.begin()
            await resumed.finish()
            events = events + resumed.events
    numbers = [each.get("seq") for each in events]
    expect_equal(numbers, list(range(1, len(numbers) + 1)), f"the seq of all events, {where}")
    said = "".join(str(each.get("token")) for each in events if each.get("type") == "token")
    expect_equal(said, pieces(PIECES), f"the answer, {where}")
    return 0 if box.links[0].cut else len(first.frames)


@case(
    "following/half-open",
    title="A connection that goes dead without a sign is closed, and its turn continues where it is resumed",
    clause="CLOSE-3",
    severity=Severity.MEDIUM,
    means="A phone that left the network takes its answer along, or holds a connection for ever.",
    needs=(REPLAYS, "keepalive/dead-peer", "closing/turn-goes-on"),
    waits=True,
    slow=True,
)
async def half_open(chat: CaseContext) -> None:
    patience = 10 * interval(chat) + chat.target.within
    async with (
        chat.fake.gate("dark") as gate,
        chat.connector.proxied() as box,
        chat.peer(server=box) as first,
    ):
        turn = await chat.start_turn(first, chat.fake.prompt(tokens=6, hold=f"{gate.name}@3"))
        await turn.until_text(pieces(3))
        # From here on nothing passes, and no reset says so: only unanswered pings can show it to the server.
        box.blackhole()
        async with chat.peer() as second:
            resumed = await chat.follow(second, turn.conversation_id, turn.message_id, after=len(turn.events))
            await resumed.begin()
            if not await box.links[0].server_closed(patience):
                raise Failure("the server to let go of a link that is dead", f"not within {patience:g} s")
            gate.open()
            await resumed.completed()
    expect_equal(turn.text + resumed.text, pieces(6), "the two parts joined")


@asynccontextmanager
async def unhurried(chat: CaseContext) -> AsyncIterator[CaseContext]:
    """The same case where the server does not take a slow peer for a dead one so soon, if it can be set so."""
    if chat.target.starts:
        async with chat.scripted_server() as patient:
            yield patient
    else:
        yield chat


@case(
    "framing/byte-by-byte",
    title="A link that carries one byte at a time carries a handshake and a turn",
    clause="FRAME-1",
    severity=Severity.MEDIUM,
    means="Behind a slow line, or a proxy that cuts at will, no user gets in, or messages are misread.",
    needs=(PING_PONG, STREAMS),
    waits=True,
    slow=True,
)
async def byte_by_byte(chat: CaseContext) -> None:
    slow = bytewise(PAUSE)
    async with (
        unhurried(chat) as server,
        server.connector.proxied(down=slow, up=slow) as box,
        server.peer(server=box) as peer,
    ):
        turn = await server.start_turn(peer, server.fake.prompt(tokens=3))
        # Some servers say much before the first word.
        await turn.finish(within=4 * chat.target.within)

        expect_equal(await turn.complete(), pieces(3), "the answer")


@case(
    "keepalive/lumps",
    title="Pongs that come late, some at a time, do not end a connection",
    clause="KEEP-2",
    severity=Severity.MEDIUM,
    means="On a line that delivers late the chat is thrown out again and again, though nothing is lost.",
    needs=("keepalive/first-ping",),
    waits=True,
    slow=True,
)
async def late_lumps(chat: CaseContext) -> None:
    longest = interval(chat)
    # There and back it takes longer than the time to the next ping.
    late = buffer_for(0.8 * longest)
    async with chat.connector.proxied(down=late, up=late) as box, chat.websocket(server=box) as peer:
        await pings(chat, peer, 6)
        await peer.expect_alive()
