"""Log lines are JSON for machines, words for people, and say whose they are."""

from __future__ import annotations

import asyncio
import contextvars
import io
import json
import logging
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from chat_server.logging_setup import DETAIL, about, configure, only_about
from chat_server.tests.sites import Fake, parts


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []  # what pytest has hung there stays open
    yield
    root.handlers, root.level = handlers, level


def test_line_for_machines_is_one_json_object() -> None:
    stream = io.StringIO()
    configure(stream)
    logging.getLogger("a.b").info("it is %s,\nand new", "é")

    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    assert (record["level"], record["logger"], record["message"]) == ("info", "a.b", "it is é,\\nand new")
    assert record["time"].endswith("Z")


def test_line_for_people_is_words() -> None:
    stream = Terminal()
    configure(stream)
    logging.getLogger("a.b").warning("mind the gap")

    assert stream.getvalue().rstrip().endswith("WARNING a.b mind the gap")


def test_line_says_what_it_is_about() -> None:
    stream, terminal = io.StringIO(), Terminal()

    def work() -> None:
        about(user="ada")
        about(message_id="m1", message="no text")
        for out in (stream, terminal):
            configure(out)
            logging.getLogger("a").info("hi")

    contextvars.copy_context().run(work)

    record = json.loads(stream.getvalue())
    assert (record["user"], record["message_id"], record["message"]) == ("ada", "m1", "hi")
    assert "[user=ada message_id=m1" in terminal.getvalue()


def test_traceback_comes_along() -> None:
    stream, terminal = io.StringIO(), Terminal()
    for out in (stream, terminal):
        configure(out)
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            logging.getLogger("a").exception("oh no")

    assert "ZeroDivisionError" in json.loads(stream.getvalue())["traceback"]
    assert "ZeroDivisionError" in terminal.getvalue()


async def test_names_stay_within_their_task() -> None:
    stream = io.StringIO()
    configure(stream)

    async def work(name: str) -> None:
        about(user=name)
        await asyncio.sleep(0)
        logging.getLogger("a").info(name)

    await asyncio.gather(work("ada"), work("bob"))
    logging.getLogger("a").info("nobody")

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line.get("user"), line["message"]) for line in lines] == [
        ("ada", "ada"),
        ("bob", "bob"),
        (None, "nobody"),
    ]


async def test_new_task_may_be_about_something_else() -> None:
    stream = io.StringIO()
    configure(stream)

    async def work() -> None:
        logging.getLogger("a").info("hi")

    async def begin() -> None:
        about(user="ada")
        await asyncio.create_task(work(), context=only_about(conversation_id="c1"))

    await asyncio.create_task(begin())

    record = json.loads(stream.getvalue())
    assert (record.get("user"), record["conversation_id"]) == (None, "c1")


async def test_process_lines_name_their_turn(fake: Fake, tmp_path: Path) -> None:
    stream = io.StringIO()
    configure(stream)
    async with parts(fake.command, tmp_path) as server:
        got = await server.turn("[[fake tokens=1 exit=3]]", message_id="m1")

    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    (ended,) = [record for record in records if "ended with 3 during a turn" in record["message"]]
    whose = {"user": "ada", "conversation_id": got[0].conversation_id, "message_id": "m1"}
    assert whose.items() <= ended.items()


HOSTILE = [
    "\x1b]0;TITLE\x07",  # a terminal's title
    "\x9b31m",  # CSI in one character
    "a\nb 2026-01-01T00:00:00.000Z INFO forged",
    "a\r\x7f\x85\u2028\u2029\x00",
    "\u202egnp.exe\u2066\u200f\ufeff",
    "\ud800 half",
    "x" * 10_000,
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_foreign_text_is_one_bounded_line(kind: type[io.StringIO], text: str) -> None:
    stream = kind()
    configure(stream)

    def work() -> None:
        about(user=text)
        logging.getLogger("a").info("GET %s", text)

    contextvars.copy_context().run(work)

    assert_safe(stream.getvalue(), lines=1)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_foreign_text_forges_no_traceback(kind: type[io.StringIO], text: str) -> None:
    stream = kind()
    configure(stream)
    logging.getLogger("a").error("oh no", exc_info=ValueError(text))

    _, *details = stream.getvalue().rstrip("\n").split("\n")
    assert all(line.startswith(DETAIL) for line in details)
    assert_safe(stream.getvalue(), lines=1 + len(details))


def test_long_traceback_keeps_its_end() -> None:
    stream = Terminal()
    configure(stream)
    logging.getLogger("a").error("oh no", exc_info=ValueError("\n" * 10_000 + "the end"))

    assert stream.getvalue().count("\n") < 200
    assert stream.getvalue().endswith("the end\n")


def test_name_cannot_pose_as_another() -> None:
    stream = Terminal()
    configure(stream)

    def work() -> None:
        about(user="x user=bob]")
        logging.getLogger("a").info("hi")

    contextvars.copy_context().run(work)

    assert stream.getvalue().endswith("[user='x user=bob]']\n")


def assert_safe(text: str, *, lines: int) -> None:
    text.encode()  # no half of a surrogate pair
    assert text.count("\n") == lines
    assert all(len(line) < 7_000 for line in text.split("\n"))
    steering = {unicodedata.category(each) for each in text if each != "\n"} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert not steering
