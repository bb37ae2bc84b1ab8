"""Cases, clauses, findings and mutants fit each other; the kill table itself is `chat-conformance mutants`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chat_conformance.errors import CouldNotTest, TargetError
from chat_conformance.mutants import judge as judging
from chat_conformance.mutants import small as mutants
from chat_conformance.mutants.coverage_page import FINDINGS
from chat_conformance.mutants.expectations import COMBINATIONS, REFERENCE, SMALL, Kill
from chat_conformance.mutants.judge import judge
from chat_conformance.mutants.registry import BREAKS, SOURCE_MUTANTS, Patch, load, names, source
from chat_conformance.results import Case, CaseResult, RunResult, Verdict
from chat_conformance.suite.case import all_cases, case_function
from chat_conformance.suite.clauses import clauses
from chat_conformance.suite.context import CaseContext
from chat_conformance.target.file import Target
from chat_conformance.target.server import Server

all_cases()


def test_every_case_cites_a_clause_of_the_protocol() -> None:
    assert {each.clause for each in all_cases()} <= clauses().keys()


def test_every_clause_has_a_case() -> None:
    assert clauses().keys() - {each.clause for each in all_cases()} == set()


def test_findings_are_all_there() -> None:
    rounds = {"R1": 7, "R2": 3, "M": 14}
    numbered = {f"{name}-{number}" for name, last in rounds.items() for number in range(1, last + 1)}

    assert FINDINGS.keys() == numbered


def test_every_finding_is_known_by_its_evidence() -> None:
    assert [each.id for each in all_cases() if each.finding and not each.evidence] == []


def test_every_mutant_is_made_and_has_a_case() -> None:
    known = {each.id for each in all_cases()}

    assert names() == REFERENCE.keys()
    assert BREAKS.keys().isdisjoint(SOURCE_MUTANTS)
    assert {kill.case_id for kill in [*REFERENCE.values(), *(kill for _, kill in SMALL.values())]} <= known


EACH_IN_A_PROCESS_OF_ITS_OWN = """
import os, traceback
from chat_conformance.mutants.registry import BREAKS, load
load()
for name, breaks in BREAKS.items():
    if (child := os.fork()) == 0:
        try:
            breaks()
        except BaseException:
            print(name, traceback.format_exc(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_every_mutant_finds_what_it_breaks() -> None:
    words = [sys.executable, "-c", EACH_IN_A_PROCESS_OF_ITS_OWN]
    done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


load()


@pytest.mark.parametrize("name", SOURCE_MUTANTS)
def test_patches_fit_the_source(name: str) -> None:
    texts: dict[str, str] = {}
    for patch in SOURCE_MUTANTS[name].patches:
        text = texts.get(patch.file) or (source() / patch.file).read_text(encoding="utf-8")
        texts[patch.file] = patch.apply(text)

    for file, text in texts.items():
        compile(text, file, "exec")


@pytest.mark.parametrize(("text", "count"), [("a b", 0), ("a x x", 2)])
def test_patch_that_does_not_fit(text: str, count: int) -> None:
    with pytest.raises(ValueError, match=f"a.py has 'x' {count} times, not once"):
        Patch("a.py", "x", "y").apply(text)


@pytest.mark.parametrize("side_by_side", [1, 2])
def test_mutants_are_caught_for_their_cause(side_by_side: int) -> None:
    rows = judge(
        ["invalid-close-code", "any-origin"],
        quick=True,
        seed=1,
        on_row=lambda _: None,
        side_by_side=side_by_side,
    )

    assert [row.wrong for row in rows] == ["", ""]


def test_mutant_caught_for_another_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REFERENCE, "any-origin", Kill("handshake/foreign-origin", "no such words"))
    (row,) = judge(["any-origin"], quick=True, seed=1, on_row=lambda _: None)

    assert row.wrong.startswith("caught for another cause: it is 101")


def test_a_mutant_that_does_not_start_is_a_wrong_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def play(name: str, *_args: object, **_options: object) -> RunResult:
        raise TargetError(f"{name} ended", ("Traceback", "ImportError: no such part"))

    monkeypatch.setattr(judging, "play", play)
    rows = judge(["any-origin", "new-session-each-turn"], quick=True, seed=1, on_row=lambda _: None)
    together = judging.judge_together(("any-origin", "new-session-each-turn"), seed=1)

    assert [row.name for row in (*rows, together)] == [
        "any-origin",
        "new-session-each-turn",
        "any-origin,new-session-each-turn",
    ]
    assert (
        rows[1].wrong
        == "could not be judged: new-session-each-turn ended; Traceback; ImportError: no such part"
    )


def test_each_mutant_of_a_combination_has_a_row() -> None:
    assert {each for names in COMBINATIONS for each in names} <= REFERENCE.keys()
    assert len(COMBINATIONS) >= 20


@pytest.mark.parametrize(
    ("failed", "blocked", "wrong"),
    [
        ({"handshake/foreign-origin": "it is 101", "turns/remembers": "turn 1"}, {}, ""),
        ({"handshake/foreign-origin": "it is 101"}, {}, "new-session-each-turn is not named: passed"),
        ({"handshake/foreign-origin": "it is 101"}, {"turns/remembers": "handshake/foreign-origin"}, ""),
        (
            {"handshake/foreign-origin": "it is 101", "turns/remembers": "turn 1", "http/page": "it is 500"},
            {},
            "http/page fails, too",
        ),
    ],
)
def test_causes_of_several_faults_are_named(
    failed: dict[str, str], blocked: dict[str, str], wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def play(_name: str, selected: tuple[Case, ...], *, seed: int) -> RunResult:
        results = []
        for each in selected:
            verdict = Verdict.FAILED if each.id in failed else Verdict.PASSED
            verdict = Verdict.BLOCKED_BY if each.id in blocked else verdict
            happened = failed.get(each.id) or blocked.get(each.id) or ""
            results.append(CaseResult(case=each, verdict=verdict, happened=happened))
        return RunResult(target="t", url="", seed=seed, seconds=1.0, results=tuple(results))

    monkeypatch.setattr(judging, "play", play)

    assert judging.judge_together(("any-origin", "new-session-each-turn"), seed=1).wrong.startswith(wrong)
    assert bool(judging.judge_together(("any-origin", "new-session-each-turn"), seed=1).wrong) is bool(wrong)


async def test_a_case_that_needs_a_fake_cannot_be_tested_without_one(tmp_path: Path) -> None:
    async with mutants.serving(mutants.RawChat()) as url:
        target = Target(name="bare", url=url)
        async with CaseContext(Server(target, tmp_path), case_id="x/y", seed=1) as chat:
            with pytest.raises(CouldNotTest, match="no ledger and gates"):
                await case_function("turns/streams")(chat)
