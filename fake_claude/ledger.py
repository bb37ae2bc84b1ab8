"""The ledger's reading side: which runs there were, what they got, and which are alive."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_claude.ledger_writer import proc_start


@dataclass(slots=True)
class Run:
    """One run of the fake, as its ledger file has it.

    ``argv`` is without the program's name; times are unix seconds. ``exit_code`` is ``None`` while the run is
    alive, and for ever if it was killed or crashed; ``signals`` are the names it received and could note.
    ``environment`` holds the names of its variables, never their values.
    """

    path: Path
    pid: int = 0
    pgid: int = 0
    sid: int = 0
    ppid: int = 0
    argv: list[str] = field(default_factory=list)
    cwd: str = ""
    started: float = 0.0
    ended: float | None = None
    stdin: list[str] = field(default_factory=list)
    signals: list[str] = field(default_factory=list)
    exit_code: int | None = None
    bytes_out: int | None = None
    proc_start: int | None = None
    environment: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        """Whether the process is there at this moment; another process with its old pid does not count."""
        # Both are needed: a run that noted its end may still stand in /proc for a moment.
        return self.exit_code is None and self._in_proc()

    @property
    def gone(self) -> bool:
        """Whether the process is no longer there, whatever the ledger could still note."""
        return not self._in_proc()

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What the model was asked, request by request: ``model``, and ``texts`` that came after its last answer."""
        return [event for event in self.events if event.get("event") == "request"]

    @property
    def read(self) -> list[str]:
        """The files that were read and the folders that were listed for prompts: mentions and memory."""
        return [e["path"] for e in self.events if e.get("event") == "attachment" and e["path"]]

    @property
    def settings(self) -> list[dict[str, Any]]:
        """The settings that prompts wrote: ``path`` of the file, ``member``, ``value`` (``None``: removed)."""
        return [event for event in self.events if event.get("event") == "setting"]

    @property
    def commands(self) -> list[dict[str, Any]]:
        """What ran for prompts or operators' files: ``why``, and ``command`` (hook, server) or ``path`` (a text)."""
        return [event for event in self.events if event.get("event") == "command"]

    @property
    def unimitated(self) -> list[dict[str, Any]]:
        """What the real CLI would have done and the fake did not: ``what``."""
        return [event for event in self.events if event.get("event") == "unimitated"]

    @property
    def configured(self) -> list[str]:
        """The settings files that were read."""
        return [path for e in self.events if e.get("event") == "configuration" for path in e["files"]]

    def _in_proc(self) -> bool:
        return lives(self.pid, self.proc_start)


def lives(pid: int, start: int | None) -> bool:
    """Whether the process with this start time exists; ``None``: the time is unknown, so another process is assumed."""
    try:
        # The name in parentheses may hold blanks and parentheses itself, so the fields are counted from the last one.
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return False
    # A zombie has ended; only its parent has not asked yet. A start time keeps two processes with one pid apart.
    return state not in (b"Z", b"X") and start is not None and proc_start(pid) == start


def _load(path: Path) -> Run:
    run = Run(path)
    for line in path.read_bytes().split(b"\n"):
        try:
            event = json.loads(line)
        except ValueError:  # the end of a file that is being written
            continue
        run.events.append(event)
        match event.get("event"):
            case "start":
                run.started = event["time"]
                for key in ("pid", "pgid", "sid", "ppid", "argv", "cwd", "proc_start"):
                    setattr(run, key, event[key])
                # Ledgers of older launchers do not have it.
                run.environment = event.get("environment", [])
            case "stdin":
                run.stdin.append(event["line"])
            case "signal":
                run.signals.append(event["name"])
            case "exit":
                run.exit_code, run.bytes_out, run.ended = event["code"], event["bytes_out"], event["time"]
    return run


def read(directory: Path) -> list[Run]:
    """Return the runs noted in a ledger folder, oldest first; a folder that is not there yet has none."""
    runs = [_load(path) for path in Path(directory).glob("*.jsonl")]
    # A file without its first line yet is a run that is about to start: it is no run so far.
    return sorted((run for run in runs if run.pid), key=lambda run: run.started)


def table(runs: list[Run]) -> str:
    """Return the runs as a table for people."""
    rows = [("pid", "state", "stdin", "signals", "out", "arguments")]
    for run in runs:
        state = "alive" if run.alive else "killed" if run.exit_code is None else f"exit {run.exit_code}"
        out = "" if run.bytes_out is None else str(run.bytes_out)
        rows.append(
            (str(run.pid), state, str(len(run.stdin)), " ".join(run.signals), out, shlex.join(run.argv))
        )
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]).rstrip()
        for row in rows
    )
