"""The argument parser of ``chat-conformance``."""

from __future__ import annotations

import argparse
from importlib.metadata import version

from chat_conformance.report.formats import FORMATS
from chat_conformance.results import LEVELS, Severity

EPILOG = """exit status: 0 conformant (or failing below --fail-on only), 1 not conformant,
2 usage error or nothing selected, 3 the target or the harness broke, or nothing could be tested"""


LOAD_EPILOG = """exit status: 0 measured and within the bounds, 1 beyond one or not measurable,
2 usage error, 3 nothing could be measured"""


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"{parser.prog} {version('chatgate')}")
        parser.exit()


# An action and no sub-command: it must work although the sub-command, which is required, is missing.
class _Completion(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        del namespace, option_string
        try:
            import shtab  # noqa: PLC0415 - only this option needs it
        except ModuleNotFoundError:
            parser.error("completion is made by shtab: pip install 'chatgate[completion]'")
        if values not in shtab.SUPPORTED_SHELLS:
            parser.error(
                f"there is no completion for {values}; there is for {', '.join(shtab.SUPPORTED_SHELLS)}"
            )
        print(shtab.complete(parser, shell=str(values)))
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    """The parser of all sub-commands; ``command`` in what it returns is the name of one."""
    parser = argparse.ArgumentParser(
        prog="chat-conformance",
        description="Judges a chat server that speaks chat-stream-v1.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print it and exit")
    parser.add_argument(
        "--print-completion",
        action=_Completion,
        metavar="SHELL",
        help="for bash, zsh, fish or tcsh; needs shtab",
    )
    # Options that several commands share are added in loops below, so that a word means the same everywhere.
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="play the cases against a target", epilog=EPILOG)
    gate = commands.add_parser(
        "gate", help="judge what a change does: this checkout against a base", epilog=EPILOG
    )
    report = commands.add_parser("report", help="make reports of a run from its json or jsonl report")
    report.add_argument("file", metavar="FILE")
    compare = commands.add_parser("compare", help="compare two runs")
    compare.add_argument("old", metavar="OLD", help="a json or jsonl report")
    compare.add_argument("new", metavar="NEW", help="another one, of a later commit or another server")
    commands.add_parser("schema", help="print the JSON Schema of the json report")
    listing = commands.add_parser("list", help="list the cases")
    listing.add_argument("--clauses", action="store_true", help="list the clauses and which have no case")
    accept = commands.add_parser("baseline", help="bring the file of known failures up to date")
    explain = commands.add_parser("explain", help="all about one case")
    explain.add_argument("id", metavar="ID", help="a case, such as turns/streams, or a clause or finding")
    doctor = commands.add_parser("doctor", help="see step by step whether a target can be judged")
    doctor.add_argument("--target", required=True, metavar="FILE")
    steady = commands.add_parser(
        "selfcheck", help="see whether verdicts hold: the same cases alone, in other orders and in parallel"
    )
    init = commands.add_parser("init", help="write a target file to begin with")
    init.add_argument("file", nargs="?", default="chat.toml", metavar="FILE", help="default: chat.toml")
    init.add_argument(
        "--from",
        dest="recording",
        default="",
        metavar="RECORDING",
        help="propose one from a recorded session of a chat: a HAR of a browser, or JSON Lines",
    )
    init.add_argument("--prompt", default="", metavar="TEXT", help="what was typed in the recorded session")
    _add_mutants(commands.add_parser("mutants", help="let the suite judge servers broken on purpose"))
    _add_fuzz(commands.add_parser("fuzz", help="send hostile frames and requests, and watch what breaks"))
    _add_load(commands.add_parser("load", help="measure and compare what servers hold", epilog=LOAD_EPILOG))

    _add_run(run)
    _add_gate(gate)
    _add_baseline(accept)
    _add_selfcheck(steady)
    for command in (run, gate, accept):
        _add_play(command)
    for command in (run, gate, report, compare):
        _add_reports(command)
    for command in (run, report):
        command.add_argument("--previous", metavar="FILE", help="a json or jsonl report to compare with")
    for command in (run, accept, listing, explain):
        command.add_argument(
            "--cases",
            action="append",
            default=[],
            metavar="DIR",
            help="cases of your own, from the files of a folder; may be repeated",
        )
    for command in (run, gate, accept, listing, steady):
        command.add_argument(
            "--select",
            action="append",
            default=[],
            metavar="PREFIX",
            help="only cases with this id prefix, clause or finding; may be repeated",
        )
    for command in (run, gate, accept, listing, steady):
        command.add_argument(
            "--level",
            choices=list(LEVELS),
            default="full",
            help="only what this level asks for: core, resumable, limits, identity or full (default)",
        )
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "--target", required=True, metavar="FILE", help="target file, such as targets/reference.toml"
    )
    run.add_argument("--seed", type=int, metavar="N", help="repeat a run with the seed it printed")
    run.add_argument(
        "--load",
        type=_count,
        default=0,
        metavar="N",
        help="keep N background streams running; best with --quick",
    )
    run.add_argument(
        "-v", "--verbose", action="store_true", help="show what each case that passes has seen to be right"
    )
    run.add_argument(
        "--no-baseline", action="store_true", help="play as if there were no file of known failures"
    )
    run.add_argument("--durations", type=int, metavar="N", help="show the N slowest cases")


def _add_baseline(accept: argparse.ArgumentParser) -> None:
    accept.add_argument("action", choices=["update"], help="play the cases, write the file, show the diff")
    accept.add_argument("--target", required=True, metavar="FILE")
    accept.add_argument("--seed", type=int, metavar="N")
    accept.add_argument("--dry-run", action="store_true", help="show the diff only")
    # It plays as `run` does, and has none of its options for reports.
    accept.set_defaults(report=[], fail_on=None)


