"""A set of subscribers that is cheap while it is empty, and safe to change while it is iterated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

S = TypeVar("S")


class Subscribers(Generic[S]):
    """Subscribers in the order in which they came, each once.

    A tuple is inside: most sets have one member or none, and an empty ``set`` alone costs 200 bytes. A change makes a
    new tuple, so a subscriber may leave, or another come, while the members are notified.
    """

    __slots__ = ("_members",)

    def __init__(self) -> None:
        self._members: tuple[S, ...] = ()

    def add(self, subscriber: S) -> None:
        """Add a subscriber, unless it is there already."""
        if subscriber not in self._members:
            self._members = (*self._members, subscriber)

    def remove(self, subscriber: S) -> None:
        """Remove a subscriber, if it is there."""
        self._members = tuple(each for each in self._members if each != subscriber)

    def __iter__(self) -> Iterator[S]:
        """Those that are subscribed now."""
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)
