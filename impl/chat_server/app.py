"""Handlers and wiring: HTTP and WebSocket on one side, turns and history on the other."""

from __future__ import annotations

import asyncio
import hmac
import logging
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path

import aiohttp
from aiohttp import HttpVersion11, WSCloseCode, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import URL

from chat_server.cached import Kept
from chat_server.claude.pool import Claude
from chat_server.errors import BadRequest, ChatError, Forbidden, NotFound, TooLarge, Unauthorized, Unavailable
from chat_server.limits import Limits
from chat_server.logging_setup import about
from chat_server.login.admission import LoginGate, client_address
from chat_server.login.identity import USER_HEADER, DevIdentity, Identity, ProxyIdentity
from chat_server.login.oauth import Forge, OAuthIdentity
from chat_server.metrics import Metrics
from chat_server.printable import printable
from chat_server.private_files import private_folder
from chat_server.protocol import CONVERSATION_ID
from chat_server.settings import Settings
from chat_server.shares import Shares
from chat_server.store.store import Store, opened
from chat_server.turns.manager import Turns
from chat_server.web.connection import CLOSE_SECONDS, LOGIN_EXPIRED, Connection
from chat_server.web.forms import field, read_form
from chat_server.web.headers import HEADERS, SERVER, STRICT_TRANSPORT
from chat_server.web.inflow import Inflow
from chat_server.web.origins import OwnOrigins, check_host, check_origin
from chat_server.web.pages import TITLES, Link, page, sentence, wants_page
from chat_server.web.responses import (
    conversation_document,
    dumps,
    error_answer,
    json_answer,
    message_documents,
    outcome,
    redirect,
)
from chat_server.web.serving import ClientProtocol
from chat_server.web.static_files import add_files

logger = logging.getLogger(__name__)

SUBPROTOCOLS = ("chat-stream-v1",)
STATIC = Path(__file__).parent / "static"
USER_ID_HEADER = "X-Chat-User-Id"
READY_SECONDS = 1.0
"""How old the answer of ``/health/ready`` may be."""

ENVELOPE = 65_536
"""What a message may have besides its prompt."""

LEAST_LIMIT = 2 * 2**20
"""FRAME-3: no message up to here is too long for the connection, though its prompt may be."""

WAITING_MESSAGES = 16
"""How many messages of the greatest size may wait to be read, those of all users together."""
PATH_SHOWN = 100
"""How many characters of its path a refused request gets back."""

FRAME_OVERHEAD = 6
"""JSON may write one byte of a prompt as six (``\\u0000``)."""

