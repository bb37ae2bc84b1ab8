"""What a connection leaves behind, and what it must not get from others."""

from __future__ import annotations

from typing import Any

from chat_conformance.cases.turns import STREAMS, pieces
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal
from chat_conformance.wire.channel import Channel


def foreign(peer: Channel, *message_ids: str) -> list[Any]:
    """The events of a connection that belong to none of these turns."""
    return [
        event
        for event in peer.events
        if not isinstance(event, dict) or event.get("message_id") not in message_ids
    ]


@case(
    "queues/reconnect",
    title="After a reconnect nothing old turns up, and nothing new gets lost",
    clause="TURN-6",
    severity=Severity.MEDIUM,
    means="Words of an earlier answer appear in a later one, or the later one never comes.",
    finding="R1-5",
    evidence="there came",
    needs=(STREAMS, "closing/turn-goes-on", "framing/ping-during-turn"),
)
async def reconnect(chat: CaseContext) -> None:
    async with chat.fake.gate("old") as gate:
        async with chat.peer() as first:
            old = await chat.start_turn(first, chat.fake.prompt(tokens=4, hold=f"{gate.name}@2"))
            await old.until_text(pieces(2))
            first.abort()
        async with chat.peer() as witness, chat.peer() as second:
            # The witness follows the old turn, so that its words do go out while the new connection has a
            # turn of its own.
            followed = await chat.follow(witness, old.conversation_id, old.message_id, after=len(old.events))
            gate.open()
            new = await chat.run_turn(second, chat.fake.prompt(say="the new answer"))
            others = foreign(second, new.message_id)
            expect(not others, "only events of the turn asked for here", f"there came {others[:3]}")
            await followed.begin()
            await followed.completed()
            await second.expect_alive()

            expect_equal(new.text, "the new answer", "the answer on the new connection")
            # Once more when the old turn has ended: its end may be what strays.
            others = foreign(second, new.message_id)
            expect(not others, "only events of the turn asked for here", f"there came {others[:3]}")


@case(
    "queues/post",
    title="The words of a POST go to the POST, not to a socket that is open",
    clause="HTTP-2",
    severity=Severity.MEDIUM,
    means="The answer goes to a queue without a reader, or into another chat.",
    finding="R1-5",
    evidence="there came",
    needs=(STREAMS,),
)
async def post(chat: CaseContext) -> None:
    async with chat.peer() as left:
        # A queue for each user is made on connecting, and never removed. One connection has gone here and one
        # is open: the words of the POST must go to neither.
        left.abort()
    async with chat.peer() as peer:
        turn = await chat.run_turn(peer, chat.fake.prompt("before"))
        answer = await chat.http.post(chat.fake.prompt(tokens=5))
        await peer.expect_alive()

        expect_equal(answer.member("response"), pieces(5), "the response of the POST")
        others = foreign(peer, turn.message_id)
        expect(not others, "no events of the POST on the socket", f"there came {others[:3]}")


@case(
    "queues/second-tab",
    title="Closing one tab leaves the other one alive",
    clause="CLOSE-3",
    severity=Severity.MEDIUM,
    means="The second tab goes dead when the first one closes.",
    finding="M-6",
    evidence="not within",
    needs=(STREAMS, "framing/ping-during-turn"),
)
async def second_tab(chat: CaseContext) -> None:
    async with chat.fake.gate("tab") as gate, chat.peer() as older, chat.peer() as newer:
        turn = await chat.start_turn(newer, chat.fake.prompt(tokens=4, hold=f"{gate.name}@2"))
        await turn.until_text(pieces(2))
        older.abort()
        await newer.expect_alive()
        gate.open()

        expect_equal(await turn.complete(), pieces(4), "the answer in the tab that stays")
