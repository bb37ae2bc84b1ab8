from __future__ import annotations

import pytest

from fake_claude.script.ask import ApiRequest
from fake_claude.script.inline import find, parse
from fake_claude.script.model import Duration, ScriptError, Step

ASK = ApiRequest("", 1, 0, 1)


def steps(prompt: str) -> list[tuple[str, object]]:
    found = find(prompt)
    assert found is not None
    return [(step.kind, step.value) for step in parse(found[0], ASK, found[1])]


def test_script_may_stand_anywhere_in_the_text() -> None:
    assert find("before [[fake tokens=2]] after") == (" tokens=2", "before  after")


def test_prompt_without_a_script_has_none() -> None:
    assert find("[[fakery]] and [[other]]") is None


def test_holds_cut_the_pieces_where_they_stand() -> None:
    assert steps("[[fake tokens=3 hold=b@3 hold=a@1 hold=z@0]]") == [
        ("hold", "z"),
        ("tokens", 1),
        ("hold", "a"),
        ("tokens", 2),
        ("hold", "b"),
    ]


def test_first_and_gap_come_before_the_pieces() -> None:
    assert steps("[[fake first=2s gap=50ms tokens=1 exit=3]]") == [
        ("delay", Duration(2.0)),
        ("gap", Duration(0.05)),
        ("tokens", 1),
        ("exit", 3),
    ]


def test_quoted_text_may_hold_brackets_spaces_and_line_ends() -> None:
    assert steps(r'[[fake say="a ]] \"b\"\nc"]]') == [("pieces", ["a ", "]] ", '"b"\n', "c"])]


WRONG = [
    pytest.param("[[fake tokens=x]]", "not a whole number", id="number"),
    pytest.param("[[fake gap=fast]]", "not a duration", id="duration"),
    pytest.param("[[fake hold=a/b@1]]", "not a gate name", id="gate"),
    pytest.param("[[fake tokins=1]]", "Did you mean tokens", id="key"),
    pytest.param("[[fake tokens]]", "has no value", id="value"),
    pytest.param('[[fake say="x]]', "without a closing", id="quote"),
    pytest.param("[[fake tokens=1", "without a closing", id="end"),
]


@pytest.mark.parametrize(("prompt", "said"), WRONG)
def test_a_wrong_script_says_what_is_wrong(prompt: str, said: str) -> None:
    with pytest.raises(ScriptError, match=said):
        steps(prompt)


def test_steps_show_themselves() -> None:
    assert repr(Step("tokens", 3)) == "Step('tokens', 3)"
