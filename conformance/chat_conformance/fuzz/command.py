"""``chat-conformance fuzz``: play, say what was wrong, and how to see it again."""

from __future__ import annotations

import argparse
import asyncio
import shlex
from random import SystemRandom

from chat_conformance.errors import UsageError
from chat_conformance.fuzz.run import Report, make, run
from chat_conformance.fuzz.sent import Kind, Sent
from chat_conformance.report.text import lines
from chat_conformance.target.file import load

try:
    from uvloop import new_event_loop
except ImportError:
    # uvloop comes with the server; without it the fuzzer is slower.
    from asyncio import new_event_loop  # type: ignore[assignment]


def command(options: argparse.Namespace) -> int:
    """Run the command and return its exit status: 0 nothing was wrong, 1 something was.

    Raises:
        UsageError: An option or the target file is wrong.
        TargetError: The server cannot be started.
    """
    target = load(options.target)
    if not target.starts:
        raise UsageError(
            f"{options.target} has no start command: the fuzzer reads the log of what it plays with"
        )
    seed = options.seed or str(SystemRandom().randrange(10**9))
    # A connection follows from the seed and its number alone, so one of a long run can be played by itself.
    only = _only(seed, options.only) if options.only else None
    # Before the run: it may be stopped, or kill the machine, and the seed is all that repeats it.
    _say(f"seed {seed}")
    with asyncio.Runner(loop_factory=new_event_loop) as loop:
        report = loop.run(
            run(
                target,
                seed=seed,
                most_frames=options.frames,
                most_requests=options.requests,
                say=_say,
                only=only,
            )
        )
    return _print_report(report, options.target, seed)


def _only(seed: str, text: str) -> Sent:
    kind, _, number = text.partition(":")
    if kind not in {each.value for each in Kind} or not number.isdecimal():
        raise UsageError(f"--only is {text!r}; it must be like frames:17 or requests:17")
    return make(seed, Kind(kind), int(number))


def _print_report(report: Report, file: str, seed: str) -> int:
    rate = (report.frames + report.requests) / max(report.seconds, 0.001)
    answered = f"{report.frames:,} frames and {report.requests:,} requests ({report.answered:,} answered)"
    _say(f"{answered} in {report.seconds:.0f} s ({rate:,.0f} a second)")
    if report.wrong is None:
        _say("nothing was wrong")
        return 0
    _say(f"WRONG: {report.wrong}")
    if report.smallest is None:
        _say(
            f"no single connection shows it; the whole run: chat-conformance fuzz --target {file} --seed {seed}"
        )
        return 1
    sent = report.smallest
    _say(f"the smallest input, {len(sent.pieces)} of its pieces:")
    for piece in sent.pieces:
        _say(f"  {piece[:300]!r}{f' and {len(piece) - 300:,} bytes' if len(piece) > 300 else ''}")
    words = ["chat-conformance", "fuzz", "--target", file, "--seed", seed, "--only"]
    _say(f"again: {shlex.join([*words, f'{sent.kind.value}:{sent.number}'])}")
    return 1


def _say(text: str) -> None:
    print(lines(text), flush=True)  # noqa: T201 - it is a command
