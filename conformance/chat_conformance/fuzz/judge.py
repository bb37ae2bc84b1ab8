"""What a server may answer to anything, and what it may write into its log."""

from __future__ import annotations

import re
import unicodedata

from chat_conformance.fuzz.sent import Sent
from chat_conformance.wire.frames import FrameDecoder, FrameError, Opcode, check_frame

LINE_MOST = 16_384
"""How long a line of the log may be, in bytes."""

CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 4401})
TOO_FAST = 1008
"""With this code a server may end what is legal, but too much at once."""

_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3}) ")
_INSIDE = re.compile(rb"Traceback \(most recent|File \"/|\.py\b.{0,200}line \d|[Pp]ython/3|site-packages")
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def answers(data: bytes) -> int:
    """How many answers there are in what a connection of requests got."""
    return len(_STATUS.findall(data))


def wrong_in_answers(data: bytes) -> str | None:
    """What is wrong with all that a connection of requests got, None if nothing."""
    if not data:
        return None
    if not data.startswith(b"HTTP/"):
        return f"the answer is no HTTP: {data[:60]!r}"
    for status in _STATUS.findall(data):
        # Whatever a client sends, the mistake is the client's. Another version of HTTP, or a method that the
        # server does not know, may be answered 501 or 505 (HAND-3, HTTP-6).
        if status.startswith(b"5") and status not in (b"501", b"505"):
            return f"the answer is {status.decode()}: {data[:200]!r}"
        if status == b"101":
            # What follows are frames.
            return None
    if inside := _INSIDE.search(data):
        return f"the answer shows the inside: {inside.group()!r}"
    return None


def wrong_in_frames(data: bytes, sent: Sent, last_pong: bytes) -> str | None:  # noqa: PLR0911 - a list of rules
    """What is wrong with all that a WebSocket got after the handshake, None if nothing."""
    decoder = FrameDecoder()
    try:
        frames = decoder.feed(data)
    except FrameError as error:
        return f"a frame that cannot be read: {error}"
    for frame in frames:
        if (illegal := check_frame(frame, from_client=False)) is not None:
            return f"a frame that is not legal: {illegal}"
        if frame.opcode == Opcode.CLOSE and frame.close_code not in CLOSE_CODES:
            return f"the close code is {frame.close_code}"
        if frame.opcode == Opcode.TEXT and (inside := _INSIDE.search(frame.payload)):
            return f"a message shows the inside: {inside.group()!r}"
    if not sent.legal:
        return None
    if any(frame.opcode == Opcode.PONG and frame.payload == last_pong for frame in frames):
        return None
    if any(frame.opcode == Opcode.CLOSE and frame.close_code == TOO_FAST for frame in frames):
        return None
    last = frames[-1] if frames else None
    return f"all was legal, and the last ping got no pong; the last frame was {str(last)[:200]}"


def wrong_in_log(line: bytes) -> str | None:
    """What is wrong with one line of the log, without its line end, None if nothing."""
    if b"Traceback (most recent call last)" in line:
        return "a traceback in the log"
    if len(line) > LINE_MOST:
        return f"a line of {len(line):,} bytes in the log"
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return f"bytes in the log that are no UTF-8: {line[:200]!r}"
    if not text.isprintable():
        # Control characters and line ends of a client would forge lines of the log, or change a terminal
        # (HTTP-6). Two joiners of scripts and emoji are of the same category and do neither.
        for character in text:
            if unicodedata.category(character) in _UNSAFE and character not in "\t\u200c\u200d":
                return f"the character {character!r} in the log: {text[:200]!r}"
    return None
