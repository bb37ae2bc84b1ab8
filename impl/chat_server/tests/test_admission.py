"""Many logins from one address do not keep other addresses from theirs."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from aiohttp.test_utils import make_mocked_request

from chat_server.errors import RateLimited
from chat_server.login.admission import AT_ONCE, FROM_ONE_ADDRESS, LoginGate, client_address


async def test_logins_from_one_address_are_few() -> None:
    gate = LoginGate()
    async with AsyncExitStack() as stack:
        for _ in range(FROM_ONE_ADDRESS):
            await stack.enter_async_context(gate.passed("192.0.2.1"))
        with pytest.raises(RateLimited) as refused:
            await stack.enter_async_context(gate.passed("192.0.2.1"))
        await stack.enter_async_context(gate.passed("192.0.2.2"))
    async with gate.passed("192.0.2.1"):
        pass
    assert refused.value.retry_after


async def test_logins_beyond_the_places_wait() -> None:
    gate = LoginGate()
    async with AsyncExitStack() as stack:
        for number in range(AT_ONCE):
            await stack.enter_async_context(gate.passed(str(number)))
        waiting = asyncio.create_task(gate.passed("one more").__aenter__())
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting


@pytest.mark.parametrize(
    ("remote", "headers", "address"),
    [
        ("127.0.0.1", {}, "127.0.0.1"),
        ("127.0.0.1", {"X-Forwarded-For": "10.0.0.1, 192.0.2.7"}, "192.0.2.7"),
        ("198.51.100.1", {"X-Forwarded-For": "192.0.2.7"}, "198.51.100.1"),
    ],
)
def test_forwarded_address_from_loopback_only(remote: str, headers: dict[str, str], address: str) -> None:
    request = make_mocked_request("GET", "/", headers=headers).clone(remote=remote)

    assert client_address(request) == address
