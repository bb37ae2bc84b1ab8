"""What a Messages API request asks: whose turn it is, and with which prompt.

Both players read requests with this one function, so the fake CLI and the real one get the same answer.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

INTERRUPTED = "[Request interrupted by user]"
INTERRUPTED_IN_TOOL = "[Request interrupted by user for tool use]"
# Texts that the CLI, not the user, puts into a user message.
NOT_A_PROMPT = ("<system-reminder>", "[Request interrupted by user", "<local-command")
CONTINUATIONS = (
    "Output token limit hit.",
    "[Your previous response",
    "Your previous response",
    "The previous response",
)


class Ask:
    """One request, seen by a script.

    ``turn`` counts the user's prompts from 1, ``reply`` the assistant messages since the last prompt from 0,
    ``words`` all words of the conversation.
    """

    __slots__ = ("prompt", "reply", "turn", "words")

    def __init__(self, prompt: str, turn: int, reply: int, words: int) -> None:
        self.prompt = prompt
        self.turn = turn
        self.reply = reply
        self.words = words


def texts(content: object) -> Iterator[str]:
    """Yield the text pieces of a message's content, which is a string or a list of blocks."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for block in content:
            if isinstance(block, dict) and block.get("type") == "text":
                yield str(block.get("text", ""))


def _answers_a_tool(content: object) -> bool:
    return isinstance(content, list) and any(
        isinstance(block, dict) and block.get("type") == "tool_result" for block in content
    )


def read_messages(messages: Sequence[Mapping[str, Any]]) -> Ask:
    """Find the last prompt, and count turns, replies and words."""
    prompt, turn, reply, words = "", 0, 0, 0
    for message in messages:
        role, content = message.get("role"), message.get("content")
        said = [text for text in texts(content) if not text.lstrip().startswith(NOT_A_PROMPT)]
        words += sum(len(text.split()) for text in said) if role in ("user", "assistant") else 0
        if role == "assistant":
            reply += 1
        elif role == "user" and said and not _answers_a_tool(content):
            if said[-1].startswith(CONTINUATIONS):
                continue
            prompt, turn, reply = said[-1], turn + 1, 0
    return Ask(prompt, turn, reply, words)
