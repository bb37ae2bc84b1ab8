"""Misbehaviour of the process, one function for each kind of step."""

from __future__ import annotations

import os
import signal

from fake_claude import json_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_claude.engine.loop import Engine
    from fake_claude.script.model import Step


class Exit(Exception):
    """A script step ends the process with ``code``."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def do_trick(engine: Engine, step: Step) -> None:
    """Do what the step says."""
    _TRICKS[step.kind](engine, step)


def _exit(_engine: Engine, step: Step) -> None:
    raise Exit(step.value)


def _kill(engine: Engine, step: Step) -> None:
    engine.drain(1.0)
    number = signal.Signals[step.value]
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _stderr(engine: Engine, step: Step) -> None:
    if isinstance(step.value, str):
        engine.err.line(step.value)
    elif step.value:
        engine.err.raw(b"e" * (step.value - 1) + b"\n")
    engine.block_on(engine.err)  # who does not read stderr stops the CLI


def _noise(engine: Engine, step: Step) -> None:
    engine.out.line(step.value)


def _bytes(engine: Engine, step: Step) -> None:
    engine.out.raw(step.value)


def _event(engine: Engine, step: Step) -> None:
    engine.out.line(json_lines.dumps(step.value))


def _ignore(engine: Engine, step: Step) -> None:
    engine.ignored |= set(step.value)


def _omit(engine: Engine, step: Step) -> None:
    engine.omitted |= set(step.value)


def _duplicate(engine: Engine, step: Step) -> None:
    engine.doubled |= set(step.value)


def _dribble(engine: Engine, step: Step) -> None:
    gap = step.more.get("gap")
    engine.out.dribble(step.value, gap.draw(engine.scripts.random) if gap else 0.0)


def _split(engine: Engine, step: Step) -> None:
    engine.out.split_next(step.value.draw(engine.scripts.random))


def _grandchild(engine: Engine, step: Step) -> None:
    """Start a sleeper in a session of its own that inherits stdout, and, unless it sheds that too, our environment."""
    seconds = step.value.draw(engine.scripts.random)
    argv = ["/bin/sh", "-c", 'exec sleep "$0"', f"{seconds:.3f}"]
    env = {} if step.more.get("shed") else dict(engine.context.env)
    actions = [(os.POSIX_SPAWN_DUP2, engine.out.fd, 1)]
    pid = os.posix_spawn(argv[0], argv, env, file_actions=actions, setsid=True)
    engine.record.note("grandchild", pid=pid)


def _close(engine: Engine, step: Step) -> None:
    stream = engine.out if step.value == "stdout" else engine.err
    engine.drain(1.0)
    stream.close()


_TRICKS: dict[str, Callable[[Engine, Step], None]] = {
    "exit": _exit,
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
