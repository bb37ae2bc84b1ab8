"""What the parts of a case context share: the server, its users, a marker, randomness and the trace."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Self

from chat_conformance.errors import CouldNotTest
from chat_conformance.target.file import Target, User
from chat_conformance.target.server import Server
from chat_conformance.wire.trace import Trace


@dataclass(slots=True)
class CaseScope:
    """One case on one server.

    Attributes:
        server: The running target, or one of its variants.
        users: Who may use the server; requests come from the first of them unless said otherwise.
        marker: A word that no other case uses. It stands in every prompt, so that the ledger can be searched.
        random: All randomness that the case may use.
        trace: What went over all of its connections, those to variants included.
    """

    server: Server
    users: list[User]
    marker: str
    random: Random
    trace: Trace = field(default_factory=Trace)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @classmethod
    def create(cls, server: Server, case_id: str, seed: int) -> Self:
        """The scope of a case at its start; the same seed gives the same marker and the same random values."""
        # By seed and case, and not one generator for the run: a case that is replayed alone draws the same
        # values as among all others.
        random = Random(f"{seed} {case_id}")  # noqa: S311 - it is to be repeatable
        # Consonants only: no word of a prompt or an answer looks like it, nor does a hexadecimal id (cause.py
        # takes it out of sentences by that).
        marker = "".join(random.choices("bcdfghjkmnpqrstvwxz", k=10))
        return cls(server, server.target.users, marker, random)

    def on(self, server: Server) -> Self:
        """The same case on another server, with that server's users; marker, numbers and trace are shared."""
        # The counter is shared, too: an id that was used on one server is not used again on its variant, which
        # may have the same data.
        return replace(self, server=server, users=server.target.users)

    @property
    def target(self) -> Target:
        """The description of the server."""
        return self.server.target

    def user(self, number: int) -> User:
        """One of the users.

        Raises:
            CouldNotTest: The target names fewer.
        """
        if number >= len(self.users):
            raise CouldNotTest(f"the target file names {len(self.users)} user(s); this needs {number + 1}")
        return self.users[number]

    def next_number(self) -> int:
        """A number that this case has not used before."""
        return next(self._numbers)

    def next_id(self, name: str = "m") -> str:
        """A message id that was not used before."""
        return f"{name}-{self.marker}-{self.next_number()}"