SETTINGS = web.AppKey("SETTINGS", Settings)
OWN = web.AppKey("OWN", OwnOrigins)
STORE = web.AppKey("STORE", Store)
TURNS = web.AppKey("TURNS", Turns)
IDENTITY: web.AppKey[Identity] = web.AppKey("IDENTITY")
COMMAND = web.AppKey("COMMAND", list[str])
CONNECTIONS: web.AppKey[set[Connection]] = web.AppKey("CONNECTIONS")
METRICS = web.AppKey("METRICS", Metrics)
SHARES = web.AppKey("SHARES", Shares)
USER = web.RequestKey("USER", str)
LOGIN_GATE = web.AppKey("LOGIN_GATE", LoginGate)
PROBLEMS: web.AppKey[Kept[list[str]]] = web.AppKey("PROBLEMS")
NOW: web.AppKey[Callable[[], float]] = web.AppKey("NOW")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(
    settings: Settings,
    *,
    command: list[str],
    server: str = "",
    now: Callable[[], float] = time.time,
) -> web.Application:
    """The server as an aiohttp application; ``command`` starts the CLI.

    ``server`` is its id among those that share a database, and ``now`` gives the time (Unix seconds).
    """
    app = web.Application(
        middlewares=[_guard],
        client_max_size=wire_limit(settings),
    )
    app[SETTINGS] = settings
    app[OWN] = OwnOrigins(settings)
    app[NOW] = now
    app[COMMAND] = command
    app[CONNECTIONS] = set()
    app[METRICS] = Metrics()
    app[LOGIN_GATE] = LoginGate()
    app[PROBLEMS] = Kept(partial(_problems, app), READY_SECONDS)
    app[SHARES] = Shares(
        sockets=settings.sockets_per_user,
        bytes_of_user=2 * wire_limit(settings),
        bytes_in_all=WAITING_MESSAGES * wire_limit(settings),
    )

    async def parts(app: web.Application) -> AsyncIterator[None]:
        private_folder(settings.data)
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(opened(database(settings), now, server=server))
            claude = await stack.enter_async_context(Claude(command, settings))
            turns = Turns(
                store,
                claude,
                app[METRICS],
                limits=Limits(settings.requests_per_hour, settings.requests_per_day, settings.tokens_per_day),
                concurrent=settings.concurrent_turns,
                message_max_bytes=settings.message_max_bytes,
                kept_seconds=settings.turn_kept_seconds,
                grace_seconds=settings.stop_grace_seconds,
            )
            app[STORE] = store
            app[IDENTITY] = await stack.enter_async_context(_identity(settings, store, now))
            app[TURNS] = await stack.enter_async_context(turns)
            _measure(app, claude)
            yield

    app.cleanup_ctx.append(parts)
    app.on_response_prepare.append(_add_headers)
    app.on_shutdown.append(_say_goodbye)
    app.router.add_get("/", _to_page)
    app.router.add_get("/health", _health)
    app.router.add_get("/health/ready", _ready)
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/chat/auth/verify", _verify)
    if settings.identity == "oauth":
        app.router.add_get("/chat/login", _begin_login, allow_head=False)
        app.router.add_get("/chat/oauth/callback", _finish_login, allow_head=False)
        app.router.add_post("/chat/logout", _logout)
        app.router.add_post("/chat/logout/everywhere", _logout_everywhere)
        app.router.add_get("/chat/logged-out", _logged_out)
    app.router.add_get("/chat", _to_page)
    app.router.add_post("/chat", _post_chat)
    app.router.add_get("/chat/", _page)
    app.router.add_get("/chat/ws", _socket)
    app.router.add_post("/chat/new", _shared(_new))
    app.router.add_get("/chat/usage", _shared(_usage))
    app.router.add_get("/chat/whoami", _whoami)
    app.router.add_get("/chat/history", _shared(_list))
    app.router.add_get("/chat/history/{id}", _shared(_show))
    app.router.add_delete("/chat/history/{id}", _shared(_delete))
    add_files(app, "/chat/static", STATIC)
    return app


def database(settings: Settings) -> str | URL:
    """Where the database is, as SQLAlchemy takes it."""
    if settings.database:
        return settings.database
    return URL.create("sqlite", database=str(settings.data / "chat.sqlite3"))


@asynccontextmanager
async def _identity(settings: Settings, store: Store, now: Callable[[], float]) -> AsyncIterator[Identity]:
    match settings.identity:
        case "proxy":
            yield ProxyIdentity(settings.proxy_secret, fold_names=settings.proxy_fold_names)
        case "oauth":
            forge = Forge(
                settings.oauth_url.rstrip("/"),
                settings.oauth_client_id,
                settings.oauth_client_secret,
                settings.public_url.rstrip("/"),
            )
            # What the forge sets for one user must not come back in the login of another.
            async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
                yield OAuthIdentity(
                    forge,
                    settings.users,
                    store,
                    http,
                    session_seconds=settings.session_seconds,
                    idle_seconds=settings.session_idle_seconds,
                    now=now,
                )
        case _:
            yield DevIdentity()


def wire_limit(settings: Settings) -> int:
    """The longest message, or body of a request, in bytes."""
    return max(FRAME_OVERHEAD * settings.message_max_bytes, LEAST_LIMIT) + ENVELOPE


