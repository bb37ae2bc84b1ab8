"""The lines that an answer under load consists of, as the CLI prints them.

The templates are what ``fake-claude`` prints; here their ids and texts are filled in, at the rate of megabytes per
millisecond. A text is made of tokens that can be counted in whatever a server makes of them:

- ``@`` and 19 digits: a token with the CLOCK_MONOTONIC time, in nanoseconds, at which it was written;
- ``~`` and filler: a token that is only counted.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

# CLOCK_MONOTONIC in nanoseconds: with sixteen digits a machine that is up for 115 days would be the end.
STAMP_DIGITS = 19
BLOCK_BYTES = 65_536
MESSAGE_BYTES = 1 << 20
"""How much text one message has at most: more than any model's, but an answer of 50 MB is no single message."""
# Stands for a number in a prepared block; hexadecimal, so that the line is valid as it is.
IDLE = "00000000"
_PROMPT = re.compile(rb"\[\[load ([a-z0-9= ]*)\]\]")


@dataclass(frozen=True)
class AnswerSpec:
    """What a prompt such as ``[[load tokens=100 rate=50]]`` asks for.

    Attributes:
        tokens: How many tokens follow the first one.
        rate: Tokens per second, each with the time; 0 is as fast as they are read, counted only.
        size: Bytes of a counted token, its space included.
        gate: Whether the answer waits, after its first token, until the control connection says ``go``.
        line: Instead of tokens one counted piece of this many bytes, in one line.
    """

    tokens: int = 3
    rate: int = 0
    size: int = 6
    gate: int = 0
    line: int = 0

    def prompt(self) -> str:
        """The prompt that asks for it."""
        words = [
            f"{name}={value}" for name, value in vars(self).items() if value != getattr(AnswerSpec, name)
        ]
        return f"[[load {' '.join(words)}]]"


def find_ask(data: bytes) -> AnswerSpec | None:
    """What the first prompt in some bytes asks for, None if there is none."""
    found = _PROMPT.search(data)
    if found is None:
        return None
    pairs = (word.split("=") for word in found[1].decode().split())
    return AnswerSpec(**{name: int(value) for name, value in pairs})


class Pause:
    """The answer continues at ``at`` (CLOCK_MONOTONIC, seconds), or, without one, when its gate is opened."""

    __slots__ = ("at",)

    def __init__(self, at: float | None = None) -> None:
        self.at = at


