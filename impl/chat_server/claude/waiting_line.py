"""The queue for a process: first come, first served, but users with fewer processes go first."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

from chat_server.errors import ClaudeUnavailable


class Ticket:
    """A turn that waits for a process.

    Attributes:
        owner: The user's name.
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
        """End the wait with an error."""
        # A stop may come just after the place was granted. Then the grant stands, and the session is interrupted.
        if not self.granted.done():
            self.granted.set_exception(ClaudeUnavailable(why))

    def interrupt(self) -> None:
        """The user has stopped the turn."""
        self.refuse("the question was stopped while it waited")


class WaitingLine:
    """The tickets that wait, and how many processes serve each user.

    Attributes:
        served: How many turns of each user have a process.
    """

    def __init__(self) -> None:
        self.served: Counter[str] = Counter()
        self._tickets: dict[Ticket, None] = {}  # in the order in which they came

    def __len__(self) -> int:
        return sum(1 for _ in self._waiting())

    def join(self, owner: str) -> Ticket:
        """A ticket behind all others."""
        ticket = Ticket(owner)
        self._tickets[ticket] = None
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Take a ticket out, with a place or without."""
        del self._tickets[ticket]

    def serve(self, owner: str) -> None:
        """Count one process for a user."""
        self.served[owner] += 1

    def release(self, owner: str) -> None:
        """Count one process less for a user."""
        self.served[owner] -= 1
        if not self.served[owner]:
            del self.served[owner]

    def grant(self) -> bool:
        """Give a place to the first ticket of a user with the fewest; ``False`` when none waits."""
        # `min` takes the first of equals, and tickets are in the order of their arrival.
        # Example: A has two processes and came first, B has none. The next place is B's.
        ticket = min(self._waiting(), key=lambda each: self.served[each.owner], default=None)
        if ticket is None:
            return False
        # Counted now, not when the turn wakes: else several grants in a row would go to the same user.
        self.serve(ticket.owner)
        ticket.granted.set_result(None)
        return True

    def refuse_one(self, why: str) -> None:
        """Refuse the newest ticket of the user with the most places and tickets."""
        # Not the newest of all: a user who fills the queue would keep the others out of it.
        waiting = list(self._waiting())
        wanted = self.served + Counter(each.owner for each in waiting)
        max(reversed(waiting), key=lambda each: wanted[each.owner]).refuse(why)

    def _waiting(self) -> Iterator[Ticket]:
        # A ticket that has its answer is in the queue until its turn wakes and leaves; it waits no more.
        return (each for each in self._tickets if not each.granted.done())
