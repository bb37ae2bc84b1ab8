"""The fuzzer finds what is planted, makes it small, and can do it again."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import msgspec
import pytest

from chat_conformance.fuzz import frames, play, requests, texts
from chat_conformance.fuzz import run as run_module
from chat_conformance.fuzz.judge import wrong_in_answers, wrong_in_frames, wrong_in_log
from chat_conformance.fuzz.run import DESCRIPTORS, Report, run
from chat_conformance.fuzz.sent import Kind, Sent
from chat_conformance.fuzz.shrink import shrunk
from chat_conformance.target.file import Target, Variants, load

REFERENCE = Path(__file__).parents[2] / "targets" / "reference.toml"


def planted(fault: str) -> Target:
    words = ("{python}", "-m", "chat_conformance.fuzz.tests.planted", fault, "{port}", "{data}", "{claude}")
    return msgspec.structs.replace(load(str(REFERENCE)), start=words)


def fuzz(fault: str, most_frames: int, most_requests: int) -> Report:
    target = planted(fault)
    return asyncio.run(
        run(target, seed="1", most_frames=most_frames, most_requests=most_requests, say=lambda _: None)
    )


PLANTED = [
    pytest.param("fails_at_an_odd_range", "the answer is 503", b"bytes=a-b", id="error"),
    pytest.param("dies_at_an_odd_range", "", b"bytes=9-1", id="death"),
    pytest.param("logs_what_it_got", "in the log", b"", id="log"),
]


@pytest.mark.parametrize(("fault", "words", "piece"), PLANTED)
def test_planted_fault_is_found_and_small(fault: str, words: str, piece: bytes) -> None:
    report = fuzz(fault, 0, 4_000)

    assert report.wrong is not None
    assert words in report.wrong
    assert report.smallest is not None
    assert len(report.smallest.pieces) == 1
    assert piece in report.smallest.pieces[0]


@pytest.mark.parametrize(
    ("fault", "words"), [("leaks_memory", "memory has grown"), ("leaks_descriptors", "more open descriptors")]
)
def test_planted_leak_is_found(fault: str, words: str) -> None:
    report = fuzz(fault, 0, 4_000)

    assert report.wrong is not None
    assert words in report.wrong


def test_kept_processes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "TURN_ONE_IN", 50)
    monkeypatch.setattr(run_module, "ROUND", 20)

    report = fuzz("keeps_processes", 3_000, 0)

    assert report.wrong is not None
    assert "more processes" in report.wrong


def test_warm_processes_are_no_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "TURN_ONE_IN", 50)
    monkeypatch.setattr(run_module, "ROUND", 20)
    target = msgspec.structs.replace(load(str(REFERENCE)), variants=Variants())
    said: list[str] = []

    report = asyncio.run(run(target, seed="1", most_frames=3_000, most_requests=0, say=said.append))

    assert report.wrong is None
    assert said[-1].startswith("no growth")
    warm = re.search(r"(\d+) processes", said[-1])
    assert warm is not None
    assert 3 * int(warm[1]) > DESCRIPTORS  # had their pipes been counted, it would be growth


def test_missing_pong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play, "WITHIN", 2.0)  # each step of making it small waits so long

    report = fuzz("forgets_the_last_ping", 2_000, 0)

    assert report.wrong is not None
    assert "the connection is still open" in report.wrong


def test_same_seed_makes_the_same() -> None:
    for module in (frames, requests):
        assert module.connection("s", 5) == module.connection("s", 5)
        assert module.connection("s", 5) != module.connection("t", 5)


def test_generated_connections_are_varied() -> None:
    made = [frames.connection("s", number) for number in range(300)]
    assert {each.legal for each in made} == {True, False}
    assert {bool(each.cuts) for each in made} == {True, False}
    assert {each.leaves for each in made} == {True, False}
    assert len({piece for each in made for piece in each.pieces}) > 10_000


@pytest.mark.parametrize(
    "line",
    [
        b"a\x1b[2J",
        b"\x9b",
        "\x85".encode(),
        "\u202e".encode(),
        b'"traceback":"Traceback (most recent call last):',
        b"x" * 20_000,
        b"\xff",
    ],
)
def test_unsafe_line_of_the_log_is_wrong(line: bytes) -> None:
    assert wrong_in_log(line) is not None


def test_ordinary_line_of_the_log_is_right() -> None:
    assert wrong_in_log('{"message":"é \\\\x1b \N{WOMAN}\u200d"}'.encode()) is None


ANSWERS = [
    (b"", False),
    (b"HTTP/1.1 200 OK\r\n\r\n", False),
    (b"HTTP/1.1 404 Not Found\r\n\r\nHTTP/1.1 500 Oh\r\n", True),
    (b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x00HTTP/1.1 500 ", False),
    (b"SSH-2.0", True),
    (b'HTTP/1.1 400 Bad\r\n\r\nFile "/srv/x.py", line 3', True),
]


@pytest.mark.parametrize(("data", "wrong"), ANSWERS)
def test_answers_are_judged(data: bytes, wrong: bool) -> None:  # noqa: FBT001
    assert (wrong_in_answers(data) is not None) == wrong


FRAMES = [
    (b"\x8a\x01x", True, False),
    (b"", True, True),
    (b"", False, False),
    (b"\x88\x02\x03\xf0", True, False),  # 1008
    (b"\x88\x02\x03\xe8", True, True),  # 1000, though all was legal
    (b"\x88\x02\x03\xee", False, True),  # 1006
    (b"\x8a\x81aaaax", False, True),  # masked
    (b"\xc1\x00", False, True),  # reserved bits
]


@pytest.mark.parametrize(("data", "legal", "wrong"), FRAMES)
def test_frames_are_judged(data: bytes, legal: bool, wrong: bool) -> None:  # noqa: FBT001
    sent = Sent(Kind.FRAMES, 1, (b"x",), 1, legal)
    assert (wrong_in_frames(data, sent, b"x") is not None) == wrong


async def test_input_is_made_small() -> None:
    sent = Sent(Kind.REQUESTS, 1, tuple(b"%d" % number for number in range(100)), 100, legal=True)

    async def shows(some: Sent) -> bool:
        return b"17" in some.pieces and b"61" in some.pieces

    assert (await shrunk(sent, shows)).pieces == (b"17", b"61")
