"""What the real CLI 2.1.330 said about some 1,500 Bash commands, and what the fake says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fake_claude.bash.judge import Place, judge_bash
from fake_claude.bash.rules import Rules

RECORDED: dict[str, list[tuple[str, Any]]] = json.loads(
    (Path(__file__).parent / "recordings" / "bash_verdicts.json").read_text(encoding="utf-8")
)
RULES = {
    "allow": ["Bash(git *)", "Bash(touch *)", "Bash(npm run:*)", "Bash(foo)", "Bash(echo * x)"],
    "ask": ["Bash(ls *)", "Bash(pwd)"],
    "deny": ["Bash(rm *)", "Bash(curl:*)"],
}
OTHERWISE = {
    "echo 'unterminated": "the CLI runs it, and the shell refuses it; the fake asks",
    "echo $(": "asked by both, for another reason",
    "A=$HOME ls": "the rule that is offered has the variable filled in",
    "ls sub ../ /": "two folders outside: nothing is offered",
    "sed -ne 1p a.txt": "the CLI takes the script for a file",
    "sed = a.txt": "asked by both, for another reason",
    "jq": "asked by both",
}
"""Commands that are known to be judged otherwise, and how."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Make the folder in which the commands were recorded."""
    cwd = tmp_path / "dir"
    for name in ("sub", "src", ".git"):
        (cwd / name).mkdir(parents=True)
    for name in ("a.txt", "b.txt", "data.json"):
        (cwd / name).touch()
    (tmp_path / "home").mkdir()
    return Place(cwd=str(cwd), roots=[str(cwd)], home=str(tmp_path / "home"), mode="default")


def judged(command: str, place: Place, rules: Rules) -> Any:
    """Return the verdict in the form of the recordings."""
    verdict = judge_bash(command, place, rules)
    if verdict.allowed or verdict.forbidden:
        return "run" if verdict.allowed else "denied"
    found: dict[str, Any] = {}
    if verdict.suggestions is not None:
        found["permission_suggestions"] = verdict.suggestions
    if verdict.path is not None:
        found["blocked_path"] = verdict.path
    found |= verdict.extra | verdict.asked_with
    found.pop("server_policy_ask_only", None)
    base = place.cwd.removesuffix("/dir")
    text = json.dumps(found, ensure_ascii=False).replace(place.cwd, "<cwd>").replace(place.home, "<home>")
    return json.loads(text.replace(base, "<base>"))


def compared(name: str, place: Place, rules: Rules) -> dict[str, tuple[Any, Any]]:
    """Return the commands that are judged otherwise than recorded."""
    both = {command: (want, judged(command, place, rules)) for command, want in RECORDED[name]}
    return {
        command: pair for command, pair in both.items() if pair[0] != pair[1] and command not in OTHERWISE
    }


NONE = Rules(allow=[], ask={}, deny=[])


def test_verdicts_without_any_rules(place: Place) -> None:
    assert len(RECORDED["default"]) > 1300
    assert not compared("default", place, NONE)


def test_verdicts_under_three_kinds_of_rules(place: Place) -> None:
    ask = dict.fromkeys(RULES["ask"], "flagSettings")
    assert not compared("rules", place, Rules(allow=RULES["allow"], ask=ask, deny=RULES["deny"]))


def test_verdicts_where_edits_are_accepted(place: Place) -> None:
    place.mode = "acceptEdits"
    assert not compared("acceptEdits", place, NONE)


def test_nothing_runs_that_the_cli_asks_about(place: Place) -> None:
    """Not even among the commands that are known to be judged otherwise."""
    asked = [command for command, want in RECORDED["default"] if want != "run"]
    assert len(asked) > 500
    assert not [command for command in asked if judged(command, place, NONE) == "run"]


def test_winding_path_is_asked_about(place: Place) -> None:
    """It may follow a link to the outside."""
    found = judged("cat ./sub/../a.txt", place, NONE)
    assert found["blocked_path"] == "./sub/../a.txt"
    assert "traversal" in found["decision_reason"]
