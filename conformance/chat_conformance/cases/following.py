"""Following a turn from elsewhere, and stopping it."""

from __future__ import annotations

import asyncio
from typing import Any

from chat_conformance.cases.turns import STREAMS, pieces
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal
from chat_conformance.suite.turn import comparable

# How often history is read, 20 ms apart.
LOOKS = 250
REPLAYS = "following/replays"


@case(
    REPLAYS,
    title="A turn resumed after any event loses nothing and doubles nothing",
    clause="SUB-1",
    severity=Severity.BLOCKER,
    means="Words are missing, or said twice, after every change of network.",
    needs=(STREAMS, "turns/seq"),
)
async def replays(chat: CaseContext) -> None:
    async with chat.fake.gate("resume") as gate, chat.peer() as first, chat.peer() as second:
        turn = await chat.start_turn(first, chat.fake.prompt(tokens=6, gap="1ms", hold=f"{gate.name}@3"))
        await turn.until_text(pieces(3))
        seen = list(turn.events)
        followers = []
        # Every cursor from 0 (all that came) to the last seq (nothing yet), while the gate keeps the turn
        # where it is: what is replayed must be exactly the rest. One connection asks each time, and SUB-1 has
        # each `subscribe` start again.
        for after in range(len(seen) + 1):
            follower = await chat.follow(second, turn.conversation_id, turn.message_id, after=after)
            await follower.begin()
            while len(follower.events) < len(seen) - after:
                await follower.next()
            expect_equal(
                comparable(follower.events), comparable(seen[after:]), f"the events after seq {after}"
            )
            followers.append(follower)
        gate.open()
        await turn.completed()


@case(
    "following/goes-live",
    title="After the replay the live events follow, to the end",
    clause="SUB-1",
    severity=Severity.BLOCKER,
    means="A reloaded page shows the beginning of the answer and then stands still.",
    needs=(REPLAYS,),
)
async def goes_live(chat: CaseContext) -> None:
    async with chat.fake.gate("live") as gate, chat.peer() as asks:
        turn = await chat.start_turn(asks, chat.fake.prompt(tokens=6, hold=f"{gate.name}@3"))
        await turn.until_text(pieces(3))
        async with chat.peer() as peer:
            named = await chat.follow(peer, turn.conversation_id, turn.message_id)
            await named.begin()
            # The replay is over before the gate opens: what follows can only come live.
            await named.until_text(pieces(3))
            gate.open()

            texts = [await turn.complete(), await named.complete()]
            expect_equal(texts, [pieces(6)] * 2, "the answer as each of two connections saw it")


@case(
    "following/running-turn",
    title="A subscribe without message_id follows the running turn, and later ones",
    clause="SUB-1",
    severity=Severity.MEDIUM,
    means="A second tab does not see what is being said in the first.",
    needs=(REPLAYS, "following/goes-live", "turns/order"),
)
async def running_turn(chat: CaseContext) -> None:
    async with chat.fake.gate("running") as gate, chat.peer() as asks, chat.peer() as peer:
        turn = await chat.start_turn(asks, chat.fake.prompt(tokens=4, hold=f"{gate.name}@2"))
        await turn.until_text(pieces(2))
        await peer.send_json(type="subscribe", conversation_id=turn.conversation_id)
        place, first = await peer.expect_event()
        expect_equal(
            (first.get("type"), first.get("message_id")), ("accepted", turn.message_id), "the first event"
        )
        gate.open()
        await turn.completed()
        place, _ = await peer.expect_event(place, where=lambda event: event.get("type") == "complete")
        later = await chat.run_turn(asks, chat.fake.prompt("later"), conversation_id=turn.conversation_id)

        place, event = await peer.expect_event(place)
        expect_equal(
            (event.get("type"), event.get("message_id")), ("accepted", later.message_id), "the next event"
        )
        await peer.expect_event(place, where=lambda event: event.get("type") == "complete")


