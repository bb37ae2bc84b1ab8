"""Who a user is, and what other users must not see."""

from __future__ import annotations

from typing import Any

import msgspec

from chat_conformance.cases.turns import ANSWERED, STREAMS, pieces
from chat_conformance.errors import NotOffered
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal
from chat_conformance.suite.http import HttpResponse
from chat_conformance.suite.login import log_in, returning
from chat_conformance.target.file import Login, Proxy, User

NAMED = "identity/named"
LOGGED_IN = "identity/login"


def proxy(chat: CaseContext) -> Proxy:
    """The target's variant with a proxy, inside of which the case is."""
    variant = chat.target.variants.proxy
    assert variant is not None
    return variant


def login(chat: CaseContext) -> Login:
    """The target's variant with a login, inside of which the case is."""
    variant = chat.target.variants.login
    assert variant is not None
    return variant


async def refused_everywhere(
    chat: CaseContext, headers: dict[str, Any] | list[tuple[str, str]], what: str
) -> None:
    """Send a request to every route with these headers only; each must be refused as unauthorized."""
    paths = chat.target.paths
    # A request adds the headers of the case's user: here there must be none but those that are given.
    chat.scope.users = [User("anonymous")]
    routes = [("GET", paths.history)]
    routes += [("POST", paths.new)] if paths.new else []
    routes += [("POST", paths.turn)] if chat.http.supports_post else []
    # Of a conversation that does not exist: a 404 would show that it is looked up before the login is looked
    # at.
    routes += [("GET", paths.of("0123456789ab")), ("DELETE", paths.of("0123456789ab"))]
    for method, path in routes:
        form = {"message": chat.fake.prompt("let me in")} if path == paths.turn else None
        answer = await chat.http.request(method, path, form=form, headers=headers)
        expect_equal(
            (answer.status, error_code(answer)),
            (401, "unauthorized"),
            f"the answer to {method} {path} with {what}",
        )
    async with chat.connector.wire() as peer:
        response = await chat.connector.upgrade(peer, headers)
        expect_equal(response.status, 401, f"the status of an upgrade with {what}")
    expect_equal(len(chat.fake.runs()), 0, "the number of times Claude was started")


def error_code(answer: HttpResponse) -> Any:
    """The code in an error's body."""
    error = answer.member("error")
    return error.get("code") if isinstance(error, dict) else error


@case(
    NAMED,
    title="A user named by the proxy is let in on every route",
    clause="ID-1",
    severity=Severity.BLOCKER,
    means="Behind its proxy the chat is closed to everybody.",
    needs=("handshake/completes",),
)
async def named(chat: CaseContext) -> None:
    async with chat.variant("proxy") as behind, behind.peer():
        listed = await behind.http.request("GET", behind.target.paths.history)
        expect_equal(listed.status, 200, "the status of the list of conversations")
        if chat.http.supports_post:
            # It has no message: whether a user is let in shows before Claude is asked.
            posted = await behind.http.request("POST", chat.http.post_path, form={"message": " "})
            expect(posted.status not in (401, 403), "a POST to be let in", f"its status is {posted.status}")


