"""How a login begins and ends, which pages may send requests, and which names are no user's."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import msgspec

from chat_conformance.cases.identity import LOGGED_IN, NAMED, expect_no_login, login, proxy
from chat_conformance.errors import NotOffered
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal
from chat_conformance.suite.login import log_in, returning
from chat_conformance.target.file import User

FOREIGN = "http://evil.example"


async def status_of(
    chat: CaseContext, headers: dict[str, str] | list[tuple[str, str]], method: str = "GET"
) -> int:
    """The status of the list of conversations for the user of these headers."""
    chat.scope.users = [User("anonymous")]
    return (await chat.http.request(method, chat.target.paths.history, headers=headers)).status


@case(
    "identity/two-logins",
    title="Of two logins begun in one browser both get in, in either order",
    clause="ID-5",
    severity=Severity.LOW,
    means="Who has two tabs open when the login ends cannot log in by the first.",
    needs=(LOGGED_IN,),
    slow=True,
)
async def two_logins(chat: CaseContext) -> None:
    async with chat.variant("login") as site:
        site.scope.users = [User("anonymous")]
        first, one = await returning(site, login(chat))
        second, two = await returning(site, login(chat))
        # Of two cookies of one name a browser keeps the last.
        jar = {**jar_of(one), **jar_of(two)}
        for what, back in (("the first", first), ("the second", second)):
            cookies = "; ".join(f"{name}={value}" for name, value in jar.items())
            answer = await site.http.request("GET", back, headers={"Cookie": cookies})
            expect(
                login(chat).cookie in answer.cookies, f"a login by {what}", f"the status is {answer.status}"
            )
            # A cookie that is set to nothing is a removal: a browser sends it no more, and the second login
            # must not rest on it.
            jar = {name: value for name, value in {**jar, **answer.cookies}.items() if value}


def jar_of(headers: dict[str, str]) -> dict[str, str]:
    """The cookies of a Cookie header, by name."""
    pairs = (each.partition("=") for each in headers.get("Cookie", "").split("; "))
    return {name: value for name, _, value in pairs if name}


@case(
    "identity/planted-login",
    title="A login state that the server never gave out is refused",
    clause="ID-5",
    severity=Severity.MEDIUM,
    means="An attacker who can plant a cookie logs people in to a foreign account, and then reads all they write.",
    needs=(LOGGED_IN,),
    slow=True,
)
async def planted_login(chat: CaseContext) -> None:
    async with chat.variant("login") as site:
        site.scope.users = [User("anonymous")]
        back, cookies = await returning(site, login(chat))
        (state,) = parse_qs(urlsplit(back).query)["state"]
        # The query and the cookie agree, as they do in a login that was begun here: a server that only
        # compares the two is content. It must know its own states, by a signature or a list. The made-up one
        # is as long as the server's, so that it is refused for its value and not for its shape.
        made_up = "".join(site.random.choices("abcdefghijkmnpqrstuvwxyz", k=len(state)))
        planted = cookies.get("Cookie", "")
        # A server may name the cookie after a part of the state, so its beginnings are replaced, too.
        for length in range(len(state), 7, -1):
            planted = planted.replace(state[:length], made_up[:length])
        answer = await site.http.request("GET", back.replace(state, made_up), headers={"Cookie": planted})
        await expect_no_login(site, login(chat), answer, "a state that was never given out")


@case(
    "identity/fixation",
    title="A session from before the login is worth nothing after it",
    clause="ID-7",
    severity=Severity.MEDIUM,
    means="An attacker who plants a session in a browser shares the account that logs in there.",
    needs=(LOGGED_IN,),
    slow=True,
)
async def fixation(chat: CaseContext) -> None:
    async with chat.variant("login") as site:
        site.scope.users = [User("anonymous")]
        cookie = login(chat).cookie
        # As long as 32 bytes in base64url, a usual length of session tokens: it must not be refused for its
        # shape alone.
        planted = "".join(site.random.choices("abcdefghijkmnpqrstuvwxyz", k=43))
        back, cookies = await returning(site, login(chat))
        headers = {"Cookie": f"{cookies.get('Cookie', '')}; {cookie}={planted}"}
        answer = await site.http.request("GET", back, headers=headers)
        given = answer.cookies.get(cookie)
        expect(given not in (None, planted), "a new value of the cookie", f"it is {given!r}")
        # A new value is not enough: the login may have made both of them valid (ID-7).
        expect_equal(
            await status_of(site, {"Cookie": f"{cookie}={planted}"}), 401, "the status with the old value"
        )


@case(
    "identity/logout",
    title="After a log out the cookie is refused, and sockets are closed with 4401",
    clause="ID-7",
    severity=Severity.MEDIUM,
    means="On a shared computer the next person continues in the chats of the last one.",
    needs=(LOGGED_IN,),
    slow=True,
)
async def logout(chat: CaseContext) -> None:
    async with chat.variant("login") as site:
        path = login(chat).logout
        if not path:
            raise NotOffered("variants.login names no logout")
        headers = await log_in(site, login(chat))
        site.scope.users = [User("ada", headers)]
        # Open while the session ends: a server that looks at the cookie in the handshake only would serve it
        # on.
        async with site.websocket() as peer:
            await peer.expect_alive()
            answer = await site.http.request("POST", path)
            expect(answer.status < 400, "the log out to succeed", f"the status is {answer.status}")
            await peer.expect_close(4401)
        expect_equal(await status_of(site, headers), 401, "the status with the cookie afterwards")


@case(
    "identity/cookie-flags",
    title="The cookies of a login are HttpOnly and SameSite",
    clause="ID-7",
    severity=Severity.LOW,
    means="A script that gets into the page takes the login away with it.",
    needs=(LOGGED_IN,),
    slow=True,
)
async def cookie_flags(chat: CaseContext) -> None:
    async with chat.variant("login") as site:
        site.scope.users = [User("anonymous")]
        back, cookies = await returning(site, login(chat))
        answer = await site.http.request("GET", back, headers=cookies)
        for header in answer.set_cookies:
            # Names of attributes have no case (RFC 6265 §5.2); which value SameSite has is left open.
            flags = {each.strip().partition("=")[0].lower() for each in header.split(";")[1:]}
            missing = {"httponly", "samesite"} - flags
            name = header.partition("=")[0]
            expect(
                not missing, f"HttpOnly and SameSite for the cookie {name}", f"{sorted(missing)} are missing"
            )


@case(
    "identity/broken-cookie",
    title="A cookie that cannot be decoded does not lock the user out",
    clause="ID-4",
    severity=Severity.LOW,
    means="One odd cookie of another program, and people are locked out until they clear their cookies.",
    needs=(LOGGED_IN,),
    slow=True,
)
async def broken_cookie(chat: CaseContext) -> None:
    async with chat.variant("login") as site:
        cookie = (await log_in(site, login(chat)))["Cookie"].encode()
        # In front of the valid cookie, so that a parser that gives up at the first fault never gets to that.
        # HTTP libraries send no such bytes: the request is written by hand.
        for broken in (b'%b="\xff"', b'%b="\xff', b"\xff\xfe=\xff; %b=x"):
            sent = b"Cookie: " + broken.replace(b"%b", login(chat).cookie.encode()) + b"; " + cookie
            lines = [
                f"GET {chat.target.paths.history} HTTP/1.1".encode(),
                f"Host: {site.server.host}:{site.server.port}".encode(),
                sent,
            ]
            async with site.connector.wire() as peer:
                await peer.send_bytes(b"\r\n".join(lines) + b"\r\n\r\n", f"GET with {sent!r}")
                expect_equal(
                    (await peer.expect_response()).status,
                    200,
                    f"the status with {broken!r} before the cookie",
                )


@case(
    "identity/same-name-other-id",
    title="Another account that has taken the name sees nothing of the first",
    clause="ID-2",
    severity=Severity.MEDIUM,
    means="Who takes the name of a user who was renamed gets their chats.",
    needs=(LOGGED_IN,),
    slow=True,
)
async def same_name_other_id(chat: CaseContext) -> None:
    async with chat.variant("login", own=True) as site:
        site.scope.users = [User("ada", await log_in(site, login(chat)))]
        async with site.peer() as peer:
            turn = await site.run_turn(peer, site.fake.prompt("mine"))
        site.scope.users = [User("anonymous")]
        # The same name with another number: what the forge says once an account was renamed and its name
        # taken again.
        back, cookies = await returning(site, login(chat), number="77")
        answer = await site.http.request("GET", back, headers=cookies)
        given = answer.cookies.get(login(chat).cookie)
        if not given:
            # Where a list names who may log in, a name is one account's, and the second is refused.
            return
        headers = {"Cookie": f"{login(chat).cookie}={given}"}
        path = chat.target.paths.of(turn.conversation_id)
        expect_equal(
            (await site.http.request("GET", path, headers=headers)).status,
            404,
            "the status of the first one's chat",
        )


@case(
    "identity/forges-cookie",
    title="What the forge sets in one login does not come back in another",
    clause="ID-2",
    severity=Severity.MEDIUM,
    means="People are logged in as the user before them.",
    needs=(LOGGED_IN, "identity/stranger"),
    slow=True,
)
async def forges_cookie(chat: CaseContext) -> None:
    async with chat.variant("login") as site:
        if not login(chat).stranger:
            raise NotOffered("variants.login names no stranger")
        site.scope.users = [User("anonymous")]
        # A server asks the forge for all users from one HTTP client. If that keeps cookies, the session that
        # the forge gave in the first login goes along in the next one, and the forge answers for the first
        # user.
        begun = len(site.forge.asked)
        site.forge.sets_cookies = True
        try:
            await log_in(site, login(chat))
            other = msgspec.structs.replace(login(chat), user=login(chat).stranger)
            back, cookies = await returning(site, other)
            await site.http.request("GET", back, headers=cookies)
        finally:
            site.forge.sets_cookies = False
        kept = [each.cookies for each in site.forge.asked[begun:] if each.cookies]
        expect(not kept, "no cookie in a request to the forge", f"there came {kept[:1]}")


@case(
    "identity/redirect-host",
    title="A foreign Host does not change where the forge sends people back to",
    clause="ID-5",
    severity=Severity.MEDIUM,
    means="A link makes the forge send a user's login to a foreign site.",
    needs=(LOGGED_IN,),
    slow=True,
)
async def redirect_host(chat: CaseContext) -> None:
    async with chat.variant("login") as site:
        site.scope.users = [User("anonymous")]
        own = f"{site.server.host}:{site.server.port}"
        for headers in (
            [("Host", "evil.example")],
            [("Host", own), ("X-Forwarded-Host", "evil.example")],
            [("Host", own), ("Forwarded", "host=evil.example")],
        ):
            # The redirect holds the address to which the forge sends the code: a foreign one there gets the
            # code of the user.
            answer = await site.http.request("GET", login(chat).path, headers=headers)
            where = answer.headers.get("location", "")
            expect("evil.example" not in where, f"no foreign site with {headers[-1]}", f"it leads to {where}")


@case(
    "identity/pkce",
    title="A login carries a challenge (RFC 7636)",
    clause="ID-5",
    severity=Severity.LOW,
    means="Who sees the code on its way uses it.",
    needs=(LOGGED_IN,),
    slow=True,
)
async def pkce(chat: CaseContext) -> None:
    async with chat.variant("login") as site:
        site.scope.users = [User("anonymous")]
        answer = await site.http.request("GET", login(chat).path, headers={})
        query = parse_qs(urlsplit(answer.headers.get("location", "")).query)
        found = (query.get("code_challenge_method"), bool(query.get("code_challenge")))
        expect_equal(found, (["S256"], True), "the method, and whether there is a challenge")


@case(
    "identity/refused-page",
    title="A browser that is refused gets a page with a way on, a program JSON",
    clause="HTTP-6",
    severity=Severity.LOW,
    means="People see braces and quotes, and no way to log in again.",
    needs=(LOGGED_IN,),
    slow=True,
)
async def refused_page(chat: CaseContext) -> None:
    async with chat.variant("login") as site:
        site.scope.users = [User("anonymous")]
        # Old bookmarks and links in mails bring people here, with a code and a state that nothing knows.
        path = f"{login(chat).callback}?code=x&state=y"
        page = await site.http.request(
            "GET", path, headers={"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}
        )
        kind = page.headers.get("content-type", "")
        expect(kind.startswith("text/html"), "HTML for a browser", f"it is {kind!r}")
        expect(b"<a " in page.body or b"<form" in page.body, "a link in the page", "there is none")
        program = await site.http.request("GET", path, headers={"Accept": "application/json"})
        expect("error" in program.json(), "an error in JSON for a program", f"it is {program.body[:80]!r}")


@case(
    "identity/nobodys-name",
    title="Names that proxies send when there is no user are refused",
    clause="ID-1",
    severity=Severity.MEDIUM,
    means="All who have not logged in are one user, who reads everybody's chats.",
    needs=(NAMED,),
)
async def nobodys_name(chat: CaseContext) -> None:
    async with chat.variant("proxy") as behind:
        names, right = proxy(chat), behind.user(0).headers
        secret = (names.secret_header, right[names.secret_header])
        for name in (
            "anonymous",
            "Anonymous",
            "unknown",
            "null",
            "undefined",
            "REMOTE_USER",
            "http.auth.user.id",
        ):
            status = await status_of(behind, [secret, (names.user_header, name)])
            expect_equal(status, 401, f"the status for the user {name}")


@case(
    "identity/header-aliases",
    title="Other spellings of the user's header, and a name in the query, are not believed",
    clause="ID-1",
    severity=Severity.MEDIUM,
    means="What a proxy does not remove makes anybody anyone.",
    needs=(NAMED,),
)
async def header_aliases(chat: CaseContext) -> None:
    async with chat.variant("proxy") as behind:
        names, right = proxy(chat), behind.user(0).headers
        secret, user = (names.secret_header, right[names.secret_header]), right[names.user_header]
        # CGI and WSGI read `X_Chat_User` and `X-Chat-User` as one name, so a proxy that removes only the
        # second lets the first pass. The other two are names that many proxies use.
        for alias in (names.user_header.replace("-", "_"), "X-Forwarded-User", "Remote-User"):
            status = await status_of(behind, [secret, (alias, user)])
            expect_equal(status, 401, f"the status with the user in {alias}")
        behind.scope.users = [User("anonymous")]
        query = f"?{names.user_header}={user}&user={user}&{names.secret_header}={secret[1]}"
        answer = await behind.http.request("GET", chat.target.paths.history + query, headers={})
        expect_equal(answer.status, 401, "the status with user and secret in the query")


@case(
    "handshake/default-port",
    title="The default port makes no origin foreign, and another port does",
    clause="HAND-4",
    severity=Severity.MEDIUM,
    means="Behind some proxies the page loads and the chat is dead.",
    needs=("handshake/own-origin", "handshake/foreign-origin", "identity/rebinding"),
)
async def default_port(chat: CaseContext) -> None:
    host = chat.server.host
    async with chat.connector.wire() as peer:
        response = await chat.connector.upgrade(peer, {"Host": host, "Origin": f"http://{host}"})
    # Against DNS rebinding it is right to know one's own host with its port.
    if response.status != 101:
        raise NotOffered(f"the server answers to its own host and port only: {host} alone is refused")
    # Browsers leave the default port out of an origin (RFC 6454 §6.2), proxies may put it into Host: http's
    # port 80 beside no port is the same origin.
    pairs = [
        (f"{host}:80", f"http://{host}", 101),
        (host, f"http://{host}:80", 101),
        (f"{host}:8080", f"http://{host}:8081", 403),
        (host, f"http://{host}:8443", 403),
    ]
    for named, origin, status in pairs:
        async with chat.connector.wire() as peer:
            response = await chat.connector.upgrade(peer, {"Host": named, "Origin": origin})
            expect_equal(response.status, status, f"the status for Host {named} and Origin {origin}")


@case(
    "handshake/upgrade-spellings-foreign",
    title="However Upgrade is spelled, a foreign Origin is not let in",
    clause="HAND-4",
    severity=Severity.MEDIUM,
    means="A check that reads a header otherwise than the server does is skipped.",
    needs=("handshake/foreign-origin",),
)
async def upgrade_spellings_foreign(chat: CaseContext) -> None:
    # A no-break space is white space to many string functions and none in HTTP; lists are legal in Upgrade
    # (RFC 9110 §7.8).
    for spelled in ("websocket\u00a0", "WebSocket", "websocket, h2c", " websocket ", "h2c,websocket"):
        async with chat.connector.wire() as peer:
            response = await chat.connector.upgrade(peer, {"Upgrade": spelled, "Origin": FOREIGN})
            expect(response.status != 101, f"no upgrade with Upgrade {spelled!r}", "it is 101")


@case(
    "identity/rebinding",
    title="A foreign Host is refused, though its Origin is the same",
    clause="HAND-4",
    severity=Severity.MEDIUM,
    means="A site whose name is made to lead to this machine uses the chats of its visitors.",
    needs=("handshake/foreign-origin",),
)
async def rebinding(chat: CaseContext) -> None:
    async with chat.connector.wire() as peer:
        response = await chat.connector.upgrade(peer, {"Host": "evil.example", "Origin": FOREIGN})
        expect(400 <= response.status < 500, "a 4xx status", f"it is {response.status}")


@case(
    "http/sec-fetch-site",
    title="A request that a browser calls cross-site changes nothing, though it has no Origin",
    clause="HTTP-3",
    severity=Severity.LOW,
    means="A form on a foreign page asks Claude in its visitor's name.",
    needs=("http/foreign-origin", "identity/rebinding", "handshake/default-port"),
)
async def sec_fetch_site(chat: CaseContext) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    answer = await chat.http.request("POST", chat.http.new_path, headers=headers)
    expect_equal(answer.status, 403, "the status")


@case(
    "http/get-changes-nothing",
    title="GET starts no turn and deletes nothing",
    clause="HTTP-3",
    severity=Severity.MEDIUM,
    means="A link or a picture on a foreign page asks Claude, or deletes chats.",
    needs=("history/socket-turn",),
)
async def get_changes_nothing(chat: CaseContext) -> None:
    async with chat.peer() as peer:
        turn = await chat.run_turn(peer, chat.fake.prompt("stays"))
    asked = chat.fake.prompt_count(chat.marker)
    query = chat.target.dialect.query(message=chat.fake.prompt("by GET"))
    if chat.http.supports_post:
        await chat.http.request("GET", f"{chat.target.paths.turn}?{query}")
    path = chat.target.paths.of(turn.conversation_id)
    # Some frameworks let a query override the method: with that, a plain link would be a DELETE.
    for method in ("delete", "_method=DELETE"):
        await chat.http.request("GET", f"{path}?{method}")
    expect_equal(chat.fake.prompt_count(chat.marker), asked, "how often Claude was asked")
    expect_equal(len(await chat.http.history(turn.conversation_id)), 2, "the number of messages afterwards")
