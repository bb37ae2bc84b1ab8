"""Compare two outcomes: same, allowed, or different."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fake_claude.fidelity.masks import Ids, masked, walk
from fake_claude.fidelity.run import RunOutcome

Message = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """One place where two outcomes part: ``where`` is a path, ``want`` is the real CLI's."""

    where: str
    want: str
    got: str

    def __str__(self) -> str:
        return f"{self.where}: real {self.want}, fake {self.got}"


@dataclass(frozen=True)
class Allowed:
    """A difference that is accepted, in which rows, and why."""

    where: str  # beginning of the path without line numbers
    reason: str
    rows: tuple[str, ...] = ()


@dataclass
class Normal:
    """An outcome with everything masked, ready to be compared."""

    exit_code: int | None
    stderr: str
    messages: list[Any]
    files: list[str]
    transcripts: list[Any] = field(default_factory=list)
    sent: list[Any] | None = None
    settings: Any = None


def normal(outcome: RunOutcome, names: dict[str, str]) -> Normal:
    """Mask an outcome, and put in one order what comes in no certain order."""
    ids = Ids()
    messages: list[Any] = []
    for line in outcome.stdout:
        try:
            # A line that is no JSON is compared as text: the CLI's noise is part of what it prints.
            message = json.loads(line)
        except ValueError:
            message = line
        messages.append(message)
    # Order first, ids after: names of ids are given as they turn up, so another order would give other names.
    messages = _ordered(messages)
    return Normal(
        outcome.exit_code,
        masked(outcome.stderr, names, ids) if outcome.stderr else "",
        [masked(message, names, ids) for message in messages],
        sorted(masked(name, names, ids) for name in outcome.files),
        [masked(_results_last(lines), names, ids) for lines in sorted(outcome.transcripts, key=_said)],
        masked(outcome.sent, names, ids),
        masked(outcome.settings, names, ids),
    )


def _said(lines: list[Message]) -> str:
    """Return what a transcript says, without ids: the order of files by name depends on random ones."""
    return json.dumps([[line["type"], line["content"]] for line in lines])


def _ordered(messages: list[Any]) -> list[Any]:
    """Put a message's last two stream events before what its tools did, and parallel results in call order.

    A quick tool's lines come before or after ``message_delta`` and ``message_stop`` of the message that called it,
    and parallel tools report as they finish (docs/claude-cli.md, messages).
    """
    ordered: list[Any] = []
    # Example: a1, result, delta(a1), stop(a1) and a1, delta(a1), stop(a1), result are both possible. A later
    # line of a1 moves up behind the newest line of a1 if only lines of tools stand between; all else stays
    # where it is, so a wrong order of anything but tools is still a difference.
    last: dict[str, int] = {}  # where the newest line of each API message stands
    for message in messages:
        api_id = _api_id(message)
        if api_id in last:
            at = last[api_id] + 1
            if all(_of_tool(between) for between in ordered[at:]):
                ordered.insert(at, message)
                last[api_id] = at
                continue
        ordered.append(message)
        if api_id:
            last[api_id] = len(ordered) - 1
    return list(_one_json_delta(list(_results_in_order(ordered))))


def _one_json_delta(messages: list[Any]) -> Iterator[Any]:
    """Keep one piece of a tool's input: its cut depends on the length of paths in it."""
    before = ""
    for message in messages:
        delta = message["event"].get("delta", {}) if _kind(message).startswith("stream_event") else {}
        kind = str(delta.get("type", ""))
        if kind != "input_json_delta":
            yield message
        elif before != kind:
            yield {
                **message,
                "event": {**message["event"], "delta": {"type": kind, "partial_json": "<json>"}},
            }
        # Only neighbours are one: a second tool's input begins after another kind of line and is kept.
        before = kind


def _api_id(message: Any) -> str:
    if not isinstance(message, dict):
        return ""
    if message.get("type") == "assistant":
        return str(message["message"]["id"])
    return str(message.get("api_message_id", ""))


def _of_tool(message: Any) -> bool:
    return isinstance(message, dict) and (
        message.get("subtype") in ("permission_denied", "informational", "session_state_changed")
        or message.get("type") == "control_request"
        or (message.get("type") == "user" and "tool_use_result" in message)
    )


