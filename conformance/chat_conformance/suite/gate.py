"""Base against head: the suite on both revisions of a git checkout."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

from chat_conformance.errors import TargetError, UsageError
from chat_conformance.results import RunResult
from chat_conformance.suite.compare import against


def gate(
    base: str, play: Callable[[str], RunResult], *, prepare: str = "", on_note: Callable[[str], None] = print
) -> RunResult:
    """Judge what the checkout does otherwise than ``base`` does.

    Args:
        base: A revision, such as ``origin/main``.
        play: Plays the suite in the working directory; it is told what to call the run.
        prepare: A shell command that makes a fresh checkout ready to run, such as ``npm ci``.
        on_note: Is told what is going on.

    Raises:
        UsageError: There is no such revision, or this is no git checkout.
        TargetError: The target does not start in the checkout, or ``prepare`` fails.
    """
    commit = _git(
        "rev-parse", "--verify", "--quiet", f"{base}^{{commit}}", wrong=f"git knows no revision {base}"
    )
    inside = Path(_git("rev-parse", "--show-prefix", wrong="this folder is no git checkout"))
    with worktree(commit) as folder, chdir(folder / inside if (folder / inside).is_dir() else folder):
        on_note(f"base: {base} ({commit[:12]})")
        if prepare and subprocess.run(prepare, shell=True, check=False).returncode:  # noqa: S602 - the user's own command
            raise TargetError(f"{prepare!r} failed on {base}")
        try:
            before = play(base)
        except TargetError as error:
            on_note(f"{base} cannot be judged, so everything counts as new: {error}")
            before = None
    on_note("head: this checkout")
    after = play("head")
    return after if before is None else against(before, after, base)


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """A second work tree at a commit, for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="chatgate-base-") as folder:
        place = Path(folder) / "base"
        _git(
            "worktree", "add", "--detach", "--quiet", str(place), commit, wrong="git cannot make a work tree"
        )
        try:
            yield place
        finally:
            _git("worktree", "remove", "--force", str(place), wrong="git cannot remove its work tree")


def _git(*words: str, wrong: str) -> str:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UsageError("git is not installed, and a gate compares two revisions") from None
    if done.returncode:
        raise UsageError(f"{wrong}: {done.stderr.strip() or 'git says no more'}")
    return done.stdout.strip()
