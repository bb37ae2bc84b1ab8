"""``init`` and ``doctor``: a target file, and whether its target can be judged."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from chat_conformance.errors import UsageError
from chat_conformance.target.file import load, parse


def init(options: argparse.Namespace) -> int:
    """Write a commented target file to begin with."""
    place = Path(options.file)
    # Never written over: a target file is work of hours.
    if place.exists():
        raise UsageError(f"{place} is there already; name another file")
    if options.prompt and not options.recording:
        raise UsageError("--prompt says what was typed in the recording that --from names")
    if options.recording:
        _write(place, _proposed(options.recording, options.prompt))
        print(f"{place} is proposed; read it, then: chat-conformance doctor --target {place}")
        return 0
    _write(place, (Path(__file__).parents[1] / "template.toml").read_text(encoding="utf-8"))
    print(f"{place} is written; fill it in, then: chat-conformance doctor --target {place}")
    return 0


def _write(place: Path, text: str) -> None:
    try:
        place.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"{place}: {error.strerror}") from None


def _proposed(recording: str, prompt: str) -> str:
    """The text of a target file for the server of a recorded session."""
    from chat_conformance.suite.propose.draft import draft  # noqa: PLC0415 - nothing else needs it
    from chat_conformance.suite.propose.read import read  # noqa: PLC0415
    from chat_conformance.suite.propose.write import written  # noqa: PLC0415

    try:
        data = Path(recording).read_bytes()
    except OSError as error:
        raise UsageError(f"{recording}: {error}") from None
    try:
        made = draft(read(data, recording), prompt)
        text = written(made)
    except RecursionError:
        raise UsageError(f"{recording} has a message that is nested too deep") from None
    if made.found is not None:
        print(f"the answer in the recording is {made.found.said[:60]!r}")
    try:
        parse(text.encode(errors="replace"), Path("the proposal"), "", here=Path())
    except UsageError as error:
        print(f"to be mended by hand: {error}")
    return text


def doctor(options: argparse.Namespace) -> int:
    """Try step by step whether a target can be judged."""
    from chat_conformance.suite.doctor import run_checks  # noqa: PLC0415 - `list` does without

    return asyncio.run(run_checks(load(options.target), print))
