"""Each first case is proven twice: it passes on a good small server and fails, for its cause, on a broken one."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.case import all_cases, function_of
from conformance.chat import Chat
from conformance.clauses import clauses
from conformance.errors import CouldNotTest, Failure
from conformance.server import Server
from conformance.target import Target
from conformance.tests import mutants
from fake_claude.install import install

all_cases()

KILLS: dict[str, tuple[str, type[mutants.RawChat | mutants.TinyChat], str]] = {
    "R1-1": ("turns/answered", mutants.Deaf, "not within"),
    "R1-2": ("handshake/completes", mutants.ReadsTheHeadTwice, "not within"),
    "R1-3": ("keepalive/first-ping", mutants.DiesAtThePing, "the connection ended"),
    "R1-4": ("framing/cut-anywhere", mutants.ReadsWhatComes, "not within"),
    "R1-5-reconnect": ("queues/reconnect", mutants.OneQueuePerUser, "there came"),
    "R1-5-post": ("queues/post", mutants.OneQueuePerUser, "there came"),
    "R1-6": ("closing/code", mutants.ClosesWith768, "CLOSE 768"),
    "R1-7": ("closing/before-tcp", mutants.ForgetsToSend, "the connection ended"),
    "R2-1": ("keepalive/silent-turn", mutants.SilentWithClaude, "not within"),
    "R2-2": ("history/socket-turn", mutants.KeepsNothing, "it is []"),
    "M-1": ("turns/streams", mutants.BareText, "not JSON"),
    "M-2": ("turns/nobody-waits", mutants.OneForAll, "not within"),
    "TURN-5": ("turns/streams", mutants.AllAtTheEnd, "not within"),
}


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


def test_every_first_finding_has_a_case() -> None:
    found = {each.finding for each in all_cases()}

    assert {"R1-1", "R1-2", "R1-3", "R1-4", "R1-5", "R1-6", "R1-7", "R2-1", "R2-2", "M-1", "M-2"} <= found


async def test_a_case_that_needs_a_fake_cannot_be_tested_without_one(tmp_path: Path) -> None:
    async with mutants.serving(mutants.RawChat()) as url:
        target = Target(name="bare", url=url)
        async with Chat(Server(target, tmp_path), case_id="x/y", seed=1) as chat:
            with pytest.raises(CouldNotTest, match="no ledger and gates"):
                await function_of("turns/streams")(chat)