def _measure(app: web.Application, claude: Claude) -> None:
    metrics, turns = app[METRICS], app[TURNS]
    metrics.watch("chat_open_sockets", "open WebSockets", lambda: len(app[CONNECTIONS]))
    metrics.watch("chat_live_turns", "turns that run", lambda: turns.running)
    metrics.watch("chat_claude_waiting", "turns that wait for a claude process", lambda: claude.waiting)
    metrics.watch("chat_claude_processes", "claude processes, warm ones included", lambda: claude.processes)


# --- what holds for every request


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers[hdrs.SERVER] = SERVER  # aiohttp has put itself there
    if response.status == 101:
        return  # they are for pages; a socket would hold them for as long as it is open
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.app[SETTINGS].public_url.startswith("https:"):
        response.headers.update(STRICT_TRANSPORT)


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:  # noqa: PLR0911 - one for each kind
    if isinstance(request.protocol, ClientProtocol):
        request.protocol.begin()
    try:
        check_host(request, request.app[OWN])
        check_origin(request, request.app[OWN])
        if hdrs.CONTENT_ENCODING in request.headers:
            return _refuse_compressed(request)
        return await handler(request)
    except ChatError as error:
        return _refused(request, error)
    except web.HTTPException as error:
        return _http_error(request, error)
    except ConnectionError as error:
        logger.info("= the client of %s %s has gone: %s", request.method, request.path, error)
        return error_answer(BadRequest("the request broke off"))  # for nobody; aiohttp wants an answer
    except (HttpProcessingError, UnicodeEncodeError) as error:
        # A body that stops being HTTP half way; bytes that aiohttp wants to quote and cannot.
        logger.info("= %s %s is no HTTP: %s", request.method, request.path, type(error).__name__)
        return error_answer(BadRequest("the request cannot be understood"))
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        return error_answer(ChatError("the server failed; it is in its log"))


def _refuse_compressed(request: web.Request) -> web.Response:
    """No body is inflated: a few kilobytes may become gigabytes (TURN-10)."""
    given = request.headers[hdrs.CONTENT_ENCODING]
    refused = BadRequest(f"the body is encoded as {given[:40]!r}; send it as it is, without Content-Encoding")
    return error_answer(refused, 415, {hdrs.ACCEPT_ENCODING: "identity"})  # RFC 9110 section 12.5.3


