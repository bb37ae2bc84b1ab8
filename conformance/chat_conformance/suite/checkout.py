"""A git checkout and the files of another of its commits, without hooks, and without a trace in the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chat_conformance.errors import UsageError

# How a user reaches a remote stays; what says which repository, index, work tree or setting to take, goes.
_KEPT = {"GIT_ASKPASS", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_TERMINAL_PROMPT"}
_KEPT |= {"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"}
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    # A partial result would not be the base.
    "core.sparseCheckout": "false",
    "submodule.recurse": "false",
    # A container's user seldom owns the checkout. Its programs are about to be started: distrust would protect nothing.
    "safe.directory": "*",
}


@contextmanager
def without_git_variables() -> Iterator[None]:
    """Remove from the environment what git sets for its hooks, which is meant for the repository of the hook.

    With it a server, a preparation or git itself would work on another index or repository than they stand in.
    """
    taken = {name: os.environ[name] for name in os.environ if name.startswith("GIT_") and name not in _KEPT}
    for name in taken:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(taken)


class Checkout:
    """The checkout that the working directory is in.

    Attributes:
        top: Its folder.
        inside: Where in it the working directory is.

    Raises:
        UsageError: There is none, or git is not installed.
    """

    def __init__(self) -> None:
        wrong = "this folder is no git checkout"
        self.top = Path(_git("rev-parse", "--show-toplevel", wrong=wrong))
        self.inside = Path(_git("rev-parse", "--show-prefix", wrong=wrong))
        self._git_folder = _git("rev-parse", "--absolute-git-dir", wrong=wrong)

    def commit(self, revision: str) -> str:
        """The id of the commit that a revision means.

        Raises:
            UsageError: It means none, or there is a branch and a tag of that name.
        """
        wrong = f"git knows no revision {revision}"
        if _git("rev-parse", "--is-shallow-repository", wrong=wrong) == "true":
            wrong += "; the clone is shallow: fetch the base, too, as with `fetch-depth: 0` or GIT_DEPTH=0"
        wanted = f"{revision}^{{commit}}"
        # `--end-of-options`: a revision that begins with a dash must not be an option of git.
        done = _run("rev-parse", "--verify", "--end-of-options", wanted)
        if done.returncode:
            raise UsageError(wrong)
        # git takes the tag and only warns: a pushed tag of that name would choose the base.
        if "ambiguous" in done.stderr:
            raise UsageError(
                f"{revision} is a branch and a tag; write refs/heads/… or refs/tags/…, or the commit"
            )
        return done.stdout.strip()

    def has(self, commit: str) -> bool:
        """Whether what is checked out contains a commit."""
        return _run("merge-base", "--is-ancestor", commit, "HEAD").returncode == 0

    @contextmanager
    def files_of(self, commit: str) -> Iterator[Path]:
        """The files of a commit in a folder of their own, for the length of the block.

        It is a repository of its own that borrows the objects of this one: whatever is done in it, hooks that a
        preparation installs included, is gone with it. Submodules are not checked out.
        """
        with tempfile.TemporaryDirectory(prefix="chatgate-base-") as folder:
            place, index = Path(folder).resolve() / "base", Path(folder) / "index"
            place.mkdir()
            ours = {"GIT_DIR": self._git_folder, "GIT_WORK_TREE": str(place), "GIT_INDEX_FILE": str(index)}
            wrong = f"git cannot check out {commit[:12]}"
            # Not `worktree add`: that runs hooks and leaves notes. Attributes are taken from the commit, not from here.
            _git("read-tree", "--reset", "-u", commit, wrong=wrong, env=ours)
            # The new repository must have the hash of the old one (sha1 or sha256), or the borrowed objects do
            # not fit.
            form = _git("rev-parse", "--show-object-format", wrong=wrong)
            objects = _git("rev-parse", "--path-format=absolute", "--git-path", "objects", wrong=wrong)
            shallow = _git("rev-parse", "--path-format=absolute", "--git-path", "shallow", wrong=wrong)
            own = place / ".git"
            options = ["--quiet", "--template=", f"--object-format={form}"]
            _git("init", *options, str(place), wrong=wrong)
            (own / "objects/info").mkdir(exist_ok=True)
            (own / "objects/info/alternates").write_text(f"{objects}\n", encoding="utf-8")
            (own / "HEAD").write_text(f"{commit}\n", encoding="ascii")
            shutil.move(index, own / "index")
            # Without this list, git would look for parents that a shallow clone does not have.
            if Path(shallow).exists():
                shutil.copy(shallow, own / "shallow")
            yield place


def _git(*words: str, wrong: str, env: dict[str, str] | None = None) -> str:
    done = _run(*words, env=env)
    if done.returncode:
        raise UsageError(f"{wrong}: {done.stderr.strip() or 'git says no more'}")
    return done.stdout.strip()


def _run(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
    # A replaced commit would not be the one that was asked for; sentences are looked at, so they are English.
    ours = {**os.environ, "GIT_NO_REPLACE_OBJECTS": "1", "LC_ALL": "C", **(env or {})}
    try:
        return subprocess.run(
            ["git", *settings, *words],
            capture_output=True,
            text=True,
            check=False,
            env=ours,
            errors="replace",
        )
    except FileNotFoundError:
        raise UsageError("git is not installed, and a gate compares two revisions") from None
