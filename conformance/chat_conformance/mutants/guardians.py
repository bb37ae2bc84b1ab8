"""Guardians with one thing broken: functions that a guardian calls before it begins, and how a mutant gets one.

It is a program of its own, so nothing that is put in place of the server's parts reaches it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import chat_server.processes.guardian
from chat_conformance.mutants.registry import always, put
from chat_server.processes.guardian import Guardian

_starters: list[Any] = []


def put_guardian(name: str) -> None:
    """Have the server start a guardian that is broken by the function of this name."""
    import chat_server.processes.starter  # noqa: PLC0415 - a guardian does without

    def make(init: Any) -> Any:
        def mutant(self: Any, *args: Any) -> None:
            _starters.append(self)
            init(self, *args)

        return mutant

    here = str(Path(__file__).parents[2])  # the guardian knows where the server's package is, and no other
    broken = f"sys.path.append({here!r}); from chat_conformance.mutants.guardians import {name}; {name}(); "
    broken += "from chat_server.processes.guardian"
    put(
        chat_server.processes.starter,
        "PROGRAM",
        lambda program: program.replace("from chat_server.processes.guardian", broken),
    )
    put(chat_server.processes.starter.Starter, "__init__", make)


def break_guardians() -> None:
    """Have those that wait for it be broken from now on."""
    for starter in _starters:
        starter.ask("end", 0)


def ends_nothing() -> None:
    """When the server is gone, so is the guardian."""
    put(Guardian, "_finish", always(None))
    put(chat_server.processes.guardian, "die_with_parent", always(True))


def spares_descendants() -> None:
    """What an ended Claude has left behind is no business of the guardian."""
    put(Guardian, "_kill_left", always(False))


def spares_descendants_later() -> None:
    """The same, from `break_guardians` on."""

    def make(end: Any) -> Any:
        def mutant(self: Guardian, number: int) -> None:
            if number:
                end(self, number)
            else:
                spares_descendants()

        return mutant

    put(Guardian, "_end", make)


def knows_marks_alone() -> None:
    """A process that clears its environment and leaves its parent is not found."""
    put(chat_server.processes.guardian, "adopt_orphans", always(True))


def reaps_nothing() -> None:
    """Of what falls to the guardian it kills all, and waits for none."""

    def reap(self: Guardian) -> bool:
        for pid in tuple(self._known):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                child = self._known.pop(pid)
                child.ended = self._unclean = True
                self._send(f"exited {child.number} {os.waitstatus_to_exitcode(status)}")
        return False

    put(Guardian, "_reap", lambda _: reap)
