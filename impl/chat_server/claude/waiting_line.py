"""Who waits for a place among the processes: first come, first served, but whoever has fewer of them goes first."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

from chat_server.errors import ClaudeUnavailable


class Ticket:
    """A question that waits.

    Attributes:
        owner: Whose it is.
        granted: Is done when there is a place, or an error says why there is none.
    """

    __slots__ = ("granted", "owner")

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def has_place(self) -> bool:
        """Whether it has been given a place."""
        return self.granted.done() and not self.granted.cancelled() and self.granted.exception() is None

    def refuse(self, why: str) -> None:
        """Let it wait no longer."""
        if not self.granted.done():
            self.granted.set_exception(ClaudeUnavailable(why))

    def interrupt(self) -> None:
        """The question was stopped."""
        self.refuse("the question was stopped while it waited")

    def hold(self, *, held: bool) -> None:
        """Nothing is written yet that could be held up."""


class WaitingLine:
    """The tickets that wait, and how many places each user has.

    Attributes:
        served: Questions of each user that have a place.
    """

    def __init__(self) -> None:
        self.served: Counter[str] = Counter()
        self._tickets: dict[Ticket, None] = {}  # in the order in which they came

    def __len__(self) -> int:
        return sum(1 for _ in self._waiting())

    def join(self, owner: str) -> Ticket:
        """Wait behind the others."""
        ticket = Ticket(owner)
        self._tickets[ticket] = None
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Wait no longer, with a place or without."""
        del self._tickets[ticket]

    def serve(self, owner: str) -> None:
        """Count a place among those of a user."""
        self.served[owner] += 1

    def release(self, owner: str) -> None:
        """Count one place less."""
        self.served[owner] -= 1
        if not self.served[owner]:
            del self.served[owner]

    def grant(self) -> bool:
        """Give a place to the first of those whose owners have the fewest; whether anybody waits."""
        ticket = min(self._waiting(), key=lambda each: self.served[each.owner], default=None)
        if ticket is None:
            return False
        self.serve(ticket.owner)
        ticket.granted.set_result(None)
        return True

    def refuse_one(self, why: str) -> None:
        """Refuse the last of whoever has, and waits for, the most."""
        waiting = list(self._waiting())
        wanted = self.served + Counter(each.owner for each in waiting)
        max(reversed(waiting), key=lambda each: wanted[each.owner]).refuse(why)

    def _waiting(self) -> Iterator[Ticket]:
        return (each for each in self._tickets if not each.granted.done())
