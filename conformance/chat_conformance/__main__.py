"""``chat-conformance``: run the cases against a target, or list them."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from difflib import unified_diff
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from random import Random
from secrets import randbelow
from types import ModuleType
from typing import IO

import msgspec

from chat_conformance.errors import TargetError, UsageError
from chat_conformance.report import console, document
from chat_conformance.report.formats import FORMATS, forget, parse, write
from chat_conformance.report.text import line, lines, printable
from chat_conformance.results import Case, CaseResult, RunResult, Severity, Verdict
from chat_conformance.suite import baseline
from chat_conformance.suite.case import all_cases, baseline_ids, select
from chat_conformance.suite.clauses import clauses
from chat_conformance.suite.compare import compare
from chat_conformance.target.file import Target, load
from fake_claude.terminal import Counter, Unread, has_colour, in_ci, print_leniently

EXTRA = ("idna", "prometheus_client", "sqlalchemy", "uvloop")
"""What the server needs and the suite does not."""

EPILOG = """exit status: 0 conformant (or failing below --fail-on only), 1 not conformant,
2 usage error or nothing selected, 3 the target or the harness broke, or nothing could be tested"""


LOAD_EPILOG = """exit status: 0 measured and within the bounds, 1 beyond one or not measurable,
2 wrong use, 3 nothing could be measured"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    if argv is None:  # it is this process's own command
        print_leniently()
    options = _parser().parse_args(argv)
    # Who ends us ends our servers, too: TERM unwinds as an interrupt does.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return COMMANDS[options.command](options)
    except UsageError as error:
        print(lines(f"chat-conformance: {error}"), file=sys.stderr)
        return 2
    except TargetError as error:
        print(lines(f"chat-conformance: {error}"), file=sys.stderr)
        for each in error.log[-20:]:
            print(line(f"  | {each}"), file=sys.stderr)
        return 3
    finally:
        signal.signal(signal.SIGTERM, before)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"{parser.prog} {version('chatgate')}")
        parser.exit()


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
            import shtab  # noqa: PLC0415 - nobody else needs it
        except ModuleNotFoundError:
            parser.error("completion is made by shtab: pip install 'chatgate[completion]'")
        if values not in shtab.SUPPORTED_SHELLS:
            parser.error(
                f"there is no completion for {values}; there is for {', '.join(shtab.SUPPORTED_SHELLS)}"
            )
        print(shtab.complete(parser, shell=str(values)))
        parser.exit()