def _add_selfcheck(steady: argparse.ArgumentParser) -> None:
    steady.add_argument("--target", required=True, metavar="FILE")
    steady.add_argument("--seed", type=int, metavar="N", help="repeat a selfcheck with the seed it printed")
    steady.add_argument("--orders", type=_count, default=2, metavar="N", help="draw N orders; default: 2")
    steady.add_argument("--quick", action="store_true", help="leave out what takes long")
    steady.add_argument(
        "-n", dest="jobs", type=_count, default=1, metavar="N", help="N plays at a time; default: 1"
    )


def _add_play(command: argparse.ArgumentParser) -> None:
    """Which cases are played, and how."""
    command.add_argument("--quick", action="store_true", help="leave out what takes long")
    command.add_argument(
        "-n",
        dest="jobs",
        type=_count,
        default=1,
        metavar="N",
        help="run N cases in parallel, not counting those that mostly wait; default: 1",
    )
    command.add_argument("-x", dest="stop_early", action="store_true", help="end with the first failure")
    command.add_argument("--shuffle", action="store_true", help="play them in an order drawn by the seed")


def _add_reports(command: argparse.ArgumentParser) -> None:
    """Which reports are written, and what fails."""
    command.add_argument(
        "--report",
        action="append",
        default=[],
        metavar="FORMAT=PATH",
        help=f"write a report, - is standard output; may be repeated; formats: {', '.join(FORMATS)}",
    )
    command.add_argument(
        "--fail-on",
        type=Severity,
        choices=list(Severity),
        metavar="SEVERITY",
        help="the least severity that fails: blocker, medium (default) or low",
    )


def _add_gate(gate: argparse.ArgumentParser) -> None:
    gate.add_argument(
        "--base", required=True, metavar="REV", help="what the change is based on, such as origin/main"
    )
    gate.add_argument(
        "--prepare", default="", metavar="COMMAND", help="makes the base's checkout ready to run"
    )
    gate.add_argument(
        "--target", required=True, metavar="FILE", help="target file; that of the base judges both"
    )
    gate.add_argument(
        "--rules",
        choices=["base", "head"],
        default="base",
        help="whose target file and known failures judge this checkout; head: after a person has reviewed them",
    )
    gate.add_argument(
        "--cache",
        metavar="FOLDER",
        help="keep the base's result there; default: ~/.cache/chat-conformance, in CI nowhere",
    )
    gate.add_argument("--no-cache", action="store_true", help="neither keep nor take a kept result")
    gate.add_argument("--seed", type=int, metavar="N", help="of both runs")


def _count(text: str) -> int:
    # isdecimal refuses signs, spaces and underscores, which int takes.
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"it is {text}; it must be a whole number from 1 up")
    return int(text)


def _add_mutants(kills: argparse.ArgumentParser) -> None:
    kills.add_argument(
        "--e2e",
        action="store_true",
        help="the page's mutants too, by the browser tests; they are named page/…",
    )
    kills.add_argument("--select", action="append", default=[], metavar="PREFIX", help="only these mutants")
    kills.add_argument("--quick", action="store_true", help="each mutant's own case only")
    kills.add_argument(
        "--whole", action="store_true", help="all cases, also those that are slow or mostly wait; hours"
    )
    kills.add_argument(
        "--combine",
        action="append",
        default=[],
        metavar="A,B,…",
        help="several mutants of the reference in one server; may be repeated",
    )
    kills.add_argument(
        "--combinations", action="store_true", help="the combinations that are kept beside the kill table"
    )
    kills.add_argument("-n", dest="jobs", type=_count, default=1, metavar="N", help="judge N in parallel")
    kills.add_argument("--seed", type=int, metavar="N", default=1)


def _add_fuzz(fuzz: argparse.ArgumentParser) -> None:
    fuzz.add_argument("--target", required=True, metavar="FILE", help="a target file with a start command")
    fuzz.add_argument(
        "--frames", type=int, default=100_000, metavar="N", help="how many frames to send; default: 100000"
    )
    fuzz.add_argument(
        "--requests", type=int, default=10_000, metavar="N", help="how many requests to send; default: 10000"
    )
    fuzz.add_argument("--seed", metavar="S", help="repeat a run with the seed it printed")
    fuzz.add_argument("--only", metavar="KIND:N", help="play one connection of the run, such as frames:17")


def _add_load(load: argparse.ArgumentParser) -> None:
    load.add_argument(
        "--target",
        action="append",
        required=True,
        metavar="FILE",
        help="target file; may be repeated, and the others are compared with the first",
    )
    load.add_argument(
        "--plan",
        default="quick",
        metavar="NAME",
        help="smoke (seconds), quick (two minutes) or full; default: quick",
    )
    load.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PREFIX",
        help="only measurements with this prefix, such as streams/200",
    )
    load.add_argument("--rounds", type=_count, metavar="N", help="measure N times; figures are medians")
    load.add_argument(
        "--bounds", metavar="FILE", help="fail where the first target is beyond these ratios to another"
    )
    load.add_argument("--json", metavar="PATH", help="write all figures; - is standard output")
    load.add_argument(
        "--html", metavar="PATH", help="write a page with curves, one file that needs no network"
    )
    load.add_argument("--markdown", metavar="PATH", help="write the table for a page; - is standard output")
    load.add_argument("--no-pin", action="store_true", help="let server and generator share all processors")
    load.add_argument(
        "--beyond-loopback", action="store_true", help="let servers listen elsewhere than on loopback"
    )
