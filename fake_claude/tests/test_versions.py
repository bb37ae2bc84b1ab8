from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from fake_claude.install import install
from fake_claude.tests.conftest import PATIENCE, PERSISTENT, Fake, control, user


@pytest.mark.parametrize(("version", "spent"), [("2.1.330", True), ("2.1.324", False)])
async def test_earlier_versions_charge_nothing_for_an_interrupted_answer(
    fake: Fake, version: str, *, spent: bool
) -> None:
    fake.launcher = install(Path(fake.folder / "bin"), version=version)
    with fake.gate("g") as gate:
        process = await fake.start(*PERSISTENT)
        assert process.stdin is not None
        process.stdin.write(user("[[fake tokens=5 hold=g@2]]").encode())
        async with asyncio.timeout(PATIENCE):
            await gate.reached()
            out, _ = await process.communicate(control("interrupt").encode())

    messages = [json.loads(line) for line in out.decode().splitlines()]
    assert messages[0]["claude_code_version"] == version
    assert (messages[-1]["total_cost_usd"] > 0) == spent
    assert ("begun_message_ids" in messages[-1]) == spent
