"""How far a chat goes: the levels, and to which of them a case belongs.

``core`` is what every chat that streams the CLI owes its users: connections, turns, text, processes. ``resumable`` adds
what survives a lost line or a reload, ``limits`` and ``identity`` what several users need. ``full`` is all of
chat-stream-v1, the names of its codes and messages included.
"""

from __future__ import annotations

from chat_conformance.results import LEVELS, Case

CORE = frozenset(
    {"end", "error", "conversation", "assembled", "pings", "frames", "handshake", "health", "page"}
)
RESUMABLE = frozenset({"message_id", "conversation_id", "seq", "subscribe", "history"})
AREAS = {"limits": "limits", "quotas": "limits", "identity": "identity"}
"""Areas all of whose cases are of one level."""


def level_of(case_id: str, roles: frozenset[str]) -> str:
    """The lowest level that a case belongs to."""
    area = case_id.partition("/")[0]
    level = AREAS.get(area) or (
        # By all roles at once: a case that needs one role of a higher level belongs to that level, else a
        # server that stops at core would be asked for it.
        "core" if roles <= CORE else "resumable" if roles <= CORE | RESUMABLE | {"accepted"} else "full"
    )
    assert level in LEVELS
    return level


def at_level(cases: tuple[Case, ...], level: str) -> tuple[Case, ...]:
    """The cases that a level asks for."""
    return tuple(each for each in cases if each.level in LEVELS[level])
