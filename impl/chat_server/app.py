"""Wiring: the services of the server, its routes, and an orderly stop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import aiohttp
from aiohttp import WSCloseCode, web
from sqlalchemy import URL

from chat_server.cached import Kept
from chat_server.claude.pool import Claude
from chat_server.limits import Limits
from chat_server.login.admission import LoginGate
from chat_server.login.identity import DevIdentity, Identity, ProxyIdentity
from chat_server.login.oauth import Forge, OAuthIdentity
from chat_server.metrics import Metrics
from chat_server.private_files import private_folder
from chat_server.settings import Settings
from chat_server.shares import Shares
from chat_server.store.database import opened
from chat_server.store.store import Store
from chat_server.turns.manager import Turns
from chat_server.web.handlers import STATIC, problems, wire_limit
from chat_server.web.keys import (
    COMMAND,
    CONNECTIONS,
    IDENTITY,
    LOGIN_GATE,
    METRICS,
    NOW,
    OWN,
    PROBLEMS,
    SETTINGS,
    SHARES,
    STORE,
    TURNS,
)
from chat_server.web.middleware import add_headers, error_middleware
from chat_server.web.origins import OwnOrigins
from chat_server.web.routes import LOGIN_ROUTES, ROUTES
from chat_server.web.static_files import add_files

logger = logging.getLogger(__name__)

READY_SECONDS = 1.0
"""How old the answer of ``/health/ready`` may be."""


WAITING_MESSAGES = 16
"""How many messages of the greatest size may wait to be read: the total for all users."""


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
        middlewares=[error_middleware],
        client_max_size=wire_limit(settings),
    )
    app[SETTINGS] = settings
    app[OWN] = OwnOrigins(settings)
    app[NOW] = now
    app[COMMAND] = command
    app[CONNECTIONS] = set()
    app[METRICS] = Metrics()
    app[LOGIN_GATE] = LoginGate()
    app[PROBLEMS] = Kept(partial(problems, app), READY_SECONDS)
    app[SHARES] = Shares(
        sockets=settings.sockets_per_user,
        bytes_of_user=2 * wire_limit(settings),
        bytes_in_all=WAITING_MESSAGES * wire_limit(settings),
    )

    async def services(app: web.Application) -> AsyncIterator[None]:
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
                retention_seconds=settings.turn_kept_seconds,
                grace_seconds=settings.stop_grace_seconds,
            )
            app[STORE] = store
            app[IDENTITY] = await stack.enter_async_context(_identity(settings, store, now))
            app[TURNS] = await stack.enter_async_context(turns)
            register_gauges(app, claude)
            yield

    app.cleanup_ctx.append(services)
    app.on_response_prepare.append(add_headers)
    app.on_shutdown.append(close_sockets)
    app.add_routes(ROUTES)
    if settings.identity == "oauth":
        app.add_routes(LOGIN_ROUTES)
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


def register_gauges(app: web.Application, claude: Claude) -> None:
    """Gauges that are read whenever ``/metrics`` is."""
    metrics, turns = app[METRICS], app[TURNS]
    metrics.watch("chat_open_sockets", "open WebSockets", lambda: len(app[CONNECTIONS]))
    metrics.watch("chat_live_turns", "turns that run", lambda: turns.running)
    metrics.watch("chat_claude_waiting", "turns that wait for a claude process", lambda: claude.waiting)
    metrics.watch("chat_claude_processes", "claude processes, warm ones included", lambda: claude.processes)


async def close_sockets(app: web.Application) -> None:
    """Refuse new turns, close every connection with 1001, and give running turns their grace (PROC-4).

    aiohttp still delivers responses now, and no longer when the services are left: a ``POST /chat`` gets its answer.
    """
    app[TURNS].refuse_new()
    connections = app[CONNECTIONS]
    await asyncio.gather(
        *(each.close(WSCloseCode.GOING_AWAY, "the server is stopping") for each in tuple(connections))
    )
    await app[TURNS].stop()
