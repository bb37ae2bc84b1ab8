"""A fake to ask and a server to talk to, for the length of a test."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fake_claude.gates import Gate
from fake_claude.install import install
from fake_claude.ledger import Run, read
from impl.claude import Claude
from impl.limits import Limits
from impl.log import TurnLog
from impl.messages import Event
from impl.metrics import Metrics
from impl.settings import Settings
from impl.store import Store, opened
from impl.turns import Turns

PATIENCE = 15.0
"""Seconds after which a test that waits for an event has failed."""

GRACE = 0.3
"""Seconds that a process has to obey; a real wait only where it does not."""


@dataclass(frozen=True)
class Fake:
    """The stand-in for the CLI, with its ledger and its gates."""

    directory: Path
    command: list[str]

    @classmethod
    def installed(cls, directory: Path) -> Fake:
        return cls(directory, [str(install(directory))])

    def gate(self, name: str) -> Gate:
        return Gate(self.directory / "gates", name)

    def runs(self) -> list[Run]:
        """The runs so far, oldest first."""
        return read(self.directory / "ledger")


PRELUDE = f"""#!{sys.executable} -IS
import json, os, signal, sys, time
def say(kind, **members): print(json.dumps({{"type": kind, **members}}), flush=True)
def init(session="11111111-2222-4333-8444-55555555aaaa"): say("system", subtype="init", session_id=session)
def text(words): say("assistant", message={{"id": "m", "content": [{{"type": "text", "text": words}}]}})
def result(**members): say("result", **{{"subtype": "success", "is_error": False, "result": "", **members}})
def hear(): return json.loads(sys.stdin.readline())
"""


def program(folder: Path, code: str) -> list[str]:
    """A CLI of a few lines, for what no fake should do; the functions of the prelude help it."""
    path = folder / "odd-claude"
    path.write_text(PRELUDE + code)
    path.chmod(0o755)
    return [str(path)]


def make_settings(folder: Path, **changes: Any) -> Settings:
    """Settings for a test: everything below ``folder``, short graces, no limits."""
    settings = Settings(
        data=folder / "data",
        port=0,
        claude_grace_seconds=GRACE,
        stop_grace_seconds=GRACE,
        requests_per_hour=0,
        requests_per_day=0,
        tokens_per_day=0,
    )
    return replace(settings, **changes)


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    now: float = 1_800_000_000.0  # 2027-01-15, 08:00 UTC

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Parts:
    """The server without its doors."""

    settings: Settings
    store: Store
    claude: Claude
    turns: Turns
    metrics: Metrics
    clock: Clock

    async def turn(self, message: str, **named: str) -> list[Event]:
        """The events of a turn, from its start to its end."""
        return await events(await self.turns.start("ada", message, **named))


@asynccontextmanager
async def parts(command: list[str], folder: Path, **changes: Any) -> AsyncIterator[Parts]:
    settings = make_settings(folder, **changes)
    settings.data.mkdir(exist_ok=True)
    clock, metrics = Clock(), Metrics()
    database = f"sqlite+aiosqlite:///{settings.data / 'chat.sqlite3'}"
    limits = Limits(settings.requests_per_hour, settings.requests_per_day, settings.tokens_per_day)
    async with (
        opened(database, clock) as store,
        Claude(command, settings, folder) as claude,
        Turns(
            store,
            claude,
            metrics,
            limits=limits,
            message_max_bytes=settings.message_max_bytes,
            kept_seconds=settings.turn_kept_seconds,
            grace_seconds=settings.stop_grace_seconds,
        ) as turns,
    ):
        yield Parts(settings, store, claude, turns, metrics, clock)


async def events(log: TurnLog) -> list[Event]:
    """A log's events once it is over."""
    assert await log.wait_ended(PATIENCE), f"the turn does not end; so far: {log.read(0)}"
    return log.read(0)
