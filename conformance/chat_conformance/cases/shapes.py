"""The shapes in which the CLI writes an answer, and what may stand between its lines."""

from __future__ import annotations

from chat_conformance.cases.turns import ANSWERED, STREAMS, pieces
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal

MIB = 1 << 20
PIECES_ONLY = "shapes/pieces-only"


async def shown_once(chat: CaseContext, prompt: str, text: str, *, rewinds: bool = False) -> None:
    """Send a prompt to each route of a server with the script; the answer must be this text, in history too.

    Unless it ``rewinds``, nothing may be shown in between that is no part of it (TURN-4).
    """
    # Theory: the CLI prints one text up to three times: as deltas, as a full message, and in the result.
    # Which of them there are depends on its version, its options and on what went wrong. The scripts leave
    # some out (`omit`): whatever is left, on every route the text must be there once. Example: without
    # deltas, and without full messages, the result is the only place; with all three, two of them repeat.
    async with chat.scripted_server() as scripted, scripted.peer() as peer:
        turn = await scripted.run_turn(peer, scripted.fake.prompt(prompt))
        expect_equal(turn.text, text, "the tokens joined")
        if not rewinds:
            taken_back = [event for event in turn.events if event.get("type") == "rewind"]
            expect_equal(taken_back, [], "what was shown and taken back")
        if chat.offers("history"):
            kept = await scripted.http.last_message(turn.conversation_id)
            found = (kept.get("content"), kept.get("status"))
            expect_equal(found, (text, "complete"), "the answer in history")
        if scripted.http.supports_post:
            posted = await scripted.http.post(scripted.fake.prompt(prompt))
            expect_equal(posted.member("response"), text, "the response of a POST")


@case(
    PIECES_ONLY,
    title="An answer in pieces and in the result, and in no whole message, is shown once",
    clause="TURN-12",
    severity=Severity.MEDIUM,
    means="The answer is shown twice, or not at all.",
    needs=(STREAMS,),
)
async def pieces_only(chat: CaseContext) -> None:
    await shown_once(chat, "play pieces-only", pieces(5))


@case(
    "shapes/whole",
    title="An answer in whole messages, without any pieces, is shown once",
    clause="TURN-12",
    severity=Severity.MEDIUM,
    means="Without partial messages the answer stays empty.",
    finding="M-5",
    evidence="it is ''",
    needs=(ANSWERED,),
)
async def whole(chat: CaseContext) -> None:
    await shown_once(chat, "play whole", pieces(5))


@case(
    "shapes/whole-around-a-tool",
    title="Of whole messages before and after a tool both are shown",
    clause="TURN-12",
    severity=Severity.MEDIUM,
    means="Without partial messages all is lost that Claude says before it uses a tool: the result has the end only.",
    needs=("shapes/whole",),
)
async def whole_around_a_tool(chat: CaseContext) -> None:
    await both_shown(chat, "play whole-twice")


@case(
    "shapes/end-in-the-result",
    title="What follows a tool is shown, though it stands in the result only",
    clause="TURN-12",
    severity=Severity.LOW,
    means="Claude says that it will look, and never what it found.",
    finding="R2-3",
    evidence="'It is there.', ''",
    needs=("shapes/result-only",),
)
async def end_in_the_result(chat: CaseContext) -> None:
    await both_shown(chat, "play end-in-the-result")


async def both_shown(chat: CaseContext, prompt: str) -> None:
    """Play a prompt whose answer has a tool in between; both parts must be shown once, however they are joined."""
    async with chat.scripted_server() as scripted, scripted.peer() as peer:
        turn = await scripted.run_turn(peer, scripted.fake.prompt(prompt))
        # White space between the parts is the server's choice; a second copy would be behind them.
        before, between, after = turn.text.partition("It is there.")
        expect_equal((before.strip(), between, after), ("Let me look.", "It is there.", ""), "the answer")
        if chat.offers("history"):
            kept = await scripted.http.last_message(turn.conversation_id)
            expect_equal(kept.get("content"), turn.text, "the answer in history")


