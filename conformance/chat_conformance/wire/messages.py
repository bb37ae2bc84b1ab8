"""Messages from fragments."""

from __future__ import annotations

from dataclasses import dataclass

from chat_conformance.wire.frames import MAX_PAYLOAD, Frame, FrameError, Opcode


@dataclass(frozen=True, slots=True)
class Message:
    """One data message, its fragments joined.

    Attributes:
        opcode: ``Opcode.TEXT`` or ``Opcode.BINARY``.
        payload: The joined bytes; UTF-8 when the opcode is TEXT.
    """

    opcode: int
    payload: bytes

    @property
    def text(self) -> str:
        """The payload as text."""
        return self.payload.decode()


class MessageJoiner:
    """Messages from data frames in order of arrival (RFC 6455 §5.4).

    Args:
        max_message: The longest message that is taken in, in bytes.
    """

    def __init__(self, *, max_message: int = MAX_PAYLOAD) -> None:
        self._max_message = max_message
        self._opcode: int | None = None
        self._payload = bytearray()

    def add(self, frame: Frame) -> Message | None:
        """Add a data frame and return the message it completes, if any.

        Raises:
            FrameError: The frame does not belong here (1002), the message is too long (1009) or is text
                that is not UTF-8 (1007).
        """
        assert not frame.is_control
        if frame.opcode == Opcode.CONTINUATION and self._opcode is None:
            raise FrameError(1002, "§5.4", "a continuation frame without a message to continue")
        if frame.opcode != Opcode.CONTINUATION and self._opcode is not None:
            raise FrameError(1002, "§5.4", "a new message begins before the last one ended")
        # Before it is added: endless small fragments must not take more memory than one large message.
        if len(self._payload) + len(frame.payload) > self._max_message:
            raise FrameError(1009, "§10.4", f"a message of more than {self._max_message} bytes")
        opcode = self._opcode = frame.opcode if self._opcode is None else self._opcode
        self._payload += frame.payload
        if not frame.fin:
            return None
        message = Message(opcode, bytes(self._payload))
        self._opcode = None
        self._payload.clear()
        # Not by fragment: a character of several bytes may be cut by the boundary of two (RFC 6455 §5.4).
        if opcode == Opcode.TEXT:
            _check_utf8(message.payload)
        return message


def _check_utf8(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise FrameError(1007, "§8.1", f"text that is not UTF-8 at byte {error.start}") from None
