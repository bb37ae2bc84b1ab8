"""The HTTP routes: health, page, POST, and their errors."""

from __future__ import annotations

import re

from chat_conformance.cases.turns import ANSWERED, pieces
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal

_TAG_PARTS = re.compile(
    r"(<(?:script|link|img|iframe|source|video|audio)\b)|>"
    r"""|\b(?:src|href)\s*=\s*["']?((?:https?:)?//[^"'\s>]+)""",
    re.IGNORECASE,
)


def loaded_elsewhere(page: str) -> list[str]:
    """The addresses of other sites that a page loads something from; one pass, however odd the page."""
    # Theory: the pattern finds three things: the beginning of a tag that loads something, a `>`, and an
    # address on another site. `inside` says whether such a tag is open. So `<img src="//x/y.png">` loads from
    # elsewhere, and `<a href="//x/">` does not: its address is found, but no tag is open.
    found, inside = [], False
    for part in _TAG_PARTS.finditer(page):
        inside = bool(part[1]) or (inside and bool(part[2]))
        if inside and part[2]:
            found.append(part[2])
    return found


NO_ROUTE = {404, 405, 501}
"""How a server answers where it has no such route; it has changed nothing then."""


@case(
    "http/health",
    title="The health check answers 200",
    clause="HTTP-1",
    severity=Severity.MEDIUM,
    means="Whatever watches the server takes it for dead and restarts it.",
)
async def health(chat: CaseContext) -> None:
    expect_equal(
        (await chat.http.request("GET", chat.target.paths.health)).status,
        200,
        "the status of the health check",
    )


@case(
    "http/post",
    title="A POST runs a turn and answers with response, conversation_id and message_id",
    clause="HTTP-2",
    severity=Severity.BLOCKER,
    means="Clients without WebSocket get no answer.",
)
async def post(chat: CaseContext) -> None:
    message_id = chat.next_id()
    answer = await chat.http.post(chat.fake.prompt(tokens=5), message_id=message_id)

    expect_equal(answer.status, 200, "the status")
    expect_equal(answer.member("response"), pieces(5), "the response")
    expect_equal(answer.member("message_id"), message_id, "the message_id")
    conversation = str(answer.member("conversation_id"))
    expect(
        re.fullmatch("[0-9a-f]{12}", conversation) is not None,
        "12 hexadecimal digits",
        f"it is {conversation!r}",
    )


@case(
    "http/post-errors",
    title="A POST that is refused or fails says so in its status and body",
    clause="HTTP-2",
    severity=Severity.MEDIUM,
    means="Scripts take an error for an answer, or do not know what to do.",
    needs=(
        "messages/too-long",
        "messages/id-misshapen",
    ),
)
async def post_errors(chat: CaseContext) -> None:
    refused = {
        "no message": ({}, 400, "bad_request"),
        "a misshapen message_id": ({"message": "a", "message_id": "a b"}, 400, "bad_request"),
        "a message beyond the limit": (
            {"message": "x" * (chat.target.message_max_bytes + 1)},
            413,
            "too_large",
        ),
    }
    # The status may be on its way before the turn fails (KEEP-3), so only the code is judged.
    failed = await chat.http.post(chat.fake.prompt(tokens=2, exit=3))
    expect_equal(failed.member("error").get("code"), "claude_failed", "the code when Claude fails")
    async with chat.scripted_server() as scripted:
        late = await scripted.http.post(scripted.fake.prompt("play dies-late"))
    expect_equal(late.member("error").get("code"), "claude_failed", "the code when Claude fails after a tool")
    for what, (form, status, code) in refused.items():
        answer = await chat.http.request("POST", chat.http.post_path, form=form)
        expect_equal(
            (answer.status, answer.member("error").get("code")), (status, code), f"the answer to {what}"
        )


