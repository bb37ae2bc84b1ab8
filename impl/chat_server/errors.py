"""The errors that clients see, each with its code and HTTP status."""

from __future__ import annotations


class ChatError(Exception):
    """A request was not served; ``message`` is for the user (docs/protocol.md §4, table of codes).

    ``detail`` is for the operator alone: paths, addresses, words of the system (HTTP-6). ``str()`` has both.
    """

    code = "unavailable"
    status = 503

    def __init__(
        self,
        message: str,
        *,
        message_id: str | None = None,
        retry_after: float | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(f"{message}: {detail}" if detail else message)
        self.message = message
        self.message_id = message_id
        # Seconds after which the same request may succeed.
        self.retry_after = retry_after


class BadRequest(ChatError):
    """The message is malformed (MSG-2, MSG-4)."""

    code, status = "bad_request", 400


class Unauthorized(ChatError):
    """Nobody is logged in."""

    code, status = "unauthorized", 401


class Forbidden(ChatError):
    """A foreign origin or host (HAND-4, HTTP-3), or a user who is not allowed."""

    code, status = "forbidden", 403


class NotFound(ChatError):
    """No such conversation or turn for this user (MSG-5)."""

    code, status = "not_found", 404


class Busy(ChatError):
    """The conversation is answering already (TURN-9)."""

    code, status = "busy", 409


class Reset(ChatError):
    """The cursor is not known any more (SUB-3)."""

    code, status = "reset", 410


class TooLarge(ChatError):
    """The message is longer than the limit (MSG-4)."""

    code, status = "too_large", 413


class RateLimited(ChatError):
    """More turns than the hour or the day allows; nothing was counted."""

    code, status = "rate_limited", 429


class QuotaExceeded(ChatError):
    """The day's tokens are spent; nothing was counted."""

    code, status = "quota_exceeded", 429


class ClaudeFailed(ChatError):
    """Claude was asked and failed (TURN-11)."""

    code, status = "claude_failed", 502


class Interrupted(ChatError):
    """The server stopped during the turn (PROC-5)."""

    code, status = "interrupted", 502


class ClaudeUnavailable(ChatError):
    """Claude could not be started (TURN-11)."""

    code, status = "claude_unavailable", 503


class Unavailable(ChatError):
    """The store cannot be used, or the server is stopping."""


class Locked(Unavailable):
    """Another process has the database for itself; the same may succeed in a moment."""


class TimedOut(ChatError):
    """Claude went silent and the turn was ended."""

    code, status = "timeout", 504


STATUS = {error.code: error.status for error in ChatError.__subclasses__()}
"""HTTP status of each code."""
