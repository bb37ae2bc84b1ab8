"""The process that starts every ``claude`` and lets none of its descendants outlive it; the server starts one of these.

Each ``claude`` is a child of this process, and adopts what its own descendants leave behind (PR_SET_CHILD_SUBREAPER):
its tree stays a tree, whatever environment, session or group its members move to. Once it has ended, by itself or
because the server wants so, what is left of its tree falls to this process. So every child that was not started
here is what an ended ``claude`` has left, and is killed, with all below it, until there is none.

The server talks to it over a socket of type SEQPACKET, a message of ASCII words at a time:

| the server | |
|---|---|
| ``start N ARGC`` | start number N; with it come stdin, stdout, stderr, and a file of folder, words and environment |
| ``signal N NUMBER`` | signal that process, and it alone |
| ``end N`` | kill its whole tree |

| the guardian | |
|---|---|
| ``started N PID``, ``failed N ERRNO cwd/program`` | what came of ``start`` |
| ``exited N CODE`` | the process itself has ended; a negative code is a signal |
| ``gone N`` | after ``end``: nothing of its tree, and nothing that carries its mark, is left |
| ``beyond N PID`` | something of it belongs to another user, and cannot be ended |
| ``bare 0 0`` | this system has no subreapers: only what carries the mark is found |

When the server closes the socket, or dies, which closes it too, all get TERM, and KILL a second later (PROC-5).
Only the standard library is used, and little of it: the process stays small, since each start is a fork of it.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import socket
import sys
import time
import warnings  # noqa: F401 - os.execvpe does; a child need not
from contextlib import suppress

from chat_server.processes.kernel import adopt_orphans, die_with_parent
from chat_server.processes.marked import (
    VARIABLE,
    Relation,
    descendants,
    kill,
    marked,
    marked_pids,
    relations,
    send,
)

TERM_SECONDS = 1.0
"""How long processes have between TERM and KILL once the server is gone."""

LAST_SECONDS = 30.0
"""How long what has been killed is waited for then; only a device that does not answer holds it longer."""

SOONEST, LATEST = 0.01, 0.5
"""How soon those killed are looked for again, if nothing happens before, in seconds; each pause is twice the last."""

SCAN_PAUSES = 4
"""A scan of /proc is followed by a pause this many times as long: at most a fifth of the time goes into scans, and one
scan serves all processes that end in the pause."""

MESSAGE_BYTES = 4096
FOREVER = float("inf")


class Child:
    """A ``claude`` that was started here.

    Attributes:
        outcome: Where it writes why it cannot become the program; EOF means that it has. -1: it has.
        ended: Whether the process itself was reaped.
        wanted: Whether the server waits until nothing is left of it.
    """

    __slots__ = ("ended", "mark", "number", "outcome", "pid", "wanted")

    def __init__(self, number: int, mark: str, pid: int, outcome: int) -> None:
        self.number = number
        self.mark = mark
        self.pid = pid
        self.outcome = outcome
        self.ended = False
        self.wanted = False


class Guardian:
    """All children, and what the server must know of them."""

    def __init__(self, server: socket.socket, mark: str) -> None:
        self._server = server
        self._mark = mark
        self._known: dict[int, Child] = {}  # those that live, by pid
        # Those, and those that the server has not ended yet, by number.
        self._children: dict[int, Child] = {}
        # Something may be left of one that has ended.
        self._unclean = False
        # Others' processes, with the time of their birth.
        self._beyond: dict[int, int] = {}
        self._pause = SOONEST
        self._next_scan = 0.0
        self._poll = select.poll()
        self._wakes, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        # Handlers that do nothing: unlike what is ignored, they are gone in a child once it is another program.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            # A terminal sends these to all of its group; the server decides.
            signal.signal(number, _nothing)
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, _nothing)
        if not adopt_orphans():
            self._send("bare 0 0")

    def serve(self) -> None:
        """Do what the server says until it is gone, and then end everything."""
        self._poll.register(self._server, select.POLLIN)
        self._poll.register(self._wakes, select.POLLIN)
        while self._step(None):
            pass
        self._poll.unregister(self._server)
        self._finish()

    def _step(self, deadline: float | None) -> bool:
        """Wait for something to happen, and deal with it; whether the server is still there."""
        until = min(deadline or FOREVER, self._next_scan if self._unclean else FOREVER)
        seconds = max(0.0, until - time.monotonic())
        there = True
        for fd, _ in self._poll.poll(None if until == FOREVER else seconds * 1000):
            if fd == self._wakes:
                os.read(self._wakes, MESSAGE_BYTES)
            elif fd == self._server.fileno():
                there = self._listen()
            else:
                self._began(next(each for each in self._known.values() if each.outcome == fd))
        self._reap()
        if self._unclean and time.monotonic() >= self._next_scan:
            self._clean()
        return there

    # --- the server

    def _listen(self) -> bool:
        try:
            data, fds, _, _ = socket.recv_fds(self._server, MESSAGE_BYTES, 4, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return False
        if not data:
            return False
        word, number, *more = data.split()
        match word:
            case b"start":
                self._start(int(number), int(more[0]), fds)
            case b"signal" if child := self._children.get(int(number)):
                if not child.ended:
                    send([child.pid], int(more[0]))
            case b"end":
                self._end(int(number))
        return True

    def _send(self, message: str) -> None:
        try:
            self._server.send(message.encode(), socket.MSG_NOSIGNAL)
        except OSError:
            # The server has gone; the next read of the socket shows it.
            return

    # --- the beginning of a process

    def _start(self, number: int, argc: int, fds: list[int]) -> None:
        if len(fds) < 4:  # there was no room for them
            self._close(fds)
            self._send(f"failed {number} {errno.EMFILE} program")
            return
        outcome = -1
        try:
            with open(fds[3], "rb", closefd=False) as file:
                file.seek(0)
                cwd, *words = map(os.fsdecode, file.read().split(b"\0"))
            argv, env = words[:argc], dict(each.split("=", 1) for each in words[argc:])
            outcome, report = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            fds.append(report)
            pid = os.fork()
            if not pid:
                _become(cwd, argv, env, fds[:3], report)
        except OSError as error:
            self._close([outcome] if outcome >= 0 else [])
            self._send(f"failed {number} {error.errno} program")
            return
        finally:
            self._close(fds)
        child = Child(number, f"{self._mark}-{number}.", pid, outcome)
        self._known[pid] = self._children[number] = child
        self._poll.register(outcome, select.POLLIN)

    def _began(self, child: Child) -> None:
        """Report whether a child has become the program that it is to be."""
        error = os.read(child.outcome, MESSAGE_BYTES)
        self._poll.unregister(child.outcome)
        self._close([child.outcome])
        child.outcome = -1
        if error:
            del self._children[child.number]
            self._send(f"failed {child.number} {error.decode()}")
        else:
            self._send(f"started {child.number} {child.pid}")

    @staticmethod
    def _close(fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)

    # --- the end of one, and of what it has started

    def _end(self, number: int) -> None:
        child = self._children.get(number)
        if child is None:  # it could not be forked
            self._send(f"gone {number} 0")
            return
        child.wanted = True
        if child.ended:
            self._unclean = True
        elif send([child.pid], signal.SIGKILL):
            self._pass_over(child.pid, relations().get(child.pid), number)

    def _reap(self) -> bool:
        """Reap all that have ended; whether there was any."""
        any_ended = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return any_ended
            if not pid:
                return any_ended
            any_ended = self._unclean = True
            self._pause = SOONEST
            child = self._known.get(pid)
            if child is None:
                # An ended process had left it behind, and it may have left something itself: scan at once.
                self._next_scan = 0.0
                continue
            if child.outcome >= 0:
                # It has ended before its outcome was read. The server must learn of the start before it learns of the
                # end.
                self._began(child)
            del self._known[pid]
            child.ended = True
            self._send(f"exited {child.number} {os.waitstatus_to_exitcode(status)}")

    def _clean(self) -> None:
        """Kill what ended processes have left behind; report those that are waited for once nothing is left."""
        # Example: a claude has ended and left a shell with a child. The first scan finds the shell, which is our
        # child now, and the other below it, and kills both. They may have forked during the scan: only one that finds
        # nothing is the end.
        began = time.monotonic()
        waiting = [each for each in self._children.values() if each.wanted and each.ended]
        found = self._kill_left(waiting)
        ended = time.monotonic()
        self._next_scan = ended + (self._pause if found else SCAN_PAUSES * (ended - began))
        if found:
            self._pause = min(2 * self._pause, LATEST)
        elif not self._reap():  # else what ended during the scan may have left something that the scan missed
            for child in waiting:
                del self._children[child.number]
                self._send(f"gone {child.number} 0")
            self._unclean = False

    def _kill_left(self, waiting: list[Child]) -> bool:
        """KILL what lives of the trees of all that have ended, or carries the mark of one that is waited for.

        Of a tree, whole groups are killed: one call then reaches a process that forks again and again. No foreign
        process is in them: all members of a group are in one session, which a member of the tree began.
        """
        known = relations(self._known)
        us = os.getpid()
        roots = [pid for pid, each in known.items() if each.parent == us]
        tree = [pid for pid in descendants(known, roots) if self._beyond.get(pid) != known[pid].born]
        for group in {known[pid].group for pid in tree} - {0, os.getpgrp()}:
            with suppress(OSError):
                os.killpg(group, signal.SIGKILL)
        marks = marked(self._mark, self._known) if waiting else {}
        strangers = {pid for each in waiting for pid in marks.get(each.mark, ())}.difference(
            tree, self._beyond
        )
        for pid in send([*tree, *strangers], signal.SIGKILL):
            self._pass_over(pid, known.get(pid), 0)
        return bool(tree or strangers)

    def _pass_over(self, pid: int, relation: Relation | None, number: int) -> None:
        """A process of another user cannot be ended, and is not waited for."""
        if relation is not None:
            self._beyond[pid] = relation.born
            self._send(f"beyond {number} {pid}")

    # --- the end of the server

    def _finish(self) -> None:
        """TERM to all, and KILL to what is left after a grace."""
        send({*self._known, *marked_pids(self._mark)}, signal.SIGTERM)
        deadline = time.monotonic() + TERM_SECONDS
        while self._known and time.monotonic() < deadline:
            self._step(deadline)
        # Those of another user are not waited for.
        for pid in send(self._known, signal.SIGKILL):
            self._known.pop(pid)
        deadline += LAST_SECONDS
        self._unclean = True
        while (self._known or self._unclean) and time.monotonic() < deadline:
            self._step(deadline)
        kill(self._mark, LAST_SECONDS)


def _become(cwd: str, argv: list[str], env: dict[str, str], fds: list[int], report: int) -> None:
    """In a new child: become the program, or report why not. Never returns."""
    what = "cwd"
    try:
        os.setsid()
        adopt_orphans()
        die_with_parent()
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
        os.chdir(cwd)
        what = "program"
        os.execvpe(argv[0], argv, env)  # noqa: S606 - no shell is meant to be there
    except OSError as error:
        os.write(report, f"{error.errno} {what}".encode())
    finally:
        # Not `sys.exit`: this is a copy of the guardian, whose clean-up is not for the child to do.
        os._exit(127)


def _nothing(*_: object) -> None:
    """Handle a signal by waking up."""


def main(mark: str) -> None:
    """Guard the processes with this mark; the server is at the other end of standard input."""
    # The server puts it into the environment of each.
    assert VARIABLE
    with socket.socket(fileno=os.dup(0)) as server:
        guardian = Guardian(server, mark)
        gc.collect()
        # A child need not copy what a collection would touch.
        gc.freeze()
        gc.disable()
        guardian.serve()


if __name__ == "__main__":
    main(sys.argv[1])
