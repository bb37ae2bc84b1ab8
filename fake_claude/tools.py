"""The tools beside the stand-in: install, api, gate, ledger."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def _install(argv: Sequence[str]) -> int:
    from .install import install  # noqa: PLC0415

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
    given = parser.parse_args(argv)
    launcher = install(
        given.directory,
        ledger=given.ledger,
        gates=given.gates,
        script=given.script,
        state=given.state,
        retry_scale=given.retry_scale,
        version=given.as_version,
    )
    print(launcher)  # noqa: T201
    return 0


def _gate(argv: Sequence[str]) -> int:
    from .gates import open_from_shell  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        "fake-claude gate", description="Wait for a fake at a gate and let it pass."
    )
    parser.add_argument("directory", type=Path, help="the gates folder")
    parser.add_argument("name")
    given = parser.parse_args(argv)
    open_from_shell(str(given.directory), given.name)
    return 0


def _ledger(argv: Sequence[str]) -> int:
    from .ledger import read, table  # noqa: PLC0415

    parser = argparse.ArgumentParser("fake-claude ledger", description="Print which runs there were.")
    parser.add_argument("directory", type=Path, help="the ledger folder")
    given = parser.parse_args(argv)
    if not given.directory.is_dir():
        parser.error(f"{given.directory} is not a folder")
    print(table(read(given.directory)))  # noqa: T201
    return 0


def _api(argv: Sequence[str]) -> int:
    from .api import serve  # noqa: PLC0415

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


_TOOLS = {"install": _install, "gate": _gate, "ledger": _ledger, "api": _api}


def run_tool(name: str, argv: Sequence[str]) -> int:
    """Run one tool and return its exit code."""
    return _TOOLS[name](argv)
