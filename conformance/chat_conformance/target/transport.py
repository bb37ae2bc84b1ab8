"""By what a server's frames travel, where that is not a WebSocket of its own."""

from __future__ import annotations

from typing import Literal

import msgspec

Transport = Literal["websocket", "sse", "json-lines", "socket.io"]


class Stream(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """HTTP streaming (``sse`` and ``json-lines``): which request sends a message, and which answer streams.

    Attributes:
        send: The request by which a message goes to the server, such as ``POST /chat``; placeholders as in messages.
        requests: The same for some messages only, such as ``cancel = "DELETE /chat/{conversation_id}"``.
        encoding: How the message is its body: ``json``, ``form`` (a flat message as form fields), ``query`` (the
            same in the address) or ``text``.
        open: The request whose answer streams all events of a connection, such as ``GET /events?session={session}``;
            empty where each message is answered by a stream of its own.
        headers: Headers of these requests.
        resume: Whether a stream that was cut is taken up by ``Last-Event-ID``.
    """

    send: str = ""
    requests: dict[str, str] = {}
    encoding: Literal["json", "form", "query", "text"] = "json"
    open: str = ""
    headers: dict[str, str] = {}
    resume: bool = False


class SocketIO(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Socket.IO over a WebSocket; a frame is the array of an event, ``["name", argument, …]``, in both directions.

    Attributes:
        path: Where Engine.IO is served.
        namespace: The namespace that is joined.
        auth: What goes along with joining; placeholders as in messages.
        query: More members of the address.
        acknowledge: Whether messages ask for an acknowledgement.
    """

    path: str = "/socket.io/"
    namespace: str = "/"
    auth: dict[str, str] = {}
    query: dict[str, str] = {}
    acknowledge: bool = False