def _parser() -> argparse.ArgumentParser:
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
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="play the cases against a target", epilog=EPILOG)
    run.add_argument(
        "--target", required=True, metavar="FILE", help="target file, such as targets/reference.toml"
    )
    run.add_argument("--seed", type=int, metavar="N", help="repeat a run with the seed it printed")
    gate = commands.add_parser(
        "gate", help="judge what a change does: this checkout against a base", epilog=EPILOG
    )
    _add_gate(gate)
    report = commands.add_parser("report", help="make reports of a run from its json or jsonl report")
    report.add_argument("file", metavar="FILE")
    compare = commands.add_parser("compare", help="two runs side by side")
    compare.add_argument("old", metavar="OLD", help="a json or jsonl report")
    compare.add_argument("new", metavar="NEW", help="another one, of a later commit or another server")
    commands.add_parser("schema", help="print the JSON Schema of the json report")
    listing = commands.add_parser("list", help="list the cases")
    listing.add_argument("--clauses", action="store_true", help="list the clauses and which have no case")
    accept = commands.add_parser("baseline", help="bring the file of known failures up to date")
    accept.add_argument("action", choices=["update"], help="play the cases, write the file, show the diff")
    accept.add_argument("--target", required=True, metavar="FILE")
    accept.add_argument("--seed", type=int, metavar="N")
    accept.add_argument("--dry-run", action="store_true", help="show the diff only")
    accept.set_defaults(report=[], fail_on=None)
    for command in (run, gate, accept):
        command.add_argument("--quick", action="store_true", help="leave out what takes long")
        command.add_argument(
            "-n",
            dest="side_by_side",
            type=_count,
            default=1,
            metavar="N",
            help="run N cases in parallel, not counting those that mostly wait; default: 1",
        )
        command.add_argument("-x", dest="stop_early", action="store_true", help="end with the first failure")
        command.add_argument("--shuffle", action="store_true", help="play them in an order drawn by the seed")
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
    explain = commands.add_parser("explain", help="all about one case")
    explain.add_argument("id", metavar="ID", help="a case, such as turns/streams, or a clause or finding")
    doctor = commands.add_parser("doctor", help="see step by step whether a target can be judged")
    doctor.add_argument("--target", required=True, metavar="FILE")
    steady = commands.add_parser(
        "selfcheck", help="see whether verdicts hold: the same cases alone, in other orders and side by side"
    )
    steady.add_argument("--target", required=True, metavar="FILE")
    steady.add_argument("--seed", type=int, metavar="N", help="repeat a selfcheck with the seed it printed")
    steady.add_argument("--orders", type=_count, default=2, metavar="N", help="draw N orders; default: 2")
    steady.add_argument("--quick", action="store_true", help="leave out what takes long")
    steady.add_argument(
        "-n", dest="side_by_side", type=_count, default=1, metavar="N", help="N plays at a time; default: 1"
    )
    init = commands.add_parser("init", help="write a commented target file to begin with")
    init.add_argument("file", nargs="?", default="chat.toml", metavar="FILE", help="default: chat.toml")
    _add_mutants(commands.add_parser("mutants", help="let the suite judge servers broken on purpose"))
    _add_fuzz(commands.add_parser("fuzz", help="send hostile frames and requests, and watch what breaks"))
    _add_load(commands.add_parser("load", help="measure what servers hold, side by side", epilog=LOAD_EPILOG))
    for command in (run, gate, report, compare):
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
    for command in (run, report):
        command.add_argument("--previous", metavar="FILE", help="a json or jsonl report to compare with")
    for command in (run, gate, accept, listing, steady):
        command.add_argument(
            "--select",
            action="append",
            default=[],
            metavar="PREFIX",
            help="only cases whose id begins so, or whose clause or finding it is; may be repeated",
        )
    return parser


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
        help="whose target file and known failures judge this checkout; head: after somebody has looked at them",
    )
    gate.add_argument(
        "--cache",
        metavar="FOLDER",
        help="keep the base's result there; default: ~/.cache/chat-conformance, in CI nowhere",
    )
    gate.add_argument("--no-cache", action="store_true", help="neither keep nor take a kept result")
    gate.add_argument("--seed", type=int, metavar="N", help="of both runs")


def _count(text: str) -> int:
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
    kills.add_argument(
        "-n", dest="side_by_side", type=_count, default=1, metavar="N", help="judge so many side by side"
    )
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


def _fuzz(options: argparse.Namespace) -> int:
    from chat_conformance.fuzz.command import command  # noqa: PLC0415 - `list` does without

    return command(options)


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
        help="only measurements that begin so, as streams/200",
    )
    load.add_argument("--rounds", type=_count, metavar="N", help="measure so often; figures are medians")
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


def _load(options: argparse.Namespace) -> int:
    from chat_conformance.load.command import command  # noqa: PLC0415 - `list` does without

    return command(options)


def _run(options: argparse.Namespace) -> int:
    previous = document.read(options.previous) if options.previous else None
    forget(_reports(options))
    result = _play(
        options,
        jsonl=[path for name, path in _reports(options) if name == "jsonl"],
        without_baseline=options.no_baseline,
    )
    if previous is not None:
        result = msgspec.structs.replace(result, changes=compare(previous, result))
    if options.durations:
        print(f"\n{console.durations(result, options.durations)}")
    return _tell(options, result)


