"""Others' pings are measured from before a flood begins."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chat_conformance.cases.fairness import late
from chat_conformance.mutants.small import RawChat, serving
from chat_conformance.suite.context import CaseContext
from chat_conformance.target.file import Target
from chat_conformance.target.server import Server


async def test_one_stall_at_the_beginning_counts(tmp_path: Path) -> None:
    @asynccontextmanager
    async def stall() -> AsyncIterator[None]:
        time.sleep(0.5)  # noqa: ASYNC251 - it blocks the loop, as the test means to
        yield

    async with serving(RawChat()) as url:
        async with CaseContext(Server(Target(name="raw", url=url), tmp_path), case_id="x/y", seed=1) as chat:
            assert await late(chat, stall) > 0.3
