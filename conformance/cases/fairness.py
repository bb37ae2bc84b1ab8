"""One user or stranger takes what others need: connections, processes, time."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial

from conformance.case import case
from conformance.chat import Chat, expect, expect_equal
from conformance.peer import Peer
from conformance.results import Severity

HEALTHY = "http/health"
IDLERS = 20
HALF = b"GET /chat/ws HTTP/1.1\r\nHost: chat\r\nX-Half: "
"""The beginning of a header that never ends."""


async def closed_in_time(chat: Chat, peers: list[Peer], seconds: float) -> None:
    """Wait until the server has closed these connections, and ask whether it is well."""
    for peer in peers:
        await peer.until(
            partial(getattr, peer, "ended"),
            f"the connection to be closed after {seconds:g} s",
            within=seconds + chat.target.within,
        )
    expect_equal((await chat.http("GET", chat.target.paths.health)).status, 200, "the health check")


@case(
    "robustness/silent-connection",
    title="A connection on which nothing is sent is closed in the stated time",
    clause="HAND-5",
    severity=Severity.MEDIUM,
    means="A few hundred connections that send nothing use up the server's file descriptors: nobody else gets in.",
    needs=(HEALTHY,),
    waits=True,
)
async def silent_connection(chat: Chat) -> None:
    async with chat.variant("header") as timed, AsyncExitStack() as stack:
        header = chat.target.variants.header
        assert header is not None
        loop = asyncio.get_running_loop()
        begun = loop.time()
        silent = [await stack.enter_async_context(timed.wire()) for _ in range(IDLERS)]
        await closed_in_time(timed, silent, header.seconds)
        early = loop.time() - begun
        expect(
            early > header.seconds / 2, "the stated time to be given", f"all were closed after {early:.2g} s"
        )


@case(
    "robustness/half-header",
    title="A connection whose header is never complete is closed in the stated time, however slowly it goes on",
    clause="HAND-5",
    severity=Severity.MEDIUM,
    means="Anybody can hold the server's connections and memory for ever with a byte now and then.",
    needs=(HEALTHY,),
    waits=True,
)
async def half_header(chat: Chat) -> None:
    async with chat.variant("header") as timed, AsyncExitStack() as stack:
        header = chat.target.variants.header
        assert header is not None
        halves = [await stack.enter_async_context(timed.wire()) for _ in range(IDLERS)]
        for peer in halves:
            peer.break_rules()
            await peer.send_bytes(HALF)
        drops = asyncio.create_task(drip(halves[0], header.seconds / 10))
        try:
            await closed_in_time(timed, halves, header.seconds)
        finally:
            drops.cancel()
            await asyncio.gather(drops, return_exceptions=True)


async def drip(peer: Peer, pause: float) -> None:
    """Go on with the header, a byte at a time."""
    while peer.ended is None:
        await asyncio.sleep(pause)
        await peer.send_bytes(b"x")
