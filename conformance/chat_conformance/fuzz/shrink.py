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
    # Of 8 pieces it tries to leave out 1-4, then 5-8, then runs of two, then single ones. What is not needed
    # stays out, and the run begins at the same place again, where the next pieces are now. Single ones are
    # tried until none can go.
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
