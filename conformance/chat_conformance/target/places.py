"""Folders of a run, named by its seed: letters only, so that no name of ours changes what a target does."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random

LETTERS = "bcdfghjkmnpqrstvwxz"


def letters(key: object) -> str:
    """A name of letters, drawn by a key."""
    return "".join(Random(str(key)).choices(LETTERS, k=10))  # noqa: S311 - it is to be repeatable


@contextmanager
def temporary_folder(seed: object, what: str) -> Iterator[Path]:
    """An empty folder for the length of the block; two runs of one seed at a time get different ones."""
    folder = _made(f"{seed} {what}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _made(key: str) -> Path:
    for number in count():
        folder = Path(tempfile.gettempdir()) / f"chatgate-{letters(f'{key} {number}')}"
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return folder
    # The count has no end.
    raise AssertionError
