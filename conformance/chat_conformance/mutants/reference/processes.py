"""Mutants of how processes are started, stopped and cleaned up.

The guardian (``processes/guardian.py``) is a program of its own; it runs from the same copy of the source.
"""

from __future__ import annotations

from chat_conformance.mutants.registry import Patch, patched

GUARDIAN = "processes/guardian.py"

# Two things end a claude when the server is gone: the guardian, when its connection to the server ends, and
# the kernel, which ends claude with the guardian. While one of them is left, the case passes.
ENDS_NOTHING = (
    Patch(GUARDIAN, "        self._poll.unregister(self._server)\n        self._finish()\n", ""),
    Patch(GUARDIAN, "        die_with_parent()\n", ""),
    Patch(GUARDIAN, "import adopt_orphans, die_with_parent\n", "import adopt_orphans\n"),
)

SPARES_DESCENDANTS = Patch(
    GUARDIAN,
    "        known = relations(self._known)\n        us = os.getpid()\n",
    "        return False\n        known = relations(self._known)\n        us = os.getpid()\n",
)

SPARES_DESCENDANTS_LATER = Patch(
    GUARDIAN,
    '            case b"end":\n',
    '            case b"end" if number == b"0":\n'
    "                self._kill_left = lambda _waiting: False\n"
    '            case b"end":\n',
)
"""From when the server asks for the end of process 0, which there is not."""

EXIT_ONLY_BY_EOF = Patch(
    "processes/process.py",
    "        self._stderr.drain_and_close()\n        self.stdout.drain_and_close()\n",
    "",
)

patched(
    "stderr-not-read",
    "Stderr is not read while the process runs.",
    Patch(
        "processes/process.py",
        '        self._stderr = PipeReader(FileIO(stderr, "rb"), self)\n',
        '        self._stderr = PipeReader(FileIO(stderr, "rb"), self)\n        self._stderr.pause()\n',
    ),
)

patched(
    "adopted-zombies-kept",
    "As process 1 the server serves, and reaps no children of others.",
    Patch(
        "processes/init.py",
        "def be_init_if_first() -> None:\n",
        "def be_init_if_first() -> None:\n    return\n\n\ndef never() -> None:\n",
    ),
)

# One fault under two names: what lives on is claude itself, and what claude had started, and a case looks for
# each.
for name in ("no-guardian", "no-guardian-of-claude"):
    patched(name, "Nothing ends what a killed server leaves behind.", *ENDS_NOTHING)

patched(
    "no-kill",
    "A claude is asked to end, and never killed.",
    Patch(
        "processes/process.py",
        '        self._guardian.ask("end", self._number)\n',
        '        await asyncio.wait([self.exited])\n        self._guardian.ask("end", self._number)\n',
    ),
)

patched(
    "kills-child-only",
    "Only claude itself is ended.",
    SPARES_DESCENDANTS,
    Patch("processes/process.py", "STRANGER_SECONDS = 0.5\n", "STRANGER_SECONDS = 0.01\n"),
)

patched(
    "exit-only-by-stdout-eof",
    "A claude that has exited counts as running until its stdout is at EOF.",
    # Else the guardian ends what holds stdout, and its end comes soon after all.
    SPARES_DESCENDANTS,
    EXIT_ONLY_BY_EOF,
)

patched(
    "result-waits-for-eof",
    "A result counts once stdout is at EOF.",
    SPARES_DESCENDANTS,
    EXIT_ONLY_BY_EOF,
    Patch(
        "claude/session.py",
        "            result = await self._result\n",
        "            result = await self._result\n"
        "            process = self.started.result()\n"
        "            process.stdin.close()\n"
        "            await asyncio.wait([process.stdout.ended])\n",
    ),
)

patched(
    "cleared-environment-escapes",
    "A child without our environment, whose parent has ended, is not found.",
    Patch(GUARDIAN, "        if not adopt_orphans():\n", "        if False:\n"),
    Patch(GUARDIAN, "        adopt_orphans()\n        die_with_parent()\n", "        die_with_parent()\n"),
)

patched(
    "orphans-not-reaped",
    "What a claude has left behind is killed, and never reaped.",
    Patch(
        GUARDIAN,
        '        """Reap all that have ended; whether there was any."""\n',
        "        for pid in tuple(self._known):\n"
        "            found, status = os.waitpid(pid, os.WNOHANG)\n"
        "            if found:\n"
        "                child = self._known.pop(pid)\n"
        "                child.ended = self._unclean = True\n"
        '                self._send(f"exited {child.number} {os.waitstatus_to_exitcode(status)}")\n'
        "        return False\n",
    ),
)

patched(
    "group-signal-fails-turn",
    "A claude that dies of a stop signal has failed, though the server got the signal as well.",
    Patch(
        "claude/pool.py",
        "        return self._stopping.is_set()\n\n    async def end(",
        "        return False\n\n    async def end(",
    ),
)

patched(
    "deletion-spares-descendants",
    "When a conversation is deleted, its claude is ended, and not what that had started.",
    SPARES_DESCENDANTS_LATER,
    Patch(
        "turns/manager.py",
        "            self._deleting.add(conversation_id)\n        try:\n",
        "            self._deleting.add(conversation_id)\n"
        '        self._claude._starter.ask("end", 0)\n'
        "        try:\n",
    ),
)

patched(
    "timeout-spares-descendants",
    "A claude that went silent is ended, and not what it had started.",
    SPARES_DESCENDANTS_LATER,
    Patch(
        "claude/session.py",
        '            self.fail(TimedOut(f"Claude was silent',
        '            self.started.result()._guardian.ask("end", 0)\n'
        '            self.fail(TimedOut(f"Claude was silent',
    ),
)
