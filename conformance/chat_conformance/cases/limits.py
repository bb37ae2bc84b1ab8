"""How much a user may ask, and what is counted."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

from chat_conformance.cases.turns import ANSWERED, pieces
from chat_conformance.errors import CouldNotTest, NotOffered
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal
from chat_conformance.suite.http import HttpResponse
from chat_conformance.target.file import Limited
from chat_conformance.wire.channel import Channel

DAY = 86_400
HOUR = 3_600
# A case about days does not begin so few seconds before midnight UTC.
NEAR = 20.0
# How long before the end of a limit a moved clock shows that it still holds, in seconds.
EARLY = 5.0
# Drift between the monotonic clock and the wall clock, in seconds.
DRIFT = 0.1
# How far two clocks may differ, in seconds.
SLACK = 10.0

HOURLY = "limits/hour"
DAILY = "limits/day"
TOKENS = "quotas/tokens"


def limit(chat: CaseContext, name: str) -> int:
    """The limit of one of the target's variants.

    Raises:
        NotOffered: The target file does not claim it.
    """
    variant: Limited | None = getattr(chat.target.variants, name)
    if variant is None:
        raise NotOffered(f"the target file has no variants.{name}")
    return variant.limit


def until_midnight() -> float:
    """Seconds to the next UTC day."""
    return DAY - time.time() % DAY


def expect_midnight(reported: float, began: float, what: str) -> None:
    """What was reported must be the time until midnight UTC, at some moment since the request was sent."""
    # `began` was measured before the request, and now is after the answer: the right value lies between the
    # two, give or take clocks that differ.
    expect(
        until_midnight() - SLACK <= reported <= began + SLACK,
        f"{what} to be the time until midnight UTC",
        f"it is {reported:g} s, and not about {began:.0f} s",
    )


async def away_from_midnight() -> None:
    """Let midnight UTC pass if it is near: in the middle of a case it would change what is right."""
    if (left := until_midnight()) < NEAR:
        await asyncio.sleep(left + 1)


async def spend(chat: CaseContext, peer: Channel, turns: int) -> None:
    """Run this number of turns of one conversation."""
    conversation_id = None
    for _ in range(turns):
        turn = await chat.run_turn(peer, chat.fake.prompt("spend"), conversation_id=conversation_id)
        conversation_id = turn.conversation_id


async def refused(chat: CaseContext, peer: Channel, code: str) -> float:
    """Ask once more on the socket, which must be refused with this code, and return ``retry_after``."""
    # LIMIT-2: refused before any process is started, so the count of prompts must stay.
    asked = chat.fake.prompt_count(chat.marker)
    turn = await chat.send_prompt(peer, chat.fake.prompt("one more"))
    error = await turn.finish()
    expect_equal((error.get("type"), error.get("code")), ("error", code), "the answer beyond the limit")
    expect_equal(
        chat.fake.prompt_count(chat.marker), asked, "how often Claude was asked, the refused one included"
    )
    return seconds(error)


async def refused_post(chat: CaseContext, code: str) -> HttpResponse:
    """Ask once more by POST, which must be refused with this code."""
    answer = await chat.http.post(chat.fake.prompt("one more by POST"))
    expect_equal((answer.status, answer.member("error").get("code")), (429, code), "the answer to the POST")
    return answer


def seconds(error: dict[str, Any]) -> float:
    """The ``retry_after`` of an error."""
    value = error.get("retry_after")
    expect(
        isinstance(value, int | float) and not isinstance(value, bool) and value > 0,
        "retry_after in seconds, more than 0",
        f"the error is {error}",
    )
    return float(value or 0)


@case(
    HOURLY,
    title="A turn beyond the hour's limit is refused, and the connection lives",
    clause="LIMIT-2",
    severity=Severity.BLOCKER,
    means="The limit is void: one user, or one script, can spend without end.",
    finding="R2-2",
    evidence="it is .'complete'",
    needs=(ANSWERED,),
)
async def hour(chat: CaseContext) -> None:
    async with chat.variant("requests_per_hour") as limited, limited.peer() as peer:
        await spend(limited, peer, limit(chat, "requests_per_hour"))

        await refused(limited, peer, "rate_limited")
        await peer.expect_alive()
        if chat.http.supports_post:
            await refused_post(limited, "rate_limited")


@case(
    DAILY,
    title="A turn beyond the day's limit is refused until midnight UTC",
    clause="LIMIT-3",
    severity=Severity.MEDIUM,
    means="The day's limit is void, or the time to come back is wrong.",
    finding="R2-2",
    evidence="it is .'complete'",
    needs=(ANSWERED, "limits/hour-slides"),
    slow=True,
)
async def day(chat: CaseContext) -> None:
    await away_from_midnight()
    async with chat.variant("requests_per_day") as limited, limited.peer() as peer:
        await spend(limited, peer, limit(chat, "requests_per_day"))

        began = until_midnight()
        expect_midnight(await refused(limited, peer, "rate_limited"), began, "retry_after")
        if chat.http.supports_post:
            await refused_post(limited, "rate_limited")


@case(
    "limits/both-doors",
    title="Turns of every route and connection count together",
    clause="LIMIT-1",
    severity=Severity.BLOCKER,
    means="A user who is refused on one route continues on the other, or in another tab.",
    finding="R2-2",
    evidence="it is .'complete'",
    needs=(HOURLY,),
)
async def all_routes(chat: CaseContext) -> None:
    async with chat.variant("requests_per_hour") as limited, limited.peer() as one, limited.peer() as two:
        # Each way is used in turn, and by none of them the limit is reached: a counter for each route, or for
        # each connection, would let more pass.
        for number in range(limit(chat, "requests_per_hour")):
            match number % 3:
                case 0 if chat.http.supports_post:
                    expect_equal(
                        (await limited.http.post(limited.fake.prompt("by POST"))).status, 200, "the status"
                    )
                case 1:
                    await limited.run_turn(one, limited.fake.prompt("one"))
                case _:
                    await limited.run_turn(two, limited.fake.prompt("two"))

        await refused(limited, one, "rate_limited")
        await refused(limited, two, "rate_limited")
        if chat.http.supports_post:
            await refused_post(limited, "rate_limited")


@case(
    "limits/others",
    title="One user's limit is not another's",
    clause="LIMIT-1",
    severity=Severity.MEDIUM,
    means="One busy user locks everybody out.",
    needs=(HOURLY,),
)
async def others(chat: CaseContext) -> None:
    async with chat.variant("requests_per_hour") as limited:
        # First of all, so that a target with one user gets its verdict before turns are spent.
        limited.user(1)
        async with limited.peer() as peer, limited.peer(user=1) as other:
            await spend(limited, peer, limit(chat, "requests_per_hour"))
            await refused(limited, peer, "rate_limited")

            await limited.run_turn(other, limited.fake.prompt("another user"))


@case(
    "limits/running-turn",
    title="A refusal leaves a running turn alone",
    clause="LIMIT-2",
    severity=Severity.MEDIUM,
    means="One message too many ends an answer that is being written.",
    needs=(HOURLY,),
)
async def running_turn(chat: CaseContext) -> None:
    async with (
        chat.variant("requests_per_hour") as limited,
        limited.fake.gate("limit") as gate,
        limited.peer() as peer,
    ):
        await spend(limited, peer, limit(chat, "requests_per_hour") - 1)
        turn = await limited.start_turn(peer, limited.fake.prompt(tokens=4, hold=f"{gate.name}@2"))
        await turn.until_text(pieces(2))
        await refused(limited, peer, "rate_limited")
        gate.open()

        expect_equal(await turn.complete(), pieces(4), "the answer of the running turn")


@case(
    "limits/retry-after",
    title="A 429 carries Retry-After in whole seconds, rounded up",
    clause="HTTP-4",
    severity=Severity.LOW,
    means="Scripts that wait as asked come a moment too early, or do not understand how long.",
    needs=(HOURLY,),
)
async def retry_after(chat: CaseContext) -> None:
    async with chat.variant("requests_per_hour") as limited:
        async with limited.peer() as peer:
            await spend(limited, peer, limit(chat, "requests_per_hour"))
        answer = await refused_post(limited, "rate_limited")

        # Rounded down, a script that waits as the header says comes up to a second early, and is refused
        # again.
        header, reported = answer.headers.get("retry-after"), seconds(answer.member("error"))
        expect_equal(header, str(math.ceil(reported)), f"Retry-After with retry_after {reported:g}")


@case(
    "limits/hour-slides",
    title="retry_after of the hour's limit is when its oldest turn is an hour old",
    clause="LIMIT-3",
    severity=Severity.MEDIUM,
    means="The time to come back is too early, so that people are refused again, or far too late.",
    needs=(HOURLY,),
)
async def hour_slides(chat: CaseContext) -> None:
    async with chat.variant("requests_per_hour") as limited, limited.peer() as peer:
        # Theory: the window slides, so room comes when the oldest turn is an hour old. Between that turn and
        # the refusal passes at most `spent`: with 3 s spent, retry_after lies between 3,597 and 3,600.
        began = time.monotonic()
        await spend(limited, peer, limit(chat, "requests_per_hour"))
        first = await refused(limited, peer, "rate_limited")
        spent = time.monotonic() - began

        expect(
            HOUR - spent - DRIFT <= first <= HOUR,
            f"an hour less what has passed since the first turn ({spent:.1f} s at most)",
            f"retry_after is {first:g}",
        )


@case(
    "limits/hour-passes",
    title="The same request succeeds after retry_after, and not before",
    clause="LIMIT-3",
    severity=Severity.MEDIUM,
    means="A user who waits as asked is refused again, or the window is shorter than promised.",
    needs=(HOURLY,),
    waits=True,
    slow=True,
)
async def hour_passes(chat: CaseContext) -> None:
    async with chat.variant("requests_per_hour", clock=True) as limited, limited.peer() as peer:
        await spend(limited, peer, limit(chat, "requests_per_hour"))
        await moved_past(limited, peer, "rate_limited")


@case(
    "limits/day-passes",
    title="At midnight UTC the day's turns are reset, and not before",
    clause="LIMIT-3",
    severity=Severity.MEDIUM,
    means="The day ends at another hour than documented: people are locked out, or spend twice.",
    needs=(DAILY,),
    waits=True,
    slow=True,
)
async def day_passes(chat: CaseContext) -> None:
    await away_from_midnight()
    async with chat.variant("requests_per_day", clock=True) as limited, limited.peer() as peer:
        await spend(limited, peer, limit(chat, "requests_per_day"))
        await moved_past(limited, peer, "rate_limited")


@case(
    "quotas/day-passes",
    title="At midnight UTC the day's tokens are reset, and not before",
    clause="LIMIT-3",
    severity=Severity.MEDIUM,
    means="A user who spent the day's tokens stays locked out, or spends twice.",
    needs=(TOKENS,),
    waits=True,
    slow=True,
)
async def tokens_pass(chat: CaseContext) -> None:
    await away_from_midnight()
    async with chat.variant("tokens_per_day", clock=True) as limited, limited.peer() as peer:
        await twenties(limited, peer, math.ceil(limit(chat, "tokens_per_day") / 20))
        await moved_past(limited, peer, "quota_exceeded")


async def moved_past(chat: CaseContext, peer: Channel, code: str) -> None:
    """Be refused, move the clock to shortly before ``retry_after`` and then past it."""
    # Theory: LIMIT-3 has two sides, and the suite's clock shows both: shortly before retry_after the request
    # is still refused, and right after it succeeds. One side alone would pass a server that says too much, or
    # too little.
    began = time.monotonic()
    wait = await refused(chat, peer, code)
    # Time also passes on the moved clock while we wait: a slow machine is given more room.
    early = EARLY + 10 * (time.monotonic() - began)
    chat.clock.ahead(wait - early)
    turn = await chat.send_prompt(peer, chat.fake.prompt("too early"))
    error = await turn.finish()
    took = time.monotonic() - began
    if took >= early:
        raise CouldNotTest(
            f"an answer took {took:.1f} s, so what is refused {early:.1f} s early is not known"
        )
    expect_equal(error.get("code"), code, f"the answer {early:.1f} s before retry_after")
    chat.clock.ahead(wait)
    await chat.run_turn(peer, chat.fake.prompt("in time"))


@case(
    "limits/free",
    title="What is refused, invalid, repeated or resumed costs nothing",
    clause="LIMIT-4",
    severity=Severity.MEDIUM,
    means="A bad network or a page with a bug uses up what people may ask.",
    finding="R2-2",
    evidence="it is .'complete'",
    needs=(
        HOURLY,
        "messages/empty",
        "messages/unknown-conversation",
        "limits/both-doors",
        "following/finished",
        "turns/sent-twice",
        "limits/hour-slides",
    ),
)
async def free(chat: CaseContext) -> None:
    turns = limit(chat, "requests_per_hour")
    async with chat.variant("requests_per_hour") as limited, limited.peer() as peer:
        # Theory: one turn that counts, and then all that must be free, as often as the limit has turns: if
        # any of it counted, the limit would be reached. What must be left is exactly limit - 1, no more and
        # no less.
        prompt = limited.fake.prompt("counted once")
        first = await limited.run_turn(peer, prompt)
        nowhere = f"{chat.random.getrandbits(48):012x}"
        for _ in range(turns):
            await limited.run_turn(
                peer, prompt, conversation_id=first.conversation_id, message_id=first.message_id
            )
            again = await limited.follow(peer, first.conversation_id, first.message_id)
            await again.begin()
            await again.completed()
            await limited.refusal(
                peer, "bad_request", type="chat_request", message=" ", message_id=limited.next_id()
            )
            await limited.refusal(
                peer,
                "not_found",
                type="chat_request",
                message="x",
                message_id=limited.next_id(),
                conversation_id=nowhere,
            )
            if chat.http.supports_post:
                expect_equal((await limited.http.post(" ")).status, 400, "the status of an empty POST")
                again_posted = await limited.http.post(
                    prompt, conversation_id=first.conversation_id, message_id=first.message_id
                )
                expect_equal(again_posted.status, 200, "the status of the same message by POST")
        async with limited.peer() as other:
            await spend(limited, other, turns - 1)

            wait = await refused(limited, other, "rate_limited")
            later = await refused(limited, other, "rate_limited")
            expect(
                later < wait,
                f"retry_after to go down with time from {wait:g}: refused messages do not count",
                f"it is {later:g}",
            )


@case(
    "limits/at-once",
    title="Of requests that arrive at once exactly as many run as there is room for",
    clause="LIMIT-5",
    severity=Severity.MEDIUM,
    means="A user who sends many at once gets more than the limit, or nothing at all.",
    needs=(HOURLY,),
)
async def at_once(chat: CaseContext) -> None:
    room = 2
    async with chat.variant("requests_per_hour") as limited, limited.peer() as one, limited.peer() as two:
        await spend(limited, one, limit(chat, "requests_per_hour") - room)
        before = limited.fake.prompt_count(limited.marker)
        # More than there is room for, on two connections and by POST. A server that looks first and counts
        # later lets too many in; one that counts first and looks later may refuse all.
        turns = await asyncio.gather(
            *(limited.send_prompt(peer, limited.fake.prompt("at once")) for peer in (one, two, one, two, one))
        )
        posts = [limited.http.post(limited.fake.prompt("at once"))] if chat.http.supports_post else []
        answers, posted = await asyncio.gather(
            asyncio.gather(*(turn.finish() for turn in turns)), asyncio.gather(*posts)
        )
        ran = [answer for answer in answers if answer.get("type") == "complete"]
        ran_by_post = [answer for answer in posted if answer.status == 200]

        expect_equal(len(ran) + len(ran_by_post), room, f"how many turns ran with room for {room}")
        expect_equal(limited.fake.prompt_count(limited.marker) - before, room, "how often Claude was asked")
        codes = {answer.get("code") for answer in answers if answer.get("type") == "error"}
        expect_equal(codes, {"rate_limited"}, "the codes of the refusals")


@case(
    "limits/restart",
    title="What was counted is counted after a restart of the server",
    clause="LIMIT-6",
    severity=Severity.MEDIUM,
    means="Every deployment, and every crash, gives everybody a new allowance.",
    needs=(HOURLY,),
    waits=True,
    slow=True,
)
async def restart(chat: CaseContext) -> None:
    async with chat.variant("requests_per_hour", own=True) as limited:
        async with limited.peer() as peer:
            await spend(limited, peer, limit(chat, "requests_per_hour"))
        await limited.server.restart()
        async with limited.peer() as peer:
            await refused(limited, peer, "rate_limited")


@case(
    "limits/deletion",
    title="What was counted is counted after its conversation is deleted",
    clause="LIMIT-6",
    severity=Severity.MEDIUM,
    means="Deleting a chat gives its turns back: the limit is void.",
    needs=(HOURLY, "history/deleted"),
    slow=True,
)
async def deletion(chat: CaseContext) -> None:
    async with chat.variant("requests_per_hour") as limited, limited.peer() as peer:
        turns = [
            await limited.run_turn(peer, limited.fake.prompt())
            for _ in range(limit(chat, "requests_per_hour"))
        ]
        for turn in turns:
            path = limited.target.paths.of(turn.conversation_id)
            expect_equal((await limited.http.request("DELETE", path)).status, 204, "the status of the DELETE")

        await refused(limited, peer, "rate_limited")


async def twenties(chat: CaseContext, peer: Channel, turns: int) -> None:
    """Run turns of twenty tokens each."""
    conversation_id = None
    for _ in range(turns):
        turn = await chat.run_turn(peer, chat.fake.prompt("play twenty"), conversation_id=conversation_id)
        conversation_id = turn.conversation_id
        # The script reports 12,000 cached tokens beside these: counted, the first turn would be beyond any
        # such quota.
        usage = turn.events[-1].get("usage")
        expect_equal(usage, {"input_tokens": 15, "output_tokens": 5}, "the usage in complete")


@case(
    TOKENS,
    title="The quota falls by exactly the input and output tokens of each result, once",
    clause="LIMIT-1",
    severity=Severity.MEDIUM,
    means="The quota is void, or falls several times as fast as it should.",
    finding="R2-2",
    evidence="it is .'complete'",
    needs=(ANSWERED, "limits/hour-slides"),
)
async def tokens(chat: CaseContext) -> None:
    await away_from_midnight()
    async with chat.variant("tokens_per_day") as limited, limited.peer() as peer:
        await twenties(limited, peer, math.ceil(limit(chat, "tokens_per_day") / 20))

        began = until_midnight()
        expect_midnight(await refused(limited, peer, "quota_exceeded"), began, "retry_after")
        await peer.expect_alive()
        if chat.http.supports_post:
            await refused_post(limited, "quota_exceeded")


@case(
    "quotas/post",
    title="Tokens spent by POST count, too",
    clause="LIMIT-1",
    severity=Severity.MEDIUM,
    means="On the other route people spend without a quota.",
    finding="R2-2",
    evidence="it is .'complete'",
    needs=(TOKENS,),
    slow=True,
)
async def quota_post(chat: CaseContext) -> None:
    await away_from_midnight()
    async with chat.variant("tokens_per_day") as limited, limited.peer() as peer:
        # One turn that costs more than the day has. It is let in, as its cost is not known before, and the
        # next is not.
        answer = await limited.http.post(limited.fake.prompt("play costly-now"))
        expect_equal(answer.status, 200, "the status of the first POST")

        await refused(limited, peer, "quota_exceeded")


@case(
    "quotas/stopped",
    title="A stopped turn is charged what its stream had reported",
    clause="LIMIT-1",
    severity=Severity.MEDIUM,
    means="Stop just before the end, and everything is free.",
    needs=(TOKENS, "stopping/cancel"),
)
async def quota_stopped(chat: CaseContext) -> None:
    await away_from_midnight()
    async with chat.variant("tokens_per_day") as limited, limited.peer() as peer:
        # The stream reports its tokens at once, and the result never comes: they can be known from the stream
        # only.
        turn = await limited.start_turn(peer, limited.fake.prompt("play costly"))
        await turn.until_text(pieces(2))
        await peer.send_json(type="cancel", message_id=turn.message_id)
        await turn.finish()

        await refused(limited, peer, "quota_exceeded")


@case(
    "quotas/killed",
    title="A turn that ended without a result is charged what its stream had reported",
    clause="LIMIT-1",
    severity=Severity.MEDIUM,
    means="Turns that fail cost money and no quota: a loop of them has no end.",
    needs=(TOKENS, "turns/claude-fails"),
)
async def quota_killed(chat: CaseContext) -> None:
    await away_from_midnight()
    async with chat.variant("tokens_per_day") as limited, limited.peer() as peer:
        turn = await limited.start_turn(peer, limited.fake.prompt("play killed"))
        error = await turn.finish()
        expect_equal(error.get("code"), "claude_failed", "the code of the error")

        await refused(limited, peer, "quota_exceeded")


@case(
    "limits/usage",
    title="The reported usage is what the next turn is judged by",
    clause="LIMIT-7",
    severity=Severity.LOW,
    means="People see that they may continue, and are refused.",
    needs=(HOURLY, "limits/hour-slides", "limits/day", "quotas/tokens"),
)
async def reported_usage(chat: CaseContext) -> None:
    if not chat.target.paths.usage:
        raise NotOffered("the target file has no paths.usage")
    async with chat.variant("requests_per_hour") as limited, limited.peer() as peer:
        of = limit(chat, "requests_per_hour")
        # Read before each turn, so reading must cost nothing; at the end `used` is what the refusal is about.
        for used in range(of + 1):
            expect_equal((await standing(limited, "requests_per_hour", HOUR))[:2], (used, of), "used and of")
            if used < of:
                await spend(limited, peer, 1)
        await refused(limited, peer, "rate_limited")
    for name in ("requests_per_day", "tokens_per_day"):
        if getattr(chat.target.variants, name) is None:
            continue
        await away_from_midnight()
        async with chat.variant(name) as limited, limited.peer() as peer:
            expect_equal(
                (await standing(limited, name, DAY))[:2], (0, limit(chat, name)), "used and of at first"
            )
            await spend(limited, peer, 1)
            began = until_midnight()
            used, _, left = await standing(limited, name, DAY)
            expect(used > 0, f"{name} to be used", "nothing is")
            expect_midnight(left, began, "resets_in")


async def standing(chat: CaseContext, name: str, within: float) -> tuple[int, int, float]:
    """What usage reports of a limit: how much is used, of how much, and seconds until some is free again (0: never)."""
    limits = (await chat.http.request("GET", chat.target.paths.usage)).member("limits")
    entries = [each for each in limits if each.get("limit") == name]
    expect_equal(len(entries), 1, f"the number of entries for {name}")
    used, left = entries[0].get("used"), entries[0].get("resets_in")
    expect(
        left is None if used == 0 else isinstance(left, int | float) and 0 < left <= within,
        f"resets_in to be null while nothing is used, and after that at most {within} seconds",
        f"it is {entries[0]}",
    )
    return used, entries[0].get("of"), left or 0.0
