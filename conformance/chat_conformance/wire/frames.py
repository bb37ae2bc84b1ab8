"""One RFC 6455 frame: bytes to values and back, and what is illegal about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Opcode(IntEnum):
    """The opcodes that RFC 6455 §5.2 defines; a `Frame` may carry any other of the sixteen."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


# A server must take messages of 2 MiB; what it sends itself may not be endless either.
MAX_PAYLOAD: Final = 64 * 1024 * 1024


class FrameError(Exception):
    """Bytes that RFC 6455 forbids.

    Attributes:
        code: The close code that answers it (1002, 1007 or 1009).
        section: Where RFC 6455 says so, as ``§5.2``.
        reason: What is wrong, with the value found.
        frames: Frames that were complete before the error, oldest first.
    """

    def __init__(self, code: int, section: str, reason: str, frames: tuple[Frame, ...] = ()) -> None:
        self.code = code
        self.section = section
        self.reason = reason
        self.frames = frames
        super().__init__(f"{reason} (RFC 6455 {section}, close code {code})")


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, legal or not.

    Attributes:
        opcode: 0 to 15; an `Opcode` where it is a known one.
        payload: The bytes as meant, that is, unmasked.
        fin: Whether it is the last fragment of its message.
        rsv: The reserved bits, 0 to 7; RSV1 is 4.
        mask: The masking key of four bytes, or None for an unmasked frame.
        length_bytes: 2 or 8 where the payload length is written longer than needed, None where it is
            written as short as it can be.
    """

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0
    mask: bytes | None = None
    length_bytes: int | None = None

    @property
    def is_control(self) -> bool:
        """Whether it is a control frame, known or reserved (RFC 6455 §5.5)."""
        return self.opcode >= 8

    @property
    def close_code(self) -> int | None:
        """The code of a close frame, None where it carries none."""
        return int.from_bytes(self.payload[:2], "big") if len(self.payload) >= 2 else None

    @property
    def close_reason(self) -> str:
        """The reason of a close frame, with U+FFFD for what is not UTF-8."""
        return self.payload[2:].decode(errors="replace")


def close_frame(code: int | None = 1000, reason: str = "", *, mask: bytes | None = None) -> Frame:
    """A close frame with that code; None gives an empty payload."""
    payload = b"" if code is None else code.to_bytes(2, "big") + reason.encode()
    return Frame(Opcode.CLOSE, payload, mask=mask)


def apply_mask(payload: bytes, mask: bytes) -> bytes:
    """Mask or unmask by RFC 6455 §5.3."""
    if not payload:
        return b""
    # One XOR of two huge integers runs in C; a loop over the bytes of megabytes would hold up every other case
    # of the run.
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big")


def shortest_length_bytes(length: int) -> int:
    """How many extended length bytes RFC 6455 §5.2 asks for: 0, 2 or 8."""
    if length < 126:
        return 0
    return 2 if length < 1 << 16 else 8


def encode_frame(frame: Frame, *, announced: int | None = None) -> bytes:
    """The bytes of any frame, wrong ones included.

    Args:
        frame: What to write.
        announced: A payload length to write in place of the true one.

    Raises:
        ValueError: The frame has no form at all, such as a mask of three bytes.
    """
    # The header says `announced`, and the payload stays as it is: so a case sends a frame that never comes to
    # its end.
    length = len(frame.payload) if announced is None else announced
    extended = shortest_length_bytes(length) if frame.length_bytes is None else frame.length_bytes
    if extended not in (0, 2, 8) or extended < shortest_length_bytes(length):
        raise ValueError(f"a length of {length} cannot be written in {extended} extended bytes")
    if not 0 <= frame.opcode <= 15 or not 0 <= frame.rsv <= 7:
        raise ValueError(f"opcode {frame.opcode} or reserved bits {frame.rsv} do not fit their fields")
    if frame.mask is not None and len(frame.mask) != 4:
        raise ValueError(f"a masking key has 4 bytes, not {len(frame.mask)}")

    short = {0: length, 2: 126, 8: 127}[extended]
    head = bytes([frame.fin << 7 | frame.rsv << 4 | frame.opcode, (frame.mask is not None) << 7 | short])
    head += length.to_bytes(extended, "big") if extended else b""
    if frame.mask is None:
        return head + frame.payload
    return head + frame.mask + apply_mask(frame.payload, frame.mask)


class FrameDecoder:
    """Frames from a stream of bytes, however the bytes are cut. It reads what can be read and judges nothing.

    Args:
        max_payload: The longest payload that is taken in, in bytes.
    """

    def __init__(self, *, max_payload: int = MAX_PAYLOAD) -> None:
        self._max_payload = max_payload
        self._buffer = bytearray()
        self._error: FrameError | None = None

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished frame are held."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Add received bytes and return the frames they complete, oldest first.

        Raises:
            FrameError: A frame announces more than ``max_payload`` bytes (1009) or a length with the
                highest bit set (1002). Nothing after it can be read, so every later call raises it too.
        """
        if self._error is not None:
            raise FrameError(self._error.code, self._error.section, self._error.reason)
        self._buffer += data
        frames: list[Frame] = []
        start = 0
        try:
            while (step := self._maybe_frame(start)) is not None:
                frame, start = step
                frames.append(frame)
        except FrameError as error:
            self._error = error
            self._buffer.clear()
            raise FrameError(error.code, error.section, error.reason, tuple(frames)) from None
        del self._buffer[:start]
        return frames

    def _maybe_frame(self, start: int) -> tuple[Frame, int] | None:
        """The frame that begins at ``start`` with the place of the next one, None if bytes are missing."""
        # A frame (RFC 6455 §5.2) is two bytes, up to eight more of length, four of a mask if there is one,
        # and the payload. 81 05 48 65 6c 6c 6f is "Hello": FIN and opcode 1, no mask and length 5, then the
        # text. 126 in place of a length says that two bytes of length follow, 127 eight. Nothing is taken out
        # of the buffer until the frame is complete.
        buffer = self._buffer
        if len(buffer) < start + 2:
            return None
        first, second = buffer[start], buffer[start + 1]
        at = start + 2
        length = second & 0x7F
        extended = {126: 2, 127: 8}.get(length, 0)
        if len(buffer) < at + extended:
            return None
        if extended:
            length = int.from_bytes(buffer[at : at + extended], "big")
            at += extended
        # Both are judged before the payload is waited for: of what such a frame announces nothing may ever
        # come.
        if length >> 63:
            raise FrameError(1002, "§5.2", f"the highest bit of a 64-bit length is set: {length}")
        if length > self._max_payload:
            raise FrameError(
                1009, "§10.4", f"a frame of {length} bytes; at most {self._max_payload} are taken"
            )
        masked = bool(second & 0x80)
        if len(buffer) < at + 4 * masked + length:
            return None
        mask = bytes(buffer[at : at + 4]) if masked else None
        at += 4 * masked
        payload = bytes(buffer[at : at + length])
        number = first & 0x0F
        frame = Frame(
            opcode=Opcode(number) if number in OPCODES else number,
            payload=payload if mask is None else apply_mask(payload, mask),
            fin=bool(first & 0x80),
            rsv=first >> 4 & 0x07,
            mask=mask,
            # A length in more bytes than it needs is forbidden, too, but it can be read: `check_frame` is
            # where it is judged.
            length_bytes=extended if extended > shortest_length_bytes(length) else None,
        )
        return frame, at + length


