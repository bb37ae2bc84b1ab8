"""Forms are read whole, in pieces where they are long, and refused in words where they are odd."""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_server.web.forms import MOST_FIELDS, PIECE, _multipart, _urlencoded

FIELDS = st.lists(st.tuples(st.text(min_size=1, max_size=9), st.text()), max_size=MOST_FIELDS)
ASCII = st.text(st.characters(codec="ascii", exclude_characters='\r\n"\\'), min_size=1, max_size=9)
BOUNDARY = "x-b0undary"


def urlencoded(body: bytes, charset: str = "utf-8") -> list[tuple[str, str | bytes]]:
    return list(asyncio.run(_urlencoded(body, charset)).items())


def part(name: str, value: bytes, *headers: str) -> bytes:
    head = [f'Content-Disposition: form-data; name="{name}"', *headers]
    return f"--{BOUNDARY}\r\n".encode() + "\r\n".join(head).encode() + b"\r\n\r\n" + value + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


@given(FIELDS)
def test_what_a_browser_writes_is_read(fields: list[tuple[str, str]]) -> None:
    clean = [(name, value.encode(errors="replace").decode()) for name, value in fields]
    clean = [(name.encode(errors="replace").decode(), value) for name, value in clean]

    assert urlencoded(urlencode(clean).encode()) == clean


@pytest.mark.parametrize("shift", range(4))
def test_escapes_are_not_torn_between_pieces(shift: int) -> None:
    text = "a" * shift + "é🙂" * PIECE

    assert urlencoded(urlencode({"message": text}).encode()) == [("message", text)]


@pytest.mark.parametrize("odd", ["%", "%%", "%zz", "%4", "a%"])
def test_broken_escapes_stay_as_they_are(odd: str) -> None:
    assert urlencoded(f"m={odd}".encode()) == [("m", odd)]


@pytest.mark.parametrize("body", [b"%" * 3 * PIECE, b"a" * (PIECE - 1) + b"%" + b"z" * PIECE])
def test_percent_signs_do_not_stop_it(body: bytes) -> None:
    assert urlencoded(b"m=" + body) == [("m", body.decode())]


@given(st.lists(st.tuples(ASCII, st.binary()), max_size=MOST_FIELDS))
def test_parts_are_read(fields: list[tuple[str, bytes]]) -> None:
    body = b"".join(part(name, value, "Content-Type: a/b") for name, value in fields) + END
    if any(f"--{BOUNDARY}".encode() in value for _, value in fields):
        return

    assert list(_multipart(body, BOUNDARY).items()) == fields


def test_what_follows_the_end_is_passed_over() -> None:
    body = part("message", b"hi") + END + b"\r\n" * 3_000_000

    assert list(_multipart(body, BOUNDARY).items()) == [("message", "hi")]


REFUSED = [
    pytest.param(part("a", b"") * (MOST_FIELDS + 1) + END, f"more than {MOST_FIELDS} parts", id="parts"),
    pytest.param(part("a", b""), "does not end", id="no-end"),
    pytest.param(b"\r\n" + part("a", b"") + END, "does not begin", id="preamble"),
    pytest.param(part("a", b"", "X: " + "x" * 9000) + END, "torn, or too long", id="head"),
    pytest.param(part("a", b"aGk=", "Content-Transfer-Encoding: base64") + END, "is encoded", id="base64"),
    pytest.param(
        part("a", b"", "Content-Type: text/plain; charset=punycode") + END, "is not taken", id="charset"
    ),
]


@pytest.mark.parametrize(("body", "sentence"), REFUSED)
def test_odd_parts_are_refused(body: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        _multipart(body, BOUNDARY)


@pytest.mark.parametrize("boundary", ["", "x" * 71])
def test_odd_boundary_is_refused(boundary: str) -> None:
    with pytest.raises(ValueError, match="boundary"):
        _multipart(END, boundary)


def test_many_fields_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 16 fields"):
        urlencoded(b"a&" * 3_000_000)
    with pytest.raises(ValueError, match="a name is too long"):
        urlencoded(b"a" * 300)


def test_only_plain_charsets_are_taken() -> None:
    assert urlencoded(b"m=%E9", "ISO-8859-1") == [("m", "é")]
    with pytest.raises(ValueError, match="punycode"):
        urlencoded(b"m=a", "punycode")
