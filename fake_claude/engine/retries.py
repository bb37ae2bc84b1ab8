"""What the CLI does when the API fails: when it retries, and the error it ends with.

docs/claude-cli.md, API trouble.
"""

from __future__ import annotations

from fake_claude.catalog import find_model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from fake_claude.api.reply import Fault

MAX_RETRIES = 10
FIRST_DELAY_MS = 500
LONGEST_DELAY_MS = 32_000
JITTER = 0.25
OVERLOADED_ATTEMPTS = 3

_RETRY_ERRORS = {401: "authentication_failed", 429: "rate_limit", 529: "overloaded"}
_FINAL_ERRORS = {
    401: "authentication_failed",
    403: "authentication_failed",
    404: "model_not_found",
    429: "rate_limit",
}


def max_retries(env: Mapping[str, str]) -> int:
    """Return how often a request is retried."""
    try:
        # What is no number counts as not set.
        return max(0, int(env.get("CLAUDE_CODE_MAX_RETRIES", "")))
    except ValueError:
        return MAX_RETRIES


def retry_delay_ms(attempt: int, retry_after: int | None) -> int:
    """Return the wait before the n-th retry, counted from 1."""
    import random  # a millisecond, and few runs retry

    # The server's word goes before our own growth, and is not capped. The little on top keeps clients that
    # were sent away together from coming back together.
    if retry_after is not None:
        return retry_after * 1000 + random.randrange(100)  # noqa: S311
    delay = min(FIRST_DELAY_MS * 2 ** (attempt - 1), LONGEST_DELAY_MS)
    return int(delay * (1 + random.random() * JITTER))  # noqa: S311


def is_retryable(fault: Fault) -> bool:
    """Return whether this fault is worth a retry."""
    # ``x-should-retry: false`` beats the status; true does not make a 400 worth a retry.
    if fault.should_retry is False:
        return False
    if fault.kind in ("reset", "cut"):
        return True
    if fault.kind in ("event", "url"):
        return False
    # 401 too: a real run with a bad key tries for three minutes (docs/claude-cli.md, API trouble).
    return fault.status in (401, 408, 409, 429) or fault.status >= 500


def retry_error(fault: Fault) -> str:
    """Return the ``error`` of an api_retry line."""
    if fault.kind != "http":
        return "unknown"
    return _RETRY_ERRORS.get(fault.status, "server_error" if fault.status >= 500 else "unknown")


class Failure:
    """How a turn ends that the API failed: the text, and the members it adds."""

    def __init__(self, text: str, word: str, *, status: int | None = None, type_: str | None = None) -> None:
        self.text = text
        self.word = word
        self.status = status
        self.type = type_
        self.api_error: str | None = None
        self.terminal_reason = "api_error"
        self.more: dict[str, Any] = {}  # further members of the assistant line


def host(env: Mapping[str, str]) -> str:
    """Return the part of the API's address that messages show."""
    return env.get("ANTHROPIC_BASE_URL", "http://127.0.0.1").partition("://")[2].rstrip("/")


def failure(fault: Fault, model: str, env: Mapping[str, str], *, gave_up_overloaded: bool) -> Failure:  # noqa: C901 - a list of cases, read one by one
    """Return what the CLI says when it gives up on a fault."""
    if fault.kind == "url":
        return Failure("API Error: Invalid URL", "unknown")
    if fault.kind != "http":
        # Only an address that was configured can be configured wrongly; without one the advice would mislead.
        where = (
            " Check the gateway set in ANTHROPIC_BASE_URL, then try again."
            if env.get("ANTHROPIC_BASE_URL")
            else ""
        )
        ended = Failure(f"API Error: Connection dropped (ECONNRESET).{where}", "server_error")
        ended.api_error = "connection_failed"
        return ended
    status, message = fault.status, fault.message
    if status == 400 and message.startswith("prompt is too long"):
        return _too_long(message, fault.type)
    if status == 413:
        ended = Failure(
            "Request too large (max 32MB). Accumulated images and attachments in the conversation pushed the request"
            " over the limit. Remove older images or compact the conversation.",
            "invalid_request",
            status=413,
            type_=fault.type,
        )
        ended.terminal_reason = "image_error"
        return ended
    base = env.get("ANTHROPIC_BASE_URL")
    hint = f"check your inference gateway ({host(env)})." if base else "check https://status.claude.com"
    if status == 401:
        text = "Invalid API key · Fix external API key"
    elif status == 403:
        text = f"Failed to authenticate. API Error: 403 {message}"
    elif status == 404:
        text = (
            f"There's an issue with the selected model ({model}). It may not exist or you may not have access to it."
            " Run --model to pick a different model."
        )
    elif status == 429:
        text = f"API Error: Request rejected (429) · {message}"
    elif status == 529 and gave_up_overloaded:
        text = (
            "API Error: Repeated 529 Overloaded errors. The API is at capacity — this is usually temporary."
            f" Try again in a moment. If it persists, {hint}"
        )
    elif status >= 500:
        text = (
            f"API Error: {status} {message}. This is a server-side issue, usually temporary — try again in a moment."
            f" If it persists, {hint}"
        )
    else:
        text = f"API Error: {status} {message}"
    word = _FINAL_ERRORS.get(status, "server_error" if status >= 500 else "unknown")
    return Failure(text, word, status=status, type_=fault.type)


def _too_long(message: str, type_: str) -> Failure:
    numbers = [word for word in message.split() if word.isdigit()]
    # The API's sentence has two numbers, `prompt is too long: 210000 tokens > 200000 maximum`; the zeros are
    # for a script's own words without any.
    asked, limit, *_ = [*numbers, "0", "0"]
    ended = Failure(
        f"Prompt is too long · the request is ~{asked} tokens (limit {limit}) but this conversation is only ~2500"
        " tokens — the rest is system prompt, tool definitions, and attachment content. A single-exchange conversation"
        " cannot be compacted; reduce attached files/tools or start with less context.",
        "invalid_request",
        status=400,
        type_=type_,
    )
    ended.terminal_reason = "prompt_too_long"
    return ended


def title(model: str) -> str:
    """Return a model's name for people."""
    known = find_model(model)
    return known.title if known else model
