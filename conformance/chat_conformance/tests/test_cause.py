"""The same fault has the same cause in every run."""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_conformance.errors import Failure
from chat_conformance.mutants.expectations import SMALL
from chat_conformance.mutants.judge import _target
from chat_conformance.results import Case, CaseResult, ChangeKind, RunResult, Severity, TraceLine, Verdict
from chat_conformance.suite.case import all_cases, case_function
from chat_conformance.suite.cause import alike, cause, is_further
from chat_conformance.suite.compare import compare
from chat_conformance.suite.plugin import step_of
from chat_conformance.suite.runner import run

PAIRS = [
    ("not within 5 s", "not within 0.53 s"),
    ("200 for http://127.0.0.1:20113/health", "200 for http://127.0.0.1:31999/health"),
    ("it is 'm-bcdfghjkmn-3'", "it is 'm-zxwvtsrqpn-12'"),
    ("claude (pid 4711) to be gone", "claude (pid 99) to be gone"),
    ("the connection ended: end of stream", "the connection ended: reset (ConnectionResetError)"),
    ("it was given the prompt 2 times", "it was given the prompt 3 times"),
    ("in 3 rounds they came after 512 ms; 498 ms", "in 4 rounds they came after 611 ms; 502 ms"),
    (
        "the events are ['accepted', 'token', 'token', 'complete']",
        "the events are ['accepted', 'token', 'complete']",
    ),
    ("it is 't1 t2 '", "it is 't1 '"),
    (
        "Sec-WebSocket-Accept is 'dGhlIHNhbXBsZSBub25jZQ=='",
        "Sec-WebSocket-Accept is 'x3JJHMbDL1EzLkh9GBhXDw=='",
    ),
    ("they were 1,048,576", "they were 2048"),
    ("at 2026-01-02T03:04:05.123Z", "at 2031-11-12T13:14:15+00:00"),
    (
        "/tmp/chatgate-ab12/data/chat.db is locked",
        "/var/tmp/chatgate-zz/data/chat.db is locked",
    ),
]
APART = [
    ("it is 404", "it is 200"),
    ("status 500, b''", "status 404, b''"),
    ("the close frame is CLOSE 1000 ''", "the close frame is CLOSE 1006 ''"),
    ("it was given the prompt 0 times", "it was given the prompt 2 times"),
    ("it is 't1 t1 t2 t2 '", "it is 't1 t2 '"),
    ("it is ''", "it is 't1 t2 '"),
    ("not within 5 s", "the connection ended: end of stream"),
    ("x; the server ended with exit status -11", "x; the server ended with exit status 1"),
    ("the events are ['accepted', 'complete', 'complete']", "the events are ['accepted', 'complete']"),
    ("the first event is {'type': 'complete'}", "the first event is {'type': 'error'}"),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_what_differs_from_run_to_run_is_no_cause(one: str, other: str) -> None:
    assert alike(one) == alike(other)


@pytest.mark.parametrize(("one", "other"), APART)
def test_other_faults_stay_other_causes(one: str, other: str) -> None:
    assert alike(one) != alike(other)


def failed(expected: str, happened: str) -> CaseResult:
    case = Case(id="a/b", title="t", clause="C-1", severity=Severity.LOW, means="m")
    return CaseResult(case=case, verdict=Verdict.FAILED, expected=expected, happened=happened)


def test_number_is_a_status_where_one_is_expected() -> None:
    fine = partial(failed, "the status for HEAD to be 200")

    assert cause(fine("it is 404")) != cause(fine("it is 503"))
    assert cause(failed("at most 64 messages", "there were 404")) == cause(
        failed("at most 64 messages", "there were 503")
    )


@given(
    st.integers(2, 10**9),
    st.integers(2, 10**9),
    st.sampled_from(["they were {} in all", "there came {}", "pid {}"]),
)
def test_counts_are_none_one_or_many(one: int, other: int, sentence: str) -> None:
    assert alike(sentence.format(one)) == alike(sentence.format(other))
    assert alike(sentence.format(0)) != alike(sentence.format(one)) != alike(sentence.format(1))


@given(st.text(max_size=300))
def test_any_text_has_a_cause(text: str) -> None:
    assert alike(text) == alike(text)
    assert alike(text * 50) is not None


def test_answers_to_pings_are_no_progress() -> None:
    def after(*sent: str) -> CaseResult:
        trace = tuple(TraceLine(1.0, "ws1", ">", text) for text in ("TEXT 'a'", *sent))
        return msgspec.structs.replace(failed("x", "y"), trace=trace)

    assert not is_further(after("PONG b'' [0 bytes]", "CLOSE 1000 '' [2 bytes]"), after())
    assert not is_further(after("TEXT 'a'", "TEXT 'a'"), after())
    assert is_further(after("TEXT 'b'"), after())


def test_step_is_the_line_of_the_case() -> None:
    def deeper() -> None:
        raise Failure("x", "y")

    async def outer() -> None:
        await asyncio.sleep(0)
        deeper()

    with pytest.raises(Failure) as caught:
        asyncio.run(outer())

    assert step_of(caught.value, outer) == 2
    assert step_of(caught.value, case_function(all_cases()[0].id)) == 0


@pytest.mark.parametrize(
    "mutant", ["ignores-messages", "dies-at-first-ping", "invalid-close-code", "tokens-as-bare-text"]
)
def test_two_runs_of_one_fault_have_one_cause(mutant: str) -> None:
    (own,) = (each for each in all_cases() if each.id == SMALL[mutant][1].case_id)

    def play(seed: int) -> RunResult:
        return run(_target(mutant), (own,), seed=seed)

    one, other = play(1), play(2)

    # What is not valid by the schema is reported in a result of its own, and that is the same, too.
    assert {each.verdict for each in (*one.results, *other.results)} == {Verdict.FAILED}
    assert {each.kind for each in compare(one, other)} == {ChangeKind.NOT_FIXED}
    assert one.results[0].step > 0
