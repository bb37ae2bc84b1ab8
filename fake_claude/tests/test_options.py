from __future__ import annotations

import pytest

from fake_claude.invocation.options import OPTIONS, Refusal, parse
from fake_claude.suggestions import nearest


def test_last_of_repeated_options_wins() -> None:
    assert parse(["--model", "a", "--model=b"]).text("model") == "b"


def test_variadic_option_takes_all_words_to_the_next_option() -> None:
    options = parse(["--allowedTools", "a", "b", "-p", "prompt"])

    assert options.lists["allowed-tools"] == ["a", "b"]
    assert options.positionals == ["prompt"]


def test_everything_after_two_dashes_is_positional() -> None:
    assert parse(["-p", "--", "--model", "x"]).positionals == ["--model", "x"]


def test_short_flags_may_stand_together() -> None:
    options = parse(["-pc"])

    assert options.flag("print")
    assert options.flag("continue")


def test_optional_value_may_be_absent() -> None:
    assert parse(["--resume", "-p"]).values["resume"] is True


REFUSED = [
    pytest.param(["--no-such"], "error: unknown option '--no-such'", id="unknown"),
    pytest.param(["--modle", "x"], "error: unknown option '--modle'\n(Did you mean --model?)", id="near"),
    pytest.param(["--model"], "error: option '--model <model>' argument missing", id="missing"),
    pytest.param(
        ["--print=x"], "error: unknown option '--print=x'\n(Did you mean --print?)", id="value-for-flag"
    ),
    pytest.param(["-hello dash"], "error: unknown option '-hello dash'", id="dash-prompt"),
    pytest.param(
        ["--max-turns=abc"],
        "error: option '--max-turns <turns>' argument 'abc' is invalid. must be a number",
        id="number",
    ),
]


@pytest.mark.parametrize(("argv", "text"), REFUSED)
def test_refusal(argv: list[str], text: str) -> None:
    with pytest.raises(Refusal) as refusal:
        parse(argv)

    assert str(refusal.value) == text


def test_ignored_and_refused_options_have_a_reason_and_not_both() -> None:
    assert not [option.flags for option in OPTIONS if option.ignored and option.refused]


def test_no_suggestion_for_a_word_that_is_like_nothing() -> None:
    assert nearest("zzzzzzzz", ["model", "print"]) == []
