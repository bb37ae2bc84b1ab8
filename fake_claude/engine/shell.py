"""Bash commands of the fake, run for real, each in a session and process group of its own."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from fake_claude.waits import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


_RUN = 'eval "$1" 9>&- </dev/null && pwd -P >&9'
"""Runs a command in the shell's own process, so that a change of folder is seen after it."""


class Running(Wait):
    """One command that runs; a turn yields it to wait for its end.

    The CLI puts tool children into sessions of their own (docs/claude-cli.md, children): they survive when it is
    killed, and it ends them itself when it may.
    """

    __slots__ = ("_folder", "code", "cwd", "fd", "output", "patience", "pid")

    def __init__(self, command: str, cwd: str, env: Mapping[str, str]) -> None:
        # Two pipes: one for what the command prints, and descriptor 9 for the folder where it ends. `cd sub`
        # must count for the next call, and only the shell that ran it knows the folder.
        # The shells nest: sh changes to the folder, since ``posix_spawn`` cannot, and becomes bash, which
        # runs ``_RUN``. That evaluates the command without 9, so the command cannot write there, and then
        # prints the folder.
        # The end of a command is the end of file of the first pipe, so `sleep 9 &` in it counts as long as it
        # runs.
        self.fd, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.fd, False)
        self._folder, folder = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._folder, False)
        self.cwd: str | None = None  # where the command ended, if it ended well
        self.output = b""
        self.patience: float | None = None  # seconds until the turn wants control again
        self.code: int | None = None
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, theirs, 1),
            (os.POSIX_SPAWN_DUP2, theirs, 2),
            (os.POSIX_SPAWN_DUP2, folder, 9),
        ]
        argv = ["/bin/sh", "-c", 'cd "$0" && exec /bin/bash -c "$2" /bin/bash "$1"', cwd, command, _RUN]
        # An ignored signal stays ignored over exec: without this the command would have our ignored SIGPIPE,
        # and `yes | head` would not end as it does in a shell.
        defaults = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE]
        self.pid = os.posix_spawn(
            argv[0], argv, dict(env), file_actions=actions, setsid=True, setsigdef=defaults
        )
        os.close(theirs)
        os.close(folder)

    def read(self) -> bool:
        """Read the output that has come; return whether the command has exited (EOF)."""
        while True:
            try:
                data = os.read(self.fd, 1 << 16)
            except BlockingIOError:
                return False
            if not data:
                self._reap()
                return True
            self.output += data

    def end(self) -> None:
        """Kill the command and its process group; its output can still be read, up to its end."""
        if self.code is None:
            with suppress(ProcessLookupError):
                # The group has the command's own number, because ``setsid`` made it the leader.
                os.killpg(self.pid, signal.SIGKILL)

    def kill(self) -> None:
        """Kill the command and its process group, and wait for its end."""
        self.end()
        self._reap()

    def _reap(self) -> None:
        if self.code is None:
            _, status = os.waitpid(self.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            # A signal n is exit code 128 + n, as shells have it.
            self.code = code if code >= 0 else 128 - code
            os.close(self.fd)
            with suppress(BlockingIOError):
                self.cwd = os.fsdecode(os.read(self._folder, 1 << 13)).rstrip("\n") or None
            os.close(self._folder)

    @property
    def text(self) -> str:
        """What the command printed, without the end of its last line."""
        return self.output.decode("utf-8", "replace").rstrip()
