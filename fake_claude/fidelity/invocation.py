"""One invocation of the table: how the CLI is started, and what happens around it; and helpers to write one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SID = "11111111-2222-4333-8444-55555555aaaa"
OTHER = "99999999-2222-4333-8444-55555555bbbb"
UUID1, UUID2, UUID3 = (f"aaaaaaaa-0000-4000-8000-00000000000{n}" for n in (1, 2, 3))

Act = tuple[str, str, Any]
"""When, what, and with what: ``("delta:2", "signal", "SIGINT")``.

When: ``now`` (after the acts before it), or a line on stdout: ``init``, ``status``, ``delta:N`` (the N-th piece of this
turn), ``assistant:N``, ``tool``, ``ask``, ``retry``, ``result:N`` (the N-th of the process), ``response:ID``.
What: ``send`` (an object or a raw text line), ``answer`` (a response to the open can_use_tool), ``signal``, ``gate``
(open one), ``eof``, ``pause`` (seconds), ``reader`` (wait until a tool reads that pipe), ``unhold`` (feed and end it).
"""


@dataclass(frozen=True)
class Invocation:
    """One invocation, with what happens around it."""

    name: str
    group: str
    argv: list[str]
    acts: list[Act] = field(default_factory=list)
    stdin: str | None = None  # None: /dev/null unless there are acts
    env: dict[str, str] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)  # below the working directory, or ~/ for the home
    before: list[Invocation] = field(default_factory=list)  # runs on the same home, not compared
    real_waits: bool = (
        False  # retries wait as long as they do in the CLI, because something happens during the wait
    )
    answers: list[dict[str, Any]] = field(
        default_factory=list
    )  # to can_use_tool, in turns, as they are asked for
    may_end: bool = False  # the CLI may end before all acts are done


def user(content: Any, **members: Any) -> dict[str, Any]:
    """Return an input message."""
    return {"type": "user", "message": {"role": "user", "content": content}, **members}


def control(subtype: str, request_id: str = "req_1", **members: Any) -> dict[str, Any]:
    """Return a control request."""
    return {"type": "control_request", "request_id": request_id, "request": {"subtype": subtype, **members}}


P = ["-p"]
JSON = ["-p", "--output-format", "json"]
V = ["-p", "--output-format", "stream-json", "--verbose"]
SJ = [*V, "--include-partial-messages"]
SI = ["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"]
SIP = [*SI, "--include-partial-messages"]
HOST = [*SIP, "--permission-prompt-tool", "stdio"]
ALLOW_TOUCH = '{"permissions":{"allow":["Bash(touch *)"]}}'
DENY_BASH = '{"permissions":{"deny":["Bash"]}}'
SCHEMA = '{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}'
EOF: Act = ("now", "eof", None)
USER_TEXT = "user_text"
"""The group of rows that also compare what the model was sent, and what settings files hold afterwards."""


def one(prompt: str, *more: Act) -> list[Act]:
    """Send one message, then do the rest, then end the input after the last result."""
    return [("now", "send", user(prompt)), *more]


def done(count: int = 1) -> Act:
    """End the input after that many results."""
    return (f"result:{count}", "eof", None)
