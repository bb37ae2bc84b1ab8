"""What comes in is passed on piece by piece, no faster than is allowed, and whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chat_conformance.wire.frames import Frame, Opcode, encode_frame
from chat_server.web.inflow import BURST_SECONDS, FLOOD_SECONDS, FRAME_COST, FRAMES_AT_ONCE, Inflow

MASK = b"\x01\x02\x03\x04"
EMPTY = encode_frame(Frame(Opcode.TEXT, b"", mask=MASK))
CONTINUED = encode_frame(Frame(Opcode.CONTINUATION, b"", fin=False, mask=MASK))


class Loop:
    """Calls that are due by a clock that is moved."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[Call] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, do: Callable[..., object], *args: Any) -> Call:
        return self.call_later(0.0, do, *args)

    def call_later(self, seconds: float, do: Callable[..., object], *args: Any) -> Call:
        self.calls.append(Call(self.now + seconds, do, args))
        return self.calls[-1]

    def round(self) -> None:
        """Make the calls that are due."""
        due = [each for each in self.calls if each.at <= self.now]
        self.calls = [each for each in self.calls if each.at > self.now]
        for each in due:
            if not each.cancelled:
                each.do(*each.args)

    def run(self, seconds: float) -> None:
        """Let time pass, from call to call."""
        end = self.now + seconds
        while (live := [each.at for each in self.calls if not each.cancelled]) and min(live) <= end:
            self.now = max(self.now, min(live))
            self.round()
        self.now = end


