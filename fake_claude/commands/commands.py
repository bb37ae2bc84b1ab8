"""The sub-commands: install, api, gate, ledger and others, one function each."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fake_claude import real_cli
from fake_claude.script.model import ScriptError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fake_claude.fidelity.invocation import Invocation


def _install(argv: Sequence[str]) -> int:
    from fake_claude.install import install

    parser = argparse.ArgumentParser(
        "fake-claude install", description="Write a claude launcher into a folder."
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--ledger", type=Path, help="where runs are noted (default: DIRECTORY/ledger)")
    parser.add_argument("--gates", type=Path, help="where gates are (default: DIRECTORY/gates)")
    parser.add_argument(
        "--state", type=Path, help="where uses of turns are counted (default: DIRECTORY/state)"
    )
    parser.add_argument("--script", type=Path, help="a script file to play")
    parser.add_argument(
        "--retry-scale", type=float, default=1.0, help="stretch the waits between retries (default: 1)"
    )
    parser.add_argument("--as-version", help="the CLI version to be")
    parser.add_argument(
        "--needs-key",
        action="store_true",
        help="answer only where ANTHROPIC_API_KEY is set, as a CLI without a login",
    )
    given = parser.parse_args(argv)
    launcher = install(
        given.directory,
        ledger=given.ledger,
        gates=given.gates,
        script=given.script,
        state=given.state,
        retry_scale=given.retry_scale,
        version=given.as_version,
        needs_key=given.needs_key,
    )
    print(launcher)  # noqa: T201
    return 0


def _gate(argv: Sequence[str]) -> int:
    from fake_claude.gates import open_from_shell

    parser = argparse.ArgumentParser(
        "fake-claude gate", description="Wait for a fake at a gate and let it pass."
    )
    parser.add_argument("directory", type=Path, help="the gates folder")
    parser.add_argument("name")
    given = parser.parse_args(argv)
    open_from_shell(str(given.directory), given.name)
    return 0


def _ledger(argv: Sequence[str]) -> int:
    from fake_claude.ledger import read, table

    parser = argparse.ArgumentParser("fake-claude ledger", description="Print which runs there were.")
    parser.add_argument("directory", type=Path, help="the ledger folder")
    given = parser.parse_args(argv)
    if not given.directory.is_dir():
        parser.error(f"{given.directory} is not a folder")
    print(table(read(given.directory)))  # noqa: T201
    return 0


def _api(argv: Sequence[str]) -> int:
    from fake_claude.api.server import serve

    parser = argparse.ArgumentParser(
        "fake-claude api", description="A loopback Messages API that plays scripts."
    )
    parser.add_argument("--port", type=int, default=0, help="0 (the default) picks a free one")
    parser.add_argument("--gates", type=Path, help="where gates are (default: ./.fake-claude-gates)")
    parser.add_argument("--script", type=Path, help="a script file to play")
    parser.add_argument("--state", type=Path, help="where uses of turns with `times` are counted")
    parser.add_argument(
        "--ledger", type=Path, help="where played steps are noted, for `fake-claude coverage`"
    )
    given = parser.parse_args(argv)
    gates = given.gates or Path(".fake-claude-gates")
    serve(port=given.port, gates=gates, script=given.script, state=given.state, ledger=given.ledger)
    return 0


def _lint(argv: Sequence[str]) -> int:
    from fake_claude.script.file import FileError, load

    parser = argparse.ArgumentParser("fake-claude lint", description="Check script files.")
    parser.add_argument("scripts", type=Path, nargs="+")
    given = parser.parse_args(argv)
    wrong = 0
    for path in given.scripts:
        try:
            script = load(str(path))
        except FileError as error:
            print(error, file=sys.stderr)  # noqa: T201
            wrong += 1
        else:
            print(f"{path}: {len(script.entries)} turns, {len(script.step_places())} steps")  # noqa: T201
    return 1 if wrong else 0


def _coverage(argv: Sequence[str]) -> int:
    from fake_claude.ledger import read
    from fake_claude.script.file import FileError, load

    parser = argparse.ArgumentParser(
        "fake-claude coverage", description="Say which steps of a script were never reached."
    )
    parser.add_argument("script", type=Path)
    parser.add_argument("--ledger", type=Path, required=True)
    given = parser.parse_args(argv)
    try:
        places = load(str(given.script)).step_places()
    except FileError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    reached = {
        event["where"] for run in read(given.ledger) for event in run.events if event.get("event") == "step"
    }
    # Not the other way round: a ledger may hold steps of other scripts.
    never = [where for where in places if where not in reached]
    for where in never:
        line, kind = places[where]
        print(f"{given.script}:{line}: step {where} ({kind}) was never reached")  # noqa: T201
    print(f"{len(places) - len(never)} of {len(places)} steps reached")  # noqa: T201
    return 1 if never else 0


def _claude(parser: argparse.ArgumentParser, *, rows: bool = True) -> None:
    # Only where ``real_cli`` runs the command: there the variable is set, and no network is.
    named = os.environ.get(real_cli.VARIABLE)
    parser.add_argument(
        "--claude",
        type=Path,
        default=Path(named) if named else None,
        help=f"the real CLI, run only where no network is (default: ${real_cli.VARIABLE})",
    )
    if rows:
        parser.add_argument("rows", nargs="*", help="groups or beginnings of row names (default: all)")


def _rows(parser: argparse.ArgumentParser, given: argparse.Namespace) -> list[Invocation]:
    """Return the rows that were asked for; refuse a CLI that is not there, and names that no row has."""
    from fake_claude.fidelity import suite

    if given.claude is not None and not os.access(given.claude, os.X_OK):
        parser.error(f"{given.claude} is not a program")
    # Every N-th row and not the first ones, which would all be of one group.
    rows = suite.chosen(given.rows)[:: getattr(given, "every", 1)]
    if not rows:
        parser.error(f"no row is called {', '.join(given.rows)}")
    return rows


def _fidelity(argv: Sequence[str]) -> int:
    import asyncio

    from fake_claude.fidelity import suite

    parser = argparse.ArgumentParser(
        "fake-claude fidelity", description="Compare the fake with the real CLI, or with its recordings."
    )
    _claude(parser)
    parser.add_argument("--as-version", help="the CLI version that the fake is to be")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="play one row of N (default: all)")
    parser.add_argument(
        "--generate", type=int, metavar="N", help="play N generated rows instead, in both CLIs"
    )
    parser.add_argument("--seed", type=int, help="which rows those are (default: others each time)")
    parser.add_argument("--least", type=float, default=100, metavar="PERCENT", help="how many must be equal")
    parser.add_argument("--shrink", type=int, default=5, metavar="N", help="shrink the first N that differ")
    parser.add_argument("--keep", action="store_true", help="keep what differs as rows, with recordings")
    given = parser.parse_args(argv)
    rows = _rows(parser, given)
    if given.generate is not None:
        return _generated(parser, given)
    verdicts = asyncio.run(suite.fidelity(rows, given.claude, version=given.as_version))
    print(suite.table(verdicts, str(given.claude or "recordings")))  # noqa: T201
    return 1 if any(verdict.word == "different" for verdict in verdicts) else 0


def _generated(parser: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    """Play generated rows: print the seed first, what differs, and the share that is equal."""
    import asyncio
    import secrets

    from fake_claude.fidelity import generated

    if given.claude is None:
        parser.error(f"generated rows need the real CLI: name it with --claude or {real_cli.VARIABLE}")
    seed = given.seed if given.seed is not None else secrets.randbelow(1_000_000)
    # Before the run: a run that hangs or is ended by a CI can then be repeated.
    print(f"seed {seed}", flush=True)  # noqa: T201
    found = asyncio.run(
        generated.play(given.generate, seed, given.claude, shrunk=given.shrink, keep=given.keep)
    )
    print(generated.report(found, given.generate, seed))  # noqa: T201
    # Multiplied instead of divided: no rounding, and no rows is no division by zero.
    return 1 if 100 * (given.generate - len(found)) < given.least * given.generate else 0


def _record(argv: Sequence[str]) -> int:
    import asyncio

    from fake_claude.fidelity import recordings, suite

    parser = argparse.ArgumentParser("fake-claude record", description="Record what the real CLI does.")
    _claude(parser)
    parser.add_argument("--out", type=Path, default=recordings.FOLDER / recordings.VERSION, help="a folder")
    given = parser.parse_args(argv)
    if given.claude is None:
        parser.error(f"name the real CLI with --claude or {real_cli.VARIABLE}")
    stuck = asyncio.run(suite.record(_rows(parser, given), given.claude, given.out))
    for message in stuck:
        print(message, file=sys.stderr)  # noqa: T201
    return 1 if stuck else 0


def _drift(argv: Sequence[str]) -> int:
    import asyncio

    from fake_claude.fidelity import suite

    parser = argparse.ArgumentParser(
        "fake-claude drift", description="Compare another CLI version with the recordings."
    )
    _claude(parser)
    given = parser.parse_args(argv)
    if given.claude is None:
        parser.error(f"name the other CLI with --claude or {real_cli.VARIABLE}")
    verdicts = asyncio.run(suite.drift(_rows(parser, given), given.claude))
    print(suite.drift_table(verdicts))  # noqa: T201
    return 1 if any(suite.severity(d) == "blocker" for v in verdicts for d in v.different) else 0


def _tee(argv: Sequence[str]) -> int:
    from fake_claude.commands.tee import tee

    parser = argparse.ArgumentParser(
        "fake-claude tee",
        usage="fake-claude tee --claude PATH --recording FILE -- ARGUMENTS...",
        description="Stand before a real CLI and record what passes, scrubbed and with its times.",
    )
    parser.add_argument("--claude", type=Path, required=True, help="the real CLI")
    parser.add_argument("--recording", type=Path, required=True, help="the file to write")
    words = list(argv)
    # Cut by hand: argparse would take options of the CLI, which stand behind it, for its own.
    cut = words.index("--") if "--" in words else len(words)
    given = parser.parse_args(words[:cut])
    return tee(given.claude, words[cut + 1 :], given.recording)


def _replay(argv: Sequence[str]) -> int:
    from fake_claude.commands.tee import replay

    parser = argparse.ArgumentParser("fake-claude replay", description="Play a recording made by tee.")
    parser.add_argument("recording", type=Path)
    parser.add_argument(
        "--speed", type=float, default=1.0, help="how many times as fast; 0 is at once (default: 1)"
    )
    given = parser.parse_args(argv)
    try:
        # The replayed exit code is the tool's own, so its mistakes take 2, as those of the other tools do.
        return replay(given.recording, speed=given.speed)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2


def _bench(argv: Sequence[str]) -> int:
    from fake_claude.commands.bench import report

    parser = argparse.ArgumentParser(
        "fake-claude bench", description="Measure what runs cost, the real CLI's beside ours."
    )
    _claude(parser, rows=False)
    parser.add_argument("--runs", type=int, default=7, help="runs of each kind (default: 7)")
    parser.add_argument("--idle", type=int, default=200, help="processes that wait at once (default: 200)")
    given = parser.parse_args(argv)
    for line in report(given.claude, runs=given.runs, idle=given.idle):
        print(line, flush=True)  # noqa: T201
    return 0


_COMMANDS = {
    "api": _api,
    "bench": _bench,
    "coverage": _coverage,
    "drift": _drift,
    "fidelity": _fidelity,
    "gate": _gate,
    "install": _install,
    "ledger": _ledger,
    "lint": _lint,
    "record": _record,
    "replay": _replay,
    "tee": _tee,
}


def run_command(name: str, argv: Sequence[str]) -> int:
    """Run one tool and return its exit code; 2 when it was given what is not there or not valid."""
    try:
        return _COMMANDS[name](argv)
    except (ScriptError, OSError) as error:
        print(f"fake-claude {name}: {error}", file=sys.stderr)  # noqa: T201
        return 2
