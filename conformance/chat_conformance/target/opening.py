"""What comes before a connection counts as open: requests and messages in order, and what is kept of their answers.

A session that is made by a POST, a token in the address of the socket, a first message that logs in, and a greeting
to wait for are four steps::

    [[opening]]
    request = "POST /api/sessions"
    json = { name = "{user}" }
    capture = { conversation_id = "id", token = "auth.token" }

    [[opening]]
    connect = "/ws/{conversation_id}?token={token}"

    [[opening]]
    send = { type = "auth", token = "{token}" }

    [[opening]]
    wait = { type = "ready" }

Without a step ``connect`` the connection is made before the first ``send`` or ``wait``, else after the last step, at
``paths.socket``. Cookies of an answer go along with what follows.
"""

from __future__ import annotations

from typing import Any

import msgspec

from chat_conformance.target.matching import Scalar

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One step; exactly one of ``request``, ``connect``, ``send`` and ``wait`` says which.

    Attributes:
        request: Method and path of an HTTP request.
        json: Its body as JSON; a template.
        form: Its body as a form.
        body: Its body as it is.
        headers: Headers of the request.
        status: The answers that let the opening go on; without them 200 to 399.
        connect: The path of the connection, in place of ``paths.socket``.
        send: A message, JSON or text; a template.
        wait: The frame to wait for: what its members must be, by path, or the whole frame as a text. An empty table
            waits for any.
        capture: What is kept of the answer, or of the frame, by path; in ``header:Name`` and ``cookie:name`` of an
            answer's headers and cookies, in ``regex:…`` the first group found in its body.
    """

    request: str = ""
    json: Any = None
    form: dict[str, str] = {}
    body: str = ""
    headers: dict[str, str] = {}
    status: list[int] = []
    connect: str = ""
    send: Any = None
    wait: str | dict[str, Scalar | list[Scalar]] | None = None
    capture: dict[str, str] = {}

    @property
    def kinds(self) -> list[str]:
        """Which kinds of step it claims to be; a right one is exactly one."""
        # None, not falsehood, is what was left out: an empty table waits for any frame, and an empty text may
        # be sent.
        claims = {
            "request": bool(self.request),
            "connect": bool(self.connect),
            "send": self.send is not None,
            "wait": self.wait is not None,
        }
        return [name for name, claimed in claims.items() if claimed]
