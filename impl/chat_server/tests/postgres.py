"""A PostgreSQL server for the tests, where there is one installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLACES = (*sorted(Path("/usr/lib/postgresql").glob("*/bin")), Path("/usr/local/pgsql/bin"))
"""Where it lies when it is not on PATH, as on Debian."""


def found() -> Path | None:
    """The folder of PostgreSQL's programs."""
    path = os.pathsep.join([os.environ["PATH"], *map(str, PLACES)])
    program = shutil.which("pg_ctl", path=path)
    return None if program is None else Path(program).resolve().parent


@contextmanager
def postgres(programs: Path) -> Iterator[str]:
    """A server for the length of the block, on a Unix socket alone; the URL of its database."""
    user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder = Path(name)
        if user is not None:
            shutil.chown(folder, user)

        def run(program: str, *options: str) -> None:
            with (folder / f"{program}.log").open("a") as log:
                done = subprocess.run(
                    [programs / program, *options],
                    user=user,
                    cwd=folder,
                    env={},  # it serves many tests, and is no process of the first
                    stdout=log,
                    stderr=log,
                    check=False,
                )
            assert done.returncode == 0, (folder / f"{program}.log").read_text()

        run("initdb", "-D", "data", "-U", "chat", "--auth=trust", "--no-sync", "--encoding=UTF8")
        options = f"-k {folder} -h '' -F -c shared_buffers=8MB"
        run("pg_ctl", "-D", "data", "-o", options, "-w", "start")
        try:
            yield f"postgresql://chat@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")
