"""The evidence of a case: what its servers wrote, the life of each Claude, and what the ledger has of it."""

from __future__ import annotations

from chat_conformance.errors import TargetError
from chat_conformance.results import TraceLine
from chat_conformance.suite.context import CaseContext
from fake_claude import ledger

CASE_TIMEOUT = 60.0
"""How long a case may take, whatever it waits for, in seconds."""


def server_lines(chat: CaseContext, error: BaseException | None) -> tuple[str, ...]:
    """What the servers of a case wrote during it; of one that did not start, its last lines."""
    if isinstance(error, TargetError) and error.log:
        return error.log
    return tuple(line for server, seen in chat.used for line in server.lines_since(seen))


def trace_with_processes(chat: CaseContext) -> tuple[TraceLine, ...]:
    """The trace, with the start, signals and exit of each Claude of the case in it."""
    lives = []
    for run in _runs(chat):
        for event in run.events:
            match event["event"]:
                case "start":
                    text = f"pid {run.pid} started"
                case "signal":
                    text = f"pid {run.pid} got {event['name']}"
                case "exit":
                    text = f"pid {run.pid} ended with {event['code']}"
                case _:
                    continue
            # The ledger has the clock of the system, the trace the time since the case began.
            lives.append(TraceLine((event["time"] - chat.trace.began) * 1000, "claude", "=", text))
    # A process whose clock is moved notes times that have no place in this trace.
    seen = [each for each in lives if 0 <= each.ms <= CASE_TIMEOUT * 1000]
    return tuple(sorted([*chat.trace.lines, *seen], key=lambda each: each.ms))


def ledger_lines(chat: CaseContext) -> list[str]:
    """What each Claude of the case was started with and given, and how it ended."""
    lines = []
    for run in _runs(chat):
        end = "alive" if run.alive else f"exit {run.exit_code}" if run.exit_code is not None else "gone"
        # Cut: a system prompt among the arguments may be pages long.
        lines.append(f"pid {run.pid} {end} {' '.join(run.signals)} argv {run.argv}"[:400])
        lines += [f"  stdin {line[:200]}" for line in run.stdin if chat.marker in line]
    return lines


def _runs(chat: CaseContext) -> list[ledger.Run]:
    return [run for server, _ in chat.used for run in chat.fake.runs_of(server)]