class AnswerTemplates:
    """The lines of ``fake-claude``, as templates.

    Args:
        printed: What it printed for an answer of one piece, with partial messages.

    Raises:
        ValueError: A line is missing.
    """

    def __init__(self, printed: bytes) -> None:
        # One line of each kind is enough. A kind is the inner type of a stream event (`message_start`), the
        # subtype of a system line (`init`), or the type (`assistant`); `result` goes by its type, as its
        # subtype says how a turn ended.
        lines: dict[str, dict[str, Any]] = {}
        for text in printed.splitlines():
            line = json.loads(text)
            kind = line.get("event", line)
            kind = kind["type"] if line["type"] == "stream_event" else line.get("subtype", line["type"])
            lines[line["type"] if line["type"] == "result" else kind] = line
        missing = {
            "init",
            "message_start",
            "content_block_start",
            "content_block_delta",
            "assistant",
            "content_block_stop",
            "message_delta",
            "message_stop",
            "result",
        } - lines.keys()
        if missing:
            raise ValueError(f"fake-claude printed no {', '.join(sorted(missing))}")
        self._lines = lines
        self._numbers = iter(range(1, 1 << 32))

    def _uuid(self, place: int = 0) -> str:
        return f"{next(self._numbers):08x}-0000-4000-8000-{place:012x}"

    def _line(self, kind: str, session: str, message: str, text: str = "") -> bytes:
        line = {**self._lines[kind], "session_id": session, "uuid": self._uuid()}
        if "api_message_id" in line:
            line["api_message_id"] = message
        if kind == "message_start":
            line["event"] = {**line["event"], "message": {**line["event"]["message"], "id": message}}
        elif kind == "assistant":
            body = {**line["message"], "id": message, "content": [{"type": "text", "text": text}]}
            line["message"] = body
        elif kind == "content_block_delta":
            line["event"] = {**line["event"], "delta": {"type": "text_delta", "text": text}}
        elif kind == "result":
            line["result"] = text
        return json.dumps(line, separators=(",", ":")).encode() + b"\n"

    def _block(self, count: int, session: str, message: str, text: str) -> bytes:
        """``count`` deltas whose uuids begin with ``IDLE``, to be replaced by a number."""
        # The JSON is made once and split at its uuid, since json.dumps for every token would be slower than
        # the servers.
        line = self._line("content_block_delta", session, message, text)
        uuid = json.loads(line)["uuid"].encode()
        before, after = line.split(uuid)
        return b"".join(
            b"%s%s-0000-4000-8000-%012x%s" % (before, IDLE.encode(), place, after) for place in range(count)
        )

    def answer(self, ask: AnswerSpec, session: str, stopped: Callable[[], bool]) -> Iterator[bytes | Pause]:
        """What is written, piece by piece, and the pauses between; a piece is made at the moment it is asked for.

        ``stopped`` is asked before each piece; once it says so, the answer comes to its end.
        """
        # A generator, so that each piece is made when it is written. A list made before would hold gigabytes,
        # and its times would be those of its making, so that every delay included the wait in the list.
        yield self._line("init", session, "")
        if ask.line:
            yield from self._long_line(ask, session)
            return
        text = ""
        for number, tokens in enumerate(_split(ask)):
            message = f"msg_{session[:8]}{number:016x}"
            yield self._beginning(session, message)
            texts: list[str] = []
            if number == 0:
                texts.append(_stamp())
                yield self._line("content_block_delta", session, message, texts[0])
                if ask.gate:
                    yield Pause()
            if ask.rate:
                yield from self._paced(ask, session, message, texts, stopped)
            else:
                piece = _counted(ask.size)
                written = 0
                for written, block in self._blocks(tokens, session, message, piece):  # noqa: B007 - the last counts
                    yield block
                    if stopped():
                        break
                texts.append(piece * written)
            text = "".join(texts)
            yield self._end(session, message, text)
            if stopped():
                break
        yield self._line("result", session, "", text)

    def _long_line(self, ask: AnswerSpec, session: str) -> Iterator[bytes | Pause]:
        """An answer with a line of megabytes, made before the gate: others would have to wait for it."""
        message, stamp, piece = f"msg_{session[:8]}", _stamp(), _counted(ask.line)
        yield self._beginning(session, message) + self._line("content_block_delta", session, message, stamp)
        rest = (
            self._line("content_block_delta", session, message, piece)
            + self._end(session, message, stamp + piece)
            + self._line("result", session, "", stamp + piece)
        )
        if ask.gate:
            yield Pause()
        yield rest

    def _beginning(self, session: str, message: str) -> bytes:
        return self._line("message_start", session, message) + self._line(
            "content_block_start", session, message
        )

    def _end(self, session: str, message: str, text: str) -> bytes:
        return (
            self._line("assistant", session, message, text)
            + self._line("content_block_stop", session, message)
            + self._line("message_delta", session, message)
            + self._line("message_stop", session, message)
        )

    def _paced(
        self, ask: AnswerSpec, session: str, message: str, texts: list[str], stopped: Callable[[], bool]
    ) -> Iterator[bytes | Pause]:
        stamp = _stamp()
        line = self._line("content_block_delta", session, message, stamp)
        before, rest = line.split(stamp.encode())
        middle, after = rest.split(json.loads(line)["uuid"].encode())
        # Streams that begin at once do not write at once: multiples of the golden section spread their phases
        # over the interval, however many streams there are.
        due = time.monotonic() + next(self._numbers) * 0.618 % 1 / ask.rate
        for _ in range(ask.tokens):
            # By the plan, not from now on: a token that is late must not slow down those behind it.
            due += 1 / ask.rate
            yield Pause(due)
            if stopped():
                return
            texts.append(_stamp())
            yield b"".join((before, texts[-1].encode(), middle, self._uuid().encode(), after))

    def _blocks(self, tokens: int, session: str, message: str, piece: str) -> Iterator[tuple[int, bytes]]:
        """Blocks of deltas, each with how many tokens there are up to its end."""
        # A block of about 64 KiB is made once and written again and again. Only the number at the head of its
        # uuids changes, so that uuids never repeat, at the price of one `replace` for thousands of tokens.
        length = len(self._line("content_block_delta", session, message, piece))
        count = min(tokens, max(1, BLOCK_BYTES // length))
        block = self._block(count, session, message, piece)
        written = 0
        while written < tokens:
            if tokens - written < count:
                block = self._block(tokens - written, session, message, piece)
                count = tokens - written
            written += count
            number = f'"{next(self._numbers):08x}-'
            yield written, block.replace(f'"{IDLE}-'.encode(), number.encode())


def _split(ask: AnswerSpec) -> list[int]:
    """The tokens of each message of an answer."""
    if ask.rate:
        return [ask.tokens]
    most = max(1, MESSAGE_BYTES // ask.size)
    whole, rest = divmod(ask.tokens, most)
    return [most] * whole + ([rest] if rest or not whole else [])


def _counted(size: int) -> str:
    return "~" + "x" * (size - 2) + " "


def _stamp() -> str:
    return f"@{time.monotonic_ns():0{STAMP_DIGITS}} "