def _refused(
    request: web.Request,
    error: ChatError,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """A refusal: a page for people, a document for programs."""
    if not wants_page(request):
        return error_answer(error, status, headers)
    settings = request.app[SETTINGS]
    chat, words = _chat_address(request), [sentence(printable(error.message))]
    links = [Link("Back to the chat", chat)]
    if settings.identity == "oauth" and isinstance(error, Unauthorized | Forbidden | Unavailable):
        links = [Link("Log in again", f"{chat}login")]
        if isinstance(error, Forbidden):
            words.append("To use another account, log out at the forge first, and then log in again here.")
            links.append(Link("Open the forge", settings.oauth_url))
    elif isinstance(error, Forbidden):
        links = []
    status = status or error.status
    return page(TITLES.get(status, "That did not work"), words, links, status=status, headers=headers)


def _chat_address(request: web.Request) -> str:
    """Where the chat is, for a link: its public address, or else relative to where the browser is."""
    settings = request.app[SETTINGS]
    if settings.public_url:
        return f"{settings.public_url.rstrip('/')}/chat/"
    up = "../" * (request.path.count("/") - 1)
    return f"{up}chat/"


def _http_error(request: web.Request, error: web.HTTPException) -> web.Response:
    """What aiohttp refuses, in the form of our own errors (docs/protocol.md §8)."""
    match error:
        case web.HTTPRequestEntityTooLarge():
            limit = request.app[SETTINGS].message_max_bytes
            return _refused(
                request, TooLarge(f"the request is too large; a message may have {limit:,} bytes")
            )
        case web.HTTPNotFound():
            return _refused(request, NotFound(f"there is nothing at {printable(request.path, PATH_SHOWN)}"))
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            refused = BadRequest(
                f"{printable(request.path, PATH_SHOWN)} does not take {printable(error.method, 20)}, only {allowed}"
            )
            return _refused(request, refused, error.status, {hdrs.ALLOW: allowed})
        case _:
            return _refused(request, BadRequest(error.text or error.reason), error.status)


# --- handlers


async def _health(_request: web.Request) -> web.Response:
    return json_answer({"status": "ok"})


async def _ready(request: web.Request) -> web.Response:
    """Whether turns can be served. Anybody may ask, and it costs a write: once in ``READY_SECONDS`` it is looked at."""
    problems = await request.app[PROBLEMS]()
    status = "unready" if problems else "ready"
    return json_answer({"status": status, "problems": problems}, 503 if problems else 200)


async def _problems(app: web.Application) -> list[str]:
    """What is missing to serve turns: a store that answers, and the CLI. The log has details."""
    problems = []
    try:
        await app[STORE].check()
    except ChatError:
        problems.append("the history cannot be used")
    command = app[COMMAND][0]
    if shutil.which(command) is None:
        logger.warning("not ready: there is no program %s", command)
        problems.append("the program of Claude is not there")
    return problems


def _shared(handler: Handler) -> Handler:
    """A handler of which each user has a few at once; the others wait, so that other users need not."""

    async def wait(request: web.Request) -> web.StreamResponse:
        async with request.app[SHARES].request(await _user(request)):
            return await handler(request)

    return wait


async def _metrics(request: web.Request) -> web.Response:
    """For whoever has the token; without a setting of it nobody, but with the dev identity, who is alone."""
    settings = request.app[SETTINGS]
    if settings.metrics_token:
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        given, wanted = (each.encode(errors="surrogateescape") for each in (token, settings.metrics_token))
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip(), wanted):
            refused = Unauthorized("the metrics need the token of CHAT_METRICS_TOKEN as a bearer token")
            return error_answer(refused, headers={hdrs.WWW_AUTHENTICATE: "Bearer"})
    elif settings.identity != "dev":
        raise web.HTTPNotFound
    return web.Response(body=request.app[METRICS].render(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_LATEST})


async def _to_page(_request: web.Request) -> web.Response:
    """Send a browser to the page, wherever a proxy has put it."""
    return redirect("chat/")


async def _page(request: web.Request) -> web.StreamResponse:
    try:
        await _user(request)
    except Unauthorized:
        if request.app[SETTINGS].identity != "oauth":
            raise
        return redirect("login")
    return web.FileResponse(STATIC / "index.html", headers={hdrs.CACHE_CONTROL: "no-cache"})


async def _verify(request: web.Request) -> web.Response:
    """For a proxy's ``forward_auth``: 200 with the user's name, or what the proxy is to tell the client."""
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


async def _begin_login(request: web.Request) -> web.Response:
    return _oauth(request).begin(request)


async def _finish_login(request: web.Request) -> web.Response:
    async with request.app[LOGIN_GATE].passed(client_address(request)):
        finished = await _oauth(request).finish(request)
    await _close_connections(request.app, finished.ended)
    return finished.response


async def _logout(request: web.Request, *, everywhere: bool = False) -> web.Response:
    """End the login, and the connections that live by it (ID-7; CLOSE-2, 4401)."""
    out = f"{_chat_address(request)}logged-out"
    response = redirect(out) if wants_page(request) else web.Response(status=204)
    ended = await _oauth(request).end(request, response, everywhere=everywhere)
    await _close_connections(request.app, ended)
    return response


async def _logout_everywhere(request: web.Request) -> web.Response:
    """End all logins of whoever asks."""
    return await _logout(request, everywhere=True)


