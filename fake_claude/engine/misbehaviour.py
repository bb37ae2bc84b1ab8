"""Misbehaviour of the process, one function for each kind of step."""

from __future__ import annotations

import os
import signal

from fake_claude import json_lines
from fake_claude.ledger_writer import proc_start
from fake_claude.waits import Exit, LoggedOut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_claude.engine.run import Run
    from fake_claude.script.model import Step


def misbehave(run: Run, step: Step) -> None:
    """Do what the step says."""
    _HANDLERS[step.kind](run, step)


def _exit(_run: Run, step: Step) -> None:
    raise Exit(step.value)


def _logged_out(_run: Run, _step: Step) -> None:
    raise LoggedOut


def _kill(run: Run, step: Step) -> None:
    # What was said before this step must be out: SIGKILL leaves no time for it. A reader who does not read
    # may not keep us, hence a second.
    run.drain(1.0)
    number = signal.Signals[step.value]
    # Our own handlers only note a signal (``Signals``); the default one ends the process as the script wants.
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _stderr(run: Run, step: Step) -> None:
    if isinstance(step.value, str):
        run.err.line(step.value)
    elif step.value:
        run.err.raw(b"e" * (step.value - 1) + b"\n")
    run.block_on(run.err)  # who does not read stderr stops the CLI


def _noise(run: Run, step: Step) -> None:
    # These three go around ``emit``: they are no lines of the CLI, and ``omit`` and ``duplicate`` mean lines
    # of the CLI.
    run.out.line(step.value)


def _bytes(run: Run, step: Step) -> None:
    run.out.raw(step.value)


def _event(run: Run, step: Step) -> None:
    run.out.line(json_lines.dumps(step.value))


def _ignore(run: Run, step: Step) -> None:
    run.ignored |= set(step.value)


def _omit(run: Run, step: Step) -> None:
    run.omitted |= set(step.value)


def _duplicate(run: Run, step: Step) -> None:
    run.duplicated |= set(step.value)


def _dribble(run: Run, step: Step) -> None:
    gap = step.more.get("gap")
    run.out.dribble(step.value, gap.draw(run.scripts.random) if gap else 0.0)


def _split(run: Run, step: Step) -> None:
    run.out.split_next(step.value.draw(run.scripts.random))


def _grandchild(run: Run, step: Step) -> None:
    """Start a sleeper in a session of its own that inherits stdout, and, unless it sheds that too, our environment."""
    # Such a process keeps stdout open after our end, so a reader that waits for EOF waits for it. A mark in
    # its environment finds it (docs/decisions/0006-processes-carry-a-mark.md), unless it shed that.
    seconds = step.value.draw(run.scripts.random)
    argv = ["/bin/sh", "-c", 'exec sleep "$0"', f"{seconds:.3f}"]
    env = {} if step.more.get("shed") else dict(run.context.env)
    actions = [(os.POSIX_SPAWN_DUP2, run.out.fd, 1)]
    pid = os.posix_spawn(argv[0], argv, env, file_actions=actions, setsid=True)
    run.record.note("grandchild", pid=pid, proc_start=proc_start(pid))


def _close(run: Run, step: Step) -> None:
    stream = run.out if step.value == "stdout" else run.err
    run.drain(1.0)
    # ``drain`` before: ``close`` drops what is still pending.
    stream.close()


_HANDLERS: dict[str, Callable[[Run, Step], None]] = {
    "exit": _exit,
    "logged_out": _logged_out,
    "kill": _kill,
    "stderr": _stderr,
    "noise": _noise,
    "bytes": _bytes,
    "event": _event,
    "ignore": _ignore,
    "omit": _omit,
    "duplicate": _duplicate,
    "dribble": _dribble,
    "split": _split,
    "grandchild": _grandchild,
    "close": _close,
}
