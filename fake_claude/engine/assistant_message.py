"""An assistant message as far as it was received: its blocks, and how it ended."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]


class AssistantMessage:
    """The answer of the API to one request."""

    def __init__(self, raw: Message) -> None:
        self.raw = raw  # as the API sends it, without content
        self.open: Message | None = None
        self.blocks: list[tuple[Message, Message]] = []  # printed: the event and its block
        self.estimate = 0  # output tokens by the CLI's own reckoning
        self.thought = 0
        self.opened_ms = 0

    @property
    def id(self) -> str:
        """The API's id of the message."""
        return str(self.raw["id"])

    @property
    def text(self) -> str:
        """The text of its last text block."""
        # A result has one text. Behind a thought or a tool there may be several blocks, and the CLI takes the
        # last.
        return next((str(b["text"]) for _, b in reversed(self.blocks) if b["type"] == "text"), "")

    @property
    def tools(self) -> list[Message]:
        """Its tool_use blocks."""
        return [block for _, block in self.blocks if block["type"] == "tool_use"]

    @property
    def stop_reason(self) -> str | None:
        """Why it ended."""
        reason = self.raw["stop_reason"]
        return None if reason is None else str(reason)

    @property
    def visible(self) -> bool:
        """Whether the user sees or the CLI does anything by it."""
        # Thoughts alone are an empty answer: the CLI asks once more for words (docs/claude-cli.md, messages).
        return any(b["type"] == "tool_use" or (b["type"] == "text" and b["text"]) for _, b in self.blocks)
