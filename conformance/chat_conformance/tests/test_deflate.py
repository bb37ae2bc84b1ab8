from __future__ import annotations

import zlib

import pytest

from chat_conformance.wire.deflate import Inflater
from chat_conformance.wire.frames import Frame, FrameError, Opcode


def deflated(stream: zlib._Compress, text: bytes) -> bytes:
    return (stream.compress(text) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize("answer", ["permessage-deflate", "permessage-deflate; server_no_context_takeover"])
def test_compressed_messages_become_plain_ones(answer: str) -> None:
    inflater, stream = Inflater(answer), zlib.compressobj(wbits=-15)
    for text in (b"again and again " * 9, b"again and again " * 9):
        if "no_context" in answer:
            stream = zlib.compressobj(wbits=-15)
        data = deflated(stream, text)
        assert inflater.take(Frame(Opcode.TEXT, data[:3], fin=False, rsv=4)) is None
        assert inflater.take(Frame(Opcode.PING, b"between")) == Frame(Opcode.PING, b"between")
        assert inflater.take(Frame(Opcode.CONTINUATION, data[3:])) == Frame(Opcode.TEXT, text)


def test_what_is_not_compressed_stays_as_it_is() -> None:
    parts = [Frame(Opcode.TEXT, b"a", fin=False), Frame(Opcode.CONTINUATION, b"b"), Frame(Opcode.TEXT, rsv=2)]
    inflater = Inflater("permessage-deflate")

    assert [inflater.take(part) for part in parts] == parts


def test_broken_deflate_is_an_error() -> None:
    with pytest.raises(FrameError, match="cannot be inflated"):
        Inflater("permessage-deflate").take(Frame(Opcode.TEXT, b"\xff\xff\xff", rsv=4))


@pytest.mark.parametrize("bits", ["0", "7", "16", "1" * 5_000])
def test_unknown_window_is_refused(bits: str) -> None:
    with pytest.raises(FrameError, match="a window of"):
        Inflater(f"permessage-deflate; server_max_window_bits={bits}")


def test_bomb_is_not_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_conformance.wire.deflate.MAX_PAYLOAD", 1_000)

    with pytest.raises(FrameError, match="more than 1000 bytes"):
        Inflater("permessage-deflate").take(
            Frame(Opcode.TEXT, deflated(zlib.compressobj(wbits=-15), bytes(2_000)), rsv=4)
        )


def test_endless_fragments_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_conformance.wire.deflate.MAX_PAYLOAD", 1_000)
    inflater = Inflater("permessage-deflate")
    inflater.take(Frame(Opcode.TEXT, b"a" * 900, fin=False, rsv=4))

    with pytest.raises(FrameError, match="more than 1000 bytes"):
        inflater.take(Frame(Opcode.CONTINUATION, b"a" * 900, fin=False))