async def _close_connections(app: web.Application, ended: Collection[str]) -> None:
    connections = [each for each in app[CONNECTIONS] if each.login.key in ended]
    await asyncio.gather(*(each.close(LOGIN_EXPIRED, "logged out") for each in connections))


async def _logged_out(request: web.Request) -> web.Response:
    """Where a browser is led after a log out; the chat itself would lead to the forge, and so right in again."""
    return page(
        "You are logged out",
        ["Your chats are kept. At the forge, where you log in, you still are logged in."],
        [
            Link("Log in again", f"{_chat_address(request)}login"),
            Link("Open the forge", request.app[SETTINGS].oauth_url),
        ],
    )


async def _whoami(request: web.Request) -> web.Response:
    """Who one is, and how that can be ended (ID-7)."""
    settings = request.app[SETTINGS]
    login = await request.app[IDENTITY].login(request)
    return json_answer(
        {
            "user": login.name or None,
            "logout": settings.identity == "oauth",
            "logout_url": settings.logout_url or None,
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


async def _socket(request: web.Request) -> web.StreamResponse:
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
            lasts=None if login.expires_at is None else login.expires_at - request.app[NOW](),
            seconds_left=partial(identity.seconds_left, login),
        )
        request.app[CONNECTIONS].add(connection)
        try:
            await connection.run()
        finally:
            request.app[CONNECTIONS].discard(connection)
    return ws


async def _post_chat(request: web.Request) -> web.StreamResponse:
    """One turn without a socket (HTTP-2); white space keeps the line alive meanwhile (KEEP-3)."""
    user = await _user(request)
    async with request.app[SHARES].body(user):
        form = await read_form(request, request.app[SETTINGS].receive_seconds)
    log = await request.app[TURNS].start(
        user, field(form, "message") or "", field(form, "message_id"), field(form, "conversation_id")
    )
    keepalive = request.app[SETTINGS].keepalive_seconds
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


async def _new(request: web.Request) -> web.Response:
    limit = request.app[SETTINGS].requests_per_hour
    conversation_id = await request.app[STORE].new_conversation(await _user(request), limit)
    return json_answer({"conversation_id": conversation_id}, 201)


async def _usage(request: web.Request) -> web.Response:
    """How much of each limit is used (LIMIT-7)."""
    return json_answer({"limits": await request.app[TURNS].standings(await _user(request))})


async def _list(request: web.Request) -> web.Response:
    user = await _user(request)
    limit = request.query.get("limit", "50")
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= 200):
        raise BadRequest(f"limit is {limit[:40]!r}; it must be a number from 1 to 200")
    page, cursor = await request.app[STORE].conversations(
        user, before=request.query.get("before"), limit=int(limit)
    )
    return json_answer({"conversations": [conversation_document(each) for each in page], "next": cursor})


async def _show(request: web.Request) -> web.Response:
    conversation = await request.app[STORE].conversation(await _user(request), _conversation_id(request))
    turns = await request.app[STORE].turns(conversation.id)
    messages = [message for turn in turns for message in message_documents(turn)]
    return json_answer({**conversation_document(conversation), "messages": messages})


async def _delete(request: web.Request) -> web.Response:
    await request.app[TURNS].delete(await _user(request), _conversation_id(request))
    return web.Response(status=204)


async def _say_goodbye(app: web.Application) -> None:
    """Refuse new turns, close every connection with 1001, and give running turns their grace (PROC-4).

    It is given here, and not when the parts are left, so that whoever waits for a ``POST /chat`` still gets its answer.
    """
    app[TURNS].refuse_new()
    connections = app[CONNECTIONS]
    await asyncio.gather(
        *(each.close(WSCloseCode.GOING_AWAY, "the server is stopping") for each in tuple(connections))
    )
    await app[TURNS].stop()


# --- requests and answers


async def _user(request: web.Request) -> str:
    """Who asks; looked up once for each request."""
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
