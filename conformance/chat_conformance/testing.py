"""What the pytest fixtures give (pytest_plugin.py).

The context of a case lives on an event loop of its own, in a thread. So a test that uses it may be a plain function, or
a coroutine under any plugin that runs such.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from secrets import randbelow
from types import TracebackType
from typing import Any, Self, TypeVar

import fake_claude.gates
from chat_conformance.errors import Failure
from chat_conformance.suite.context import CaseContext
from chat_conformance.target.file import load
from chat_conformance.target.places import temporary_folder
from chat_conformance.target.server import Server
from chat_conformance.target.variants import VariantServers
from chat_conformance.wire.evidence import gathered
from fake_claude.install import install
from fake_claude.ledger import Run, read
from fake_claude.patience import patience

T = TypeVar("T")
Result = TypeVar("Result")
PASSAGES = 64
WITHIN = 60.0
"""How long a function of a test may take, in seconds."""


class Gate(fake_claude.gates.Gate):
    """A gate that a test without an event loop can wait at, too."""

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def wait(self, within: float = 10.0) -> None:
        """Wait until a fake has arrived; each arrival ends one wait.

        Raises:
            TimeoutError: None has in that time.
        """
        arrived = self._fds[1]
        if not select.select([arrived], [], [], patience(within))[0]:
            raise TimeoutError(f"no fake came to the gate {self.name} within {within:g} s")
        os.read(arrived, 1)

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.open(PASSAGES)
        super().__exit__(kind, exc, tb)


class InstalledFake:
    """A launcher of the fake with a ledger and gates of its own.

    Attributes:
        path: The program, named ``claude``.
        folder: Where it lies, to be put on a PATH.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ledger, self._gates = folder / "ledger", folder / "gates"
        self.path = install(folder, ledger=self._ledger, gates=self._gates)

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def gate(self, name: str) -> Gate:
        """A gate of this fake, a context manager."""
        return Gate(self._gates, name)

    def runs(self) -> list[Run]:
        """The runs so far, oldest first."""
        return read(self._ledger)


class ChatServer:
    """A server by its target file, and the loop on which tests talk to it; a context manager."""

    def __init__(self, file: str) -> None:
        self._target = load(file)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chatgate", daemon=True)
        self._stack = ExitStack()
        self._seed = randbelow(1_000_000)
        self._starting = asyncio.Lock()

    def __enter__(self) -> Self:
        self._stack.callback(self._loop.close)
        self._thread.start()
        self._stack.callback(self._thread.join)
        self._stack.callback(self._loop.call_soon_threadsafe, self._loop.stop)
        try:
            folder = self._stack.enter_context(temporary_folder(self._seed, "pytest"))
            self.server = Server(self._target, folder)
            self._stack.callback(lambda: self.wait_for(self.server.end()))
            self.wait_for(self.server.start())
            self._variants = VariantServers(self._target, folder, self._starting, self._seed)
            self._stack.callback(lambda: self.wait_for(self._variants.close()))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def chat(self, name: str) -> Chat:
        """What one test talks with; the name makes its words differ from those of others."""
        return Chat(self, name)

    def wait_for(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run on the loop of the server, and wait."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def play(self, name: str, function: Callable[[CaseContext], Awaitable[T]], within: float) -> T:
        """What a function returns that is given a new context.

        Raises:
            Failure: It took too long, or the server did not do what it asked for; notes have what went over the wire.
        """
        context = CaseContext(
            self.server, case_id=name, seed=self._seed, starting=self._starting, variants=self._variants
        )
        try:
            with gathered():
                async with asyncio.timeout(patience(within)), context:
                    return await function(context)
        except TimeoutError:
            raise Failure("the test to end", f"not within {within:g} s") from None
        except Exception as error:
            for line in context.trace.lines:
                error.add_note(f"{line.ms:8.1f} ms {line.who} {line.direction} {line.text}")
            raise


class Chat:
    """What one test talks with.

    Attributes:
        server: The running server.
    """

    def __init__(self, owner: ChatServer, name: str) -> None:
        self.server = owner.server
        self._owner, self._name, self._count = owner, name, 0

    def run(self, function: Callable[[CaseContext], Awaitable[T]], *, within: float = WITHIN) -> T:
        """Play an async function with a case's context, and return what it returns.

        Raises:
            Failure: The server did not do what it asked for; notes have what went over the wire.
        """
        self._count += 1
        return self._owner.wait_for(self._owner.play(f"{self._name} {self._count}", function, within))