def _gate(options: argparse.Namespace) -> int:
    from chat_conformance.suite.gate import Asked, cores_for_both, gate  # noqa: PLC0415 - `list` does without
    from chat_conformance.suite.kept import Kept, usual_folder  # noqa: PLC0415
    from chat_conformance.suite.rules import Source  # noqa: PLC0415

    forget(_reports(options))
    chosen = [word for each in options.select for word in ("--select", each)]
    chosen += ["--quick"] if options.quick else []
    chosen += ["--shuffle"] if options.shuffle else []
    asked = Asked(
        base=options.base,
        target=options.target,
        options=(*chosen, "-n", str(options.side_by_side)),
        seed=options.seed,
        prepare=options.prepare,
        source=Source(options.rules),
        together=cores_for_both(),
    )

    def play(target: Target, seed: int | None) -> RunResult:
        return _play(options, target=target, seed=seed, without_baseline=True)

    folder = None if options.no_cache else Path(options.cache) if options.cache else usual_folder()
    return _tell(
        options, gate(asked, play, kept=Kept(folder), on_note=lambda told: print(line(told), flush=True))
    )


def _baseline(options: argparse.Namespace) -> int:
    place = baseline.place_of(options.target)
    before = place.read_text(encoding="utf-8") if place.exists() else ""
    result = _play(options, without_baseline=True)
    if result.is_broken:
        print(f"\n{console.summary(result, _clauses())}", flush=True)
        raise TargetError("a run without a verdict changes no baseline")
    after = baseline.updated(before, place, result.results, baseline.today())
    lines = (before.splitlines(keepends=True), after.splitlines(keepends=True))
    changed = "".join(unified_diff(*lines, fromfile=str(place), tofile=str(place))) if before != after else ""
    print("\n" + "\n".join(map(printable, (changed or "nothing to change").split("\n"))))
    if changed and not options.dry_run:
        place.write_text(after, encoding="utf-8")
        print(f"{place} is written; give each new entry its reason, its link and its last day")
    return 0


def _selected(options: argparse.Namespace, target: Target) -> tuple[Case, ...]:
    """The cases that the options select."""
    known = all_cases()
    for route in target.routes:
        select(known, (route,))
    selected = select(known, tuple(options.select))
    selected = tuple(each for each in selected if not (options.quick and each.slow))
    if not selected:
        raise UsageError("nothing is selected: --quick leaves out all of it")
    return selected


def _selfcheck(options: argparse.Namespace) -> int:
    from chat_conformance.suite.selfcheck import selfcheck  # noqa: PLC0415 - `list` does without

    target = load(options.target)
    selected = _selected(options, target)
    seed = randbelow(1_000_000) if options.seed is None else options.seed
    differences = selfcheck(
        target,
        selected,
        seed=seed,
        orders=options.orders,
        processes=options.side_by_side,
        on_played=lambda told: print(line(told), flush=True),
    )
    for each in differences:
        print(f"\n{lines(str(each))}")
    played = f"{len(selected)} cases alone, in {options.orders + 1} orders and two at a time, seed {seed}"
    said = f"{len(differences)} differences" if differences else "the same verdicts and sentences"
    print(f"\n{said}: {played}")
    return 1 if differences else 0


def _play(
    options: argparse.Namespace,
    jsonl: Sequence[str] = (),
    *,
    target: Target | None = None,
    seed: int | None = None,
    without_baseline: bool = False,
) -> RunResult:
    """Play what the options select, telling each result as it comes."""
    try:
        from chat_conformance.suite.runner import run  # noqa: PLC0415  (pytest is heavy, and `list` does without)
    except ModuleNotFoundError as error:
        raise TargetError(
            f"{error.name} is not installed; the cases are played by pytest: pip install pytest"
        ) from None

    target = load(options.target) if target is None else target
    known = all_cases()
    selected = _selected(options, target)
    seed = options.seed if seed is None else seed
    seed = randbelow(1_000_000) if seed is None else seed
    if options.shuffle:
        selected = tuple(Random(seed).sample(selected, len(selected)))  # noqa: S311 - to be repeatable

    def replay(case: Case) -> str:
        words = ["run", "--target", options.target, "--select", case.id, "--seed", str(seed)]
        return shlex.join(["chat-conformance", *words])

    begun = RunResult(target=target.name, url=target.url, seed=seed, seconds=0, results=())
    with ExitStack() as stack:
        opened = [Unread(stack.enter_context(_opened(path))) for path in jsonl]
        lines = [document.Lines(each, begun, selected) for each in opened]

        shown = _Shown(selected, verbose=getattr(options, "verbose", False))

        def on_result(result: CaseResult) -> None:
            shown.add(result)
            for each in lines:
                each.result(result)

        result = run(
            target,
            selected,
            seed=seed,
            side_by_side=options.side_by_side,
            stop_early=options.stop_early,
            streams=getattr(options, "load", 0),
            replay=replay,
            known={}
            if without_baseline
            else baseline.load(options.target, baseline_ids(known), target=target.name),
            fail_on=options.fail_on or Severity.MEDIUM,
            on_result=on_result,
        )
        shown.end()
        for each in lines:
            each.end(result)
    return result


