"""What clients may say, and the sentence that answers what they may not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_server.errors import STATUS, BadRequest, Busy, ChatError
from chat_server.protocol import (
    Accepted,
    Cancel,
    ChatRequest,
    ClientMessage,
    Complete,
    Failed,
    Message,
    Refused,
    Rewind,
    ServerMessage,
    Status,
    Subscribe,
    Thinking,
    Token,
    Tool,
    Usage,
    check_ids,
    decode_client,
    encode,
    refusal,
)

CONVERSATION = "0123456789ab"

CLIENT = [
    pytest.param({"type": "chat_request", "message": "hi"}, ChatRequest("hi"), id="chat"),
    pytest.param(
        {"type": "chat_request", "message": "hi", "message_id": "m-1", "conversation_id": CONVERSATION},
        ChatRequest("hi", "m-1", CONVERSATION),
        id="chat-with-ids",
    ),
    pytest.param(
        {"type": "chat_request", "message": "hi", "message_id": None, "conversation_id": None},
        ChatRequest("hi"),
        id="chat-with-null-ids",
    ),
    pytest.param(
        {"type": "chat_request", "message": "hi", "future": {"x": [1]}},
        ChatRequest("hi"),
        id="members-of-the-future",
    ),
    pytest.param(
        {"type": "subscribe", "conversation_id": CONVERSATION}, Subscribe(CONVERSATION), id="follow"
    ),
    pytest.param(
        {"type": "subscribe", "conversation_id": CONVERSATION, "message_id": "m", "after": 7},
        Subscribe(CONVERSATION, "m", 7),
        id="follow-after",
    ),
    pytest.param({"type": "cancel", "message_id": "m"}, Cancel("m"), id="cancel"),
    pytest.param(
        {"type": "cancel", "message_id": "m", "conversation_id": CONVERSATION},
        Cancel("m", CONVERSATION),
        id="cancel-there",
    ),
]


@pytest.mark.parametrize(("document", "message"), CLIENT)
def test_client_message_is_understood(document: dict[str, Any], message: ClientMessage) -> None:
    assert decode_client(json.dumps(document)) == message


BAD = [
    pytest.param("", "the frame is not JSON", id="empty"),
    pytest.param("hello", "the frame is not JSON", id="not-json"),
    pytest.param('{"type":"cancel"', "the frame is not JSON", id="cut-json"),
    pytest.param('{"type":"cancel"} {}', "the frame is not JSON", id="two-documents"),
    pytest.param('{"type":"chat_request","message":"\\ud800"}', "the frame is not JSON", id="lone-surrogate"),
    pytest.param("[" * 100_000, "the frame is not a JSON object", id="bottomless-list"),
    pytest.param('{"a":' * 100_000, "the frame is not JSON", id="bottomless-object"),
    pytest.param('{"x":[' + "{}," * 700_000 + "1]}", "too many members", id="many-objects"),
    pytest.param('{"type":' + "[" * 2_000_000, "too many members", id="deep-type"),
    pytest.param("[]", "the frame is not a JSON object", id="list"),
    pytest.param('"chat_request"', "the frame is not a JSON object", id="string"),
    pytest.param("null", "the frame is not a JSON object", id="null"),
    pytest.param("{}", "$.type is missing; known types are chat_request, subscribe, cancel", id="no-type"),
    pytest.param('{"type":"chat"}', "$.type is 'chat'; known types are", id="unknown-type"),
    pytest.param('{"type":["cancel"]}', "$.type is ['cancel']", id="type-of-wrong-type"),
    pytest.param('{"type":"accepted"}', "$.type is 'accepted'", id="servers-type"),
    pytest.param('{"type":"chat_request"}', "required field `message`", id="no-message"),
    pytest.param(
        '{"type":"chat_request","message":5}', "Expected `str`, got `int` - at `$.message`", id="int"
    ),
    pytest.param('{"type":"chat_request","message":null}', "got `null` - at `$.message`", id="null-message"),
    pytest.param(
        '{"type":"chat_request","message":"x","conversation_id":12}', "at `$.conversation_id`", id="int-id"
    ),
    pytest.param(
        '{"type":"chat_request","message":"x","conversation_id":"ABCDEF012345"}',
        "conversation_id is 'ABCDEF012345'; it must be 12 lower-case hexadecimal digits",
        id="upper-case-id",
    ),
    pytest.param(
        '{"type":"chat_request","message":"x","conversation_id":"0123456789ab\\n"}',
        "it must be 12 lower-case hexadecimal digits",
        id="id-with-newline",
    ),
    pytest.param(
        '{"type":"chat_request","message":"x","conversation_id":""}',
        "conversation_id is ''; it must be",
        id="empty-id",
    ),
    pytest.param(
        '{"type":"chat_request","message":"x","message_id":"a b"}',
        "message_id is 'a b'; it must be 1 to 64 of A-Z a-z 0-9 _ -",
        id="message-id-with-space",
    ),
    pytest.param('{"type":"chat_request","message":"x","message_id":""}', "message_id is ''", id="no-id"),
    pytest.param('{"type":"chat_request","message":"x","message_id":"é"}', "message_id is 'é'", id="accent"),
    pytest.param(
        json.dumps({"type": "cancel", "message_id": "x" * 65}), "message_id is 'xxxxxxxxx", id="65-characters"
    ),
    pytest.param('{"type":"subscribe"}', "required field `conversation_id`", id="follow-nothing"),
    pytest.param(
        json.dumps({"type": "subscribe", "conversation_id": CONVERSATION, "after": -1}),
        "$.after is -1; it must not be negative",
        id="after-negative",
    ),
    pytest.param(
        json.dumps({"type": "subscribe", "conversation_id": CONVERSATION, "after": "1"}),
        "Expected `int`, got `str` - at `$.after`",
        id="after-text",
    ),
    pytest.param(
        json.dumps({"type": "subscribe", "conversation_id": CONVERSATION, "after": 1.5}),
        "Expected `int`, got `float` - at `$.after`",
        id="after-fraction",
    ),
    pytest.param('{"type":"cancel"}', "required field `message_id`", id="cancel-nothing"),
]


@pytest.mark.parametrize(("text", "sentence"), BAD)
def test_bad_message_names_the_member(text: str, sentence: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode_client(text)

    assert sentence in caught.value.message
    assert len(caught.value.message) < 300


NAMED = [
    pytest.param('{"type":"nonsense","message_id":"m1"}', id="unknown-type"),
    pytest.param('{"type":"chat_request","message_id":"m1"}', id="no-message"),
    pytest.param('{"type":"chat_request","message_id":"m1","message":7}', id="wrong-type"),
    pytest.param(
        '{"type":"chat_request","message_id":"m1","message":"x","conversation_id":"no"}', id="bad-id"
    ),
    pytest.param(
        '{"type":"subscribe","message_id":"m1","conversation_id":"0123456789ab","after":-1}', id="bad-after"
    ),
]


@pytest.mark.parametrize("text", NAMED)
def test_error_names_the_message_that_named_itself(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode_client(text)

    assert caught.value.message_id == "m1"


@pytest.mark.parametrize("message_id", ["a", "A-z_09", "x" * 64])
def test_message_ids_are_taken(message_id: str) -> None:
    check_ids(message_id, CONVERSATION)


WORDS = st.sampled_from(["type", "message", "message_id", "conversation_id", "after"])
VALUES = st.sampled_from(["chat_request", "subscribe", "cancel", CONVERSATION, "m1", ""]) | st.text(
    max_size=5
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | VALUES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=10,
)


@given(JSON.map(json.dumps) | st.text(max_size=30))
def test_any_text_decodes_or_is_refused(text: str) -> None:
    try:
        message = decode_client(text)
    except BadRequest as error:
        assert error.message  # noqa: PT017 - either outcome is right
    else:
        assert isinstance(message, ChatRequest | Subscribe | Cancel)


ENVELOPE: Any = {"message_id": "m", "conversation_id": CONVERSATION, "seq": 3}

SERVER = [
    pytest.param(Accepted("m", CONVERSATION), {"type": "accepted"}, id="accepted"),
    pytest.param(
        Token(token='é "🙂"\n', **ENVELOPE), {"type": "token", "token": 'é "🙂"\n', "seq": 3}, id="token"
    ),
    pytest.param(
        Thinking(thinking="x", **ENVELOPE), {"type": "thinking", "thinking": "x", "seq": 3}, id="thought"
    ),
    pytest.param(
        Tool(id="t", name="Bash", state="started", detail="", **ENVELOPE),
        {"type": "tool", "id": "t", "name": "Bash", "state": "started", "detail": "", "seq": 3},
        id="tool",
    ),
    pytest.param(
        Status(status="retrying", **ENVELOPE), {"type": "status", "status": "retrying", "seq": 3}, id="status"
    ),
    pytest.param(Rewind(to=0, **ENVELOPE), {"type": "rewind", "to": 0, "seq": 3}, id="rewind"),
    pytest.param(
        Complete(usage=Usage(1, 0), stop_reason="end_turn", **ENVELOPE),
        {
            "type": "complete",
            "usage": {"input_tokens": 1, "output_tokens": 0},
            "stop_reason": "end_turn",
            "seq": 3,
        },
        id="complete",
    ),
    pytest.param(
        Failed(code="timeout", message="silent", **ENVELOPE),
        {"type": "error", "code": "timeout", "message": "silent", "seq": 3},
        id="error",
    ),
]


@pytest.mark.parametrize(("message", "members"), SERVER)
def test_server_messages_follow_the_protocol(message: ServerMessage, members: dict[str, Any]) -> None:
    named = {"message_id": "m", "conversation_id": CONVERSATION}

    assert json.loads(encode(message)) == {**members, **named}


def test_refusal_has_no_turn_and_no_seq() -> None:
    assert json.loads(encode(refusal(BadRequest("what?")))) == {
        "type": "error",
        "code": "bad_request",
        "message": "what?",
    }


def test_refusal_names_message_and_retry() -> None:
    message = refusal(Busy("wait", retry_after=2.5), "m1")

    assert message == Refused(code="busy", message="wait", message_id="m1", retry_after=2.5)


def test_every_error_has_code_and_status() -> None:
    def tree(kind: type[ChatError]) -> set[type[ChatError]]:
        return {kind}.union(*(tree(each) for each in kind.__subclasses__()))

    assert {(each.code, each.status) for each in tree(ChatError)} == set(STATUS.items())


def test_every_message_is_frozen() -> None:
    kinds = [ChatRequest, Subscribe, Cancel, Accepted, Token, Complete, Failed, Refused]

    assert all(issubclass(kind, Message) and kind.__struct_config__.frozen for kind in kinds)
