"""Generated rows: a seed names them, and what differs is made smaller without losing the difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from fake_claude.fidelity.case import Case, Part
from fake_claude.fidelity.compare import Difference
from fake_claude.fidelity.generated import Found, Player
from fake_claude.fidelity.generator import generate


class Judge(Player):
    """Finds a difference wherever a case has this part; plays nothing."""

    def __init__(self, culprit: Part) -> None:
        super().__init__(Path(), Path())
        self.culprit = culprit

    async def compare(self, cases: Sequence[Case], *, slowly: bool = False) -> list[Found]:  # noqa: ARG002
        """Compare without any CLI."""
        guilty = [case for case in cases if self.culprit in case.parts]
        return [Found(case, [Difference("exit", "0", "1")]) for case in guilty]


def test_seed_and_number_name_one_case() -> None:
    cases = [generate(7, number) for number in range(200)]

    assert cases == [generate(7, number) for number in range(200)]
    assert len({repr(case.parts) for case in cases}) > 150
    assert {case.form for case in cases} == {"text", "json", "lines", "stream"}
    assert cases != [generate(8, number) for number in range(200)]


def test_case_survives_its_file() -> None:
    for number in range(50):
        case = generate(3, number)
        assert Case.from_json(case.to_json()).row() == case.row()


@pytest.mark.parametrize("number", range(5))
async def test_difference_shrinks_to_its_cause(number: int) -> None:
    culprit = Part("option", ["--model", "haiku"])
    case = generate(5, number)
    judge = Judge(culprit)
    found = await judge.compare([Case(case.name, case.form, (*case.parts[:3], culprit, *case.parts[3:]))])

    small = (await judge.shrink(found[0])).case

    assert culprit in small.parts
    assert len([part for part in small.parts if part.kind in ("turn", "held")]) == 1
    assert len(small.parts) == 2


def test_every_case_keeps_a_prompt() -> None:
    case = Case("one", "stream", (Part("option", ["--verbose"]), Part("turn", "hi")))

    assert [[part.kind for part in smaller.parts] for smaller in case.smaller()] == [["turn"]]