@case(
    "shapes/result-only",
    title="An answer that stands in the result only is shown",
    clause="TURN-12",
    severity=Severity.LOW,
    means="An answer in an unexpected shape is shown, and stored, as empty.",
    finding="R2-3",
    evidence="it is ''",
    needs=(ANSWERED,),
)
async def result_only(chat: CaseContext) -> None:
    await shown_once(chat, "play result-only", pieces(5))


@case(
    "shapes/three-times",
    title="An answer that comes as deltas, as a full block and in the result is shown once",
    clause="TURN-12",
    severity=Severity.MEDIUM,
    means="Every answer is there twice.",
    needs=(ANSWERED,),
)
async def three_times(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        turn = await chat.run_turn(peer, chat.fake.prompt(say="only once"))

        expect_equal(turn.text, "only once", "the tokens joined")


@case(
    "shapes/same-again",
    title="Two identical answers stay two",
    clause="TURN-12",
    severity=Severity.MEDIUM,
    means="The second `Yes.` of a conversation is taken for a repetition, and never shown.",
    needs=("shapes/three-times",),
)
async def same_again(chat: CaseContext) -> None:
    async with chat.scripted_server() as scripted, scripted.peer() as peer:
        first = await scripted.run_turn(peer, scripted.fake.prompt(say="the same"))
        second = await scripted.run_turn(
            peer, scripted.fake.prompt(say="the same"), conversation_id=first.conversation_id
        )
        expect_equal([first.text, second.text], ["the same"] * 2, "the answers to two turns")
        # Within one turn as well: two equal blocks are two, and no duplicate of one.
        turn = await scripted.run_turn(peer, scripted.fake.prompt("play twice"))

        times = turn.text.count("said again.")
        expect(times == 2, "what is said before and after a tool, both times", f"the answer is {turn.text!r}")
        if scripted.http.supports_post:
            posted = await scripted.http.post(scripted.fake.prompt("play twice"))
            expect_equal(posted.member("response"), turn.text, "the response of a POST")


@case(
    "shapes/strangers",
    title="Unknown events, blank lines, arrays and noise between tokens change nothing",
    clause="TURN-12",
    severity=Severity.MEDIUM,
    means="The next version of the CLI, or one warning on stdout, breaks every answer.",
    needs=(STREAMS,),
)
async def strangers(chat: CaseContext) -> None:
    # The word `wrong` stands wherever in those lines a careless reader would look for text.
    await shown_once(chat, "play strangers", pieces(5))


@case(
    "shapes/subagent",
    title="What a subagent says is no part of the answer",
    clause="TURN-12",
    severity=Severity.LOW,
    means="Notes of Claude's helpers stand in the middle of its sentences.",
    needs=(STREAMS,),
)
async def subagent(chat: CaseContext) -> None:
    await shown_once(chat, "play subagent", pieces(5))


@case(
    "shapes/told-again",
    title="An answer whose stream breaks and is repeated in the same words is shown once",
    clause="TURN-12",
    severity=Severity.MEDIUM,
    means="After each hiccup between the CLI and the model, what was said stands there twice.",
    needs=(STREAMS,),
)
async def repeated(chat: CaseContext) -> None:
    # The stream breaks behind `Hello `, and the CLI prints that once more before it continues.
    await shown_once(chat, "play broken", "Hello world.")


@case(
    "shapes/told-otherwise",
    title="An answer whose stream breaks and comes again in other words is the last one",
    clause="TURN-4",
    severity=Severity.LOW,
    means="After a hiccup between the CLI and the model the answer begins with one that was given up.",
    needs=("shapes/told-again", "shapes/whole"),
)
async def reworded(chat: CaseContext) -> None:
    # What is visible already cannot be unsent: it takes a `rewind` (TURN-4).
    await shown_once(chat, "play broken-otherwise", "Hello world.", rewinds=True)


@case(
    "shapes/line-lengths",
    title="Lines of 65,535, 65,536 and 65,537 bytes are read",
    clause="TURN-12",
    severity=Severity.MEDIUM,
    means="A long line of the CLI, such as the output of a tool, ends the turn.",
    needs=(STREAMS, "shapes/strangers"),
)
async def line_lengths(chat: CaseContext) -> None:
    async with chat.scripted_server() as scripted, scripted.peer() as peer:
        # 64 KiB is the size of a pipe on Linux, and the longest line that asyncio's reader takes by default.
        # The script prints the prompt as a line of its own.
        for length in (65_535, 65_536, 65_537):
            prompt = scripted.fake.prompt("play line") + " "
            turn = await scripted.run_turn(peer, prompt + "x" * (length - len(prompt)))
            expect_equal(turn.text, pieces(4), f"the answer around a line of {length} bytes")


@case(
    "shapes/one-mib",
    title="A piece of 1 MiB in one line is shown whole",
    clause="TURN-12",
    severity=Severity.MEDIUM,
    means="Long answers end in an error.",
    needs=(STREAMS, "shapes/line-lengths"),
)
async def one_mib(chat: CaseContext) -> None:
    await long_piece(chat, "play 1-mib", MIB)


@case(
    "shapes/sixteen-mib",
    title="A piece of 16 MiB in one line is shown whole, or fails in words",
    clause="TURN-12",
    severity=Severity.LOW,
    means="One line of the CLI takes the server down.",
    needs=("shapes/one-mib",),
    waits=True,
    slow=True,
)
async def sixteen_mib(chat: CaseContext) -> None:
    async with chat.scripted_server() as scripted, scripted.peer() as peer:
        turn = await scripted.start_turn(peer, scripted.fake.prompt("play 16-mib"))
        end = await turn.finish(within=6 * chat.target.within)

        # A bound on lines is sound, if the turn then says so and the server lives.
        whole_or_failed = end.get("type") == "error" or len(turn.text) == 16 * MIB
        expect(whole_or_failed, "16 MiB of text, or an error", f"{len(turn.text)} characters and {end}")
        await peer.expect_alive()
        await scripted.run_turn(peer, scripted.fake.prompt("and on"), conversation_id=turn.conversation_id)


async def long_piece(chat: CaseContext, prompt: str, size: int) -> None:
    """Have an answer of that many characters; all must arrive."""
    async with chat.scripted_server() as scripted, scripted.peer() as peer:
        turn = await scripted.run_turn(peer, scripted.fake.prompt(prompt))
        expect_equal(len(turn.text), size, "the length of the answer")


@case(
    "shapes/dribble",
    title="Lines that come in pieces of a few bytes are read as lines, characters as characters",
    clause="TURN-12",
    severity=Severity.MEDIUM,
    means="Umlauts and emoji are broken whenever a pipe cuts them.",
    needs=(STREAMS,),
    slow=True,
)
async def dribble(chat: CaseContext) -> None:
    # Characters of two, three and four bytes, and one that is made of three: pieces of seven bytes cut
    # through them.
    word = "ä€👩\u200d👧ü"
    await shown_once(chat, "play dribble", f"{word} {word}- {word}-- {word}---")


@case(
    "shapes/surrogate",
    title="Half of a surrogate pair among the events breaks nothing",
    clause="TURN-12",
    severity=Severity.LOW,
    means="One broken emoji ends the turn, or the connection.",
    needs=(STREAMS,),
)
async def surrogate(chat: CaseContext) -> None:
    async with chat.scripted_server() as scripted, scripted.peer() as peer:
        turn = await scripted.run_turn(peer, scripted.fake.prompt("play surrogate"))

        expect_equal(turn.text, pieces(2), "the tokens around it")


@case(
    "shapes/not-utf8",
    title="Bytes on Claude's stdout that are not UTF-8 break nothing",
    clause="TURN-12",
    severity=Severity.MEDIUM,
    means="The output of one command in another encoding ends the turn, or the server.",
    needs=(STREAMS, "shapes/strangers"),
)
async def not_utf8(chat: CaseContext) -> None:
    await shown_once(chat, "play not-utf8", pieces(4))