class Call:
    def __init__(self, at: float, do: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.at, self.do, self.args, self.cancelled = at, do, args, False

    def cancel(self) -> None:
        self.cancelled = True


class Wire:
    """The reader behind, and the socket before."""

    def __init__(self, *, rate: float = 0, seconds: float = 60.0, most: int = 10**9) -> None:
        self.loop = Loop()
        self.fed: list[bytes] = []
        self.paused = self.closed = self.dropped = False
        self.faulty = False
        self.waiting, self.most = 0, most
        self.excess: list[tuple[int, str]] = []
        self.inflow = Inflow(self.loop, rate=rate, seconds=seconds, wait=self.wait)  # type: ignore[arg-type]
        self.inflow.attach(self, self)
        self.inflow.on_excess = lambda code, reason: self.excess.append((code, reason))

    def wait(self, more: int) -> bool:
        self.waiting += more
        return self.waiting <= self.most

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.fed.append(data)
        return self.faulty, b""

    def feed_eof(self) -> None:
        self.fed.append(b"")

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closed = True

    def drop(self) -> None:
        self.dropped = True

    def sent(self, data: bytes) -> None:
        self.inflow.feed_data(data)

    @property
    def read(self) -> bytes:
        return b"".join(self.fed)


def test_few_frames_pass_at_once() -> None:
    wire = Wire(rate=2**20)
    wire.sent(EMPTY * FRAMES_AT_ONCE)

    assert wire.fed == [EMPTY * FRAMES_AT_ONCE]
    assert not wire.paused


def test_many_frames_pass_in_batches() -> None:
    wire = Wire()
    wire.sent(EMPTY * (2 * FRAMES_AT_ONCE) + EMPTY[:3])
    assert wire.paused
    assert len(wire.fed) == 1
    wire.loop.round()
    assert len(wire.fed) == 2
    wire.loop.round()

    assert wire.read == EMPTY * (2 * FRAMES_AT_ONCE) + EMPTY[:3]
    assert [len(piece) // len(EMPTY) for piece in wire.fed] == [FRAMES_AT_ONCE, FRAMES_AT_ONCE, 0]
    assert not wire.paused


def test_what_still_comes_waits_its_turn() -> None:
    wire = Wire()
    wire.sent(EMPTY * (2 * FRAMES_AT_ONCE))
    wire.sent(CONTINUED)
    wire.loop.run(0)

    assert wire.read == EMPTY * (2 * FRAMES_AT_ONCE) + CONTINUED
    assert not wire.paused


def test_large_input_yields_to_others() -> None:
    wire = Wire()
    wire.sent(encode_frame(Frame(Opcode.BINARY, bytes(1_000_000), mask=MASK))[:200_000])
    assert wire.paused
    wire.loop.round()

    assert not wire.paused


@pytest.mark.parametrize("frame", [EMPTY, CONTINUED], ids=["messages", "continuations"])
def test_flood_comes_at_the_rate(frame: bytes) -> None:
    rate = 2**20
    wire = Wire(rate=rate)
    burst = int(rate * BURST_SECONDS) // (FRAME_COST + len(frame))
    wire.sent(frame * 100_000)
    wire.loop.run(0)
    assert burst <= len(wire.read) // len(frame) <= burst + FRAMES_AT_ONCE
    wire.loop.run(5)

    expected = burst + 5 * rate // (FRAME_COST + len(frame))
    assert abs(len(wire.read) // len(frame) - expected) <= 2 * FRAMES_AT_ONCE
    assert wire.paused
    assert wire.excess == []


def test_endless_flood_is_closed() -> None:
    wire = Wire(rate=2**20)
    wire.sent(EMPTY * 100_000)
    wire.loop.run(FLOOD_SECONDS + 1)

    assert wire.excess == [(1008, "too many frames, or bytes, in a second")]
    wire.sent(EMPTY)
    assert wire.inflow.feed_data(EMPTY) == (False, b"")
    fed = len(wire.fed)
    wire.loop.run(10)
    assert len(wire.fed) == fed


def test_each_flood_has_its_pauses() -> None:
    wire = Wire(rate=2**20)
    for _ in range(5):
        wire.sent(EMPTY * 2_500)
        wire.loop.run(3 * BURST_SECONDS)

    assert wire.excess == []
    assert len(wire.read) == 5 * 2_500 * len(EMPTY)


def test_full_queue_pauses_input() -> None:
    wire = Wire()
    wire.sent(EMPTY * (2 * FRAMES_AT_ONCE))
    wire.inflow.full = True
    wire.loop.round()
    wire.sent(EMPTY)
    assert len(wire.fed) == 1
    assert wire.paused
    wire.inflow.full, wire.paused = False, False  # as the protocol does
    wire.inflow.resumed()
    assert wire.paused
    wire.loop.run(0)

    assert wire.read == EMPTY * (2 * FRAMES_AT_ONCE + 1)
    assert not wire.paused


def test_overdue_message_is_closed() -> None:
    wire = Wire(seconds=60)
    wire.sent(encode_frame(Frame(Opcode.TEXT, b"a", fin=False, mask=MASK)))
    for _ in range(5):
        wire.loop.run(11)
        wire.sent(CONTINUED)
    assert wire.excess == []
    wire.loop.run(6)

    assert wire.excess == [(1008, "a message was not complete after 60 seconds")]


def test_half_a_header_grows_old_too() -> None:
    wire = Wire(seconds=60)
    wire.sent(EMPTY[:1])
    wire.loop.run(61)

    assert len(wire.excess) == 1


def test_each_message_has_its_own_time() -> None:
    wire = Wire(seconds=60)
    whole = encode_frame(Frame(Opcode.TEXT, b"abc", mask=MASK))
    wire.sent(whole[:5])
    for _ in range(9):
        wire.loop.run(50)
        wire.sent(whole[5:] + whole[:5])
    wire.sent(whole[5:])
    wire.loop.run(61)

    assert wire.excess == []


def test_pings_do_not_reset_deadline() -> None:
    wire = Wire(seconds=60)
    wire.sent(encode_frame(Frame(Opcode.TEXT, b"a", fin=False, mask=MASK)))
    for _ in range(7):
        wire.loop.run(10)
        wire.sent(encode_frame(Frame(Opcode.PING, b"", mask=MASK)))

    assert len(wire.excess) == 1


def test_queued_bytes_are_counted() -> None:
    wire = Wire()
    wire.sent(encode_frame(Frame(Opcode.TEXT, bytes(1000), mask=MASK)) * 2)
    wire.sent(encode_frame(Frame(Opcode.TEXT, bytes(1000), mask=MASK))[:508])
    assert wire.waiting == 2500
    wire.inflow.taken()
    assert wire.waiting == 1500
    wire.inflow.close()

    assert wire.waiting == 0


def test_too_many_waiting_bytes_are_closed() -> None:
    wire = Wire(most=1500)
    piece = encode_frame(Frame(Opcode.TEXT, bytes(1000), fin=False, mask=MASK))
    wire.sent(piece)
    wire.sent(encode_frame(Frame(Opcode.CONTINUATION, bytes(1000), fin=False, mask=MASK)))

    assert wire.excess == [(1008, "too much of your messages waits, or is unfinished")]
    assert wire.read == piece


def test_excess_without_listener_drops_connection() -> None:
    wire = Wire(most=10)
    wire.inflow.on_excess = None
    wire.sent(encode_frame(Frame(Opcode.TEXT, bytes(1000), mask=MASK)))

    assert wire.dropped


def test_faulty_later_frame_closes() -> None:
    wire = Wire()
    wire.sent(EMPTY * (2 * FRAMES_AT_ONCE))
    wire.faulty = True
    wire.loop.round()

    assert wire.closed


def test_nothing_is_left_after_the_end() -> None:
    wire = Wire(rate=2**20)
    wire.sent(EMPTY * 100_000)
    wire.sent(EMPTY[:2])
    wire.inflow.close()

    assert all(each.cancelled for each in wire.loop.calls)
    wire.inflow.feed_eof()
    assert wire.fed[-1] == b""
