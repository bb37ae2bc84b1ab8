"""Changes of the reference server, gated as a review bot would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from fake_claude.patience import patience

PROJECT = Path(__file__).parents[3]
CASES = ["turns/streams", "keepalive/silent-turn", "handshake/foreign-origin"]

Change = Mapping[str, tuple[str, ...]]

HARMLESS = {
    "chat_server/web/middleware.py": (
        "check_origin(request, request.app[OWN])",
        "own = request.app[OWN]\n        check_origin(request, own)",
    ),
}
BLOCKING = """def _wait_for_more(process: Process) -> None:
    import select
    select.select([process.stdout._file], [], [])


class Session:"""
BLOCKING_READ = {
    "chat_server/claude/session.py": (
        "            exchange.log.extend_text()\n",
        "            exchange.log.extend_text()\n            _wait_for_more(self.started.result())\n",
        "class Session:",
        BLOCKING,
    ),
}
ANY_ORIGIN = {
    "chat_server/web/middleware.py": ("        check_origin(request, request.app[OWN])", "        pass")
}


TWICE = {"chat_server/turns/event_log.py": ("return Token(token=text,", "return Token(token=2 * text,")}
NEVER = {"chat_server/turns/event_log.py": ("return Token(token=2 * text,", 'return Token(token="",')}


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The server alone in a git checkout, as another project would be."""
    folder = tmp_path / "checkout"
    skipped = shutil.ignore_patterns("tests", "__pycache__")
    shutil.copytree(PROJECT / "impl/chat_server", folder / "chat_server", ignore=skipped)
    git(folder, "init", "--quiet")
    commit(folder, {}, "base")
    return folder


def commit(folder: Path, change: Change, message: str) -> None:
    """Make a change of texts in files, old and new in turn."""
    for name, texts in change.items():
        path = folder / name
        text = path.read_text(encoding="utf-8")
        for old, new in zip(texts[::2], texts[1::2], strict=True):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)


Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(checkout: Path) -> Command:
    """The command in the checkout; its exit status and what it printed."""

    def run(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "chat_conformance", *words],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": ""},
            capture_output=True,
            text=True,
            check=False,
            timeout=patience(240),
        )
        return done.returncode, done.stdout + done.stderr

    return run


def selected(*words: str) -> list[str]:
    chosen = [word for case_id in CASES for word in ("--select", case_id)]
    return [*words, "--target", "targets/reference.toml", *chosen, "--seed", "7"]


def review(path: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return said


@pytest.mark.parametrize(
    ("change", "found"),
    [(HARMLESS, ""), (BLOCKING_READ, "keepalive/silent-turn"), (ANY_ORIGIN, "handshake/foreign-origin")],
    ids=["harmless refactoring", "a read that blocks", "any origin"],
)
def test_change_is_judged_by_what_it_does(
    checkout: Path,
    command: Command,
    tmp_path: Path,
    change: Change,
    found: str,
) -> None:
    commit(checkout, change, "change")

    status, printed = command(
        *selected("gate"), "--base", "HEAD~1", "--report", f"review={tmp_path}/review.json"
    )

    said = review(tmp_path / "review.json")
    assert (status, said["verdict"]) == ((1, "REQUEST_CHANGES") if found else (0, "APPROVE")), printed
    stopping = [line for line in said["review_markdown"].splitlines() if line.startswith("- **REGRESSION**")]
    assert any(found in line for line in stopping) if found else stopping == []
    worktrees = subprocess.run(
        ["git", "worktree", "list"], cwd=checkout, capture_output=True, text=True, check=True
    )
    assert len(worktrees.stdout.splitlines()) == 1


def test_fault_of_the_base_is_debt_of_the_change(checkout: Path, command: Command, tmp_path: Path) -> None:
    commit(checkout, ANY_ORIGIN, "bad already")
    commit(checkout, {}, "change")

    status, printed = command(
        *selected("gate"), "--base", "HEAD~1", "--report", f"review={tmp_path}/review.json"
    )

    said = review(tmp_path / "review.json")
    assert (status, said["verdict"]) == (0, "APPROVE"), printed
    assert "Debt, known before this change" in said["review_markdown"]
    assert "fails on HEAD\\~1 already" in said["review_markdown"]


def test_break_of_what_fails_already_is_said_first(checkout: Path, command: Command, tmp_path: Path) -> None:
    commit(checkout, {**ANY_ORIGIN, **TWICE}, "bad already")
    commit(checkout, NEVER, "no token is shown")

    status, printed = command(
        *selected("gate"), "--base", "HEAD~1", "--report", f"review={tmp_path}/review.json"
    )

    said = review(tmp_path / "review.json")
    assert (status, said["verdict"]) == (1, "REQUEST_CHANGES"), printed
    assert said["review_markdown"].startswith(
        "**REGRESSION** in `turns/streams`: Pieces of the answer arrive as token events"
    )
    assert said["verdict_reason"].startswith("REGRESSION in turns/streams: Pieces of the answer arrive as")
    assert "fails for another cause: it is 't1 t2 t3 t1 t2 t3 '" in said["review_markdown"]


def test_mended_change_is_seen_again_as_fixed(checkout: Path, command: Command, tmp_path: Path) -> None:
    commit(checkout, ANY_ORIGIN, "change")
    first, _ = command(*selected("run"), "--report", f"jsonl={tmp_path}/first.jsonl")
    git(checkout, "revert", "--no-edit", "HEAD")
    second, printed = command(
        *selected("run"),
        *("--previous", f"{tmp_path}/first.jsonl"),
        *("--report", f"json={tmp_path}/second.json", "--report", f"markdown={tmp_path}/second.md"),
    )
    third, compared = command("compare", f"{tmp_path}/first.jsonl", f"{tmp_path}/second.json")

    assert (first, second, third) == (1, 0, 0)
    assert "since the previous run: 1 FIXED" in printed
    assert "- **FIXED** `handshake/foreign-origin`" in (tmp_path / "second.md").read_text(encoding="utf-8")
    assert "handshake/foreign-origin           failed          passed" in compared


def test_unknown_base_and_failing_preparation_are_said(checkout: Path, command: Command) -> None:
    del checkout
    unknown = command(*selected("gate"), "--base", "no-such-branch")
    unprepared = command(*selected("gate"), "--base", "HEAD", "--prepare", "exit 3")

    assert unknown[0] == 2
    assert "git knows no revision no-such-branch" in unknown[1]
    assert unprepared[0] == 3
    assert "'exit 3' failed on HEAD" in unprepared[1]
