"""What a noisy or hostile target sends is bounded, in size, depth and time."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest

from chat_conformance.cases.strangers import INSIDE, LOCAL
from chat_conformance.cases.web import loaded_elsewhere
from chat_conformance.errors import SENTENCE_CHARS, Failure, clip
from chat_conformance.fuzz.judge import wrong_in_answers
from chat_conformance.suite import baseline
from chat_conformance.target.output import LineCutter
from chat_conformance.wire.json_text import MAX_DEPTH, MAX_VALUES, decoded, shallow
from chat_conformance.wire.trace import MAX_LINE, Trace


def cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def test_long_text_keeps_both_ends() -> None:
    text = clip("a" * 20_000_000 + "the end")

    assert len(text) < SENTENCE_CHARS + 40
    assert text.startswith("aaa")
    assert text.endswith("the end")
    assert "19,999,007 characters left out" in text
    assert clip("a" * SENTENCE_CHARS) == "a" * SENTENCE_CHARS


def test_failure_quotes_a_bounded_part() -> None:
    failure = Failure("a" * 1_000_000, "b" * 1_000_000)

    assert len(f"{failure} {failure.expected} {failure.happened}") < 5 * SENTENCE_CHARS


def test_trace_lines_are_bounded() -> None:
    trace = Trace()
    trace.add("ws1", "<", f"HTTP 200 {'a' * 60_000}")

    assert len(trace.lines[0].text) < MAX_LINE + 40


def test_deep_values_are_refused() -> None:
    def nested(levels: int) -> object:
        value: object = []
        for _ in range(levels):
            value = {"a": [value]}
        return value

    assert shallow(nested(MAX_DEPTH // 2 - 1)) == nested(MAX_DEPTH // 2 - 1)
    with pytest.raises(RecursionError):
        shallow(nested(MAX_DEPTH))


def test_json_of_too_many_values_is_not_parsed() -> None:
    text = b"[" + b"[]," * (MAX_VALUES // 2) + b"[]]"

    assert decoded(b'{"a":[1,2]}') == {"a": [1, 2]}
    with pytest.raises(msgspec.DecodeError, match="more than 4,000,000 values"):
        decoded(text)


def test_long_log_lines_are_cut() -> None:
    cutter = LineCutter(10)
    lines = cutter.feed(b"short\n" + b"x" * 5)
    lines += cutter.feed(b"y" * 5_000)
    lines += cutter.feed(b"\n\nlast")

    assert lines == [b"short\n", "xxxxxyyyyy … (4,995 bytes left out)\n".encode(), b"\n"]
    assert cutter.end() == [b"last"]
    assert cutter.end() == []


def test_log_lines_are_cut_between_characters() -> None:
    (line,) = LineCutter(10).feed("aaaaaaaaaé and more\n".encode())

    assert line.decode() == "aaaaaaaaa … (10 bytes left out)\n"


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda n: loaded_elsewhere("<script " * n), id="tags without an end"),
        pytest.param(lambda n: loaded_elsewhere("<img src = " * n), id="addresses without a value"),
        pytest.param(lambda n: loaded_elsewhere("<img " + "src=//a " * n), id="many addresses in a tag"),
        pytest.param(lambda n: loaded_elsewhere("<img src" + " " * 8 * n), id="blanks"),
        pytest.param(lambda n: LOCAL.findall(b'src="' + b"a" * 8 * n), id="a path without an end"),
        pytest.param(lambda n: LOCAL.findall(b'src="' * n), id="paths without an end"),
        pytest.param(lambda n: INSIDE.search(":1" * 4 * n), id="colons and digits"),
        pytest.param(lambda n: INSIDE.search(":" + "1" * 8 * n), id="digits"),
        pytest.param(lambda n: wrong_in_answers(b"HTTP/1.1 200 \r\n" + b"x.py x " * n), id="names of files"),
        pytest.param(lambda n: baseline._ENTRY.match("[" + " " * 8 * n), id="an entry of blanks"),
        pytest.param(lambda n: baseline._ENTRY.match("[" * 8 * n), id="an entry of brackets"),
    ],
)
def test_odd_text_costs_little(work: Callable[[int], object]) -> None:
    # 480 KB: what grows with the square of that takes minutes. Processor time, so a busy machine is no matter.
    assert cpu(lambda: work(60_000)) < 5


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ('<script src="https://a.test/x.js"></script>', ["https://a.test/x.js"]),
        ("<LINK rel=x\n href = //b.test/y>", ["//b.test/y"]),
        ('<img alt="<" src="//c.test/z"><a href="https://d.test">', ["//c.test/z"]),
        ('<script src="x.js"></script> src="//e.test/"', []),
        ('<p title="//f.test"><video src=//g.test/v src=//h.test/w>', ["//g.test/v", "//h.test/w"]),
    ],
)
def test_addresses_of_other_sites_are_found(page: str, found: list[str]) -> None:
    assert loaded_elsewhere(page) == found
