"""Servers that are correct and differ, on five stacks: the suite makes no claim about any of them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from chat_conformance.report import document
from chat_conformance.results import Verdict

from .command import environment, run

EXAMPLES = Path(__file__).parents[1]
AREAS = ["handshake", "framing", "closing", "messages", "turns", "queues"]
STACKS = {
    "on_aiohttp": ["following", "http"],
    "on_granian": ["history"],
    "on_http_server": ["history", "stopping", "http"],
    "on_websockets": ["history", "following"],
    "on_ws": ["following", "stopping"],
}
"""The stacks, each with the areas of cases that its own ways are of interest to, besides those for all."""

LEFT_OUT = {"on_granian": {"closing/code"}}  # now and then granian drops who closes, before it has answered
ENOUGH = 60
"""How many cases must pass at least: a server that is not asked gives no false alarm."""


def test_every_server_is_judged() -> None:
    assert sorted(STACKS) == sorted(
        each.stem for each in EXAMPLES.glob("correct/on_*.toml") if "." not in each.stem
    )


@pytest.mark.parametrize("stack", STACKS)
def test_correct_server_gets_no_finding(stack: str, tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("node_modules"))
    if stack == "on_ws":
        npm = ["npm", "ci", "--no-audit", "--no-fund"]
        subprocess.run(npm, cwd=folder / "node_ws", env=environment(), check=True, capture_output=True)
    selected = [word for area in [*AREAS, *STACKS[stack]] for word in ("--select", f"{area}/")]

    done = run(
        *("run", "--target", f"{stack}.toml", "--seed", "1", "--quick", "-n", "4", *selected),
        *("--report", f"json={tmp_path}/report.json"),
        cwd=folder / "correct",
    )

    assert done.returncode == 0, done.stdout[-20_000:]
    report = document.read(str(tmp_path / "report.json"))
    ended = {
        verdict: [
            each.case.id for each in report.of(verdict) if each.case.id not in LEFT_OUT.get(stack, set())
        ]
        for verdict in Verdict
    }
    assert (ended[Verdict.FAILED], ended[Verdict.COULD_NOT_TEST], ended[Verdict.BLOCKED_BY]) == ([], [], [])
    assert len(ended[Verdict.PASSED]) >= ENOUGH
