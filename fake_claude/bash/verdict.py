"""What is decided about a tool call before anybody is asked."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Input = dict[str, Any]


class Verdict:
    """May it run? ``allowed``, or denied with ``message``, or else the user must be asked."""

    __slots__ = (
        "allowed",
        "asked_with",
        "extra",
        "forbidden",
        "kind",
        "message",
        "path",
        "reason_type",
        "source",
        "suggestions",
    )

    def __init__(
        self,
        *,
        allowed: bool,
        reason_type: str | None = None,
        message: str = "",
        extra: Input | None = None,
        path: str | None = None,
        kind: str = "user-rejected",
        suggestions: list[Input] | None = None,
        asked_with: Input | None = None,
        forbidden: bool = False,
        source: str = "config",
    ) -> None:
        self.allowed = allowed
        self.source = source  # of what decided
        self.kind = kind  # non_execution_kind beside the result
        self.reason_type = reason_type
        self.message = message
        self.extra = extra or {}  # further members of the permission_denied line and of the question
        self.asked_with = asked_with or {}  # members of the question alone
        self.path = path
        self.suggestions = suggestions  # what a host is offered about a command of the shell
        self.forbidden = forbidden  # by a rule: nobody is asked
