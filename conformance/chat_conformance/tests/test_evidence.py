from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chat_conformance.errors import ClosedEarly
from chat_conformance.report import console
from chat_conformance.results import Case, CaseResult, Severity, Verdict
from chat_conformance.suite import plugin
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.evidence import server_lines
from chat_conformance.suite.expect import expect, expect_equal
from chat_conformance.target.file import Target
from chat_conformance.target.server import Server
from chat_conformance.wire.evidence import MOST, gathered, saw

CASE = Case(id="a/b", title="x", clause="HAND-1", severity=Severity.LOW, means="y")


async def test_what_a_case_has_seen_is_kept_and_counted() -> None:
    with gathered() as seen:
        expect_equal(101, 101, "the status")
        expect_equal(101, 101, "the status")
        expect(True, "a page", "none")
        await asyncio.create_task(_saw("by a task of its own"))
    saw("after the case")

    assert seen.lines == ("the status is 101 (2 times)", "a page", "by a task of its own")


async def _saw(sentence: str) -> None:
    saw(sentence)


def test_what_was_seen_too_often_is_counted() -> None:
    with gathered() as seen:
        for number in range(MOST + 2):
            saw(f"number {number}")

    assert (len(seen.lines), seen.lines[-1]) == (MOST + 1, "and 2 times more")


async def test_a_case_that_looked_at_nothing_has_not_passed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def blind(_chat: CaseContext) -> None: ...

    async def sees(_chat: CaseContext) -> None:
        expect(True, "something", "nothing")

    for function, wanted in ((sees, Verdict.PASSED), (blind, Verdict.COULD_NOT_TEST)):
        monkeypatch.setattr(plugin, "case_function", lambda _id, function=function: function)
        target = Target(name="bare", url="http://127.0.0.1:1")
        error, _, saw_then = await plugin._played(
            CaseContext(Server(target, tmp_path), case_id="x/y", seed=1)
        )
        verdict, _, _, broken = plugin._verdict(error)

        assert (verdict, broken, bool(saw_then)) == (wanted, function is blind, function is sees)


async def test_a_case_is_played_again_where_the_server_closed_early(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words: list[str] = []
    lucky_one = [0]

    async def unlucky(chat: CaseContext) -> None:
        words.append(chat.marker)
        if len(words) < lucky_one[0]:
            raise ClosedEarly("an answer", "the connection ended")
        expect(True, "something", "nothing")

    monkeypatch.setattr(plugin, "case_function", lambda _id: unlucky)
    server = Server(Target(name="bare", url="http://127.0.0.1:1"), tmp_path)
    for number, wanted in ((3, Verdict.PASSED), (4, Verdict.FAILED)):
        lucky_one[0] = number
        words.clear()
        _, error, _, _ = await plugin._tried(lambda seed: CaseContext(server, case_id="x/y", seed=seed), 1)

        assert plugin._verdict(error)[0] is wanted
        assert len(set(words)) == 3  # what was asked before is not asked again


def test_lines_of_a_shared_server_stand_once(tmp_path: Path) -> None:
    target = Target(name="bare", url="http://127.0.0.1:1")
    chat, shared = CaseContext(Server(target, tmp_path), case_id="x/y", seed=1), Server(target, tmp_path)
    for line in (b"one", b"two"):
        chat._on(shared)
        shared._note([line])

    assert server_lines(chat, None) == ("one", "two")


def test_console_shows_it_when_asked() -> None:
    passed = CaseResult(case=CASE, verdict=Verdict.PASSED, saw=("the status is 101",))

    assert "saw  the status is 101" in console.progress(passed, saw=True)
    assert "saw" not in console.progress(passed)