def _results_in_order(messages: list[Any]) -> Iterator[Any]:
    calls: dict[str, int] = {}
    group: list[Any] = []

    def flushed() -> list[Any]:
        ready = sorted(group, key=lambda m: calls.get(m["message"]["content"][0]["tool_use_id"], 0))
        group.clear()
        return ready

    for message in messages:
        if isinstance(message, dict) and message.get("type") == "user" and "tool_use_result" in message:
            # A run of results is held back until another line comes, then put out in the order of their calls.
            group.append(message)
            continue
        yield from flushed()
        if isinstance(message, dict) and message.get("type") == "assistant":
            for block in message["message"]["content"]:
                if block["type"] == "tool_use":
                    calls[block["id"]] = len(calls)
        yield message
    yield from flushed()


def _results_last(lines: list[Message]) -> list[Message]:
    """Put tool results after all blocks of the message that asked for them: a refused call's comes between."""
    ordered: list[Message] = []
    held: list[Message] = []
    calls: list[str] = []
    asked = ""
    for line in lines:
        result = line["type"] == "user" and isinstance(line["content"], list) and line["content"][:1] != []
        if result and line["content"][0].get("type") == "tool_result":
            held.append(line)
            continue
        # The transcript has one line for each block of a message: results wait until the last block of it has come.
        if line["type"] != "assistant" or line.get("message") != asked:
            ordered += sorted(held, key=lambda result: calls.index(result["content"][0]["tool_use_id"]))
            held = []
        if line["type"] == "assistant":
            asked = str(line["message"])
            calls += [block["id"] for block in line["content"] if block["type"] == "tool_use"]
        ordered.append(line)
    return ordered + held


def _kind(message: Any) -> str:
    if not isinstance(message, dict):
        return "text"
    kind = str(message.get("type"))
    inner = message.get("subtype") or (message["event"]["type"] if kind == "stream_event" else None)
    return f"{kind}/{inner}" if inner else kind


def differences(real: Normal, fake: Normal) -> list[Difference]:
    """Return where the fake's outcome is not the real one's."""
    found: list[Difference] = []
    if real.exit_code != fake.exit_code:
        # From what matters most to a server to what matters least; the report shows the first few only.
        found.append(Difference("exit", str(real.exit_code), str(fake.exit_code)))
    if real.stderr != fake.stderr:
        found.append(Difference("stderr", repr(real.stderr), repr(fake.stderr)))
    want, got = [_kind(m) for m in real.messages], [_kind(m) for m in fake.messages]
    if want != got:
        at = next(
            (i for i, (a, b) in enumerate(zip(want, got, strict=False)) if a != b), min(len(want), len(got))
        )
        found.append(Difference("sequence", f"{at}: {want[at : at + 4]}", f"{got[at : at + 4]}"))
    for index, (a, b) in enumerate(zip(real.messages, fake.messages, strict=False)):
        if _kind(a) != _kind(b):
            # From here on lines are compared with the wrong ones; the difference of the sequence says where it began.
            break
        found += _members(f"{_kind(a)}", a, b, index)
    if real.files != fake.files:
        found.append(Difference("files", str(real.files), str(fake.files)))
    if real.transcripts != fake.transcripts:
        found += _members("transcript", real.transcripts, fake.transcripts, 0)
    if real.sent != fake.sent:
        found += _members("sent", real.sent, fake.sent, 0)
    if real.settings != fake.settings:
        found += _members("settings", real.settings, fake.settings, 0)
    return found


def _members(where: str, want: Any, got: Any, index: int) -> Iterator[Difference]:
    if isinstance(want, dict) and isinstance(got, dict):
        for key in [*want, *(key for key in got if key not in want)]:
            if key not in got:
                yield Difference(f"{where}.{key}", json.dumps(want[key])[:300], "absent")
            elif key not in want:
                yield Difference(f"{where}.{key}", "absent", json.dumps(got[key])[:300])
            else:
                yield from _members(f"{where}.{key}", want[key], got[key], index)
    # Lists of different length are shown whole, since which item is missing cannot be known.
    elif isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        for a, b in zip(want, got, strict=True):
            yield from _members(f"{where}[]", a, b, index)
    elif want != got:
        yield Difference(
            where, json.dumps(want, ensure_ascii=False)[:400], json.dumps(got, ensure_ascii=False)[:400]
        )


__all__ = ["Allowed", "Difference", "Normal", "differences", "normal", "walk"]