@case(
    "http/broken-forms",
    title="A POST whose form cannot be read is refused in words, and the server continues",
    clause="HTTP-2",
    severity=Severity.LOW,
    means="A bug in one script looks like a broken server, and fills its log with tracebacks.",
)
async def broken_forms(chat: CaseContext) -> None:
    form, message = "application/x-www-form-urlencoded", f"message={chat.marker}".encode()
    broken = {
        "another kind of body": ("application/json", b'{"message":"a"}'),
        "parts without a boundary": ("multipart/form-data", b"message"),
        "a part that is torn": (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; na",
        ),
        "a second part that is torn": (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name=message\r\n\r\nhi\r\n--x\r\nContent-Disp",
        ),
        "bytes that are no UTF-8": (form, message + b"%ff%fe&message_id=%ff"),
    }
    for what, (kind, body) in broken.items():
        answer = await chat.http.request(
            "POST", chat.http.post_path, body=body, headers={"Content-Type": kind}
        )
        expect(400 <= answer.status < 500, f"a 4xx status for {what}", f"it is {answer.status}")
        expect_equal(answer.member("error").get("code"), "bad_request", f"the code for {what}")
    expect_equal(len(chat.fake.runs()), 0, "the number of times Claude was started")
    # A form has no charset (URL Standard §5.1), so one that is named may be looked at or not.
    unknown = {"Content-Type": f"{form}; charset=no-such"}
    answer = await chat.http.request("POST", chat.http.post_path, body=message, headers=unknown)
    expect(answer.status < 500, "an answer to an unknown charset", f"it is {answer.status}")


@case(
    "http/foreign-origin",
    title="State-changing requests from a foreign page are refused with 403",
    clause="HTTP-3",
    severity=Severity.BLOCKER,
    means="Any web page can spend, write and delete as the user who visits it.",
    finding="M-3",
    evidence="it is 2",
)
async def foreign_origin(chat: CaseContext) -> None:
    paths = chat.target.paths
    routes = [("POST", paths.turn)] if chat.http.supports_post else []
    refusals = {403}
    own = await chat.http.request("POST", paths.new) if paths.new else None
    if own is None or own.status in NO_ROUTE:
        kept = "0123456789ab"
        # There is no conversation that could be deleted.
        refusals |= NO_ROUTE
    else:
        kept = str(own.member("conversation_id"))
        routes += [("POST", paths.new)]
    for origin in ("https://evil.example", "null", "http://[", f"{chat.server.url}.evil.example"):
        for method, path in [*routes, ("DELETE", paths.of(kept))]:
            form = {"message": chat.fake.prompt()} if path == paths.turn else None
            answer = await chat.http.request(method, path, form=form, headers={"Origin": origin})
            expect(
                answer.status in (refusals if method == "DELETE" else {403}),
                f"the status of {method} {path} from {origin!r} to be 403",
                f"it is {answer.status}",
            )
    expect_equal(len(chat.fake.runs()), 0, "the number of times Claude was started")


@case(
    "http/page",
    title="The page is served and loads nothing from elsewhere",
    clause="HTTP-5",
    severity=Severity.MEDIUM,
    means="Without a network, or with a strict policy, the page stays empty; with one, others see who chats.",
)
async def page(chat: CaseContext) -> None:
    answer = await chat.http.request("GET", chat.target.paths.page)

    expect_equal(answer.status, 200, "the status of the page")
    expect("text/html" in answer.headers.get("content-type", ""), "a page in HTML", f"it is {answer.headers}")
    elsewhere = loaded_elsewhere(answer.body.decode(errors="replace"))
    expect(not elsewhere, "everything from the same origin", f"it loads {elsewhere}")


@case(
    "http/while-others-chat",
    title="Two POSTs at once are answered each with its own answer",
    clause="HTTP-2",
    severity=Severity.MEDIUM,
    means="Answers are mixed up between people.",
    needs=(ANSWERED, "turns/nobody-waits"),
)
async def while_others_chat(chat: CaseContext) -> None:
    async with chat.fake.gate("first") as gate, chat.peer() as peer:
        turn = await chat.start_turn(peer, chat.fake.prompt(tokens=3, hold=f"{gate.name}@1"))
        # It runs and ends while the other turn stands at its gate: a server that has them wait for each other
        # never answers.
        answer = await chat.http.post(chat.fake.prompt(say="for the POST"))
        gate.open()

        expect_equal(answer.member("response"), "for the POST", "the response")
        expect_equal(await turn.complete(), pieces(3), "the answer on the socket")