@case(
    "identity/no-proxy",
    title="A user's name without the proxy's secret is refused",
    clause="ID-1",
    severity=Severity.BLOCKER,
    means="Clients that bypass the proxy can claim any user name.",
    needs=(NAMED,),
)
async def no_proxy(chat: CaseContext) -> None:
    async with chat.variant("proxy") as behind:
        names, right = proxy(chat), behind.user(0).headers
        secret = right[names.secret_header]
        by_name = {names.user_header: right[names.user_header]}
        wrong: dict[str, list[tuple[str, str]]] = {
            "no secret": [],
            "an empty secret": [(names.secret_header, "")],
            "a wrong secret": [(names.secret_header, "x" * len(secret))],
            "half of the secret": [(names.secret_header, secret[: len(secret) // 2])],
            "a right and a wrong secret": [(names.secret_header, secret), (names.secret_header, "wrong")],
        }
        for what, given in wrong.items():
            await refused_everywhere(behind, [*by_name.items(), *given], what)


@case(
    "identity/no-name",
    title="A name that is missing, empty, given twice or an unfilled placeholder is refused",
    clause="ID-1",
    severity=Severity.BLOCKER,
    means="A slip in the proxy's settings makes all people one user, who reads everybody's chats.",
    needs=(NAMED,),
)
async def no_name(chat: CaseContext) -> None:
    async with chat.variant("proxy") as behind:
        names, right = proxy(chat), behind.user(0).headers
        secret = (names.secret_header, right[names.secret_header])
        header, name = names.user_header, right[names.user_header]
        # The same name twice is refused as well: which one the proxy set, and which the client, cannot be
        # known.
        wrong: dict[str, list[tuple[str, str]]] = {
            "no name": [],
            "an empty name": [(header, "")],
            "a name of spaces": [(header, "   ")],
            "two names": [(header, name), (header, f"{name}2")],
            "a name given twice": [(header, name), (header, name)],
            **{
                f"the placeholder {each}": [(header, each)]
                for each in ("{http.auth.user.id}", "{user}", "$remote_user", "%{REMOTE_USER}", "-", "(null)")
            },
        }
        for what, given in wrong.items():
            await refused_everywhere(behind, [secret, *given], what)


async def as_absent(chat: CaseContext, conversation_id: str, message_id: str) -> dict[str, Any]:
    """What every route answers user 1 about a conversation and a turn."""
    history = chat.target.paths.of(conversation_id)
    answers: dict[str, Any] = {}
    for method in ("GET", "DELETE"):
        answer = await chat.http.request(method, history, user=1)
        answers[f"{method} history"] = (answer.status, answer.json())
    if chat.http.supports_post:
        posted = await chat.http.post(chat.fake.prompt("let me see"), conversation_id=conversation_id, user=1)
        answers["POST"] = (posted.status, posted.json())
    async with chat.peer(user=1) as peer:
        ids = {"conversation_id": conversation_id, "message_id": message_id}
        sent: dict[str, dict[str, Any]] = {
            "chat_request": {"type": "chat_request", "message": chat.fake.prompt("let me see"), **ids},
            "subscribe": {"type": "subscribe", **ids},
            "subscribe with a cursor": {"type": "subscribe", **ids, "after": 1},
            "subscribe to the conversation": {"type": "subscribe", "conversation_id": conversation_id},
            "cancel": {"type": "cancel", **ids},
            "cancel by message": {"type": "cancel", "message_id": message_id},
        }
        for what, members in sent.items():
            answers[what] = await chat.refusal(peer, "not_found", **members)
    return {what: masked(value, conversation_id, message_id) for what, value in answers.items()}


def masked(value: Any, *ids: str) -> str:
    """An answer in which these ids read alike."""
    # Sentences quote the ids, which differ between the two conversations by their nature.
    text = repr(value)
    for each in ids:
        text = text.replace(each, "ID")
    return text


@case(
    "identity/others",
    title="Another user's conversation, turn and cursor are answered as if they did not exist",
    clause="ID-2",
    severity=Severity.BLOCKER,
    means="People read, stop, delete or continue the chats of others, or learn that they exist.",
    needs=(
        NAMED,
        STREAMS,
        "messages/unknown-conversation",
        "identity/same-message-id",
        "stopping/unknown",
        "http/while-others-chat",
        "queues/second-tab",
    ),
)
async def others(chat: CaseContext) -> None:
    async with chat.variant("proxy") as behind, behind.fake.gate("others") as gate, behind.peer() as peer:
        behind.user(1)
        turn = await behind.start_turn(peer, behind.fake.prompt(tokens=4, hold=f"{gate.name}@2"))
        await turn.until_text(pieces(2))
        asked = behind.fake.prompt_count(behind.marker)
        # Theory: ID-2 as an experiment. Another user asks everything about ids that exist nowhere, then the
        # same about ids that are someone's, and the answers are compared word for word. Any difference, be it
        # a status, a sentence or the order of two checks, shows that the conversation exists.
        absent = await as_absent(behind, f"{chat.random.getrandbits(48):012x}", behind.next_id())
        hers = await as_absent(behind, turn.conversation_id, turn.message_id)

        for what, wanted in absent.items():
            expect_equal(hers[what], wanted, f"what another user is answered ({what})")
        listed = (await behind.http.request("GET", behind.target.paths.history, user=1)).member(
            "conversations"
        )
        expect_equal(listed, [], "the other user's list of conversations")
        expect_equal(behind.fake.prompt_count(behind.marker), asked, "how often Claude was asked")
        gate.open()
        expect_equal(await turn.complete(), pieces(4), "the answer that the other user wanted to stop")


@case(
    "identity/same-message-id",
    title="A message_id that another user has used is free",
    clause="ID-2",
    severity=Severity.MEDIUM,
    means="A user gets the answer to another user's prompt.",
    needs=(NAMED,),
)
async def same_message_id(chat: CaseContext) -> None:
    async with chat.variant("proxy") as behind, behind.peer() as one, behind.peer(user=1) as two:
        name = behind.next_id()
        first = await behind.run_turn(one, behind.fake.prompt(say="hers"), message_id=name)
        second = await behind.run_turn(two, behind.fake.prompt(say="his"), message_id=name)

        expect_equal((first.text, second.text), ("hers", "his"), "the two answers")
        expect(first.conversation_id != second.conversation_id, "two conversations", "they are one")


async def expect_no_login(site: CaseContext, variant: Login, answer: HttpResponse, what: str) -> None:
    """Expect that a login ended without one: it may redirect, and set a cookie, but the cookie is refused."""
    expect(300 <= answer.status < 500, f"a refusal of {what}", f"it is {answer.status}")
    site.scope.users = [User("anonymous")]
    # A refusal may set a cookie, such as an empty one for the state: only one that opens something is a
    # login.
    if given := answer.cookies.get(variant.cookie):
        headers = {"Cookie": f"{variant.cookie}={given}"}
        opened = await site.http.request("GET", site.target.paths.history, headers=headers)
        expect(
            opened.status == 401, f"no user to be let in by {what}", f"it is {opened.status} with its cookie"
        )


@case(
    LOGGED_IN,
    title="A login at the forge lets in, and without one there is no way in",
    clause="ID-5",
    severity=Severity.BLOCKER,
    means="No user gets in, or everyone does.",
    needs=(ANSWERED,),
    slow=True,
)
async def logged_in(chat: CaseContext) -> None:
    async with chat.variant("login") as site:
        await refused_everywhere(site, {}, "no login")
        site.scope.users = [User("ada", await log_in(site, login(chat)))]
        async with site.peer() as peer:
            await site.run_turn(peer, site.fake.prompt("hello"))


@case(
    "identity/stranger",
    title="Who may not log in is refused, though the forge knows them",
    clause="ID-6",
    severity=Severity.BLOCKER,
    means="Everybody who has an account at the forge chats at the operator's cost.",
    needs=(LOGGED_IN,),
    slow=True,
)
async def stranger(chat: CaseContext) -> None:
    async with chat.variant("login") as site:
        variant = login(chat)
        if not variant.stranger:
            raise NotOffered("variants.login names no stranger: all users of the forge may log in")
        back, cookies = await returning(site, msgspec.structs.replace(variant, user=variant.stranger))
        answer = await site.http.request("GET", back, headers=cookies)
        await expect_no_login(site, variant, answer, "the login of a user who may not")


@case(
    "identity/login-ends",
    title="A connection whose login ends is closed with 4401",
    clause="ID-3",
    severity=Severity.MEDIUM,
    means="A user who has logged out can chat for as long as the tab is open.",
    needs=(LOGGED_IN,),
    waits=True,
    slow=True,
)
async def login_ends(chat: CaseContext) -> None:
    async with chat.variant("login") as site:
        cookies = await log_in(site, login(chat))
        site.scope.users = [User("ada", cookies)]
        async with site.websocket() as peer:
            await peer.expect_close(4401, within=login(chat).session_seconds + site.target.within)
        # The connection was one way in: the cookie must not open another.
        await refused_everywhere(site, cookies, "a login that has ended")


@case(
    "identity/stale-cookie",
    title="Of several cookies of one name any valid one counts",
    clause="ID-4",
    severity=Severity.MEDIUM,
    means="People who are logged in are locked out until they clear their cookies.",
    finding="M-8",
    evidence="it is 401",
    needs=(LOGGED_IN,),
    slow=True,
)
async def stale_cookie(chat: CaseContext) -> None:
    async with chat.variant("login") as site:
        right = (await log_in(site, login(chat)))["Cookie"]
        stale = f"{login(chat).cookie}=of-another-time"
        # Before and behind the valid one; and behind a value at which strict parsers of cookies stop reading.
        for cookies in (f"{stale}; {right}", f"{right}; {stale}", f'other=a; {stale}; x={{"a":1}}; {right}'):
            site.scope.users = [User("ada", {"Cookie": cookies})]
            answer = await site.http.request("GET", site.target.paths.history)
            expect_equal(answer.status, 200, f"the status with the cookies {cookies!r}")
            async with site.peer() as peer:
                await peer.expect_alive()


@case(
    "identity/foreign-login",
    title="The answer of a login that this browser did not begin is refused",
    clause="ID-5",
    severity=Severity.MEDIUM,
    means="A link logs people in to another account, whose owner then reads all they write.",
    needs=(LOGGED_IN,),
    slow=True,
)
async def foreign_login(chat: CaseContext) -> None:
    async with chat.variant("login") as site:
        variant = login(chat)
        site.scope.users = [User("anonymous")]
        back, cookies = await returning(site, variant)
        _, mine = await returning(site, variant)
        foreign = {
            "no login begun": ({}, back),
            "another login begun": (mine, back),
            "no state": (cookies, back.split("?")[0] + "?code=" + "x" * 20),
            "an empty state": ({}, back.split("?")[0] + "?code=" + "x" * 20 + "&state="),
        }
        for what, (headers, path) in foreign.items():
            answer = await site.http.request("GET", path, headers=headers)
            await expect_no_login(site, variant, answer, what)
        # The right pair, at the end: a server that refuses every login would have passed until here, and the
        # attempts above must not have used the right one up.
        answer = await site.http.request("GET", back, headers=cookies)
        expect(variant.cookie in answer.cookies, "a login for who began it", f"status {answer.status}")
