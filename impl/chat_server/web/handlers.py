"""One function for each route."""

from __future__ import annotations

import asyncio
import hmac
import logging
import shutil
from collections.abc import Collection
from contextlib import closing
from functools import partial
from pathlib import Path

from aiohttp import HttpVersion11, hdrs, web
from prometheus_client import CONTENT_TYPE_LATEST

from chat_server.errors import BadRequest, ChatError, NotFound, Unauthorized
from chat_server.logging_setup import about
from chat_server.login.admission import client_address
from chat_server.login.identity import USER_HEADER
from chat_server.login.oauth import OAuthIdentity
from chat_server.protocol import CONVERSATION_ID
from chat_server.settings import Settings
from chat_server.web.connection import CLOSE_SECONDS, Connection
from chat_server.web.forms import field, read_form
from chat_server.web.inflow import Inflow
from chat_server.web.keys import (
    COMMAND,
    CONNECTIONS,
    IDENTITY,
    LOGIN_GATE,
    METRICS,
    NOW,
    PROBLEMS,
    SETTINGS,
    SHARES,
    STORE,
    TURNS,
    USER,
)
from chat_server.web.login_timer import LOGIN_EXPIRED, LoginTimer
from chat_server.web.middleware import USER_ID_HEADER, Handler, _chat_address
from chat_server.web.pages import Link, page, wants_page
from chat_server.web.responses import (
    answer_in_pieces,
    conversation_document,
    dumps,
    error_answer,
    history_pieces,
    json_answer,
    outcome,
    redirect,
)
from chat_server.web.serving import ClientProtocol

logger = logging.getLogger(__name__)


SUBPROTOCOLS = ("chat-stream-v1",)


STATIC = Path(__file__).parents[1] / "static"


ENVELOPE = 65_536
"""What a message may have besides its prompt."""


LEAST_LIMIT = 2 * 2**20
"""FRAME-3: no message up to here is too long for the connection, though its prompt may be."""


FRAME_OVERHEAD = 6
"""JSON may write one byte of a prompt as six (``\\u0000``)."""


def wire_limit(settings: Settings) -> int:
    """The longest message, or body of a request, in bytes."""
    return max(FRAME_OVERHEAD * settings.message_max_bytes, LEAST_LIMIT) + ENVELOPE


