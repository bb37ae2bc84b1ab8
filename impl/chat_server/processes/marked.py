"""Find processes by their parents, and by a mark in their environment; end them. Only the standard library is used.

A process started with ``CHATGATE_PROCESS=<mark>`` in its environment hands that on to its children, whatever sessions
or groups they move to, unless it clears it. Its parent it cannot choose.
"""

from __future__ import annotations

import os
import signal
import time

# Not imported: `typing` would make the guardian larger, and each start is a fork of it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

VARIABLE = "CHATGATE_PROCESS"

EXEC_SECONDS = 0.1
"""How long at most a process is waited for that has no environment since it becomes another program just now."""

BARE_LOOKS = 3
"""How often a process must be seen with arguments and without environment: each time may be in another execve."""


class Relation:
    """How one process is related to others, from ``/proc/PID/stat`` (proc_pid_stat(5)).

    Attributes:
        ended: Whether it only waits to be reaped.
        born: When it began, in ticks since the start of the machine: with the pid this names a process for ever.
    """

    __slots__ = ("born", "ended", "group", "parent", "session")

    def __init__(self, fields: list[bytes]) -> None:
        """``fields`` are those after the name of the program."""
        self.ended = fields[0] in (b"Z", b"X")
        self.parent, self.group, self.session = int(fields[1]), int(fields[2]), int(fields[3])
        self.born = int(fields[19])


def relations(but: Collection[int] = ()) -> dict[int, Relation]:
    """All processes, by pid, besides those of ``but``."""
    found = {}
    for pid in _pids(but):
        # The name of the program is in brackets and can be anything, such as `a) b`: the fields begin after the last
        # bracket.
        fields = _read(pid, "stat").rpartition(b")")[2].split()
        if fields:
            found[int(pid)] = Relation(fields)
    return found


def descendants(known: dict[int, Relation], roots: Iterable[int]) -> list[int]:
    """``roots``, their children, and so on, as far as they have not ended; parents come before their children."""
    children: dict[int, list[int]] = {}
    for pid, relation in known.items():
        if not relation.ended:
            children.setdefault(relation.parent, []).append(pid)
    found = [pid for pid in roots if not known[pid].ended]
    # The list grows while it is walked, and so reaches the children of children.
    for pid in found:
        found += children.get(pid, ())
    return found


def marked(mark: str, but: Collection[int] = ()) -> dict[str, list[int]]:
    """The living processes whose mark begins with ``mark``, by their whole mark; none of ``but`` is looked at."""
    wanted = f"{VARIABLE}={mark}".encode()
    found: dict[str, list[int]] = {}
    for pid in _pids(but):
        for item in _environment(pid):
            if item.startswith(wanted):
                found.setdefault(os.fsdecode(item.partition(b"=")[2]), []).append(int(pid))
                break
    return found


def marked_pids(mark: str) -> list[int]:
    """The same in one list."""
    return [pid for pids in marked(mark).values() for pid in pids]


def send(pids: Iterable[int], number: int) -> list[int]:
    """Signal processes; those that have ended are passed over. Returns those that may not be signalled."""
    refused = []
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        except PermissionError:
            refused.append(pid)
    return refused


def kill(mark: str, seconds: float) -> list[int]:
    """KILL what carries the mark until nothing is left; returns what is left after `seconds`, or is another user's."""
    deadline = time.monotonic() + seconds
    while left := marked_pids(mark):
        # If all that is left belongs to other users, no wait will end it.
        if len(send(left, signal.SIGKILL)) == len(left) or time.monotonic() > deadline:
            break
        # Only a parent learns of a process's end; these are not our children.
        time.sleep(0.01)
    return left


def _pids(but: Collection[int]) -> list[str]:
    """All there are besides those of ``but``, as text."""
    return [name for name in os.listdir("/proc") if name.isdigit() and int(name) not in but]  # noqa: PTH208 - in a hurry


def _environment(pid: str) -> list[bytes]:
    """In an execve a process has a program, but for a moment neither arguments nor environment: then look again."""
    deadline, bare = 0.0, 0
    while True:
        environment = _read(pid, "environ")
        # A program that was started without any environment looks the same, so the looks are counted.
        if environment or bare == BARE_LOOKS or not _has_program(pid):
            return environment.split(b"\0")
        if _read(pid, "cmdline"):
            bare += 1
        else:
            deadline = deadline or time.monotonic() + EXEC_SECONDS
            if time.monotonic() > deadline:
                return []
            # The kernel does not announce that it is done.
            time.sleep(0.001)


def _has_program(pid: str) -> bool:
    """Not so what the kernel runs, and what has ended."""
    try:
        return bool(os.readlink(f"/proc/{pid}/exe"))  # noqa: PTH115
    except OSError:
        return False


def _read(pid: str, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError:  # it has ended, or may not be read
        return b""
