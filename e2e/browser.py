"""Which Chromium the tests drive, and how one gets there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

SETTING = "CHATGATE_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome")
INSTALL = ("apt-get", "update"), ("apt-get", "install", "-y", "--no-install-recommends", "chromium")
QUIET = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class NoBrowserError(Exception):
    """There is no Chromium to drive; the sentence says what to do."""


def find(env: Mapping[str, str], which: Callable[[str], str | None] = shutil.which) -> Path | None:
    """The Chromium to use: the one that is named, else Playwright's newest download, else the system's.

    Args:
        env: ``CHATGATE_CHROMIUM``, ``PLAYWRIGHT_BROWSERS_PATH``, ``XDG_CACHE_HOME`` and ``HOME`` are read.
        which: Finds a program on ``PATH``.

    Returns:
        The path of an executable, or ``None`` when there is none.

    Raises:
        NoBrowserError: ``CHATGATE_CHROMIUM`` names something that cannot be run.
    """
    named = env.get(SETTING)
    if named:
        found = which(named)
        if found is None:
            raise NoBrowserError(f"{SETTING} is {named!r}, which is not a program that can be run.")
        return Path(found)
    for candidate in _downloads(env):
        if os.access(candidate, os.X_OK):
            return candidate
    for name in NAMES:
        found = which(name)
        if found is not None:
            return Path(found)
    return None


def find_or_install(
    env: Mapping[str, str],
    *,
    which: Callable[[str], str | None] = shutil.which,
    is_root: bool | None = None,
    run: Callable[[tuple[str, ...]], None] | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """As ``find``; where there is none, root on Debian installs it.

    Raises:
        NoBrowserError: There is none and this user cannot install one, or the installation failed.
    """
    found = find(env, which)
    if found is not None:
        return found
    root = os.geteuid() == 0 if is_root is None else is_root
    if not root or which("apt-get") is None:
        raise NoBrowserError(
            "The browser tests need Chromium and there is none: install it (`sudo apt-get install chromium`, or "
            f"`playwright install --with-deps chromium`) or name one in {SETTING}."
        )
    say(
        "The browser tests need Chromium and there is none: installing it with apt-get, which takes a minute."
    )
    for command in INSTALL:
        try:
            (run or _run)(command)
        except (OSError, subprocess.CalledProcessError) as error:
            raise NoBrowserError(
                f"Chromium could not be installed: `{' '.join(command)}`: {error}"
            ) from error
    found = find(env, which)
    if found is None:
        raise NoBrowserError(f"apt-get installed chromium, but there is none of {', '.join(NAMES)} on PATH.")
    return found


def arguments() -> list[str]:
    """Command line options for a Chromium that talks to nobody but the page under test."""
    return [*QUIET, "--no-sandbox"] if os.geteuid() == 0 else QUIET


def _downloads(env: Mapping[str, str]) -> list[Path]:
    """Where ``playwright install chromium`` leaves it, newest first."""
    cache = env.get("XDG_CACHE_HOME") or f"{env.get('HOME') or Path.home()}/.cache"
    folder = Path(env.get("PLAYWRIGHT_BROWSERS_PATH") or f"{cache}/ms-playwright")
    found = [path for path in folder.glob("chromium-*/chrome-linux*/chrome") if _revision(path) >= 0]
    return sorted(found, key=_revision, reverse=True)


def _revision(path: Path) -> int:
    revision = path.parent.parent.name.removeprefix("chromium-")
    return int(revision) if revision.isascii() and revision.isdigit() else -1


def _run(command: tuple[str, ...]) -> None:
    # apt's own words go where the user looks; it must not ask anything.
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=sys.__stderr__, stderr=None, env=env)
