"""Results of earlier runs, kept in a folder by what they are a function of."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from chat_conformance.errors import UsageError
from chat_conformance.report import document
from chat_conformance.results import RunResult
from fake_claude.terminal import in_ci

KEPT_FOR = (
    7 * 24 * 3600
    # In seconds. What a server stands on (its libraries, the system) changes without a commit.
)
_PACKAGE = Path(__file__).parents[1]


def usual_folder() -> Path | None:
    """The default folder for results; none in CI.

    There the server of one change could write what the next run of that change takes for the base's.
    """
    if in_ci():
        return None
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "chat-conformance"


def key_of(*parts: object) -> str:
    """A name for a result: of what it depends on, the suite and the interpreter included."""
    parts_of_key = [
        version("chatgate"),
        _digest_of_suite(),
        sys.version,
        platform.platform(),
        *map(str, parts),
    ]
    return hashlib.sha256(json.dumps(parts_of_key).encode()).hexdigest()


class Kept:
    """A folder of results, each a file that is named by its key.

    Args:
        folder: Where; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder if folder is not None and _is_ours(folder) else None

    def get(self, key: str) -> RunResult | None:
        """The result of that key; None if there is none, it cannot be read or is old."""
        place = self._place(key)
        # A kept result only saves time: whatever is wrong with it, the base is played.
        with suppress(OSError, UsageError):
            if place is not None and place.is_file() and time.time() - place.stat().st_mtime < KEPT_FOR:
                return document.read(str(place))
        return None

    def put(self, key: str, run: RunResult) -> None:
        """Keep a result, unless something broke in its run; those that are old go."""
        place = self._place(key)
        if place is None or run.is_broken:
            return
        with suppress(OSError):
            for old in place.parent.glob("*.json"):
                if time.time() - old.stat().st_mtime >= KEPT_FOR:
                    old.unlink(missing_ok=True)
            # Written aside and renamed: another run that reads at this moment finds the old file or the new
            # one, never half of one.
            fresh = place.with_suffix(f".{os.getpid()}")
            fresh.write_text(document.render(run, {}), encoding="utf-8")
            fresh.replace(place)

    def _place(self, key: str) -> Path | None:
        return None if self._folder is None else self._folder / f"{key}.json"


def _is_ours(folder: Path) -> bool:
    """Whether no other user can write into a folder, which is created if it is missing."""
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        # A result is trusted as the base's. Where others can write, they could plant one in which the base
        # fails all that the head fails.
        return found.st_uid == os.getuid() and not found.st_mode & 0o022
    return False


def _digest_of_suite() -> str:
    """What the suite is made of, since its version stands still while it is worked on."""
    digest = hashlib.sha256()
    for each in sorted(_PACKAGE.rglob("*")):
        if each.suffix in (".py", ".toml", ".ini") and "tests" not in each.parts:
            digest.update(str(each.relative_to(_PACKAGE)).encode())
            digest.update(each.read_bytes())
    return digest.hexdigest()