class _Shown:
    """The line of each case as it ends, with how many there are; in CI what is green comes after what is not.

    Args:
        selected: The cases.
        verbose: Whether what passing cases saw is shown, too.
    """

    def __init__(self, selected: Sequence[Case], *, verbose: bool) -> None:
        self._verbose = verbose
        self._counter = Counter(len(selected))
        self._left = {each.id for each in selected}
        self._kept_back: list[str] = []

    def add(self, result: CaseResult) -> None:
        """Show a result, or keep it back."""
        counted = f"{self._counter.next()} " if result.case.id in self._left else ""
        self._left.discard(result.case.id)
        told = console.progress(result, saw=self._verbose)
        if not in_ci() or result.verdict not in (Verdict.PASSED, Verdict.NOT_OFFERED):
            _say(f"{counted}{told}")
            return
        self._kept_back.append(told)
        if len(self._kept_back) % 25 == 0:  # a job that says nothing for long is taken for stuck
            _say(counted.rstrip())

    def end(self) -> None:
        """Show what was kept back."""
        for each in self._kept_back:
            _say(each)


def _say(text: str) -> None:
    print(console.coloured(text) if has_colour(sys.stdout) else text, flush=True)


def _tell(options: argparse.Namespace, result: RunResult) -> int:
    """Print the summary, write the reports, and return the exit status."""
    _say(f"\n{console.summary(result, _clauses())}")
    streamed = ("jsonl",) if options.command == "run" else ()
    write(result, _clauses(), [each for each in _reports(options) if each[0] not in streamed])
    return result.exit_status


def _report(options: argparse.Namespace) -> int:
    result = document.read(options.file)
    if options.fail_on:
        result = msgspec.structs.replace(result, fail_on=options.fail_on)
    if options.previous:
        result = msgspec.structs.replace(result, changes=compare(document.read(options.previous), result))
    write(result, _clauses(), _reports(options) or [("console", "-")])
    return result.exit_status


def _compare(options: argparse.Namespace) -> int:
    old, new = document.read(options.old), document.read(options.new)
    result = msgspec.structs.replace(new, changes=compare(old, new), fail_on=options.fail_on or new.fail_on)
    print(console.side_by_side(old, result))
    write(result, _clauses(), _reports(options))
    return result.exit_status


def _schema(_options: argparse.Namespace) -> int:
    print(json.dumps(document.schema(), indent=1))
    return 0


def _clauses() -> dict[str, str]:
    """What the cases of a report are judged by, the gate's own rule included."""
    from chat_conformance.suite.rules import CLAUSES  # noqa: PLC0415 - `list` does without

    return {**clauses(), **CLAUSES}


def _reports(options: argparse.Namespace) -> list[tuple[str, str]]:
    return [parse(word) for word in options.report]


def _opened(path: str) -> IO[str]:
    if path == "-":
        return os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return Path(path).open("w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the jsonl report cannot be written: {error}") from None


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
    print("\n\n".join(console.explain(each, _clauses()) for each in select(all_cases(), (options.id,))))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from chat_conformance.suite.doctor import examine  # noqa: PLC0415 - `list` does without

    return asyncio.run(examine(load(options.target), print))


