"""``init`` and ``doctor``: a target file, and whether its target can be judged."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from chat_conformance.errors import UsageError
from chat_conformance.target.file import load


def init(options: argparse.Namespace) -> int:
    """Write a commented target file to begin with."""
    place = Path(options.file)
    if place.exists():
        raise UsageError(f"{place} is there already; name another file")
    place.write_text(
        (Path(__file__).parents[1] / "template.toml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    print(f"{place} is written; fill it in, then: chat-conformance doctor --target {place}")
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Try step by step whether a target can be judged."""
    from chat_conformance.suite.doctor import examine  # noqa: PLC0415 - `list` does without

    return asyncio.run(examine(load(options.target), print))
