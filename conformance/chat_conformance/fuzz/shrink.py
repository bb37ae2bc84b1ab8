"""Make a connection that shows a fault as small as it gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from chat_conformance.fuzz.sent import Sent

TRIES = 150


async def shrunk(sent: Sent, shows: Callable[[Sent], Awaitable[bool]]) -> Sent:
    """The fewest pieces that still show the fault, by leaving out ever smaller runs of them (delta debugging).

    ``shows`` plays a connection and says whether the fault is there.
    """
    tries = TRIES
    if sent.cuts and await shows(whole := replace(sent, cuts=())):
        sent = whole
    run = max(1, len(sent.pieces) // 2)
    while tries:
        at, before = 0, len(sent.pieces)
        while at < len(sent.pieces) and len(sent.pieces) > 1 and tries:
            tries -= 1
            less = replace(sent, pieces=sent.pieces[:at] + sent.pieces[at + run :])
            if less.pieces and await shows(less):
                sent = less
            else:
                at += run
        if run > 1:
            run //= 2
        elif len(sent.pieces) == before:
            break
    return sent