@case(
    "following/finished",
    title="A finished turn is replayed up to its terminal event",
    clause="SUB-2",
    severity=Severity.MEDIUM,
    means="Who comes back a moment too late waits for ever.",
    needs=(STREAMS,),
)
async def finished(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        turn = await chat.run_turn(peer, chat.fake.prompt(tokens=5))
    async with chat.peer() as peer:
        followed = await chat.follow(peer, turn.conversation_id, turn.message_id)
        await followed.begin()

        expect_equal(await followed.complete(), pieces(5), "the answer replayed")
        expect_equal(
            comparable(followed.events[-1:]),
            comparable(turn.events[-1:]),
            "the terminal event replayed",
        )


@case(
    "following/future-cursor",
    title="A cursor beyond the turn's end is answered with reset",
    clause="SUB-3",
    severity=Severity.MEDIUM,
    means="A page with a stale cursor waits in silence for what will never come.",
    needs=(STREAMS,),
)
async def future_cursor(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        turn = await chat.run_turn(peer, chat.fake.prompt(tokens=2))
        # One beyond the last seq as well: a slice of a list that begins there is empty, and no error.
        for after in (len(turn.events) + 1, 1_000_000):
            error = await chat.refusal(
                peer,
                "reset",
                type="subscribe",
                conversation_id=turn.conversation_id,
                message_id=turn.message_id,
                after=after,
            )
            expect_equal(error.get("message_id"), turn.message_id, "the message_id in the error")


@case(
    "following/cursor-before-restart",
    title="A cursor from before a restart is served, or answered with reset",
    clause="SUB-3",
    severity=Severity.MEDIUM,
    means="After a deployment every open page waits in silence.",
    needs=(STREAMS,),
    waits=True,
    slow=True,
)
async def cursor_before_restart(chat: CaseContext) -> None:
    async with chat.instance() as server:
        async with chat.peer(server=server) as peer:
            turn = await chat.run_turn(peer, chat.fake.prompt(tokens=2))
        await server.restart()
        async with chat.peer(server=server) as peer:
            followed = await chat.follow(peer, turn.conversation_id, turn.message_id, after=1)
            first = await followed.next()
            # A server that keeps events can serve it.
            if first.get("type") == "accepted":
                followed.events.clear()
                await followed.finish()
                expect_equal(
                    comparable(followed.events), comparable(turn.events[1:]), "the events after seq 1"
                )
            else:
                expect_equal(first.get("code"), "reset", "the code of the error")


@case(
    "following/everyone",
    title="Every connection that follows a turn gets every event",
    clause="SUB-4",
    severity=Severity.MEDIUM,
    means="Two tabs share the words between them.",
    needs=(REPLAYS, "following/goes-live"),
)
async def everyone(chat: CaseContext) -> None:
    async with chat.fake.gate("all") as gate, chat.peer() as one, chat.peer() as two, chat.peer() as three:
        turn = await chat.start_turn(one, chat.fake.prompt(tokens=30, hold=f"{gate.name}@0"))
        others = [await chat.follow(peer, turn.conversation_id, turn.message_id) for peer in (two, three)]
        for other in others:
            await other.begin()
        gate.open()

        texts = [await each.complete() for each in (turn, *others)]
        expect_equal(texts, [pieces(30)] * 3, "the answer as each of three connections saw it")


@case(
    "stopping/cancel",
    title="A cancel ends the turn at once, and the text so far is kept, marked",
    clause="CANCEL-1",
    severity=Severity.BLOCKER,
    means="Stop does not stop: Claude continues to write, and to cost.",
    needs=(STREAMS,),
)
async def cancel(chat: CaseContext) -> None:
    # In the middle of an answer, from the connection that asked; and before its first word, from another
    # connection.
    for place in (2, 0):
        async with chat.fake.gate(f"stop{place}") as gate, chat.peer() as peer, chat.peer() as other:
            turn = await chat.start_turn(peer, chat.fake.prompt(tokens=50, hold=f"{gate.name}@{place}"))
            await turn.until_text(pieces(place))
            await chat.fake.wait_at_gate(gate)
            await (other if place == 0 else peer).send_json(
                type="cancel", message_id=turn.message_id, conversation_id=turn.conversation_id
            )
            terminal = await turn.finish()

            ended = (terminal.get("type"), terminal.get("stop_reason"))
            expect_equal(ended, ("complete", "cancelled"), f"the end of a turn stopped after {place} pieces")
            answer = await chat.http.last_message(turn.conversation_id)
            if place == 0 and answer.get("role") == "user":
                # Nothing had arrived, and nothing is kept.
                continue
            kept = (answer.get("role"), answer.get("content"), answer.get("status"))
            expect_equal(kept, ("assistant", pieces(place), "cancelled"), "the answer in history")


@case(
    "stopping/goes-on",
    title="A conversation continues after a cancel, and the next turn is its own",
    clause="CANCEL-1",
    severity=Severity.BLOCKER,
    means="After one stop the conversation is poisoned: the next answer ends early or is the old one.",
    needs=("stopping/cancel",),
)
async def goes_on(chat: CaseContext) -> None:
    async with chat.fake.gate("stopped") as gate, chat.peer() as peer:
        turn = await chat.start_turn(peer, chat.fake.prompt(tokens=50, hold=f"{gate.name}@2"))
        await turn.until_text(pieces(2))
        await peer.send_json(type="cancel", message_id=turn.message_id)
        await turn.finish()
        following = await chat.run_turn(
            peer, chat.fake.prompt(say="the next"), conversation_id=turn.conversation_id
        )

        expect_equal(following.text, "the next", "the answer of the next turn")
        expect_equal(
            following.events[-1].get("stop_reason") != "cancelled", True, "the next turn not cancelled"
        )


@case(
    "stopping/too-late",
    title="A cancel that comes too late is answered with the turn's end",
    clause="CANCEL-2",
    severity=Severity.LOW,
    means="The page waits for an answer to its stop, or shows an error for nothing.",
    needs=("stopping/cancel",),
)
async def too_late(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        turn = await chat.run_turn(peer, chat.fake.prompt(tokens=2))
        begin = len(peer.events)
        await peer.send_json(type="cancel", message_id=turn.message_id, conversation_id=turn.conversation_id)
        _, event = await peer.expect_event(begin)

        expect_equal(
            comparable([event]),
            comparable(turn.events[-1:]),
            "the answer to a cancel that came too late",
        )
        expect_equal(
            (await chat.http.last_message(turn.conversation_id)).get("status"),
            "complete",
            "the status in history",
        )


@case(
    "stopping/unknown",
    title="A cancel for an unknown turn is not_found",
    clause="CANCEL-2",
    severity=Severity.LOW,
    means="A stop that hit nothing looks like one that worked.",
    needs=("framing/ping",),
)
async def unknown(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        name = chat.next_id()
        error = await chat.refusal(peer, "not_found", type="cancel", message_id=name)

        expect(error.get("message_id") == name, f"the error to name {name!r}", f"it is {error}")


@case(
    "following/ended-away",
    title="A turn that ended without a reader is resumed to its end at once",
    clause="SUB-2",
    severity=Severity.BLOCKER,
    means="Clients that reconnect after the end wait for ever.",
    needs=(STREAMS, "closing/turn-goes-on", "history/before-claude", "following/finished"),
)
async def ended_away(chat: CaseContext) -> None:
    async with chat.fake.gate("away") as gate:
        async with chat.peer() as first:
            turn = await chat.start_turn(first, chat.fake.prompt(tokens=6, hold=f"{gate.name}@3"))
            await turn.until_text(pieces(3))
            first.abort()
        gate.open()
        for _ in range(LOOKS):
            if (await chat.http.last_message(turn.conversation_id)).get("status") == "complete":
                break
            await asyncio.sleep(
                0.02
                # No reader is left to which an event could go: that is what this case is about.
            )
        async with chat.peer() as second:
            resumed = await chat.follow(second, turn.conversation_id, turn.message_id, after=len(turn.events))
            await resumed.begin()
            await resumed.completed()

            expect_equal(turn.text + resumed.text, pieces(6), "the two parts joined")
            whole = [*turn.events, *resumed.events]
            # A page may have gone to sleep at any event, so no cursor may be lost with the end of the turn.
            for after in range(1, len(whole)):
                late = await chat.follow(second, turn.conversation_id, turn.message_id, after=after)
                await late.begin()
                await late.finish()
                expect_equal(
                    comparable(late.events),
                    comparable(whole[after:]),
                    f"the events after seq {after}, the turn being over",
                )


@case(
    "following/stale-cursor",
    title="A cursor of a turn that is no longer held is answered with reset",
    clause="SUB-3",
    severity=Severity.MEDIUM,
    means="A page that slept for an hour waits in silence for the rest of an answer.",
    needs=(STREAMS,),
    waits=True,
    slow=True,
)
async def stale_cursor(chat: CaseContext) -> None:
    async with chat.variant("held") as forgets, forgets.peer() as peer:
        turn = await forgets.run_turn(peer, forgets.fake.prompt(tokens=2))
        held = chat.target.variants.held
        assert held is not None
        # That long it may be replayed.
        await asyncio.sleep(held.seconds + 0.2)
        await forgets.http.settle()
        ids = {"conversation_id": turn.conversation_id, "message_id": turn.message_id}
        await forgets.refusal(peer, "reset", type="subscribe", after=1, **ids)
        kept = await forgets.http.last_message(turn.conversation_id)
        expect_equal(kept.get("content"), pieces(2), "the answer in history")


@case(
    "following/sent-again-late",
    title="A message whose turn is only in history is answered from there when it is sent again, or stopped",
    clause="TURN-7",
    severity=Severity.MEDIUM,
    means="A browser that restores its tabs runs, and pays, the whole day again; or shows empty answers.",
    needs=("turns/sent-twice",),
    waits=True,
    slow=True,
)
async def sent_again_late(chat: CaseContext) -> None:
    async with chat.variant("held") as forgets, forgets.peer() as peer:
        held = chat.target.variants.held
        assert held is not None
        # One that succeeds and one that fails: from history must come the outcome, and not only the text.
        prompts = [forgets.fake.prompt("well", tokens=3), forgets.fake.prompt("ill", tokens=3, exit=3)]
        turns = [await forgets.start_turn(peer, prompt) for prompt in prompts]
        for turn in turns:
            await turn.finish()
        # That long it may be replayed.
        await asyncio.sleep(held.seconds + 0.2)
        await forgets.http.settle()
        for turn, prompt in zip(turns, prompts, strict=True):
            ids = {"conversation_id": turn.conversation_id, "message_id": turn.message_id}
            again = await forgets.start_turn(peer, prompt, **ids)
            await again.finish()
            begin = len(peer.events)
            await peer.send_json(type="cancel", **ids)
            _, stopped = await peer.expect_event(begin)

            before = (turn.text, outcome(turn.events[-1]))
            expect_equal((again.text, outcome(again.events[-1])), before, "its answer")
            expect_equal(outcome(stopped), outcome(turn.events[-1]), "the answer to a cancel of it")
        expect_equal(
            forgets.fake.prompt_count(forgets.marker), 2, "how often Claude was asked about two messages"
        )


def outcome(event: dict[str, Any]) -> tuple[Any, ...]:
    """What a terminal event says of its turn."""
    # Not `seq`: what is replayed from history may be cut into other deltas than the live answer was.
    return tuple(event.get(each) for each in ("type", "stop_reason", "usage", "code"))


@case(
    "stopping/in-a-tool",
    title="A turn is stopped in the middle of a tool's work",
    clause="CANCEL-1",
    severity=Severity.MEDIUM,
    means="Stop does nothing while a command runs, which is when people want it.",
    needs=("stopping/cancel", "stopping/goes-on"),
)
async def in_a_tool(chat: CaseContext) -> None:
    async with (
        chat.scripted_server() as scripted,
        scripted.fake.gate("tool", scripted=True) as gate,
        scripted.peer() as peer,
    ):
        turn = await scripted.start_turn(peer, scripted.fake.prompt("play in-a-tool"))
        await turn.until_text(pieces(2))
        await scripted.fake.wait_at_gate(gate)
        await peer.send_json(type="cancel", message_id=turn.message_id)
        # A stop that the tool does not notice goes from the interrupt by way of TERM to KILL, with a grace
        # for each.
        end = await turn.finish(within=3 * chat.target.grace + chat.target.within)

        ended = (end.get("type"), end.get("stop_reason"))
        expect_equal(ended, ("complete", "cancelled"), "the turn's end")
        following = await scripted.run_turn(
            peer, scripted.fake.prompt(say="the next"), conversation_id=turn.conversation_id
        )
        expect_equal(following.text, "the next", "the answer of the next turn")
