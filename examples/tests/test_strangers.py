"""Servers that know nothing of the suite, each described by a target file alone, and what is claimed of them.

The claims were checked by hand, one by one, in the table of each README; this test holds each table to the claims.
Servers that need no packages but a few of PyPI's are judged again, as far as that is quick.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chat_conformance.report import document
from chat_conformance.target.file import load

from .command import run
from .test_servers import line

FOLDERS = sorted(each.parent for each in (Path(__file__).parents[1] / "strangers").glob("*/chat.toml"))
QUICK = ["starlette_sse", "node_lines"]
SELECTED = [
    *(
        "turns/answered",
        "turns/text",
        "turns/streams",
        "turns/order",
        "turns/remembers",
        "shapes/three-times",
    ),
    "processes/prompt-is-data",
]
ENOUGH = 0.7
"""Of the cases that a server's roles allow, this part is played at least."""


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda each: each.name)
def test_claims_are_those_checked_by_hand(folder: Path) -> None:
    expected = (folder / "expected.txt").read_text(encoding="utf-8")
    failed = set(re.findall(r"^failed +(\S+)", expected, re.MULTILINE))
    table = set(
        re.findall(r"^\| `([\w/-]+)`", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    )

    assert load(str(folder / "chat.toml")).name
    assert table == failed


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda each: each.name)
def test_most_of_what_roles_allow_is_played(folder: Path) -> None:
    verdicts = re.findall(
        r"^(passed|failed|blocked by|could not test) ",
        (folder / "expected.txt").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    played = sum(each in ("passed", "failed") for each in verdicts)

    assert played >= ENOUGH * len(verdicts) > 0


@pytest.mark.parametrize("name", QUICK)
def test_stranger_is_judged_as_before(name: str, tmp_path: Path) -> None:
    folder = next(each for each in FOLDERS if each.name == name)
    selected = [word for each in SELECTED for word in ("--select", each)]
    report = tmp_path / "report.json"

    done = run(
        "run", "--target", "chat.toml", "--seed", "1", *selected, "--report", f"json={report}", cwd=folder
    )

    kept = (folder / "expected.txt").read_text(encoding="utf-8").splitlines()
    for each in document.read(str(report)).results:
        assert line(each) in kept, done.stdout[-20_000:]
