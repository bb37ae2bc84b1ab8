"""The fake Claude as a case uses it: prompts that script it, gates that stop it, and what its ledger says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from chat_conformance.errors import CouldNotTest, Failure
from chat_conformance.suite.scope import CaseScope
from chat_conformance.target.processes import is_zombie, wait_for_exit
from chat_conformance.target.server import Server
from fake_claude import ledger
from fake_claude.gates import Gate

GATE_PASSES = 64
"""How many runs may pass a gate when its block is left: more than any case starts, so that none stays behind it."""


class FakeClaude:
    """The fake of the server that a case is on.

    Methods other than ``prompt`` without a script, and ``runs_of``, raise ``CouldNotTest`` where the target file names
    no ledger and gates.
    """

    def __init__(self, scope: CaseScope) -> None:
        self._scope = scope

    def prompt(self, text: str = "", /, **script: Any) -> str:
        """A prompt with this case's marker; with arguments the fake plays them as an inline script.

        Raises:
            CouldNotTest: A script is given and the target has no fake.
        """
        words = f"{self._scope.marker} {text}".rstrip()
        if not script:
            return words
        self._require()
        steps = " ".join(f"{key}={_quoted(value)}" for key, value in script.items())
        return f"{words} [[fake {steps}]]"

    @asynccontextmanager
    async def gate(
        self, name: str, *, server: Server | None = None, scripted: bool = False
    ) -> AsyncIterator[Gate]:
        """A gate of the fake, opened for all runs that wait at it when the block is left.

        Args:
            name: Its name; the case's marker is added, so that it is this case's alone.
            server: Another server than the case's.
            scripted: Whether the name is used as it is, because the suite's script has it.
        """
        self._require()
        folder = (server or self._scope.server).gates
        assert folder is not None
        with Gate(folder, name if scripted else f"{name}-{self._scope.marker}") as gate:
            try:
                yield gate
            finally:
                # Also where the case has failed: a run that is left behind the gate would hold a process until
                # the end of the suite.
                gate.open(GATE_PASSES)

    async def wait_at_gate(self, gate: Gate) -> None:
        """Wait until a run has reached the gate.

        Raises:
            Failure: None has within the target's time.
        """
        within = self._scope.target.within
        try:
            async with asyncio.timeout(within):
                await gate.reached()
        except TimeoutError:
            raise Failure("Claude to be asked", f"not within {within:g} s") from None

    def runs(self) -> list[ledger.Run]:
        """The runs that were given a prompt of this case, oldest first."""
        self._require()
        return self.runs_of(self._scope.server)

    def runs_of(self, server: Server) -> list[ledger.Run]:
        """The same of another server; empty if it has no ledger."""
        return [
            run
            for run in (ledger.read(server.ledger) if server.ledger else ())
            if any(self._scope.marker in text for text in [*run.stdin, *run.argv])
        ]

    def started_since(self) -> list[ledger.Run]:
        """The runs that have started since the case did, those for other cases included, oldest first."""
        self._require()
        server = self._scope.server
        assert server.ledger is not None
        return [run for run in ledger.read(server.ledger) if run.started >= self._scope.trace.began]

    async def expect_exited(self, *, within: float | None = None) -> None:
        """Wait until every run that was given a prompt of this case has exited, and the children it left.

        Raises:
            Failure: A process is still alive.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + (self._scope.target.within if within is None else within)
        for run in self.runs():
            # One deadline for all of them, not one each: ten processes must not take ten times as long.
            children = [each["pid"] for each in run.events if each.get("event") == "grandchild"]
            for pid in [run.pid, *children]:
                if not await wait_for_exit(pid, max(0.0, until - loop.time())) and not is_zombie(pid):
                    what = "a child that Claude left behind" if pid in children else "Claude"
                    raise Failure(f"{what} (pid {pid}) to be gone", "it is alive")

    async def outcome(self, prompt: str, within: float) -> tuple[int, bool]:
        """Wait until the fake has printed the result of a prompt; how many characters, and whether it is an error.

        Raises:
            Failure: It has not within this many seconds.
        """
        self._require()
        # A server may hand the prompt on as an argument, or as JSON with or without escapes; and it may break
        # lines otherwise. All white space is taken out of both before they are compared.
        forms = json.dumps(prompt)[1:-1], json.dumps(prompt, ensure_ascii=False)[1:-1], prompt
        wanted = ["".join(each.split()) for each in forms]
        until = asyncio.get_running_loop().time() + within
        while True:
            for run in reversed(self.runs()):
                # A prompt may be several lines.
                given = "".join("".join([*run.argv, *run.stdin]).split())
                asked = any(each in given for each in wanted)
                results = [each for each in run.events if each.get("event") == "result"]
                # A process that lives on takes several prompts: the result is this one's when there are as many
                # results as prompts.
                prompts = max(1, sum(self._scope.marker in each for each in [*run.argv, *run.stdin]))
                if asked and len(results) >= prompts:
                    return results[-1]["chars"], results[-1]["error"]
                if asked and run.gone:
                    return 0, True
            if asyncio.get_running_loop().time() > until:
                raise Failure("Claude to come to the end of its answer", f"not within {within:g} s")
            # The ledger is files.
            await asyncio.sleep(0.02)

    def prompt_count(self, text: str) -> int:
        """How often the fake was given a prompt with this text."""
        return sum(text in given for run in self.runs() for given in [*run.stdin, *run.argv])

    def _require(self) -> None:
        if self._scope.server.ledger is None or self._scope.server.gates is None:
            raise CouldNotTest("the target file names no ledger and gates of a fake Claude")


def _quoted(value: Any) -> str:
    text = str(value)
    if text and all(char.isalnum() or char in "-_.@" for char in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
