from __future__ import annotations

import functools
from pathlib import Path

import pytest

from chat_conformance.__main__ import main
from chat_conformance.suite import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.tests.test_main import target
from chat_conformance.wire.audit import Audit
from chat_conformance.wire.frames import Frame, Opcode, close_frame, encode_frame
from chat_conformance.wire.peer import MASK

HEAD = b"GET /chat/ws HTTP/1.1\r\nHost: a\r\n\r\n"
TEXT = Frame(Opcode.TEXT, b"{}", mask=MASK)


def fault_of(*frames: Frame) -> str | None:
    audit = Audit()
    for byte in HEAD + b"".join(map(encode_frame, frames)):
        audit.feed(bytes([byte]))
    return audit.fault


@pytest.mark.parametrize(
    "frames",
    [
        [TEXT],
        [
            Frame(Opcode.TEXT, b"\xe2", fin=False, mask=MASK),
            Frame(Opcode.CONTINUATION, b"\x82\xac", mask=MASK),
        ],
        [Frame(Opcode.PING, bytes(125), mask=MASK), close_frame(4000, "why", mask=MASK)],
    ],
)
def test_what_a_client_may_send_is_no_fault(frames: list[Frame]) -> None:
    assert fault_of(*frames) is None


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([Frame(Opcode.TEXT, b"{}")], "not masked"),
        ([TEXT, Frame(Opcode.CONTINUATION, b"", mask=MASK)], "without a message to continue"),
        ([Frame(Opcode.TEXT, b"\xff", mask=MASK)], "not UTF-8"),
        ([close_frame(mask=MASK), TEXT], "opcode 1 after a close frame"),
        ([Frame(Opcode.PING, bytes(126), mask=MASK)], "126 bytes"),
    ],
)
def test_what_no_client_may_send_is_a_fault(frames: list[Frame], why: str) -> None:
    assert why in (fault_of(*frames) or "")


def test_the_suite_blames_itself_for_what_it_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case.all_cases()

    # Wrapped, since a case is looked for in the file of its function.
    @functools.wraps(case.case_function("http/health"))
    async def sends_a_bare_frame(chat: CaseContext) -> None:
        async with chat.connector.wire() as peer:
            await peer.send_bytes(HEAD)
            await peer.send(Frame(Opcode.PING))

    monkeypatch.setitem(case._functions, "http/health", sends_a_bare_frame)

    assert main(["run", "--target", target(tmp_path, "good"), "--select", "http/health"]) == 3
    shown = capsys.readouterr().out
    assert "could not test: blamed on suite/own-bytes" in shown
    assert "suite/own-bytes: What the suite sends is what RFC 6455 lets a client send" in shown
    assert "in http/health: on ws1 the suite sent a frame from the client is not masked" in shown
