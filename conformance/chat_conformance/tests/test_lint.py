from __future__ import annotations

import pytest

from chat_conformance.errors import UsageError
from chat_conformance.tests.test_speech import NESTED, TEXT, target

ASK = 'messages = { chat_request = "{prompt}" }\n'
TOKEN = '[[events]]\nis = "token"\ntext = "*"\n'


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
    ],
)
def test_wrong_description_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("{", r"\{").replace("?", r"\?")):
        target(text)


@pytest.mark.parametrize("text", ["", NESTED, TEXT, f'cli_lines = "*"\n{ASK}'])
def test_right_description_is_taken(text: str) -> None:
    assert target(text).name == "t"
