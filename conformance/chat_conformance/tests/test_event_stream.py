"""Server-sent events: what the standard, other parsers and any cutting of the bytes say."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_conformance.wire.event_stream import EventStreamError, EventStreamParser

Expected = list[tuple[str, str, str]]

# Streams and what they mean, as facts: the examples of the HTML standard, the inputs of web-platform-tests
# (eventsource/format-*) and those of httpx-sse and RubyLLM.
STREAMS: dict[str, tuple[bytes, Expected]] = {
    "standard: stock ticker": (b"data: YH00\ndata: +2\ndata: 10\n\n", [("message", "YH00\n+2\n10", "")]),
    "standard: ids": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [("message", "first event", "1"), ("message", "second event", ""), ("message", " third event", "")],
    ),
    "standard: empty data": (b"data\n\ndata\ndata\n\ndata:", [("message", "", ""), ("message", "\n", "")]),
    "standard: one space": (b"data:test\n\ndata: test\n\n", [("message", "test", "")] * 2),
    "wpt format-bom": (
        b"\xef\xbb\xbfdata:1\n\n\xef\xbb\xbfdata:2\n\ndata:3\n\n",
        [("message", "1", ""), ("message", "3", "")],
    ),
    "wpt format-bom-2": (
        b"\xef\xbb\xbf\xef\xbb\xbfdata:1\n\ndata:2\n\ndata:3\n\n",
        [("message", "2", ""), ("message", "3", "")],
    ),
    "wpt format-comments": (
        b"data:1\r:\0\n:\r\ndata:2\n:" + b"x" * 4096 + b"\rdata:3\n:data:fail\r:x\ndata:4\n\n",
        [("message", "1\n2\n3\n4", "")],
    ),
    "wpt format-field-parsing": (
        (
            b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\n"
            b"data:4\n\n"
        ),
        [("message", "\0\n 2\n1\n3\n\n4", "")],
    ),
    "wpt format-newlines": (b"data:test\r\ndata\ndata:test\r\n\r\n", [("message", "test\n\ntest", "")]),
    "wpt format-leading-space": (b"data:\ttest\rdata: \ndata:test\n\n", [("message", "\ttest\n\ntest", "")]),
    "wpt format-field-unknown": (
        b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n",
        [("message", "test\n\ntest", "")],
    ),
    "wpt format-field-id-null": (
        b"id:1\ndata:x\n\nid:2\0\ndata:y\n\n",
        [("message", "x", "1"), ("message", "y", "1")],
    ),
    "wpt format-field-event-empty": (b"event:\ndata:data\n\n", [("message", "data", "")]),
    "wpt format-utf-8": ("data:ok…\n\n".encode(), [("message", "ok…", "")]),
    "wpt format-data-before-final-empty-line": (
        b"retry:1000\ndata:test1\n\nid:test\ndata:test2",
        [("message", "test1", "")],
    ),
    "RubyLLM: invalid UTF-8": (b"data: \xff\xfeok\n\n", [("message", "\ufffd\ufffdok", "")]),
    "RubyLLM: type without data": (b"event: x\nid: 7\n\ndata: a\n\n", [("message", "a", "7")]),
    "RubyLLM: lone CR": (b"data: a\r\rdata: b\r\r", [("message", "a", ""), ("message", "b", "")]),
    "httpx-sse: U+2028 is no line end": (
        'event: message\ndata: {"text":"Hello\u2028World"}\n\n'.encode(),
        [("message", '{"text":"Hello\u2028World"}', "")],
    ),
    "httpx-sse: type": (b"event: logline\ndata: New user\n\n", [("logline", "New user", "")]),
}


def parsed(*parts: bytes) -> Expected:
    parser = EventStreamParser()
    return [(each.event, each.data, each.last_event_id) for part in parts for each in parser.feed(part)]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    inside = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[begin:end] for begin, end in pairwise(inside)]


@pytest.mark.parametrize("name", STREAMS)
def test_known_streams_whole_and_bytewise(name: str) -> None:
    stream, expected = STREAMS[name]

    assert parsed(stream) == expected
    assert parsed(*(bytes([each]) for each in stream)) == expected


@given(
    st.lists(
        st.sampled_from([b"\r", b"\n", b"\r\n", b"data", b":", b" ", b"id", b"event", b"x", b"\xe2\x82\xac"])
    ),
    st.lists(st.integers(0, 1 << 16), max_size=8),
)
def test_cuttings_change_nothing(tokens: list[bytes], places: list[int]) -> None:
    stream = b"".join(tokens)

    assert parsed(*cut(stream, places)) == parsed(stream)


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), min_size=1))
def test_written_data_is_read(lines: list[str]) -> None:
    stream = "".join(f"data: {line}\n" for line in lines) + "\n"

    assert parsed(stream.encode()) == [("message", "\n".join(lines), "")]


def test_empty_part_after_cr_keeps_it() -> None:
    assert parsed(b"data: a\r", b"", b"\n", b"\r", b"\n") == [("message", "a", "")]


def test_retry_takes_digits_only() -> None:
    parser = EventStreamParser()
    parser.feed("retry: 03000\n\nretry: 1000x\n\nretry\n\nretry: -1\n\nretry: \uff15\n\n".encode())

    assert parser.retry == 3000


def test_id_counts_from_its_blank_line() -> None:
    parser = EventStreamParser()
    parser.feed(b"id: 1\ndata: a\n\nid: 2\ndata: b\n")
    before = parser.last_event_id
    parser.feed(b"\n")

    assert (before, parser.last_event_id) == ("1", "2")


def test_comments_are_counted() -> None:
    parser = EventStreamParser()
    parser.feed(b": ping\n\n:\n\n")

    assert parser.comments == 2


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 30, b"data: xxxx\n" * 5, b": " + b"x" * 30 + b"\n"])
def test_long_events_are_refused(stream: bytes) -> None:
    with pytest.raises(EventStreamError, match="more than 20 bytes"):
        EventStreamParser(max_event=20).feed(stream)


def test_many_comments_are_no_event() -> None:
    assert EventStreamParser(max_event=20).feed(b": ping\n" * 100 + b"data: a\n\n")[0].data == "a"
