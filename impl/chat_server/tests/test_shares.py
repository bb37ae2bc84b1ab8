"""No user has more sockets, or more bytes waiting, than is allowed, and nobody pays for another."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from chat_server.buckets import TokenBucket
from chat_server.errors import RateLimited
from chat_server.shares import Shares


def shares(sockets: int = 2, of_user: int = 100, in_all: int = 250) -> Shares:
    return Shares(sockets=sockets, bytes_of_user=of_user, bytes_in_all=in_all)


async def test_sockets_of_a_user_are_bounded() -> None:
    kept = shares()
    with kept.socket("ada"):
        with kept.socket("ada"):
            with pytest.raises(RateLimited, match="2 connections of yours are open") as refused:
                with kept.socket("ada"):
                    pass
            with kept.socket("bob"):
                pass
        with kept.socket("ada"):
            pass
    assert refused.value.retry_after


async def test_0_sockets_is_no_limit() -> None:
    kept = shares(sockets=0)
    with ExitStack() as stack:
        for _ in range(99):
            stack.enter_context(kept.socket("ada"))


async def test_waiting_bytes_of_a_user_are_bounded() -> None:
    kept = shares()

    assert kept.wait("ada", 100)
    assert not kept.wait("ada", 1)
    assert kept.wait("bob", 100)
    assert kept.wait("ada", -1)
    assert kept.wait("ada", -100)
    assert kept.waiting == 100


async def test_full_shares_are_equal() -> None:
    kept = shares(in_all=150)

    assert kept.wait("ada", 90)
    assert kept.wait("bob", 20)  # there is room
    assert kept.wait("eve", 40)
    assert not kept.wait("ada", 1)  # her part is 50
    assert kept.wait("eve", 9)


def test_bucket_gives_burst_then_rate() -> None:
    bucket = TokenBucket(10, 50, now=0.0)
    bucket.take(50, 0.0)
    assert bucket.wait(0.0) == 0.0
    bucket.take(20, 0.0)

    assert bucket.wait(0.0) == 2.0
    assert bucket.wait(1.5) == 0.5
    assert bucket.wait(2.0) == 0.0
    assert not bucket.full(6.9)
    assert bucket.full(7.0)
    assert bucket.full(99.0)
