"""Turns: one prompt with all that streams back."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from chat_conformance.cases.handshake import COMPLETES
from chat_conformance.errors import TargetError
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal
from chat_conformance.suite.turn import comparable, join_tokens
from chat_conformance.wire.channel import Garbled

ANSWERED = "turns/answered"
STREAMS = "turns/streams"
NAMED = "message_id"


def pieces(count: int) -> str:
    """What the fake says for ``tokens=count``."""
    return "".join(f"t{number} " for number in range(1, count + 1))


@case(
    ANSWERED,
    title="A chat_request over the socket reaches Claude and is answered",
    clause="TURN-1",
    severity=Severity.BLOCKER,
    means="The answer never comes.",
    finding="R1-1",
    evidence="to come to its end; not within",
    needs=(COMPLETES, "processes/options"),
)
async def answered(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        turn = await chat.send_prompt(peer, chat.fake.prompt("is anybody there?"))
        # Where a server marks no end, the reader asks the fake when Claude has printed its result.
        if chat.offers("end"):
            end = await peer.until(
                lambda: turn_is_over(peer.events), "the turn to be accepted and to come to its end"
            )
        else:
            end = str((await turn.finish()).get("type"))

        asked = chat.fake.prompt_count(chat.marker)
        expect(asked == 1, "Claude to be asked once", f"it was given the prompt {asked} times")
        expect(end not in ENDS[1:], "the turn's last event to be complete", f"it is {end}")


ENDS = ("complete", "error")


def turn_is_over(events: list[dict[str, object] | Garbled]) -> str | None:
    """The type of the turn's last event, None before it came; text that is no JSON is not this case's affair."""
    types = [event.get("type") for event in events if isinstance(event, dict)]
    return next((str(each) for each in types if each in ENDS), None)


@case(
    "turns/text",
    title="The words of an answer arrive, in token events",
    clause="TURN-4",
    severity=Severity.BLOCKER,
    means="Not one word on the screen.",
    finding="M-1",
    evidence="not JSON",
)
async def words(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        turn = await chat.start_turn(peer, chat.fake.prompt(say="here it is"))
        await turn.finish()
        # Bare text in place of JSON says more about the fault than that no token came.
        for event in peer.events:
            if isinstance(event, Garbled):
                raise event.failure()

        kinds = sorted({str(event.get("type")) for event in turn.events})
        seen = f"they say {turn.text!r}; there came events of the types {', '.join(kinds)}"
        seen += peer.ignored_in_words()
        expect("here it is" in turn.text, "token events that say 'here it is'", seen)


@case(
    STREAMS,
    title="Pieces of the answer arrive as token events while Claude is still writing",
    clause="TURN-5",
    severity=Severity.BLOCKER,
    means="All of the answer appears at the end.",
    needs=(ANSWERED,),
)
async def streams(chat: CaseContext) -> None:
    async with chat.fake.gate("writing") as gate, chat.peer() as peer:
        turn = await chat.start_turn(peer, chat.fake.prompt(tokens=6, hold=f"{gate.name}@3"))
        await chat.fake.wait_at_gate(gate)

        await turn.until_text(pieces(3))  # Claude stands at the gate: the turn cannot be over
        expect_equal(turn.text, pieces(3), "the answer while Claude is held")
        gate.open()
        expect_equal(await turn.complete(), pieces(6), "the whole answer")


@case(
    "turns/nobody-waits",
    title="An open socket and a silent turn do not delay others",
    clause="TURN-10",
    severity=Severity.BLOCKER,
    means="One open chat locks everyone out, health checks included.",
    finding="M-2",
    evidence="not within",
    needs=(ANSWERED,),
)
async def nobody_waits(chat: CaseContext) -> None:
    async with chat.fake.gate("silent") as gate, chat.peer() as silent:
        turn = await chat.start_turn(silent, chat.fake.prompt("first", tokens=2, hold=f"{gate.name}@0"))
        await chat.fake.wait_at_gate(gate)

        await chat.http.expect_alive("while a turn is silent")
        async with chat.peer() as other:
            await chat.run_turn(other, chat.fake.prompt("second"))
        expect(turn.terminal is None, "the silent turn to be running still", f"it ended with {turn.terminal}")


@case(
    "turns/order",
    title="Events come as accepted, content, one terminal event, and nothing after it",
    clause="TURN-2",
    severity=Severity.BLOCKER,
    means="The page shows an answer as unfinished for ever, or adds to it after its end.",
    needs=(ANSWERED,),
)
async def order(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        turn = await chat.run_turn(peer, chat.fake.prompt(tokens=12))
        # What would come late would come before this one's end.
        later = await chat.run_turn(peer, chat.fake.prompt(say="and that is all"))

        if not chat.offers("message_id"):  # what came late is in the next answer
            expect_equal(join_tokens(later.events), "and that is all", "the answer of the next turn")
        # Theory: a second turn closes the window: what the first one sends late comes before the second one's
        # end. An event belongs to the first turn if it names it; or if it names none, and came before the
        # second turn began.
        events = [event for event in peer.events if isinstance(event, dict)]
        if chat.offers("accepted"):
            until = next(place for place, event in enumerate(events) if event is later.accepted)
        else:
            until = next(place for place, event in enumerate(events) if event is later.events[0])
        mine = [
            event
            for place, event in enumerate(events)
            # That they name the turn is TURN-6's affair.
            if turn.is_named_by(event) or (place < until and NAMED not in event)
        ]
        kinds = [str(event.get("type")) for event in mine]
        first = ["accepted"] if chat.offers("accepted") else []
        allowed = {"token", "thinking", "tool", "status", "rewind"}
        expect(
            kinds[: len(first)] == first
            and kinds[-1:] == ["complete"]
            and set(kinds[len(first) : -1]) <= allowed,
            f"{'accepted, then ' if first else ''}content, then complete, once each",
            f"the events are {kinds}",
        )
        if chat.offers("usage"):
            complete = turn.events[-1]
            usage = complete.get("usage")
            expect(
                isinstance(usage, dict)
                and {"input_tokens", "output_tokens"} <= set(usage)
                and "stop_reason" in complete,
                "complete with usage (input_tokens, output_tokens) and stop_reason",
                f"it is {complete}",
            )


@case(
    "turns/seq",
    title="seq counts from 1 by 1, the terminal event too",
    clause="TURN-3",
    severity=Severity.MEDIUM,
    means="After a gap it is unknown what is missing: words are lost or doubled on resume.",
    needs=(ANSWERED, "turns/text"),
)
async def seq(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        # Two turns on one connection: where seq counts by connection, the second does not begin with 1.
        for _ in range(2):
            turn = await chat.run_turn(peer, chat.fake.prompt(tokens=10))

            numbers = [event.get("seq") for event in turn.events]
            expect_equal(numbers, list(range(1, len(numbers) + 1)), "the seq of the turn's events")


@case(
    "turns/same-as-history",
    title="The tokens joined are what Claude wrote, and the answer in history, byte for byte",
    clause="TURN-4",
    severity=Severity.MEDIUM,
    means="After a reload the answer is another one than was read.",
    needs=(STREAMS,),
)
async def same_as_history(chat: CaseContext) -> None:
    # Each part breaks a habit: emoji that are joined, escapes of JSON and HTML, tabs and trailing blanks that
    # a trim would take away, and U+2028, which ends a line for some string functions.
    say = 'Umlaut ä, euro €, emoji 👩\u200d👩\u200d👧, quote " and backslash \\,\n\n'
    say += "    code\ttab, <b>&amp;</b>, \u2028 end.  "
    async with chat.peer() as peer:
        turn = await chat.run_turn(peer, chat.fake.prompt(say=say))

        expect_equal(turn.text, say, "the tokens joined")
        if chat.offers("history"):
            kept = await chat.http.last_message(turn.conversation_id)
            expect_equal(kept.get("content"), say, "the answer in history")


@case(
    "turns/named",
    title="Every event of a turn names its turn and conversation",
    clause="TURN-6",
    severity=Severity.MEDIUM,
    means="With two chats in one tab, words land in the wrong one.",
    needs=(ANSWERED,),
)
async def named(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        turn = await chat.run_turn(peer, chat.fake.prompt(tokens=5))

        for event in [turn.accepted, *turn.events]:
            ids = (event.get("message_id"), event.get("conversation_id"))
            expect_equal(ids, (turn.message_id, turn.conversation_id), f"the ids of {event.get('type')!r}")


@case(
    "turns/side-by-side",
    title="Two turns on one connection do not mix",
    clause="TURN-6",
    severity=Severity.MEDIUM,
    means="One answer is written into the other.",
    needs=(STREAMS, "turns/nobody-waits"),
)
async def side_by_side(chat: CaseContext) -> None:
    async with chat.fake.gate("one") as gate, chat.peer() as peer:
        one = await chat.start_turn(peer, chat.fake.prompt(tokens=4, hold=f"{gate.name}@2"))
        await one.until_text(pieces(2))
        two = await chat.run_turn(peer, chat.fake.prompt(say="the other answer"))
        # One stands in the middle while the other runs to its end: words that go to the wrong turn show in
        # both.
        gate.open()

        expect_equal(await one.complete(), pieces(4), "the answer of the first turn")
        expect_equal(two.text, "the other answer", "the answer of the second turn")


@case(
    "turns/sent-twice",
    title="A message sent twice is one turn",
    clause="TURN-7",
    severity=Severity.MEDIUM,
    means="A retry after a bad moment of the network runs, and costs, everything twice.",
    needs=(ANSWERED, "turns/seq", "history/post-turn"),
)
async def sent_twice(chat: CaseContext) -> None:
    async with chat.fake.gate("twice") as gate, chat.peer() as first, chat.peer() as second:
        prompt = chat.fake.prompt(tokens=4, hold=f"{gate.name}@2")
        one = await chat.start_turn(first, prompt)
        await chat.fake.wait_at_gate(gate)
        ids: dict[str, Any] = {"conversation_id": one.conversation_id, "message_id": one.message_id}
        # While it runs, from another connection; and a third time below, when it is over.
        two = await chat.start_turn(second, prompt, **ids)
        gate.open()
        await asyncio.gather(one.complete(), two.complete())
        three = await chat.run_turn(second, prompt, **ids)

        expect_equal([one.text, two.text, three.text], [pieces(4)] * 3, "the answers to the same message")
        expect_equal(
            comparable(three.events[-1:]),
            comparable(one.events[-1:]),
            "the terminal event the second time",
        )
        if chat.http.supports_post:
            posted = await chat.http.post(prompt, **ids)
            expect_equal(posted.member("response"), pieces(4), "the response to the same message by POST")
        expect_equal(chat.fake.prompt_count(chat.marker), 1, "how often Claude was asked")
        messages = await chat.http.history(one.conversation_id)
        expect_equal([each.get("role") for each in messages], ["user", "assistant"], "the roles in history")


@case(
    "turns/remembers",
    title="A later turn of a conversation knows the earlier ones",
    clause="TURN-8",
    severity=Severity.BLOCKER,
    means="Claude forgets what was just said.",
    finding="M-7",
    evidence="This is turn 1",
    needs=(ANSWERED,),
)
async def remembers(chat: CaseContext) -> None:
    async with chat.peer() as peer, chat.peer() as elsewhere:
        first = await chat.run_turn(peer, chat.fake.prompt("hello"))
        second = await chat.run_turn(peer, chat.fake.prompt("again"), conversation_id=first.conversation_id)
        other = await chat.run_turn(elsewhere, chat.fake.prompt("elsewhere"))

        expect_equal(second.conversation_id, first.conversation_id, "the conversation of the second turn")
        # The fake says which turn of its session it answers, so a new session gives itself away by `turn 1`.
        expect("turn 2" in second.text, "Claude to say that it is turn 2", f"the answer is {second.text!r}")
        expect(
            "turn 1" in other.text, "a new conversation to begin with turn 1", f"the answer is {other.text!r}"
        )
        if chat.http.supports_post:
            answer = await chat.http.post(chat.fake.prompt("by POST"), conversation_id=first.conversation_id)
            expect("turn 3" in answer.member("response"), "the POST to be turn 3", f"it is {answer.body!r}")


@case(
    "turns/remembers-after-restart",
    title="A conversation continues after a restart of the server",
    clause="TURN-8",
    severity=Severity.MEDIUM,
    means="Every deployment wipes what Claude knows of every chat.",
    needs=("turns/remembers",),
    waits=True,
    slow=True,
)
async def remembers_after_restart(chat: CaseContext) -> None:
    async with chat.instance() as server:
        async with chat.peer(server=server) as peer:
            first = await chat.run_turn(peer, chat.fake.prompt("before"))
        await server.restart()
        async with chat.peer(server=server) as peer:
            second = await chat.run_turn(
                peer, chat.fake.prompt("after"), conversation_id=first.conversation_id
            )

        expect("turn 2" in second.text, "Claude to say that it is turn 2", f"the answer is {second.text!r}")


@case(
    "turns/forgets-aloud",
    title="A turn says so when Claude begins another session",
    clause="TURN-8",
    severity=Severity.LOW,
    means="Claude suddenly knows nothing of the conversation, and nothing on the page says why.",
    needs=("turns/remembers",),
)
async def forgets_aloud(chat: CaseContext) -> None:
    async with chat.scripted_server() as scripted, scripted.peer() as peer:
        first = await scripted.run_turn(peer, scripted.fake.prompt("hello"))
        second = await scripted.run_turn(
            peer, scripted.fake.prompt("play another-session"), conversation_id=first.conversation_id
        )
        found = [event.get("status") for event in second.events if event.get("type") == "status"]
        expect("fresh_session" in found, "a status fresh_session", f"the turn's statuses are {found}")
        # Every conversation begins with a session: that one is no loss.
        unasked = [event for event in first.events if event.get("status") == "fresh_session"]
        expect(not unasked, "no such status in the first turn", f"there is {unasked}")


@case(
    "turns/busy",
    title="A second message to a conversation that is answering is refused as busy",
    clause="TURN-9",
    severity=Severity.MEDIUM,
    means="Two prompts are merged into one answer, or one of them disappears.",
    needs=(STREAMS, "http/while-others-chat"),
)
async def busy(chat: CaseContext) -> None:
    async with chat.fake.gate("busy") as gate, chat.peer() as peer:
        turn = await chat.start_turn(peer, chat.fake.prompt("first", tokens=4, hold=f"{gate.name}@2"))
        await chat.fake.wait_at_gate(gate)
        refused = await chat.send_prompt(
            peer, chat.fake.prompt("second"), conversation_id=turn.conversation_id
        )
        error = await refused.finish()

        expect_equal(
            (error.get("type"), error.get("code")), ("error", "busy"), "the answer to the second message"
        )
        if chat.http.supports_post:
            posted = await chat.http.post(chat.fake.prompt("third"), conversation_id=turn.conversation_id)
            expect_equal(posted.status, 409, "the status of a POST to the busy conversation")
        gate.open()
        expect_equal(await turn.complete(), pieces(4), "the answer of the first turn")
        expect_equal(chat.fake.prompt_count(chat.marker), 1, "how often Claude was asked")
        expect_equal(
            len(await chat.http.history(turn.conversation_id)), 2, "the number of messages in history"
        )


@case(
    "turns/claude-fails",
    title="When Claude ends without a result the turn fails and its text is kept, marked",
    clause="TURN-11",
    severity=Severity.MEDIUM,
    means="The answer hangs for ever, or what had arrived is lost, and history lies.",
    finding="M-14",
    evidence="'running'",
    needs=(STREAMS,),
)
async def claude_fails(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        turn = await chat.start_turn(peer, chat.fake.prompt(tokens=3, exit=3))
        error = await turn.finish()

        expect_equal(error.get("type"), "error", "the turn's last event")
        expect_equal(turn.text, pieces(3), "what was said before")
        if chat.offers("code"):
            expect_equal(error.get("code"), "claude_failed", "the code of the error")
        if chat.offers("history"):
            answer = await chat.http.last_message(turn.conversation_id)
            expect_equal(
                (answer.get("content"), answer.get("status")), (pieces(3), "failed"), "the answer in history"
            )
            why = answer.get("error")
            expect(
                isinstance(why, dict) and why.get("code") == "claude_failed" and bool(why.get("message")),
                "the answer in history to have the error, claude_failed, and its sentence",
                f"it is {why}",
            )
        await chat.run_turn(peer, chat.fake.prompt("and on"), conversation_id=turn.conversation_id)


@case(
    "turns/claude-missing",
    title="A Claude that cannot be started is a clear error, on both routes",
    clause="TURN-11",
    severity=Severity.MEDIUM,
    means="A wrong path in the settings looks like a Claude that thinks for ever.",
    needs=(COMPLETES,),
    waits=True,
    slow=True,
)
async def claude_missing(chat: CaseContext) -> None:
    async with AsyncExitStack() as stack:
        try:
            server = await stack.enter_async_context(chat.instance(claude="/nonexistent/claude"))
        except TargetError as refusal:
            # Not to start is as good, if the log says what is missing.
            expect(
                any("claude" in each.lower() for each in refusal.log),
                "the server that does not start to say why",
                f"{refusal}",
            )
            return
        async with chat.peer(server=server) as peer:
            turn = await chat.send_prompt(peer, chat.fake.prompt())
            error = await turn.finish()

            expect_equal(error.get("type"), "error", "the turn's last event")
            if chat.offers("code"):
                expect_equal(error.get("code"), "claude_unavailable", "the code of the error")
        if chat.http.supports_post:
            answer = await chat.http.post(chat.fake.prompt(), server=server)
            expect_equal(answer.status, 503, "the status of a POST")
            code = answer.member("error").get("code")
            expect_equal(code, "claude_unavailable", "the code of the POST's error")
