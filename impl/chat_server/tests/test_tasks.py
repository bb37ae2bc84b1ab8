"""Uncancelled work is done to its end, and a cancellation then takes effect."""

from __future__ import annotations

import asyncio

import pytest

from chat_server.tasks import uncancelled


async def test_result_comes_out() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await uncancelled(work()) == 7


async def test_error_comes_out() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await uncancelled(work())


@pytest.mark.parametrize("fails", [False, True])
async def test_cancellation_comes_out_after_the_work(*, fails: bool) -> None:
    done, go = [], asyncio.Event()

    async def work() -> None:
        await go.wait()
        done.append(1)
        if fails:
            raise ZeroDivisionError

    task = asyncio.create_task(uncancelled(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    assert not task.done()

    go.set()
    await asyncio.wait([task])

    assert task.cancelled()
    assert done == [1]
