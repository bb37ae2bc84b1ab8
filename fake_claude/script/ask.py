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
NOT_A_PROMPT = (
    "<system-reminder>",
    "[Request interrupted by user",
    "<local-command",
    "<command-",
    "[Image: source:",
    "<task-notification>",
)
OUTPUT_LIMIT_NOTE = (
    "Output token limit hit. Resume directly — no apology, no recap of what you were doing."
    " Pick up mid-thought if that is where the cut happened. Break remaining work into smaller pieces."
)
EMPTY_NOTE = (
    "[Your previous response had no visible output. Please continue and produce a user-visible response.]"
)
REFUSED_NOTE = (
    "Your response above was stopped by a safety classifier — this is not a tool or API error."
    " The rest of it was withheld, and tool calls in it that had not finished did not run."
    " Do not produce that content again, even reworded."
)
CUT_NOTE = (
    "Your response above was cut off mid-stream. Resume directly from where it stops — no apology, no recap."
    " If none of it survived, answer the request from the start."
)
STRUCTURE_NOTE = (
    "[structured-output-enforce] You MUST call the StructuredOutput tool to complete this request."
    " Call this tool now."
)
CONTINUATIONS = (
    "[structured-output-enforce]",
    "Output token limit hit.",
    "[Your previous response had",
    "Your response above was stopped",
    "Your response above was cut off",
)


class ApiRequest:
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


def shown(content: object) -> Iterator[str]:
    """Yield the text pieces of a message's content, and for each image its type in brackets."""
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict) and block.get("type") == "image":
            yield f"[{(block.get('source') or {}).get('media_type')}]"
        else:
            yield from texts([block])


def _answers_a_tool(content: object) -> bool:
    return isinstance(content, list) and any(
        isinstance(block, dict) and block.get("type") == "tool_result" for block in content
    )


def _after_interruption(content: object) -> list[str]:
    """The texts behind the note of an interruption: what was sent next, in one message with the tool's answer."""
    found = list(texts(content))
    notes = [place for place, text in enumerate(found) if text.startswith("[Request interrupted by user")]
    return found[notes[-1] + 1 :] if notes else []


def read_messages(messages: Sequence[Mapping[str, Any]]) -> ApiRequest:
    """Find the last prompt, and count turns, replies and words."""
    prompt, turn, reply, words, before = "", 0, 0, 0, ""
    for message in messages:
        # Theory: turn and reply are read off the conversation and are kept nowhere else, so that a resumed
        # session and a second process find the same place. user "a", assistant, user (tool result), assistant,
        # user "b" is turn 2, reply 0.
        role, content = message.get("role"), message.get("content")
        if role not in ("user", "assistant"):
            continue
        said = [text for text in texts(content) if not text.lstrip().startswith(NOT_A_PROMPT)]
        words += sum(len(text.split()) for text in said)
        if role == "assistant":
            reply += 1
        else:
            # A tool's result is no prompt; but a text sent after an interruption comes in the same message,
            # behind the note.
            if _answers_a_tool(content):
                said = _after_interruption(content)
            # A continuation is the CLI's own request to go on: it belongs to the turn it continues.
            prompts = [text for text in said if not text.startswith(CONTINUATIONS)]
            if prompts:
                prompt, turn, reply = prompts[-1], turn + 1, 0
            # Each continuation asks for one more message. After an assistant message that one is counted there
            # already; without one (nothing visible was said) only the note shows that there was an attempt.
            if len(prompts) < len(said) and (prompts or before != "assistant"):
                reply += len(said) - len(prompts)  # asked again although nothing had been said
        before = role
    return ApiRequest(prompt, turn, reply, words)
