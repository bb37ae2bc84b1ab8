"""``chat-conformance``: run the cases against a target, or list them."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from secrets import randbelow

from conformance import baseline
from conformance.case import all_cases, select
from conformance.clauses import clauses
from conformance.errors import TargetError, UsageError
from conformance.report import console
from conformance.results import Case
from conformance.target import load

EPILOG = """exit status: 0 conformant, 1 not conformant, 2 wrong use or nothing selected,
3 the target or the harness broke, or nothing could be tested"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_args(argv)
    try:
        return COMMANDS[options.command](options)
    except UsageError as error:
        print(f"chat-conformance: {error}", file=sys.stderr)
        return 2
    except TargetError as error:
        print(f"chat-conformance: {error}", file=sys.stderr)
        for line in error.log[-20:]:
            print(f"  | {line}", file=sys.stderr)
        return 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chat-conformance",
        description="Judges a chat server that speaks chat-stream-v1.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="play the cases against a target", epilog=EPILOG)
    run.add_argument(
        "--target", required=True, metavar="FILE", help="target file, such as targets/reference.toml"
    )
    run.add_argument("--seed", type=int, metavar="N", help="repeat a run with the seed it printed")
    listing = commands.add_parser("list", help="list the cases")
    listing.add_argument("--clauses", action="store_true", help="list the clauses and which have no case")
    run.add_argument("--quick", action="store_true", help="leave out what takes long")
    run.add_argument("--durations", type=int, metavar="N", help="show the N slowest cases")
    explain = commands.add_parser("explain", help="all about one case")
    explain.add_argument("id", metavar="ID", help="a case, such as turns/streams, or a clause or finding")
    doctor = commands.add_parser("doctor", help="see step by step whether a target can be judged")
    doctor.add_argument("--target", required=True, metavar="FILE")
    init = commands.add_parser("init", help="write a commented target file to begin with")
    init.add_argument("file", nargs="?", default="chat.toml", metavar="FILE", help="default: chat.toml")
    kills = commands.add_parser("mutants", help="let the suite judge servers broken on purpose")
    kills.add_argument("--select", action="append", default=[], metavar="PREFIX", help="only these mutants")
    kills.add_argument("--quick", action="store_true", help="each mutant's own case only")
    kills.add_argument("--seed", type=int, metavar="N", default=1)
    for command in (run, listing):
        command.add_argument(
            "--select",
            action="append",
            default=[],
            metavar="PREFIX",
            help="only cases whose id begins so, or whose clause or finding it is; may be repeated",
        )
    return parser


def _run(options: argparse.Namespace) -> int:
    try:
        from conformance.runner import run  # noqa: PLC0415  (pytest is heavy, and `list` does without)
    except ModuleNotFoundError as error:
        raise TargetError(
            f"{error.name} is not installed; the cases are played by pytest: pip install pytest"
        ) from None

    target = load(options.target)
    known = all_cases()
    selected = select(known, tuple(options.select))
    selected = tuple(each for each in selected if not (options.quick and each.slow))
    if not selected:
        raise UsageError("nothing is selected: --quick leaves out all of it")
    seed = randbelow(1_000_000) if options.seed is None else options.seed

    def replay(case: Case) -> str:
        words = [
            "chat-conformance",
            "run",
            "--target",
            options.target,
            "--select",
            case.id,
            "--seed",
            str(seed),
        ]
        return shlex.join(words)

    result = run(
        target,
        selected,
        seed=seed,
        replay=replay,
        known=baseline.load(options.target, {each.id for each in known}),
        on_result=lambda each: print(console.progress(each), flush=True),
    )
    if options.durations:
        print(f"\n{console.durations(result, options.durations)}")
    print(f"\n{console.summary(result, clauses())}")
    return result.exit_status


def _list(options: argparse.Namespace) -> int:
    known = select(all_cases(), tuple(options.select))
    if not options.clauses:
        for each in known:
            finding = f" [{each.finding}]" if each.finding else ""
            print(f"{each.id:<34} {each.clause:<9} {each.severity:<8} {each.title}{finding}")
        return 0
    for clause, words in clauses().items():
        citing = ", ".join(each.id for each in known if each.clause == clause)
        print(f"{clause:<9} {citing or 'NO CASE: ' + words}")
    return 0


def _explain(options: argparse.Namespace) -> int:
    print("\n\n".join(console.explain(each, clauses()) for each in select(all_cases(), (options.id,))))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from conformance.doctor import examine  # noqa: PLC0415 - `list` does without

    return asyncio.run(examine(load(options.target), print))


def _init(options: argparse.Namespace) -> int:
    place = Path(options.file)
    if place.exists():
        raise UsageError(f"{place} is there already; name another file")
    place.write_text((Path(__file__).parent / "template.toml").read_text(encoding="utf-8"), encoding="utf-8")
    print(f"{place} is written; fill it in, then: chat-conformance doctor --target {place}")
    return 0


def _mutants(options: argparse.Namespace) -> int:
    from conformance.mutants.judge import judge, names  # noqa: PLC0415 - `list` does without

    wanted = names(tuple(options.select))
    if not wanted:
        raise UsageError(
            f"no mutant is selected by {', '.join(options.select)}; known are {', '.join(names())}"
        )
    rows = judge(wanted, quick=options.quick, seed=options.seed, on_row=lambda row: print(row, flush=True))
    wrong = sum(bool(row.wrong) for row in rows)
    print(
        f"\n{len(rows) - wrong} of {len(rows)} mutants caught by their case, for their cause, and by no other"
    )
    return 1 if wrong else 0


COMMANDS = {
    "run": _run,
    "list": _list,
    "explain": _explain,
    "doctor": _doctor,
    "init": _init,
    "mutants": _mutants,
}


if __name__ == "__main__":
    sys.exit(main())
