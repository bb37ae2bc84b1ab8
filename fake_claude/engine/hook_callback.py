"""Callbacks that a host registers for events: it is sent their ids, and answers."""

from __future__ import annotations

from fake_claude.invocation.settings_files import seconds_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOOK_TIMEOUT = 60.0
"""Seconds that a hook may take."""


class Callback:
    """A callback of the host: its id is sent back to it at the event."""

    def __init__(self, event: str, matcher: str | None, id_: str, timeout: float) -> None:
        self.event = event
        self.matcher = matcher
        self.id = id_
        self.timeout = timeout


def callbacks_of(hooks: dict[str, Any]) -> list[Callback]:
    """Return the callbacks that a host registers with ``initialize``."""
    return [
        # Each id is called by itself, also where one matcher brings several; a timeout of 0 or none means the
        # usual one.
        Callback(event, matcher.get("matcher"), id_, seconds_of(matcher) or HOOK_TIMEOUT)
        for event, matchers in hooks.items()
        for matcher in matchers
        for id_ in matcher["hookCallbackIds"]
    ]
