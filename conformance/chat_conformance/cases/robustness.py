"""Processes that do not obey, networks that do not carry, readers that do not read."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from chat_conformance.cases.following import REPLAYS
from chat_conformance.cases.turns import STREAMS, pieces
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal
from chat_conformance.suite.turn import TurnReader
from chat_conformance.wire.channel import Channel

CANCEL = "stopping/cancel"
# The characters of the script's flood.
FLOOD = 8_000_003
# Pieces of an answer that no reader's and no server's buffers take at once.
MANY = 300_000
STALLED = 3
# Readers that stall; a server that keeps a copy for each grows by 24 answers.
CROWD = 24


def graces(chat: CaseContext) -> float:
    """How long a stop may take that goes all the way to KILL."""
    # An interrupt, TERM and KILL, with one grace for each.
    return 3 * chat.target.grace + chat.target.within


async def stop(chat: CaseContext, peer: Channel, turn: TurnReader) -> None:
    """Cancel a turn that stands after two pieces; it must end as cancelled and be kept so."""
    await peer.send_json(type="cancel", message_id=turn.message_id, conversation_id=turn.conversation_id)
    end = await turn.finish(within=graces(chat))
    expect_equal((end.get("type"), end.get("stop_reason")), ("complete", "cancelled"), "the turn's end")
    answer = await chat.http.last_message(turn.conversation_id)
    expect_equal(
        (answer.get("content"), answer.get("status")), (pieces(2), "cancelled"), "the answer in history"
    )


async def stop_the_deaf(chat: CaseContext, play: str) -> None:
    """Stop a turn whose Claude does not react, from another connection, and continue its conversation."""
    async with chat.scripted_server() as scripted, scripted.peer() as peer, scripted.peer() as other:
        turn = await scripted.start_turn(peer, scripted.fake.prompt(f"play {play}"))
        await turn.until_text(pieces(2))
        await stop(scripted, other, turn)
        following = await scripted.run_turn(
            peer, scripted.fake.prompt(say="the next"), conversation_id=turn.conversation_id
        )
        expect_equal(following.text, "the next", "the answer of the next turn")
        # One turn more: what a stop leaves behind may come up only then.
        last = await scripted.run_turn(
            peer, scripted.fake.prompt(say="one more"), conversation_id=turn.conversation_id
        )
        expect_equal(last.text, "one more", "the answer of the turn after it")


@case(
    "stopping/deaf-to-interrupt",
    title="A turn whose Claude ignores the interrupt is stopped",
    clause="CANCEL-1",
    severity=Severity.MEDIUM,
    means="Stop does not stop when it matters: in a tool, in a hung request.",
    needs=(CANCEL,),
    waits=True,
    slow=True,
)
async def deaf_to_interrupt(chat: CaseContext) -> None:
    await stop_the_deaf(chat, "deaf-int")


@case(
    "stopping/deaf-to-all",
    title="A turn whose Claude ignores all but KILL is stopped, and the process gone",
    clause="PROC-3",
    severity=Severity.MEDIUM,
    means="Stop does not stop, and the process runs, and costs, until the next reboot.",
    needs=(CANCEL,),
    waits=True,
    slow=True,
)
async def deaf_to_all(chat: CaseContext) -> None:
    async with chat.scripted_server() as scripted, scripted.peer() as peer:
        turn = await scripted.start_turn(peer, scripted.fake.prompt("play deaf-all"))
        await turn.until_text(pieces(2))
        await stop(scripted, peer, turn)
        await scripted.fake.expect_exited(within=graces(chat))


@case(
    "stopping/late-result",
    title="The late result of a stopped turn does not end the next one",
    clause="CANCEL-1",
    severity=Severity.MEDIUM,
    means="After a stop the next answer is empty, or the end of the one before.",
    needs=(CANCEL,),
    waits=True,
    slow=True,
)
async def late_result(chat: CaseContext) -> None:
    async with (
        chat.scripted_server() as scripted,
        scripted.fake.gate("deaf-interrupt", scripted=True) as gate,
        scripted.peer() as peer,
    ):
        turn = await scripted.start_turn(peer, scripted.fake.prompt("play deaf-interrupt"))
        await turn.until_text(pieces(2))
        await scripted.fake.wait_at_gate(gate)
        await stop(scripted, peer, turn)
        following = await scripted.send_prompt(
            peer, scripted.fake.prompt(say="the next"), conversation_id=turn.conversation_id
        )
        # Now the stopped turn continues, if its process may.
        gate.open()
        await following.begin()
        await following.completed()

        expect_equal(following.text, "the next", "the answer of the next turn")


@case(
    "processes/held-stdout",
    title="A Claude that dies while a child of its own holds stdout ends the turn",
    clause="TURN-11",
    severity=Severity.MEDIUM,
    means="A background command that Claude started makes the answer hang for ever.",
    needs=("turns/claude-fails",),
    waits=True,
    slow=True,
)
async def held_stdout(chat: CaseContext) -> None:
    async with chat.scripted_server() as scripted, scripted.peer() as peer:
        # Stdout never comes to its end, since a child has it: only the exit of the process says that the turn
        # is over.
        turn = await scripted.start_turn(peer, scripted.fake.prompt("play orphan-exit"))
        end = await turn.finish(within=graces(chat))

        expect_equal((end.get("type"), end.get("code")), ("error", "claude_failed"), "the turn's last event")
        expect_equal(turn.text, pieces(2), "the text that had arrived")
        await scripted.fake.expect_exited(within=graces(chat))


@case(
    "processes/result-ends",
    title="The result ends the turn though stdout stays open",
    clause="TURN-2",
    severity=Severity.MEDIUM,
    means="The answer is there, but the page shows it as unfinished for as long as a background command runs.",
    needs=(STREAMS,),
    slow=True,
)
async def result_ends(chat: CaseContext) -> None:
    async with chat.scripted_server() as scripted, scripted.peer() as peer:
        turn = await scripted.run_turn(peer, scripted.fake.prompt("play orphan-answer"))
        expect_equal(turn.text, pieces(2), "the answer")

        path = chat.target.paths.of(turn.conversation_id)
        deleted = await scripted.http.request("DELETE", path, within=graces(chat))
        expect_equal(deleted.status, 204, "the status of the DELETE")
        await scripted.fake.expect_exited(within=graces(chat))


@case(
    "processes/stopped-family",
    title="What Claude had started is gone with it when a stop had to kill it",
    clause="PROC-3",
    severity=Severity.MEDIUM,
    means="Commands that Claude ran continue for hours after Stop.",
    finding="M-14",
    evidence="alive",
    needs=(CANCEL,),
    waits=True,
    slow=True,
)
async def stopped_tree(chat: CaseContext) -> None:
    async with chat.scripted_server() as scripted, scripted.peer() as peer:
        turn = await scripted.start_turn(peer, scripted.fake.prompt("play orphan-stop"))
        await turn.until_text(pieces(2))
        await stop(scripted, peer, turn)
        await scripted.fake.expect_exited(within=graces(chat))


@case(
    "processes/killed-family",
    title="After a kill of the server nothing that Claude had started lives on",
    clause="PROC-5",
    severity=Severity.MEDIUM,
    means="Every crash leaves commands that run for ever.",
    needs=("processes/orphans",),
    waits=True,
    slow=True,
)
async def killed_tree(chat: CaseContext) -> None:
    async with chat.scripted_server(own=True) as scripted, scripted.peer() as peer:
        turn = await scripted.start_turn(peer, scripted.fake.prompt("play orphan-stop"))
        await turn.until_text(pieces(2))
        await scripted.server.kill()
        await scripted.fake.expect_exited(within=2.0)


@case(
    "robustness/silence",
    title="A turn whose Claude went silent is ended as timeout, on every route, and its text kept",
    clause="TURN-11",
    severity=Severity.MEDIUM,
    means="A hung Claude is a chat that thinks for ever, and a process that is never ended.",
    needs=(STREAMS,),
    waits=True,
    slow=True,
)
async def silence(chat: CaseContext) -> None:
    async with chat.variant("silence") as watched, watched.fake.gate("never") as gate, watched.peer() as peer:
        limit = chat.target.variants.silence
        assert limit is not None
        within = limit.seconds + chat.target.within
        prompt = watched.fake.prompt(tokens=4, hold=f"{gate.name}@2")
        posts = [watched.http.post(prompt, within=within + graces(chat))] if chat.http.supports_post else []
        # At the same time as the turn on the socket: each has to wait for the whole limit.
        posted = asyncio.gather(*posts)
        try:
            turn = await watched.start_turn(peer, prompt)
            end = await turn.finish(within=within)
        finally:
            answers = await posted

        expect_equal((end.get("type"), end.get("code")), ("error", "timeout"), "the turn's last event")
        kept = await watched.http.last_message(turn.conversation_id)
        expect_equal(
            (kept.get("content"), kept.get("status")), (pieces(2), "failed"), "the answer in history"
        )
        for answer in answers:
            expect_equal(answer.member("error").get("code"), "timeout", "the code of the POST's error")
        await watched.fake.expect_exited(within=graces(chat))
        await watched.run_turn(peer, watched.fake.prompt("and on"), conversation_id=turn.conversation_id)


@case(
    "robustness/slow",
    title="A turn that is slow is not taken for a silent one",
    clause="TURN-11",
    severity=Severity.MEDIUM,
    means="Long work is thrown away half done, though words came all the time.",
    needs=("robustness/silence",),
    waits=True,
    slow=True,
)
async def slow_turn(chat: CaseContext) -> None:
    async with chat.variant("silence") as watched, watched.peer() as peer:
        limit = chat.target.variants.silence
        assert limit is not None
        # All of it takes longer than the limit, and each pause a tenth of that: a clock that begins with the
        # turn ends it, one that begins with the last output does not.
        gap = limit.seconds / 10
        turn = await watched.start_turn(peer, watched.fake.prompt(tokens=16, gap=f"{1000 * gap:.0f}ms"))
        end = await turn.finish(within=16 * gap + chat.target.within)

        *_, before, at = peer.times
        expect(
            end.get("type") == "complete"
            # A machine may have stood still.
            or at - before > limit.seconds / 2,
            f"an answer with a word every {gap:.2g} s to continue",
            f"{at - before:.2g} s after a word it was ended: {end}",
        )


@case(
    "robustness/stalled-and-gone",
    title="A turn whose only reader stalls, and then is gone, comes to its end",
    clause="CLOSE-3",
    severity=Severity.MEDIUM,
    means="A user who loses the network in the middle of a long answer never gets the rest, and Claude waits for ever.",
    needs=("processes/everyone-left",),
    waits=True,
    slow=True,
)
async def stalled_and_gone(chat: CaseContext) -> None:
    async with chat.variant("idle") as short:
        idle = chat.target.variants.idle
        assert idle is not None
        async with short.fake.gate("wall") as gate, short.peer() as peer:
            turn = await short.start_turn(peer, short.fake.prompt(tokens=MANY, hold=f"{gate.name}@2"))
            await turn.until_text(pieces(2))
            peer.stall()
            gate.open()
            # Only when the server's writes get no further is it certain that it waits for this reader.
            await peer.clogged()
            peer.abort()
        await short.fake.expect_exited(within=idle.seconds + graces(chat))
        kept = await short.http.last_message(turn.conversation_id)
        expect_equal(
            (len(str(kept.get("content"))), kept.get("status")),
            (len(pieces(MANY)), "complete"),
            "the length of the answer in history, and its status",
        )


@case(
    "robustness/stalled-reader",
    title="A reader that stalls does not delay others, and gets everything or an end",
    clause="TURN-10",
    severity=Severity.MEDIUM,
    means="One phone in a tunnel stops everybody's words, or loses its own for ever.",
    needs=(STREAMS,),
    waits=True,
    slow=True,
)
async def stalled_reader(chat: CaseContext) -> None:
    async with (
        chat.scripted_server(own=True) as scripted,
        scripted.peer() as reads,
        AsyncExitStack() as stack,
    ):
        stalled = [await stack.enter_async_context(scripted.peer()) for _ in range(STALLED)]
        gate = await stack.enter_async_context(scripted.fake.gate("flood", scripted=True))
        turn = await scripted.start_turn(reads, scripted.fake.prompt("play flood"))
        followed = [await scripted.follow(peer, turn.conversation_id, turn.message_id) for peer in stalled]
        for each in followed:
            await each.begin()
        # Theory: the readers stall before the flood, which is more than all buffers between take. The server
        # then has three choices: wait for them (which delays the one who reads), keep a copy for each (which
        # the case about memory finds), or leave each reader where it is and let it catch up. Only the last is
        # right; a close with 1008 is allowed.
        for peer in stalled:
            peer.stall()
        gate.open()
        await turn.finish(within=3 * chat.target.within)
        expect_equal(len(turn.text), FLOOD, "the length of the answer for who reads")
        await scripted.http.expect_alive("while readers stall")
        for peer, each in zip(stalled, followed, strict=True):
            await everything_or_an_end(chat, peer, each)


async def everything_or_an_end(chat: CaseContext, peer: Channel, turn: TurnReader) -> None:
    """Read on where a reader has stalled: either the rest of the answer comes, or the connection has ended."""
    peer.read_on()
    await peer.until(
        lambda: peer.ended or (turn_over(peer) or None),
        "all of the answer, or the end of the connection",
        within=3 * chat.target.within,
    )
    if turn_over(peer):
        await turn.finish()
        expect_equal(len(turn.text), FLOOD, "the length of the answer for who stalled")
    # CLOSE-2: 1008 is for a reader that is too slow; a connection may also end without a code.
    expect(peer.closed_with in (None, 1008), "no close, or one with 1008", f"the code is {peer.closed_with}")


def turn_over(peer: Channel) -> bool:
    """Whether a turn on this connection has come to its end."""
    return any(isinstance(each, dict) and each.get("type") in ("complete", "error") for each in peer.events)


@case(
    "following/every-cut",
    title="A line cut after any event, and resumed there, gives the whole answer once",
    clause="SUB-1",
    severity=Severity.BLOCKER,
    means="Words get lost, or come twice, whenever the network changes.",
    needs=(REPLAYS, "closing/turn-goes-on"),
    slow=True,
)
async def every_cut(chat: CaseContext) -> None:
    for cut in range(6):
        async with chat.fake.gate(f"cut{cut}") as gate:
            async with chat.peer() as first:
                prompt = chat.fake.prompt(tokens=6, gap="1ms", hold=f"{gate.name}@{cut}")
                turn = await chat.start_turn(first, prompt)
                await turn.until_text(pieces(cut))
                first.abort()
            gate.open()
            async with chat.peer() as second:
                resumed = await chat.follow(
                    second, turn.conversation_id, turn.message_id, after=len(turn.events)
                )
                await resumed.begin()
                await resumed.completed()
        # Not the text alone: an event that was lost and one that came twice may leave the text as it should
        # be.
        numbers = [each.get("seq") for each in turn.events + resumed.events]
        expect_equal(numbers, list(range(1, len(numbers) + 1)), f"the seq of both, cut after piece {cut}")
        expect_equal(turn.text + resumed.text, pieces(6), f"the two parts joined, cut after piece {cut}")


@case(
    "following/quick-reconnects",
    title="Quick reconnects deliver nothing twice",
    clause="SUB-1",
    severity=Severity.MEDIUM,
    means="A shaky line doubles every word.",
    needs=(REPLAYS, "closing/turn-goes-on", "queues/second-tab"),
)
async def quick_reconnects(chat: CaseContext) -> None:
    async with chat.fake.gate("shaky") as gate, chat.peer() as asks:
        turn = await chat.start_turn(asks, chat.fake.prompt(tokens=6, hold=f"{gate.name}@3"))
        await turn.until_text(pieces(3))
        # Gone before anything of the replay was read: what is queued for them has to go with them.
        for _ in range(8):
            async with chat.peer() as peer:
                await chat.follow(peer, turn.conversation_id, turn.message_id)
                peer.abort()
        async with chat.peer() as last:
            resumed = await chat.follow(last, turn.conversation_id, turn.message_id)
            await resumed.begin()
            # The same subscription once more: it starts again, and what was read stays as it is.
            gate.open()
            texts = [await resumed.complete(), await turn.complete()]
            await last.expect_alive()

            expect_equal(texts, [pieces(6)] * 2, "the answer after many reconnects, and where it was asked")
            tokens = [each for each in last.events if isinstance(each, dict) and each.get("type") == "token"]
            numbers = [each.get("seq") for each in tokens]
            expect_equal(numbers, sorted(set(numbers)), "the seq of the tokens on the last connection")


@case(
    "following/two-tabs-at-once",
    title="The same message from two tabs at once is one turn",
    clause="TURN-7",
    severity=Severity.MEDIUM,
    means="A restored browser session sends everything twice, and pays twice.",
    needs=("turns/sent-twice", "history/new"),
)
async def two_tabs_at_once(chat: CaseContext) -> None:
    new = await chat.http.request("POST", chat.http.new_path)
    conversation_id, message_id = str(new.member("conversation_id")), chat.next_id()
    async with chat.peer() as one, chat.peer() as two:
        turns = await asyncio.gather(
            *(
                chat.send_prompt(
                    peer, chat.fake.prompt(tokens=5), conversation_id=conversation_id, message_id=message_id
                )
                for peer in (one, two)
            )
        )
        for turn in turns:
            await turn.begin()
            expect_equal(await turn.complete(), pieces(5), "the answer in each tab")

    expect_equal(chat.fake.prompt_count(chat.marker), 1, "how often Claude was asked")


@case(
    "messages/half-a-character",
    title="Half of a surrogate pair in a message breaks nothing",
    clause="MSG-3",
    severity=Severity.LOW,
    means="One broken emoji in a paste takes the connection down, or the turn hangs.",
    needs=(STREAMS, "messages/unknown-type"),
)
async def half_a_character(chat: CaseContext) -> None:
    async with chat.websocket() as peer:
        name = chat.next_id()
        turn = TurnReader(peer, name, 0)
        text = peer.encode(type="chat_request", message=f"{chat.marker} HALF", message_id=name)
        # Put in by hand, since no encoder writes it: as an escape half a pair is legal JSON (RFC 8259 §8.2).
        await peer.send_text(text.replace(b"HALF", b"\\ud83d"))
        end = await turn.finish()

        expect(
            end.get("type") == "complete" or end.get("code") == "bad_request",
            "an answer, or bad_request",
            f"it is {end}",
        )
        await peer.expect_alive()


@case(
    "processes/everyone-left",
    title="When everyone has left and the answer is complete, Claude does not stay for ever",
    clause="PROC-3",
    severity=Severity.MEDIUM,
    means="Every conversation that was ever begun keeps a process, until the machine has no memory left.",
    finding="M-14",
    evidence="alive",
    needs=(STREAMS,),
    waits=True,
    slow=True,
)
async def everyone_left(chat: CaseContext) -> None:
    async with chat.variant("idle") as short:
        idle = chat.target.variants.idle
        assert idle is not None
        async with short.fake.gate("left") as gate:
            async with short.peer() as peer:
                turn = await short.start_turn(peer, short.fake.prompt(tokens=4, hold=f"{gate.name}@2"))
                await turn.until_text(pieces(2))
                await short.fake.wait_at_gate(gate)
                peer.abort()
            gate.open()
        await short.fake.expect_exited(within=idle.seconds + graces(chat))
        kept = await short.http.last_message(turn.conversation_id)
        expect_equal(
            (kept.get("content"), kept.get("status")), (pieces(4), "complete"), "the answer in history"
        )


@case(
    "processes/deleted",
    title="Deleting a conversation ends its Claude, and what that had started",
    clause="HIST-5",
    severity=Severity.MEDIUM,
    means="What people deleted continues to work, and to cost, unseen.",
    finding="M-14",
    evidence="alive",
    needs=("history/deleted",),
    waits=True,
    slow=True,
)
async def deleted(chat: CaseContext) -> None:
    async with chat.scripted_server() as scripted, scripted.peer() as peer:
        turn = await scripted.start_turn(peer, scripted.fake.prompt("play orphan-stop"))
        await turn.until_text(pieces(2))
        answer = await scripted.http.request(
            "DELETE", chat.target.paths.of(turn.conversation_id), within=graces(chat)
        )
        expect_equal(answer.status, 204, "the status of the DELETE")
        await scripted.fake.expect_exited(within=graces(chat))


@case(
    "processes/timeout-family",
    title="A turn ended for its silence takes with it what Claude had started",
    clause="PROC-3",
    severity=Severity.MEDIUM,
    means="Commands that Claude ran continue for hours after the turn was given up.",
    finding="M-14",
    evidence="alive",
    needs=("robustness/silence",),
    waits=True,
    slow=True,
)
async def timeout_tree(chat: CaseContext) -> None:
    async with chat.variant("silence") as watched, watched.peer() as peer:
        limit = chat.target.variants.silence
        assert limit is not None
        turn = await watched.start_turn(peer, watched.fake.prompt("play orphan-stop"))
        end = await turn.finish(within=limit.seconds + chat.target.within)
        expect_equal(end.get("code"), "timeout", "the code of the error")
        await watched.fake.expect_exited(within=graces(chat))


@case(
    "robustness/stalled-memory",
    title="Readers that stall cost no memory of their own",
    clause="TURN-10",
    severity=Severity.MEDIUM,
    means="A few phones in a tunnel, or one hostile page, take all of the server's memory.",
    needs=("robustness/stalled-reader",),
    waits=True,
    slow=True,
)
async def stalled_memory(chat: CaseContext) -> None:
    async with (
        chat.scripted_server(own=True) as scripted,
        scripted.peer() as reads,
        AsyncExitStack() as stack,
    ):
        turn = await scripted.start_turn(reads, scripted.fake.prompt("play flood"))
        for _ in range(CROWD):
            peer = await stack.enter_async_context(scripted.peer())
            follower = await scripted.follow(peer, turn.conversation_id, turn.message_id)
            await follower.begin()
            peer.stall()
        # When all have subscribed: what a connection costs by itself is not judged, only what the answer
        # adds.
        before = scripted.server.memory()
        async with scripted.fake.gate("flood", scripted=True) as gate:
            gate.open()
            await turn.finish(within=4 * chat.target.within)
        grown = scripted.server.memory() - before
        expect(
            grown < CROWD * FLOOD // 2,
            f"less than half of {CROWD} copies of an answer of {FLOOD >> 20} MiB in memory",
            f"the server has grown by {grown >> 20} MiB",
        )
