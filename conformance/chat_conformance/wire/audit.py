"""What RFC 6455 forbids a client to send, looked for in what the suite itself sends."""

from __future__ import annotations

from chat_conformance.wire.frames import Frame, FrameDecoder, FrameError, Opcode, check_frame
from chat_conformance.wire.messages import MessageJoiner

HEAD_END = b"\r\n\r\n"


class Audit:
    """One connection's outgoing bytes, read as a strict server would read them.

    Attributes:
        fault: The first thing that is wrong, in words; None as long as all is right.
    """

    def __init__(self) -> None:
        self.fault: str | None = None
        self._head: bytes | None = b""
        self._decoder = FrameDecoder()
        self._joiner = MessageJoiner()
        self._closed = False

    def feed(self, data: bytes) -> None:
        """Look at bytes that are sent; the first ones are an HTTP head."""
        # Sends are cut anywhere: the head may come in several writes, and frames may follow it in the same
        # one.
        if self._head is not None:
            head, end, data = (self._head + data).partition(HEAD_END)
            self._head = None if end else head
        if self.fault is not None or not data:
            return
        try:
            for frame in self._decoder.feed(data):
                self._check(frame)
        except FrameError as error:
            self.fault = str(error)

    def _check(self, frame: Frame) -> None:
        # The server may close as soon as it has our close frame, so whatever follows it may or may not
        # arrive.
        if self._closed:
            raise FrameError(1002, "§5.5.1", f"opcode {frame.opcode} after a close frame")
        if (error := check_frame(frame, from_client=True)) is not None:
            raise error
        if frame.opcode == Opcode.CLOSE:
            self._closed = True
        elif not frame.is_control:
            self._joiner.add(frame)
