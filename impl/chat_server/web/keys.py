"""What handlers find in the application and in a request, by typed keys."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from chat_server.cached import Kept
from chat_server.login.admission import LoginGate
from chat_server.login.identity import Identity
from chat_server.metrics import Metrics
from chat_server.settings import Settings
from chat_server.shares import Shares
from chat_server.store.store import Store
from chat_server.turns.manager import Turns
from chat_server.web.connection import Connection
from chat_server.web.origins import OwnOrigins

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
