"""What may differ between two runs of the same thing, each mask with its reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]

TIMES = frozenset(
    [
        "duration_ms",
        "duration_api_ms",
        "ttft_ms",
        "ttft_stream_ms",
        "time_to_request_ms",
        "first_content_frame_ms",
        "timestamp",
        "retry_delay_ms",
        "thinking_duration_ms",
        "request_sent_wall_ms",
        "total_api_duration_ms",
        "total_duration_ms",
    ]
)


@dataclass(frozen=True)
class Mask:
    """One rule: what it hides, and why it cannot be relied on."""

    name: str
    reason: str
    apply: Callable[[Any], Any]


def walk(value: Any, change: Callable[[str, Any], Any], key: str = "") -> Any:
    """Rebuild a JSON value with each member passed through ``change(key, value)``."""
    if isinstance(value, dict):
        return {name: walk(change(name, item), change, name) for name, item in value.items()}
    if isinstance(value, list):
        return [walk(change(key, item), change, key) for item in value]
    return value


def _times(message: Any) -> Any:
    def change(key: str, value: Any) -> Any:
        if key in TIMES and value is not None:
            return "<time>"
        return value

    return walk(message, change)


# The ids that begin with aaaaaaaa-0000 are the rows' own (``invocation.UUID1``): they must come back as they were.
_UUID = re.compile(
    r"(?<![0-9a-f])(?!aaaaaaaa-0000)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
)
_API_ID = re.compile(r"\b(msg|toolu)_01[0-9a-f]+")


_REQUEST_ID = re.compile(r"req_01[0-9a-f]+")


class Ids:
    """Names for ids in the order in which they turn up, so that what belongs together still does."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def name(self, found: str, kind: str) -> str:
        """Return the name for an id, a new one if it is new."""
        # By kind and in the order of their coming: `<msg1>`, `<msg2>`. Two ids that should be one then have two
        # names.
        number = sum(name.startswith(f"<{kind}") for name in self._names.values()) + 1
        return self._names.setdefault(found, f"<{kind}{number}>")

    def __call__(self, message: Any) -> Any:
        """Replace the ids in one message."""

        def change(key: str, value: Any) -> Any:
            if not isinstance(value, str):
                return value
            # Each line's own id: numbered, one line too many would change all names behind it.
            if key == "uuid" and _UUID.fullmatch(value):
                return "<uuid>"
            if key in ("request_id", "requestId") and _REQUEST_ID.fullmatch(value):
                return "<request>"
            value = _API_ID.sub(lambda m: self.name(m.group(), m.group(1)), value)
            return _UUID.sub(lambda m: self.name(m.group(), "id"), value)

        return walk(message, change)


def _process(message: Any) -> Any:
    def change(key: str, value: Any) -> Any:
        if key == "pid":
            return "<pid>"
        if key == "messaging_socket_path":
            return "<socket>"
        return value

    return walk(message, change)


def _words(message: Any) -> Any:
    """Blank the long descriptions of an initialize answer."""

    def change(key: str, value: Any) -> Any:
        # Only in this answer: a `description` elsewhere may be what a test's own file says.
        if key == "response" and isinstance(value, dict) and ("commands" in value or "skills" in value):
            return walk(
                value, lambda name, text: "<words>" if name in ("description", "displayName") else text
            )
        return value

    return walk(message, change)


def _request_ids(message: Any) -> Any:
    def change(_key: str, value: Any) -> Any:
        if isinstance(value, str):
            return re.sub(r"Request ID: \S+", "Request ID: <request>", value)
        return value

    return walk(message, change)


def _tasks(message: Any) -> Any:
    def change(key: str, value: Any) -> Any:
        if key in ("task_id", "run_id", "runId", "backgroundTaskId", "end_time"):
            return f"<{key}>"
        if isinstance(value, str):
            # The text before the id is what makes it certain: nine letters alone could be a word.
            return re.sub(r"(tasks/|ID: |<task-id>)[a-z0-9]{9}\b", r"\1<task>", value)
        return value

    return walk(message, change)


def _scratch(message: Any) -> Any:
    def change(_key: str, value: Any) -> Any:
        if isinstance(value, str):
            value = re.sub(r"/tmp/claude-\d+/\S*?/(?=images|tasks)", "<scratch>/", value)  # noqa: S108
            value = re.sub(r"\(wall\): \d+s", "(wall): <time>", value)
            value = re.sub(r"conversation is only ~\d+ tokens", "conversation is only <some> tokens", value)
            return re.sub(r"\.corrupted\.\d+", ".corrupted.<time>", value)
        return value

    return walk(message, change)


_OWN = (
    "attachmentTokens",
    "attachmentsByType",
    "includedCommands",
    "includedSkills",
    "skillFrontmatter",
    "squareFullness",
    "totalCommands",
    "totalSkills",
)


def _own(message: Any) -> Any:
    return walk(message, lambda key, value: "<own>" if key in _OWN else value)


def _cents(message: Any) -> Any:
    def change(key: str, value: Any) -> Any:
        # Far below a cent and far above the error of a float.
        return round(value, 9) if key in ("total_cost_usd", "costUSD") else value

    return walk(message, change)


MASKS = (
    Mask("cents", "the last digits of a sum of floats depend on its order", _cents),
    Mask("times", "they depend on the machine", _times),
    Mask("process", "pids are the kernel's", _process),
    Mask("words", "descriptions for people are the CLI's own; the fake has short ones", _words),
    Mask("own", "the sizes of a CLI's own skills and commands mean nothing to a caller", _own),
    Mask("request-ids", "made up by the API", _request_ids),
    Mask("tasks", "ids of background tasks are random", _tasks),
    Mask("scratch", "temporary paths hold random parts", _scratch),
)


def masked(message: Any, names: dict[str, str], ids: Ids) -> Any:
    """Return a message with everything hidden that may differ."""

    def places(_key: str, value: Any) -> Any:
        if isinstance(value, str):
            for name, shown in names.items():
                value = value.replace(name, shown)
                # In the CLI's folders of projects a path stands with dashes for all other signs.
                value = value.replace(re.sub(r"[^A-Za-z0-9]", "-", name), re.sub(r"[^A-Za-z0-9]", "-", shown))
        return value

    # In an object, since ``walk`` changes members and not the value it is given. Places come before ids, because the
    # temporary paths may hold what looks like one.
    whole = walk({"": message}, places)
    for mask in MASKS:
        whole = mask.apply(whole)
    return ids(whole)[""]