OPCODES: Final = frozenset(Opcode)


def check_frame(frame: Frame, *, from_client: bool) -> FrameError | None:
    """What RFC 6455 has against this frame alone, None if nothing. Fragment order is `MessageJoiner`'s."""
    if frame.rsv:
        return FrameError(1002, "§5.2", f"reserved bits are set: {frame.rsv:03b}")
    if frame.opcode not in OPCODES:
        return FrameError(1002, "§5.2", f"opcode {frame.opcode} is reserved")
    if frame.length_bytes is not None:
        return FrameError(1002, "§5.2", f"a length of {len(frame.payload)} is written longer than needed")
    if from_client != (frame.mask is not None):
        wrong = "client is not masked" if from_client else "server is masked"
        return FrameError(1002, "§5.1", f"a frame from the {wrong}")
    if frame.is_control:
        return _check_control(frame)
    return None


def _check_control(frame: Frame) -> FrameError | None:
    if not frame.fin:
        return FrameError(1002, "§5.5", "a control frame is fragmented")
    if len(frame.payload) > 125:
        return FrameError(
            1002, "§5.5", f"a control frame of {len(frame.payload)} bytes; at most 125 are allowed"
        )
    if frame.opcode == Opcode.CLOSE and frame.payload:
        return _check_close_payload(frame)
    return None


def _check_close_payload(frame: Frame) -> FrameError | None:
    if frame.close_code is None:
        return FrameError(1002, "§5.5.1", "a close frame of 1 byte has no room for a code")
    if not is_wire_code(frame.close_code):
        return FrameError(1002, "§7.4", f"close code {frame.close_code} is not allowed on the wire")
    try:
        frame.payload[2:].decode()
    except UnicodeDecodeError:
        return FrameError(1007, "§5.5.1", "the close reason is not UTF-8")
    return None


def is_wire_code(code: int) -> bool:
    """Whether a close frame may carry this code (RFC 6455 §7.4.1, §7.4.2 and its IANA registry)."""
    # 1004 is reserved; 1005, 1006 and 1015 only stand for something inside a program and must not be sent.
    # 1012 to 1014 came after the RFC, by its registry; 3000 to 4999 are for libraries and applications.
    return code in {1000, 1001, 1002, 1003} or 1007 <= code <= 1014 or 3000 <= code <= 4999
