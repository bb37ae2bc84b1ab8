"""JSON lines: any cutting of the bytes gives the same lines."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_conformance.wire.json_lines import JsonLines, JsonLinesError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def read(*parts: bytes) -> list[bytes]:
    lines = JsonLines()
    return [line for part in parts for line in lines.feed(part)] + lines.end()


@given(
    st.lists(VALUES),
    st.sampled_from(["\n", "\r\n", "\n\n", " \n"]),
    st.booleans(),
    st.lists(st.integers(0, 9999), max_size=6),
)
def test_written_values_are_read(values: list[object], end: str, last: bool, places: list[int]) -> None:  # noqa: FBT001
    text = end.join(json.dumps(each, ensure_ascii=False) for each in values) + (end if last else "")
    stream = text.encode()
    inside = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})

    assert [json.loads(line) for line in read(*(stream[a:b] for a, b in pairwise(inside)))] == values


def test_u2028_ends_no_line() -> None:
    assert read('{"a":"b\u2028c\x85d"}\n'.encode()) == ['{"a":"b\u2028c\x85d"}'.encode()]


def test_blank_lines_are_counted() -> None:
    lines = JsonLines()

    assert (lines.feed(b"\n \r\n{}\n"), lines.blanks) == ([b"{}"], 2)


@pytest.mark.parametrize("stream", [b"x" * 21, b"x" * 21 + b"\n"])
def test_long_lines_are_refused(stream: bytes) -> None:
    with pytest.raises(JsonLinesError, match="more than 20 bytes"):
        JsonLines(max_line=20).feed(stream)
