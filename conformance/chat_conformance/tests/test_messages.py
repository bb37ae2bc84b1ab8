from __future__ import annotations

import pytest

from chat_conformance.wire.frames import Frame, FrameError, Opcode
from chat_conformance.wire.messages import Message, MessageJoiner

TEXT, BINARY, MORE = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION


def test_one_frame_is_a_message() -> None:
    assert MessageJoiner().add(Frame(TEXT, b"hi")) == Message(TEXT, b"hi")


def test_fragments_are_joined_even_inside_a_character() -> None:
    joiner = MessageJoiner()
    parts = [joiner.add(Frame(TEXT, b"\xe2", fin=False)), joiner.add(Frame(MORE, b"\x82", fin=False))]

    assert parts == [None, None]
    message = joiner.add(Frame(MORE, b"\xac"))
    assert message is not None
    assert message.text == "€"


def test_messages_follow_each_other() -> None:
    joiner = MessageJoiner()

    assert joiner.add(Frame(BINARY, b"\xff", fin=False)) is None
    assert joiner.add(Frame(MORE, b"\xfe")) == Message(BINARY, b"\xff\xfe")
    assert joiner.add(Frame(TEXT, b"")) == Message(TEXT, b"")


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([Frame(MORE, b"a")], 1002),
        ([Frame(TEXT, b"", fin=False), Frame(TEXT, b"b")], 1002),
        ([Frame(TEXT, b"\xff")], 1007),
        ([Frame(TEXT, b"\xed\xa0\x80")], 1007),
        ([Frame(BINARY, bytes(6), fin=False), Frame(MORE, bytes(5))], 1009),
    ],
    ids=["nothing-to-continue", "not-continued", "not-utf8", "surrogate", "too-long"],
)
def test_what_the_order_of_fragments_forbids(frames: list[Frame], code: int) -> None:
    joiner = MessageJoiner(max_message=10)
    for frame in frames[:-1]:
        assert joiner.add(frame) is None

    with pytest.raises(FrameError) as caught:
        joiner.add(frames[-1])

    assert caught.value.code == code
