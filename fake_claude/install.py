"""Write a ``claude`` launcher that carries its own settings."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from fake_claude.script.file import load

# A program on the command line and no file of its own: a launcher cannot be parted from it, and `-I -S` keep the
# environment and installed packages from changing what runs, and make its start fast.
PROGRAM = "import sys; sys.path.insert(0, {root!r}); from fake_claude.cli import main; main({settings})"


def install(
    directory: Path,
    *,
    ledger: Path | None = None,
    gates: Path | None = None,
    script: Path | None = None,
    state: Path | None = None,
    retry_scale: float = 1.0,
    version: str | None = None,
    needs_key: bool = False,
) -> Path:
    """Write ``directory/claude`` and return its path.

    The launcher needs nothing from its environment: interpreter, package, ledger (default ``directory/ledger``),
    gates (default ``directory/gates``), state (default ``directory/state``) and script are written into it as
    absolute paths. ``retry_scale`` shortens (or stretches) the waits between retries; ``version`` is what the CLI
    says it is; with ``needs_key`` it answers only where ``ANTHROPIC_API_KEY`` is set, as a CLI without a login.

    Raises:
        OSError: The folder cannot be written.
        FileError: The script is not valid.
    """
    # Absolute, for a server starts its CLI in the folder of a conversation, where a relative path would lead
    # elsewhere.
    directory = directory.absolute()
    ledger = (ledger or directory / "ledger").absolute()
    gates = (gates or directory / "gates").absolute()
    state = (state or directory / "state").absolute()
    for folder in (directory, ledger, gates):
        folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, str | float] = {"ledger": str(ledger), "gates": str(gates), "state": str(state)}
    if script is not None:
        # Loaded here for its mistakes: they are shown once, at the installation, and not by every run.
        settings["script"] = load(str(script.absolute())).path
    if retry_scale != 1.0:
        settings["retry_scale"] = retry_scale
    if version is not None:
        settings["version"] = version
    if needs_key:
        settings["needs_key"] = True
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
    # Written to another name and moved: the old one may be starting now.
    fresh = directory / ".claude.new"
    fresh.unlink(missing_ok=True)
    with os.fdopen(
        os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755), "w", encoding="utf-8"
    ) as file:
        file.write(text)  # who may start it is what the caller's umask says
    fresh.replace(launcher)
    return launcher
