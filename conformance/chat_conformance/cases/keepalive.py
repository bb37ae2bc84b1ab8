"""Pings that keep the path open, whatever Claude does."""

from __future__ import annotations

from chat_conformance.cases.framing import PING_PONG
from chat_conformance.cases.handshake import COMPLETES
from chat_conformance.cases.turns import ANSWERED, pieces
from chat_conformance.errors import CouldNotTest
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal
from chat_conformance.wire.channel import Channel
from chat_conformance.wire.middlebox import idle_limit

# A keepalive interval beyond this would make the cases slower than anyone wants to wait.
LONGEST = 5.0
# What a busy machine may add to an interval, in seconds.
SLACK = 0.5


def interval(chat: CaseContext) -> float:
    """The target's keepalive interval.

    Raises:
        CouldNotTest: It is too long to be waited for.
    """
    if chat.target.keepalive > LONGEST:
        raise CouldNotTest(
            f"the target's keepalive is {chat.target.keepalive:g} s; set it to at most {LONGEST:g} s in the target file"
        )
    return chat.target.keepalive


@case(
    "keepalive/first-ping",
    title="A connection survives the first ping, and the end of another one",
    clause="KEEP-1",
    severity=Severity.BLOCKER,
    means="Every connection dies at the first heartbeat, or when another user leaves.",
    finding="R1-3",
    evidence="the connection ended",
    needs=(COMPLETES, PING_PONG),
    waits=True,
)
async def first_ping(chat: CaseContext) -> None:
    interval(chat)
    # Two connections, since timers may be shared by mistake: when one ends, the pings of the other must go
    # on.
    async with chat.websocket() as stays, chat.websocket() as leaves:
        await pings(chat, stays, 1)
        await stays.expect_alive()
        await pings(chat, leaves, 1)
        leaves.abort()
        await pings(chat, stays, 2)
        await stays.expect_alive()
    async with chat.websocket() as peer:
        await pings(chat, peer, 1)
        await peer.expect_alive()


async def pings(chat: CaseContext, peer: Channel, count: int) -> None:
    """Wait for ``count`` more pings.

    One that is late fails the case only if the server has served others in that time: a busy machine delays both.
    """
    within = 2 * interval(chat) + SLACK
    seen = len(peer.pings)
    for number in range(seen + 1, seen + count + 1):
        await peer.expect_ping(number, within=within, before_failing=chat.http.settle)


@case(
    "keepalive/silent-turn",
    title="A link with an idle limit outlives a Claude that is silent before its first word, by pings",
    clause="KEEP-1",
    severity=Severity.MEDIUM,
    means="A proxy with an idle limit cuts the chat while Claude thinks.",
    finding="R2-1",
    evidence="the connection ended: reset",
    needs=(ANSWERED, "keepalive/first-ping"),
    waits=True,
)
async def silent_turn(chat: CaseContext) -> None:
    await silent(chat, 0)


@case(
    "keepalive/silent-middle",
    title="A link with an idle limit outlives a Claude that is silent in the middle of an answer, by pings",
    clause="KEEP-1",
    severity=Severity.MEDIUM,
    means="A proxy with an idle limit cuts the chat in the middle of a long answer.",
    finding="R2-1",
    evidence="the connection ended: reset",
    needs=(ANSWERED, "keepalive/first-ping"),
    waits=True,
)
async def silent_middle(chat: CaseContext) -> None:
    await silent(chat, 2)


async def silent(chat: CaseContext, place: int) -> None:
    """Hold Claude after ``place`` deltas, on a link that is cut when it is idle for longer than pings allow."""
    longest = interval(chat)
    limit = longest + SLACK
    # After this number of pings the silence is longer than the link bears.
    enough = int(limit / longest) + 2
    # Only what comes from the server counts for the limit: pongs and pings of the suite do not keep the link
    # open.
    async with (
        chat.fake.gate(f"silent{place}") as gate,
        chat.connector.proxied(down=idle_limit(limit, chat.http.settle)) as box,
        chat.peer(server=box) as peer,
    ):
        turn = await chat.start_turn(peer, chat.fake.prompt(tokens=4, hold=f"{gate.name}@{place}"))
        await chat.fake.wait_at_gate(gate)
        await pings(chat, peer, 1 + enough)
        gate.open()
        expect_equal(await turn.complete(), pieces(4), "the answer after the silence")


@case(
    "keepalive/late-pong",
    title="Two pongs missed in a row do not end a connection",
    clause="KEEP-2",
    severity=Severity.MEDIUM,
    means="A phone that slept for a moment, or a slow line, loses its chat.",
    needs=("keepalive/first-ping",),
    waits=True,
)
async def late_pong(chat: CaseContext) -> None:
    interval(chat)
    async with chat.websocket() as peer:
        await pings(chat, peer, 1)
        peer.answers_pings = False
        await pings(chat, peer, 2)
        peer.answers_pings = True
        # Of several pings it is enough to answer the last (RFC 6455 §5.5.3): that makes up for those that
        # were missed.
        peer.answer_last_ping()
        await pings(chat, peer, 2)
        await peer.expect_alive()


@case(
    "keepalive/dead-peer",
    title="A peer that answers nothing any more is let go",
    clause="KEEP-2",
    severity=Severity.LOW,
    means="Connections of people long gone pile up until the server has no more.",
    needs=("keepalive/first-ping",),
    waits=True,
)
async def dead_peer(chat: CaseContext) -> None:
    longest = interval(chat)
    async with chat.websocket() as peer:
        # As a phone that has left the network: nothing comes back, also no answer to a close.
        peer.answers_pings = peer.answers_close = False
        await peer.until(
            lambda: peer.ended,
            "the end of a connection whose pings stay unanswered",
            within=10 * longest + chat.target.within,
        )
        came = len(peer.pings)
        expect(came >= 3, "at least three pings before a peer is taken for dead", f"{came} came")


@case(
    "keepalive/silent-post",
    title="A link with an idle limit outlives a POST whose turn is silent, by white space",
    clause="KEEP-3",
    severity=Severity.MEDIUM,
    means="A proxy with an idle limit answers 504 for a turn that continues and is paid for.",
    needs=(ANSWERED,),
    waits=True,
)
async def silent_post(chat: CaseContext) -> None:
    longest = interval(chat)
    limit = longest + SLACK
    # Silent for longer than the limit before its first word: only white space can keep the link (KEEP-3).
    prompt = chat.fake.prompt(tokens=2, first=f"{limit + longest:.2f}s")
    async with chat.connector.proxied(down=idle_limit(limit, chat.http.settle)) as box:
        answer = await chat.http.post(prompt, server=box, within=limit + longest + chat.target.within)

    expect_equal(answer.member("response"), pieces(2), "the response")
