"""What a server compressed by permessage-deflate (RFC 7692), as the frames that it would have sent without it."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace

from chat_conformance.errors import clip
from chat_conformance.wire.frames import MAX_PAYLOAD, Frame, FrameError

NAME = "permessage-deflate"
# RSV1.
COMPRESSED = 4
_WINDOWS = frozenset(map(str, range(8, 16)))
_BITS = re.compile(r"server_max_window_bits\s*=\s*\"?(\d+)", re.ASCII)


class Inflater:
    """Frames with their compressed messages inflated, each in one frame.

    Args:
        answer: The ``Sec-WebSocket-Extensions`` of the server, which names the extension.

    Raises:
        FrameError: It names a window that RFC 7692 does not know.
    """

    def __init__(self, answer: str) -> None:
        found = _BITS.search(answer)
        bits = found[1] if found else "15"
        if bits not in _WINDOWS:
            raise FrameError(
                1002, "RFC 7692 §7.1.2.1", f"a window of {clip(bits, 20)} bits; 8 to 15 are known"
            )
        self._bits = -int(bits)
        self._keeps = "server_no_context_takeover" not in answer
        self._stream = zlib.decompressobj(self._bits)
        self._begun: Frame | None = None
        self._payload = bytearray()

    def take(self, frame: Frame) -> Frame | None:
        """The frame as it would be without the extension; None until its message is whole.

        Raises:
            FrameError: What came is no deflated text, or is longer than `MAX_PAYLOAD`.
        """
        # RSV1 stands on the first frame of a compressed message only (RFC 7692 §6.1). So a continuation
        # counts as compressed while such a message is open, and a control frame, which is never compressed,
        # may stand between its frames.
        if frame.is_control or (self._begun is None and not frame.rsv & COMPRESSED):
            return frame
        begun = self._begun or replace(frame, rsv=frame.rsv & ~COMPRESSED, payload=b"")
        self._begun = begun
        self._payload += frame.payload
        if len(self._payload) > MAX_PAYLOAD:
            raise _too_long()
        if not frame.fin:
            return None
        self._begun, payload = None, bytes(self._payload)
        self._payload.clear()
        try:
            # Senders cut off these four bytes of every message (RFC 7692 §7.2.2). The bound is for bombs: a
            # few kilobytes may inflate to gigabytes, and what is beyond the bound stays in `unconsumed_tail`.
            text = self._stream.decompress(payload + b"\x00\x00\xff\xff", MAX_PAYLOAD)
        except zlib.error as error:
            raise FrameError(1002, "RFC 7692 §7.2.2", f"a message that cannot be inflated: {error}") from None
        if self._stream.unconsumed_tail:
            raise _too_long()
        # Otherwise a later message may refer back to the text of earlier ones, by the same window.
        if not self._keeps:
            self._stream = zlib.decompressobj(self._bits)
        return replace(begun, payload=text, fin=True, length_bytes=None)


def _too_long() -> FrameError:
    return FrameError(1009, "§10.4", f"a message of more than {MAX_PAYLOAD} bytes")
