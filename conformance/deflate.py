"""What a server compressed by permessage-deflate (RFC 7692), as the frames that it would have sent without it."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace

from conformance.frames import MAX_PAYLOAD, Frame, FrameError

NAME = "permessage-deflate"
COMPRESSED = 4  # RSV1
_BITS = re.compile(r"server_max_window_bits\s*=\s*\"?(\d+)")


class Inflater:
    """Frames with their compressed messages inflated, each in one frame.

    Args:
        answer: The ``Sec-WebSocket-Extensions`` of the server, which names the extension.
    """

    def __init__(self, answer: str) -> None:
        found = _BITS.search(answer)
        self._bits = -int(found[1]) if found else -15
        self._keeps = "server_no_context_takeover" not in answer
        self._stream = zlib.decompressobj(self._bits)
        self._begun: Frame | None = None

    def take(self, frame: Frame) -> Frame | None:
        """The frame as it would be without the extension; None until its message is whole.

        Raises:
            FrameError: What came is no deflated text.
        """
        if frame.is_control or (self._begun is None and not frame.rsv & COMPRESSED):
            return frame
        begun = self._begun or replace(frame, rsv=frame.rsv & ~COMPRESSED, payload=b"")
        self._begun = replace(begun, payload=begun.payload + frame.payload)
        if not frame.fin:
            return None
        whole, self._begun = self._begun, None
        try:
            text = self._stream.decompress(whole.payload + b"\x00\x00\xff\xff", MAX_PAYLOAD)
        except zlib.error as error:
            raise FrameError(1002, "RFC 7692 §7.2.2", f"a message that cannot be inflated: {error}") from None
        if not self._keeps:
            self._stream = zlib.decompressobj(self._bits)
        return replace(whole, payload=text, fin=True, length_bytes=None)
