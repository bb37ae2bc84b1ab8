"""The text of an answer from the CLI's own lines (stream-json), for a server that passes them on.

The CLI says a text up to three times: in deltas, in the whole message, and in the result. What was streamed under a
message's id is not taken again from the whole message; what only the result has is taken from there.
"""

from __future__ import annotations

from typing import Any

import msgspec

from chat_conformance.target.matching import text_at, value_at


class CliLines:
    """The lines of one connection, read in order; each gives events in the words of docs/protocol.md."""

    def __init__(self) -> None:
        self._message = ""
        self._streamed: set[str] = set()
        self._texts = False

    def events(self, line: Any) -> list[dict[str, Any]]:
        """What one line, or its text, means; empty if it says nothing to a reader."""
        if isinstance(line, str):
            try:
                line = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
                return []
        # Lines with a parent come from a subagent: its text goes to the model, not to the reader.
        if not isinstance(line, dict) or line.get("parent_tool_use_id"):
            return []
        session = line.get("session_id")
        beside = {"conversation_id": session} if isinstance(session, str) else {}
        return [{**each, **beside} for each in self._events(line)]

    def _events(self, line: dict[str, Any]) -> list[dict[str, Any]]:
        match line.get("type"):
            case "stream_event":
                if value_at(line, "event.type") == "message_start":
                    self._message = str(value_at(line, "event.message.id"))
                if value_at(line, "event.delta.type") != "text_delta":
                    return []
                self._streamed.add(self._message)
                return self._said(text_at(line, "event.delta.text", ""))
            case "assistant":
                blocks = value_at(line, "message.content")
                texts = (
                    [each.get("text") for each in blocks or [] if isinstance(each, dict)]
                    if isinstance(blocks, list)
                    else []
                )
                if str(value_at(line, "message.id")) in self._streamed:
                    return []
                return self._said("".join(each for each in texts if isinstance(each, str)))
            case "result":
                # The result repeats the last message. It is the answer only where no text came before
                # (TURN-12).
                rest = line.get("result") if not self._texts else ""
                text = self._said(rest if isinstance(rest, str) else "")
                # A persistent process gives result after result: the next turn begins with nothing said.
                self._message, self._texts = "", False
                self._streamed.clear()
                return [*text, _end(line)]
            case _:
                return []

    def _said(self, text: str | None) -> list[dict[str, Any]]:
        if not text:
            return []
        self._texts = True
        return [{"type": "token", "token": text}]


def _end(line: dict[str, Any]) -> dict[str, Any]:
    if line.get("is_error") or line.get("subtype", "success") != "success":
        return {"type": "error", "message": str(line.get("result") or line.get("subtype"))}
    return {"type": "complete", "usage": line.get("usage"), "stop_reason": line.get("stop_reason")}