async def health(_request: web.Request) -> web.Response:
    """Say that the process serves."""
    return json_answer({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """Whether turns can be served. Anybody may ask, and it costs a write: once in ``READY_SECONDS`` it is looked at."""
    problems = await request.app[PROBLEMS]()
    status = "unready" if problems else "ready"
    return json_answer({"status": status, "problems": problems}, 503 if problems else 200)


async def problems(app: web.Application) -> list[str]:
    """What is missing to serve turns: a store that answers, and the CLI. The log has details."""
    problems = []
    try:
        await app[STORE].check()
    except ChatError:
        problems.append("the history cannot be used")
    command = app[COMMAND][0]
    if shutil.which(command) is None:
        logger.warning("not ready: claude executable not found: %s", command)
        problems.append("the program of Claude is not there")
    return problems


def shared(handler: Handler) -> Handler:
    """A handler of which each user has a few at once; the others wait, so that other users need not."""

    async def wait(request: web.Request) -> web.StreamResponse:
        async with request.app[SHARES].request(await _user(request)):
            return await handler(request)

    return wait


async def metrics(request: web.Request) -> web.Response:
    """Metrics, for clients with the token of CHAT_METRICS_TOKEN; without a token only the dev identity serves them."""
    settings = request.app[SETTINGS]
    if settings.metrics_token:
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        # As bytes: `compare_digest` takes text only if it is ASCII, and a header may hold anything.
        given, wanted = (each.encode(errors="surrogateescape") for each in (token, settings.metrics_token))
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip(), wanted):
            refused = Unauthorized("the metrics need the token of CHAT_METRICS_TOKEN as a bearer token")
            return error_answer(refused, headers={hdrs.WWW_AUTHENTICATE: "Bearer"})
    elif settings.identity != "dev":
        raise web.HTTPNotFound
    return web.Response(body=request.app[METRICS].render(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_LATEST})


async def redirect_to_page(_request: web.Request) -> web.Response:
    """Send a browser to the page, wherever a proxy has put it."""
    return redirect("chat/")


async def chat_page(request: web.Request) -> web.StreamResponse:
    """Serve the page, or send people to the login."""
    try:
        await _user(request)
    except Unauthorized:
        if request.app[SETTINGS].identity != "oauth":
            raise
        return redirect("login")
    return web.FileResponse(STATIC / "index.html", headers={hdrs.CACHE_CONTROL: "no-cache"})


async def verify(request: web.Request) -> web.Response:
    """For a proxy's ``forward_auth``: 200 with the user's name, or the response that the proxy hands to the client."""
    settings = request.app[SETTINGS]
    try:
        login = await request.app[IDENTITY].login(request)
        about(user=login.user)
        # The name may change hands at the forge, the number does not.
        number = {USER_ID_HEADER: login.user.rpartition(":")[2]} if settings.identity == "oauth" else {}
        return web.Response(headers={USER_HEADER: login.name or login.user, **number})
    except Unauthorized:
        navigates = request.headers.get(
            "X-Forwarded-Method"
        ) == hdrs.METH_GET and "text/html" in request.headers.get(hdrs.ACCEPT, "")
        if settings.identity != "oauth" or not navigates:
            raise
        return redirect(f"{settings.public_url.rstrip('/')}/chat/login")


async def begin_login(request: web.Request) -> web.Response:
    """Send the browser to the forge (ID-5)."""
    return _oauth(request).begin(request)


async def finish_login(request: web.Request) -> web.Response:
    """Take the forge's answer and begin a session (ID-5)."""
    async with request.app[LOGIN_GATE].passed(client_address(request)):
        finished = await _oauth(request).finish(request)
    await _close_connections(request.app, finished.ended)
    return finished.response


async def log_out(request: web.Request, *, everywhere: bool = False) -> web.Response:
    """End the login, and the connections that live by it (ID-7; CLOSE-2, 4401)."""
    out = f"{_chat_address(request)}logged-out"
    response = redirect(out) if wants_page(request) else web.Response(status=204)
    ended = await _oauth(request).end(request, response, everywhere=everywhere)
    await _close_connections(request.app, ended)
    return response


async def log_out_everywhere(request: web.Request) -> web.Response:
    """End all logins of the user."""
    return await log_out(request, everywhere=True)


async def _close_connections(app: web.Application, ended: Collection[str]) -> None:
    connections = [each for each in app[CONNECTIONS] if each.login.key in ended]
    await asyncio.gather(*(each.close(LOGIN_EXPIRED, "logged out") for each in connections))


async def logged_out(request: web.Request) -> web.Response:
    """Where a browser is led after a log out; the chat itself would lead to the forge, and so right in again."""
    return page(
        "You are logged out",
        ["Your chats are kept. At the forge, where you log in, you still are logged in."],
        [
            Link("Log in again", f"{_chat_address(request)}login"),
            Link("Open the forge", request.app[SETTINGS].oauth_url),
        ],
    )


async def whoami(request: web.Request) -> web.Response:
    """Who one is, and how that can be ended (ID-7)."""
    settings = request.app[SETTINGS]
    login = await request.app[IDENTITY].login(request)
    return json_answer(
        {
            "user": login.name or None,
            "logout": settings.identity == "oauth",
            "logout_url": settings.logout_url or None,
            "fake": not settings.claude,
        }
    )


def check_handshake(request: web.BaseRequest) -> None:
    """Refuse what aiohttp lets through of the faulty handshakes (HAND-3, RFC 6455 §4.2.1 and §11.3).

    Raises:
        BadRequest: It is of HTTP/1.0, or has not one key and one version.
    """
    if request.version < HttpVersion11:
        raise BadRequest("a WebSocket needs HTTP/1.1")
    for name in (hdrs.SEC_WEBSOCKET_KEY, hdrs.SEC_WEBSOCKET_VERSION):
        if len(request.headers.getall(name, ())) != 1:
            raise BadRequest(f"a handshake has one {name}")


def _check_key(request: web.Request) -> None:
    """Refuse a key that is not ASCII, on which aiohttp fails where it refuses other faulty ones.

    Raises:
        BadRequest: It is not (HAND-3).
    """
    if not request.headers.get(hdrs.SEC_WEBSOCKET_KEY, "").isascii():
        raise BadRequest("Sec-WebSocket-Key is not base64")


async def open_socket(request: web.Request) -> web.StreamResponse:
    """One WebSocket (docs/protocol.md §1 to §7)."""
    settings = request.app[SETTINGS]
    identity = request.app[IDENTITY]
    login = await identity.login(request)
    if set(request.headers.getall(hdrs.SEC_WEBSOCKET_VERSION, ())) - {"13"}:  # HAND-3
        refused = BadRequest("version 13 of the WebSocket protocol is needed")
        return error_answer(refused, 426, {hdrs.SEC_WEBSOCKET_VERSION: "13"})
    check_handshake(request)
    _check_key(request)
    ws = web.WebSocketResponse(
        protocols=SUBPROTOCOLS,
        autoclose=False,
        autoping=False,
        compress=False,
        timeout=CLOSE_SECONDS,
        max_msg_size=wire_limit(settings) + 1,  # aiohttp takes what is less
    )
    shares = request.app[SHARES]
    inflow = Inflow(
        asyncio.get_running_loop(),
        rate=settings.input_bytes_per_second,
        seconds=settings.receive_seconds,
        wait=partial(shares.wait, login.user),
    )
    # Before `prepare`, which sets the reader of frames: the inflow has to stand before it from the first byte on.
    if isinstance(request.protocol, ClientProtocol):
        request.protocol.inflow = inflow
    with shares.socket(login.user), closing(inflow):
        await ws.prepare(request)
        connection = Connection(
            ws,
            request,
            login,
            request.app[TURNS],
            inflow=inflow,
            large=shares.large,
            most_marks=settings.message_max_bytes + ENVELOPE,
            keepalive=settings.keepalive_seconds,
            login_timer=None
            if login.expires_at is None
            else LoginTimer(login.expires_at - request.app[NOW](), partial(identity.seconds_left, login)),
        )
        request.app[CONNECTIONS].add(connection)
        try:
            await connection.run()
        finally:
            request.app[CONNECTIONS].discard(connection)
    return ws


async def post_message(request: web.Request) -> web.StreamResponse:
    """One turn without a socket (HTTP-2); white space keeps the connection alive until it ends (KEEP-3)."""
    user = await _user(request)
    async with request.app[SHARES].body(user):
        form = await read_form(request, request.app[SETTINGS].receive_seconds)
    log = await request.app[TURNS].start(
        user, field(form, "message") or "", field(form, "message_id"), field(form, "conversation_id")
    )
    keepalive = request.app[SETTINGS].keepalive_seconds
    # A turn that ends soon still has a status of its own. The first blank sends 200; then only the body can say more.
    if await log.wait_ended(keepalive):
        status, document = outcome(log)
        return json_answer(document, status)
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/json"})
    try:
        await response.prepare(request)
        await response.write(b" ")
        while not await log.wait_ended(keepalive):
            await response.write(b" ")
        await response.write(dumps(outcome(log)[1]))
        await response.write_eof()
    except ConnectionError:
        logger.info("= a client left before its answer was there")
    return response


async def new_conversation(request: web.Request) -> web.Response:
    """Make an empty conversation (HIST-6)."""
    limit = request.app[SETTINGS].requests_per_hour
    conversation_id = await request.app[STORE].new_conversation(await _user(request), limit)
    return json_answer({"conversation_id": conversation_id}, 201)


async def usage(request: web.Request) -> web.Response:
    """How much of each limit is used (LIMIT-7)."""
    return json_answer({"limits": await request.app[TURNS].limit_statuses(await _user(request))})


async def list_conversations(request: web.Request) -> web.Response:
    """List the conversations of the user, the newest first (HIST-3)."""
    user = await _user(request)
    limit = request.query.get("limit", "50")
    # `isdigit` alone also holds for ², on which `int` fails.
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= 200):
        raise BadRequest(f"limit is {limit[:40]!r}; it must be a number from 1 to 200")
    page, cursor = await request.app[STORE].conversations(
        user, before=request.query.get("before"), limit=int(limit)
    )
    return json_answer({"conversations": [conversation_document(each) for each in page], "next": cursor})


async def get_conversation(request: web.Request) -> web.StreamResponse:
    """Give a conversation with its messages (HIST-4)."""
    conversation = await request.app[STORE].conversation(await _user(request), _conversation_id(request))
    batches = request.app[STORE].turn_batches(conversation.id)
    return await answer_in_pieces(request, history_pieces(conversation, batches))


async def delete_conversation(request: web.Request) -> web.Response:
    """Delete a conversation with all its turns (HIST-5)."""
    await request.app[TURNS].delete(await _user(request), _conversation_id(request))
    return web.Response(status=204)


async def _user(request: web.Request) -> str:
    """The user of a request; looked up once."""
    if USER not in request:
        login = await request.app[IDENTITY].login(request)
        about(user=login.user)
        request[USER] = login.user
    return request[USER]


def _oauth(request: web.Request) -> OAuthIdentity:
    identity = request.app[IDENTITY]
    assert isinstance(identity, OAuthIdentity)
    return identity


def _conversation_id(request: web.Request) -> str:
    conversation_id = request.match_info["id"]
    if not CONVERSATION_ID.fullmatch(conversation_id):
        raise NotFound(f"there is no conversation {conversation_id[:40]}")
    return conversation_id
