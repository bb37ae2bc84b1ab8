"""The lines of an answer, as a server's parser reads them."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from chat_conformance.load.answer import AnswerSpec, AnswerTemplates, Pause, find_ask
from chat_server.claude.events import Result
from chat_server.claude.parser import TurnParser
from fake_claude.install import install


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> AnswerTemplates:
    folder: Path = tmp_path_factory.mktemp("fake")
    words = ["-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages"]
    printed = subprocess.run(
        [install(folder), *words, "[[fake tokens=1]]"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        cwd=folder,
    )
    return AnswerTemplates(printed.stdout)


def printed(lines: AnswerTemplates, ask: AnswerSpec) -> list[bytes]:
    """The lines of an answer, its pauses left out."""
    pieces = lines.answer(ask, "1e1e1e1e-0000-4000-8000-000000000000", lambda: False)
    return b"".join(piece for piece in pieces if not isinstance(piece, Pause)).splitlines()


ASKS = [
    pytest.param(AnswerSpec(tokens=0), "~", 0, id="only the first token"),
    pytest.param(AnswerSpec(tokens=1_000), "~", 1_000, id="several blocks"),
    pytest.param(AnswerSpec(tokens=3_000, size=1_024), "~", 3_000, id="several messages"),
    pytest.param(AnswerSpec(tokens=5, rate=50), "@", 6, id="paced"),
    pytest.param(AnswerSpec(line=100_000), "~", 1, id="a long line"),
]


@pytest.mark.parametrize(("ask", "mark", "count"), ASKS)
def test_answer_is_parsed_once(lines: AnswerTemplates, ask: AnswerSpec, mark: str, count: int) -> None:
    parser = TurnParser()
    events = list(parser.feed(printed(lines, ask)))

    assert parser.text.count(mark) == count
    assert isinstance(events[-1], Result)
    assert not events[-1].error


def test_answer_has_no_line_twice(lines: AnswerTemplates) -> None:
    uuids = Counter(json.loads(line)["uuid"] for line in printed(lines, AnswerSpec(tokens=2_000)))

    assert uuids.most_common(1)[0][1] == 1


def test_answer_ends_when_stopped(lines: AnswerTemplates) -> None:
    stopped = False
    pieces = lines.answer(AnswerSpec(tokens=10_000_000, rate=50), "1e1e1e1e", lambda: stopped)
    first = [next(pieces) for _ in range(6)]
    stopped = True

    assert any(isinstance(piece, Pause) for piece in first)
    assert b'"type":"result"' in [each for each in pieces if not isinstance(each, Pause)][-1]


@pytest.mark.parametrize(
    "ask", [AnswerSpec(), AnswerSpec(tokens=7, rate=50, gate=1), AnswerSpec(line=1 << 24)]
)
def test_prompt_says_what_is_asked(ask: AnswerSpec) -> None:
    assert find_ask(f'{{"content":"{ask.prompt()}"}}'.encode()) == ask


def test_lines_miss_what_the_cli_did_not_print() -> None:
    with pytest.raises(ValueError, match="printed no assistant"):
        AnswerTemplates(b'{"type":"result","subtype":"success"}\n')
