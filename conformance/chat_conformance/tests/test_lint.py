from __future__ import annotations

from pathlib import Path

import pytest

from chat_conformance.errors import UsageError
from chat_conformance.target.file import parse
from chat_conformance.tests.test_speech import NESTED, TEXT, target

ASK = 'messages = { chat_request = "{prompt}" }\n'
TOKEN = '[[events]]\nis = "token"\ntext = "*"\n'
RULE = '[[events]]\nis = "token"\nwhen = { type = "a" }\ntext = "b"\n'
GET = '[[opening]]\nrequest = "GET /a"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('lacks = ["sequ"]', "lacks has 'sequ', which is none of .*; did you mean 'seq'?"),
        ('cli_lines = "data"', "cli_lines describes a protocol .* messages.chat_request is missing"),
        ('messages = { chat_request = "hello" }', "messages.chat_request has no {prompt}"),
        (
            'messages = { prompt = "{prompt}" }',
            "messages has 'prompt', which is none of cancel, chat_request",
        ),
        (
            'messages = { chat_request = "{prompt} {sesion}" }\ncaptures = { session = "s" }',
            "did you mean 'session'?",
        ),
        (ASK, "no event with is = 'token'"),
        (f'cli_lines = "*"\n{ASK}{TOKEN}', "both give the text of an answer"),
        (f"{ASK}{TOKEN}{TOKEN}", r"events\[1\] has no condition, as events\[0\]"),
        (f'{ASK}[[events]]\nis = "tokn"\ntext = "*"', r"events\[0\].is has 'tokn'.* did you mean 'token'?"),
        (f'{ASK}[[events]]\nis = "token"', r"events\[0\] is a token and has no text"),
        (f'{ASK}{TOKEN}members = {{ message = "m", sequence = "n" }}', "has 'sequence'"),
        (
            f'{ASK}{TOKEN}[[opening]]\nsend = "a"\nwait = "b"',
            r"opening\[0\] must have one of .* it has send and wait",
        ),
        (f'{ASK}{TOKEN}[[opening]]\nrequest = "api"', "it must be like POST /api/sessions"),
        (f'{ASK}{TOKEN}[[opening]]\nsend = "a"\n[[opening]]\nconnect = "/a"', r"opening\[1\] connects, but"),
        (f'{ASK}{TOKEN}[[opening]]\nsend = "{{token}}"', "no step before it captures"),
        (
            f'{ASK}{TOKEN}[paths]\nsocket = "/ws/{{id}}"',
            "paths.socket has {id}, which no opening step captures",
        ),
        (f'transport = "sse"\n{ASK}{TOKEN}', "stream.send is missing"),
        (f'ca = "ca.pem"\n{ASK}{TOKEN}', "ca is for a url of https"),
        (f"{ASK}{TOKEN}when = [1]", "Expected `str | object`"),
        (f"version = 2\n{ASK}{TOKEN}", "Invalid enum value 2"),
        (f'transport = "wss"\n{ASK}{TOKEN}', "Invalid enum value 'wss'"),
        (f'{ASK}{TOKEN}txt = "*"', r"unknown field 'txt' in events\[0\]; did you mean 'text'?"),
        (
            f'{ASK}{TOKEN}[[opening]]\nconect = "/"',
            r"unknown field 'conect' in opening\[0\]; did you mean 'connect'?",
        ),
        (f'{ASK}{TOKEN}[stream]\nsent = "/"', "unknown field 'sent' in stream; did you mean 'send'?"),
        ("keep-alive = 1", "unknown field 'keep-alive'; did you mean 'keepalive'?"),
        (f"version = 2\n{ASK}{TOKEN}", "this is for files of version = 1"),
        ('transport = "ws"', "it must be one of websocket, sse, json-lines, socket.io"),
        (f'{ASK}[events]\nis = "token"', "it stands in double brackets"),
        ('start = "python server.py"', "it must be a list, in brackets"),
        ("within = nan", "within is nan; it must be more than 0, and bounded"),
        (f'{ASK}{TOKEN}when = {{ event = {{ type = "a" }} }}', "a path is written with dots"),
        (f"{ASK}{RULE}{RULE}", r"events\[1\] is events\[0\] once more"),
        (f'{ASK}{RULE}lacks = ["type"]', "takes no frame: it lacks 'type', and is known by it"),
        (f'{ASK}[[events]]\nis = "token"\ntext = "a[0].b"', "a path is like message.content.0.text"),
        (f'{ASK}{TOKEN}[captures]\nprompt = "a"', "which the suite gives itself"),
        (f'{ASK}{TOKEN}[captures]\nConvId = "a"', "a name is of small letters"),
        (f'{ASK}{TOKEN}[captures]\na = "x.{{b}}"\nb = "y.{{a}}"', "a path has no placeholders"),
        (f'{ASK}{TOKEN}{GET}capture = {{ a = "regex:((" }}', "is no regular expression"),
        (f'{ASK}{TOKEN}{GET}capture = {{ a = "regex:abc" }}', "must stand in a group"),
        (f'{ASK}{TOKEN}{GET}json = {{ a = 1 }}\nbody = "b"', "has json and body; a request has one body"),
        (f'{ASK}{TOKEN}[[opening]]\nsend = "a"\ncapture = {{ a = "header:X" }}', "the answer of a request"),
        (f'{ASK}{TOKEN}[[opening]]\nconnect = "ws://a/b"', "begins with /; the origin is in url"),
        (f'{ASK}{TOKEN}[paths]\nsocket = "ws"', "paths.socket is 'ws'; it must be a path that begins with /"),
        (f'transport = "sse"\n{ASK}{TOKEN}[stream]\nsend = "/chat"', "it must be like POST /chat"),
        (f'{ASK}{TOKEN}[stream]\nsend = "POST /chat"', "stream is for the transport sse or json-lines"),
        (
            f'transport = "socket.io"\n{ASK}{TOKEN}[socket_io]\nauth = {{ token = "{{tokn}}" }}',
            "socket_io.auth.token has {tokn}, which no opening step captures",
        ),
        ('messages = { chat_request = "{prompt} {conversationId}" }', "did you mean {conversation_id}?"),
    ],
)
def test_wrong_description_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("{", r"\{").replace("?", r"\?")):
        target(text)


@pytest.mark.parametrize("text", ["", NESTED, TEXT, f'cli_lines = "*"\n{ASK}'])
def test_right_description_is_taken(text: str) -> None:
    assert target(text).name == "t"


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://127.0.0.1:99999", "http://127.0.0.1:a", "http://a?b=1"]
)
def test_wrong_origin_is_refused_in_words(url: str) -> None:
    text = f'name = "x"\nurl = "{url}"\n'
    with pytest.raises(UsageError, match="it must be like http"):
        parse(text.encode(), Path("x.toml"), "x", here=Path())


def test_file_may_begin_with_a_mark() -> None:
    text = 'name = "x"\nurl = "http://127.0.0.1"\n'
    assert parse(b"\xef\xbb\xbf" + text.encode(), Path("x.toml"), "x", here=Path()).name == "x"
    with pytest.raises(UsageError, match="Exceeds the limit"):
        parse(f"{text}within = {'9' * 5000}".encode(), Path("x.toml"), "x", here=Path())
