"""Write a ``claude`` launcher that carries its own settings."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

PROGRAM = "import sys; sys.path.insert(0, {root!r}); from fake_claude.cli import main; main({settings})"


def install(
    directory: Path, *, ledger: Path | None = None, gates: Path | None = None, script: Path | None = None
) -> Path:
    """Write ``directory/claude`` and return its path.

    The launcher needs nothing from its environment: interpreter, package, ledger (default ``directory/ledger``),
    gates (default ``directory/gates``) and script are written into it as absolute paths.

    Raises:
        OSError: The folder cannot be written.
        ScriptError: The script is not valid.
    """
    directory = directory.absolute()
    ledger = (ledger or directory / "ledger").absolute()
    gates = (gates or directory / "gates").absolute()
    for folder in (directory, ledger, gates):
        folder.mkdir(parents=True, exist_ok=True)
    settings = {"ledger": str(ledger), "gates": str(gates)}
    if script is not None:
        settings["script"] = str(script.absolute())
    code = PROGRAM.format(
        root=str(Path(__file__).resolve().parent.parent),
        settings=", ".join(f"{key}={value!r}" for key, value in settings.items()),
    )
    launcher = directory / "claude"
    text = (
        "#!/bin/sh\n"
        "# A stand-in for the claude command-line tool, written by `fake-claude install`.\n"
        f'exec {shlex.quote(sys.executable)} -I -S -c {shlex.quote(code)} "$@"\n'
    )
    # Written beside and moved: somebody may be starting the old one.
    fresh = directory / ".claude.new"
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(0o755)
    fresh.replace(launcher)
    return launcher
