"""Log lines are JSON for machines, words for people, and say whose they are."""

from __future__ import annotations

import asyncio
import contextvars
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp.http_exceptions import BadHttpMessage

from impl.logs import about, only_about, to_stderr
from impl.tests.sites import Fake, parts


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
    to_stderr(stream)
    logging.getLogger("a.b").info("it is %s,\nand new", "é")

    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    assert (record["level"], record["logger"], record["message"]) == ("info", "a.b", "it is é,\nand new")
    assert record["time"].endswith("Z")


def test_line_for_people_is_words() -> None:
    stream = Terminal()
    to_stderr(stream)
    logging.getLogger("a.b").warning("mind the gap")

    assert stream.getvalue().rstrip().endswith("WARNING a.b mind the gap")


def test_line_says_what_it_is_about() -> None:
    stream, terminal = io.StringIO(), Terminal()

    def work() -> None:
        about(user="ada")
        about(message_id="m1", message="no text")
        for out in (stream, terminal):
            to_stderr(out)
            logging.getLogger("a").info("hi")

    contextvars.copy_context().run(work)

    record = json.loads(stream.getvalue())
    assert (record["user"], record["message_id"], record["message"]) == ("ada", "m1", "hi")
    assert "[user=ada message_id=m1" in terminal.getvalue()


def test_traceback_comes_along() -> None:
    stream, terminal = io.StringIO(), Terminal()
    for out in (stream, terminal):
        to_stderr(out)
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            logging.getLogger("a").exception("oh no")

    assert "ZeroDivisionError" in json.loads(stream.getvalue())["traceback"]
    assert "ZeroDivisionError" in terminal.getvalue()


async def test_names_stay_within_their_task() -> None:
    stream = io.StringIO()
    to_stderr(stream)

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
    to_stderr(stream)

    async def work() -> None:
        logging.getLogger("a").info("hi")

    async def begin() -> None:
        about(user="ada")
        await asyncio.create_task(work(), context=only_about(conversation_id="c1"))

    await asyncio.create_task(begin())

    record = json.loads(stream.getvalue())
    assert (record.get("user"), record["conversation_id"]) == (None, "c1")


async def test_lines_of_a_process_name_the_turn_it_answers(fake: Fake, tmp_path: Path) -> None:
    stream = io.StringIO()
    to_stderr(stream)
    async with parts(fake.command, tmp_path) as server:
        told = await server.turn("[[fake tokens=1 exit=3]]", message_id="m1")

    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    (ended,) = [record for record in records if "ended with 3 during a turn" in record["message"]]
    whose = {"user": "ada", "conversation_id": told[0].conversation_id, "message_id": "m1"}
    assert whose.items() <= ended.items()


def test_request_that_is_not_http_is_told_without_its_bytes() -> None:
    stream = io.StringIO()
    to_stderr(stream)
    error = BadHttpMessage("Invalid header value char: b'Cookie: chat_session=secret'")
    logging.getLogger("aiohttp.server").error("Error handling request from %s", "127.0.0.1", exc_info=error)

    record = json.loads(stream.getvalue())
    assert (record["level"], record["message"]) == ("info", "= a request that is not HTTP: BadHttpMessage")
    assert "secret" not in stream.getvalue()
