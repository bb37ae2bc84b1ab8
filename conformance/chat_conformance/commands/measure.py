"""``load`` and ``fuzz``, which have their own packages."""

from __future__ import annotations

import argparse


def load(options: argparse.Namespace) -> int:
    """Measure what servers hold."""
    from chat_conformance.load.command import command  # noqa: PLC0415 - `list` does without

    return command(options)


def fuzz(options: argparse.Namespace) -> int:
    """Send hostile frames and requests."""
    from chat_conformance.fuzz.command import command  # noqa: PLC0415 - `list` does without

    return command(options)
