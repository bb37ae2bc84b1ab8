from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_conformance.tests.strategies import split
from chat_conformance.wire.handshake import (
    HandshakeError,
    Response,
    ResponseDecoder,
    accept_key,
    check_response,
    encode_key,
    encode_request,
    upgrade_headers,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 §1.3
GOOD = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def test_accept_key_is_the_one_of_the_rfc() -> None:
    assert accept_key(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_key_of_the_rfcs_nonce() -> None:
    assert encode_key(b"the sample nonce") == KEY


def test_request_leaves_out_headers_without_a_value() -> None:
    headers = {**upgrade_headers("h:1", KEY, subprotocols=("a", "b")), "Upgrade": None}

    assert encode_request("/ws", headers) == (
        b"GET /ws HTTP/1.1\r\nHost: h:1\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "
        + KEY.encode()
        + b"\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a, b\r\n\r\n"
    )


@given(st.lists(st.integers(min_value=0), max_size=6))
def test_response_may_be_cut_anywhere_and_the_rest_is_kept(cuts: list[int]) -> None:
    decoder = ResponseDecoder()
    found = [response for piece in split(GOOD + b"\x89\x00", cuts) if (response := decoder.feed(piece))]

    assert found[0].status == 101
    assert check_response(found[0], KEY) is None
    assert b"\x89\x00".startswith(decoder.rest)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_end_in_a_response_or_a_handshake_error(data: bytes) -> None:
    try:
        ResponseDecoder().feed(data + b"\r\n\r\n")
    except HandshakeError:
        return
    assert data.startswith(b"HTTP/1.")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"101 Switching Protocols", b"200 OK", "status 200 OK"),
        (b"WebSocket\r\n", b"h2c\r\n", "Upgrade is 'h2c'"),
        (b"keep-alive, Upgrade", b"keep-alive", "Connection is"),
        (b"s3pP", b"S3pP", "Sec-WebSocket-Accept is"),
        (b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: other\r\n\r\n", "'other' was not offered"),
        (b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: x\r\n\r\n", "extension 'x' was not offered"),
    ],
)
def test_what_is_wrong_with_an_answer(old: bytes, new: bytes, words: str) -> None:
    response = ResponseDecoder().feed(GOOD.replace(old, new))

    assert response is not None
    assert words in (check_response(response, KEY, offered=("chat-stream-v1",)) or "")


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"]
)
def test_what_is_no_response(data: bytes) -> None:
    with pytest.raises(HandshakeError):
        ResponseDecoder().feed(data)


def test_repeated_headers_are_joined() -> None:
    assert Response(200, "OK", (("a", "1"), ("a", "2"))).header("A") == "1, 2"


def test_an_extension_must_have_been_offered() -> None:
    head = (("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", accept_key(KEY)))
    answer = Response(101, "", (*head, ("sec-websocket-extensions", "permessage-deflate; a=1")))

    assert check_response(answer, KEY, extensions="x, permessage-deflate") is None
    assert check_response(answer, KEY, extensions="x") == "the extension 'permessage-deflate' was not offered"