def _init(options: argparse.Namespace) -> int:
    place = Path(options.file)
    if place.exists():
        raise UsageError(f"{place} is there already; name another file")
    place.write_text((Path(__file__).parent / "template.toml").read_text(encoding="utf-8"), encoding="utf-8")
    print(f"{place} is written; fill it in, then: chat-conformance doctor --target {place}")
    return 0


def _mutants(options: argparse.Namespace) -> int:
    if missing := [name for name in EXTRA if find_spec(name) is None]:
        raise UsageError(
            f"mutants need the server: pip install 'chatgate[server]' (there is no {missing[0]})"
        )
    from chat_conformance.mutants.expectations import COMBINATIONS  # noqa: PLC0415 - `list` does without
    from chat_conformance.mutants.judge import judge, names  # noqa: PLC0415 - same

    if options.combine or options.combinations:
        kept = list(COMBINATIONS) if options.combinations else []
        return _together([*kept, *(tuple(each.split(",")) for each in options.combine)], options)
    page = _page_mutants() if options.e2e else None
    selected = tuple(options.select)
    wanted, of_page = names(selected), page.names(selected) if page else []
    if not wanted and not of_page:
        known = ", ".join([*names(), *(page.names() if page else [])])
        raise UsageError(f"no mutant is selected by {', '.join(options.select)}; known are {known}")
    rows = judge(
        wanted,
        quick=options.quick,
        whole=options.whole,
        seed=options.seed,
        on_row=_counted(len(wanted)),
        side_by_side=options.side_by_side,
    )
    wrong = sum(bool(row.wrong) for row in rows)
    untested = sum(row.untested for row in rows)
    if rows:
        print(
            f"\n{len(rows) - wrong - untested} of {len(rows)} mutants caught by their case, for their cause, "
            f"and named first{f'; {untested} could not be tested here' if untested else ''}"
        )
    if page and of_page:
        wrong += _judge_page(page, of_page, options.side_by_side)
    return 1 if wrong else 0


def _together(combinations: list[tuple[str, ...]], options: argparse.Namespace) -> int:
    from chat_conformance.mutants.expectations import REFERENCE  # noqa: PLC0415 - `list` does without
    from chat_conformance.mutants.judge import judge_combinations  # noqa: PLC0415 - same

    if unknown := {each for names in combinations for each in names} - REFERENCE.keys():
        raise UsageError(f"mutants of the reference are combined, and these are none: {', '.join(unknown)}")
    rows = judge_combinations(
        combinations,
        seed=options.seed,
        on_row=lambda row: print(f"{row}\n      findings: {', '.join(row.findings)}", flush=True),
        side_by_side=options.side_by_side,
    )
    wrong = sum(bool(row.wrong) for row in rows)
    print(f"\nin {len(rows) - wrong} of {len(rows)} every cause is named, and none invented")
    return 1 if wrong else 0


def _counted(total: int) -> Callable[[object], None]:
    """What prints a row after the other with how many there are and how long the rest may take."""
    counter = Counter(total)
    return lambda row: print(f"{counter.next()} {line(str(row))}", flush=True)


def _page_mutants() -> ModuleType:
    try:
        from e2e import mutants  # noqa: PLC0415 - the suite does without the page's tests
    except ImportError as error:
        raise UsageError(f"--e2e needs the browser tests and what they need: {error}") from None
    return mutants


def _judge_page(page: ModuleType, wanted: list[str], side_by_side: int) -> int:
    rows = page.judge(wanted, on_row=_counted(len(wanted)), side_by_side=side_by_side)
    wrong = sum(bool(row.wrong) for row in rows)
    print(
        f"\n{len(rows) - wrong} of {len(rows)} as they should be: the page's mutants, and the page without one"
    )
    return wrong


COMMANDS = {
    "run": _run,
    "baseline": _baseline,
    "gate": _gate,
    "report": _report,
    "compare": _compare,
    "schema": _schema,
    "list": _list,
    "explain": _explain,
    "doctor": _doctor,
    "selfcheck": _selfcheck,
    "init": _init,
    "mutants": _mutants,
    "load": _load,
    "fuzz": _fuzz,
}


if __name__ == "__main__":
    sys.exit(main())
