"""Each first case is proven twice: it passes on a good small server and fails, for its cause, on a broken one."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.case import all_cases, function_of
from conformance.chat import Chat
from conformance.clauses import clauses
from conformance.errors import CouldNotTest, Failure
from conformance.mutants import small as mutants
from conformance.mutants.judge import judge
from conformance.mutants.reference import BREAKS
from conformance.mutants.table import REFERENCE, SMALL, Kill
from conformance.server import Server
from conformance.target import Target
from fake_claude.install import install

all_cases()

KILLS = {name: (kill.case_id, getattr(mutants, kind), kill.cause) for name, (kind, kill) in SMALL.items()}


async def play(
    case_id: str, kind: type[mutants.RawChat | mutants.TinyChat], folder: Path, within: float
) -> None:
    """Play one case against a small server."""
    claude = install(folder / "bin", ledger=folder / "ledger", gates=folder / "gates")
    good_or_bad = kind(claude) if issubclass(kind, mutants.TinyChat) else kind()
    async with mutants.serving(good_or_bad) as url:
        target = Target(
            name="tiny",
            url=url,
            keepalive=mutants.KEEPALIVE,
            within=within,
            ledger=str(folder / "ledger"),
            gates=str(folder / "gates"),
        )
        async with Chat(Server(target, folder), case_id=case_id, seed=1) as chat:
            await function_of(case_id)(chat)


@pytest.mark.parametrize(("case_id", "mutant", "cause"), KILLS.values(), ids=KILLS)
async def test_case_passes_on_the_good_twin(
    case_id: str, mutant: type[mutants.RawChat | mutants.TinyChat], cause: str, tmp_path: Path
) -> None:
    del cause
    good = mutants.TinyChat if issubclass(mutant, mutants.TinyChat) else mutants.RawChat

    await play(case_id, good, tmp_path, within=10)


@pytest.mark.parametrize(("case_id", "mutant", "cause"), KILLS.values(), ids=KILLS)
async def test_case_fails_on_the_mutant_for_its_cause(
    case_id: str, mutant: type[mutants.RawChat | mutants.TinyChat], cause: str, tmp_path: Path
) -> None:
    with pytest.raises((Failure, ExceptionGroup)) as caught:
        await play(case_id, mutant, tmp_path, within=1)

    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Failure)
    assert cause in error.happened


def test_every_case_cites_a_clause_of_the_protocol() -> None:
    assert {each.clause for each in all_cases()} <= clauses().keys()


def test_every_clause_has_a_case() -> None:
    assert clauses().keys() - {each.clause for each in all_cases()} == set()


FINDINGS = {
    *(f"R1-{n}" for n in range(1, 8)),
    *(f"R2-{n}" for n in range(1, 4)),
    *(f"M-{n}" for n in range(1, 15)),
}
ON_THE_PAGE = {"M-9", "M-10"}  # the browser tests keep these from coming back


def test_every_finding_has_a_case() -> None:
    assert {each.finding for each in all_cases()} - {None} == FINDINGS - ON_THE_PAGE


def test_every_finding_has_a_mutant() -> None:
    named = {"-".join(name.split("-")[:2]) for name in (*SMALL, *REFERENCE)}

    assert named >= FINDINGS - ON_THE_PAGE


def test_every_mutant_is_made_and_has_a_case() -> None:
    known = {each.id for each in all_cases()}

    assert BREAKS.keys() == REFERENCE.keys()
    assert {kill.case_id for kill in [*REFERENCE.values(), *(kill for _, kill in SMALL.values())]} <= known


@pytest.mark.parametrize("name", ["M-3", "M-14"])
def test_a_mutant_of_the_reference_is_caught_for_its_cause(name: str) -> None:
    (row,) = judge([name], quick=True, seed=1, on_row=lambda _: None)

    assert row.wrong == ""


def test_a_mutant_that_is_caught_for_another_cause_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REFERENCE, "M-3", Kill("handshake/foreign-origin", "no such words"))
    (row,) = judge(["M-3"], quick=True, seed=1, on_row=lambda _: None)

    assert row.wrong.startswith("caught for another cause: it is 101")


async def test_a_case_that_needs_a_fake_cannot_be_tested_without_one(tmp_path: Path) -> None:
    async with mutants.serving(mutants.RawChat()) as url:
        target = Target(name="bare", url=url)
        async with Chat(Server(target, tmp_path), case_id="x/y", seed=1) as chat:
            with pytest.raises(CouldNotTest, match="no ledger and gates"):
                await function_of("turns/streams")(chat)
