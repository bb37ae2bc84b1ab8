"""The pages keep their word: commands run, links lead somewhere, the first screen is two commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("**/*.md")),
]
SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
FIRST_SCREEN_LINES = 25
CARRIER = ".ci/tox"
TOX = (ROOT / "tox.ini").read_text(encoding="utf-8")


def commands(page: Path) -> list[str]:
    """The lines of a page's ``sh`` blocks."""
    blocks = SHELL.findall(page.read_text())
    return [line for block in blocks for line in block.splitlines() if line.strip()]


RUN = [
    pytest.param(line, id=f"{page.relative_to(ROOT)}: {line}")
    for page in PAGES
    for line in commands(page)
    if page.name != "judge-your-server.md"  # examples/tests/test_tutorial.py plays it as a whole
    if not line.startswith(CARRIER)  # e2e/readme runs the first, CI itself the second
    if line not in TOX  # such as a run of a minute, which an environment of CI is
]


@pytest.mark.parametrize("command", RUN)
def test_command_of_a_page_succeeds(command: str, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "XDG_DATA_HOME": str(tmp_path / "data")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_to_files(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]

    assert missing == []


def test_first_screen_holds_two_commands() -> None:
    screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:FIRST_SCREEN_LINES])

    assert [line for block in SHELL.findall(screen) for line in block.splitlines()] == [
        ".ci/tox -e dev",
        ".ci/tox",
    ]


def test_ci_runs_the_readme_test_command() -> None:
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "exec .ci/tox"


def test_every_dependency_has_its_reason() -> None:
    reasons = (ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    names = set(re.findall(r'"([a-z][a-z0-9-]+)(?:\[[a-z]+\])?>=', project))

    assert {name for name in names if not re.search(rf"\b{name}\b", reasons)} == set()
