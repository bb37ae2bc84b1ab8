"""Which function serves which path."""

from __future__ import annotations

from aiohttp import web

from chat_server.web.handlers import (
    begin_login,
    chat_page,
    delete_conversation,
    finish_login,
    get_conversation,
    health,
    list_conversations,
    log_out,
    log_out_everywhere,
    logged_out,
    metrics,
    new_conversation,
    open_socket,
    post_message,
    ready,
    redirect_to_page,
    shared,
    usage,
    verify,
    whoami,
)

# `shared` stands where a request costs the database something: one user's requests must not delay those of others.
# A `GET` also serves `HEAD`, but not at the login: the state of a login works once, and a link preview's `HEAD` must
# not use it up.
ROUTES = (
    web.get("/", redirect_to_page),
    web.get("/health", health),
    web.get("/health/ready", ready),
    web.get("/metrics", metrics),
    web.get("/chat", redirect_to_page),
    web.post("/chat", post_message),
    web.get("/chat/", chat_page),
    web.get("/chat/ws", open_socket),
    web.post("/chat/new", shared(new_conversation)),
    web.get("/chat/usage", shared(usage)),
    web.get("/chat/whoami", whoami),
    web.get("/chat/auth/verify", verify),
    web.get("/chat/history", shared(list_conversations)),
    web.get("/chat/history/{id}", shared(get_conversation)),
    web.delete("/chat/history/{id}", shared(delete_conversation)),
)

LOGIN_ROUTES = (
    web.get("/chat/login", begin_login, allow_head=False),
    web.get("/chat/oauth/callback", finish_login, allow_head=False),
    web.post("/chat/logout", log_out),
    web.post("/chat/logout/everywhere", log_out_everywhere),
    web.get("/chat/logged-out", logged_out),
)
"""With ``CHAT_IDENTITY=oauth`` only."""
